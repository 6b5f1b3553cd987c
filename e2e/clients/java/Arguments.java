import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientConfigurationBuilder;
import org.apache.rocketmq.client.apis.StaticSessionCredentialsProvider;

/** The command line. */
final class Arguments {
    private static final Set<String> COMMANDS = Set.of("produce", "consume", "smoke", "scenario");
    private static final Set<String> COMMON = Set.of("endpoints", "topic", "group", "name", "tls", "start-timeout",
        "access-key", "secret-key");
    private static final Set<String> SWITCHES = Set.of("tls", "sql");
    private static final Set<String> RECEIVING = Set.of("invisible", "batch", "wait", "filter");
    private static final Set<String> HISTORY = Set.of("history", "progress", "count", "in-flight");
    private static final Map<String, Set<String>> OWN = Map.of(
        "produce", Set.of("rate", "size", "type", "delay"),
        "consume", Set.of("kind", "until-idle", "first-within", "duration", "give-back", "give-back-times", "rest", "order", "max-attempts", "sql",
            "wants"),
        "smoke", Set.of(),
        "scenario", Set.of("access-endpoints"));

    final String command;
    /** Of the scenarios to run. */
    final List<String> names;
    private final Map<String, String> values;

    private Arguments(String command, List<String> names, Map<String, String> values) {
        this.command = command;
        this.names = names;
        this.values = values;
    }

    /**
     * Several command lines with + between them are run at once.
     *
     * @throws IllegalArgumentException naming what is wrong
     */
    static List<Arguments> parts(String[] words) {
        List<Arguments> parts = new ArrayList<>();
        List<String> line = new ArrayList<>();
        for (String word : words) {
            if (word.equals("+")) {
                parts.add(parse(line.toArray(String[]::new)));
                line.clear();
            } else {
                line.add(word);
            }
        }
        parts.add(parse(line.toArray(String[]::new)));
        return parts;
    }

    /** @throws IllegalArgumentException naming what is wrong */
    static Arguments parse(String[] words) {
        Map<String, String> values = new HashMap<>();
        String command = null;
        List<String> names = new ArrayList<>();
        for (int at = 0; at < words.length; at++) {
            String word = words[at];
            if (word.startsWith("--") && SWITCHES.contains(word.substring(2))) {
                values.put(word.substring(2), "true");
            } else if (word.startsWith("--")) {
                require(at + 1 < words.length, word + " needs a value");
                values.put(word.substring(2), words[++at]);
            } else if ("scenario".equals(command)) {
                names.add(word);
            } else {
                require(command == null && COMMANDS.contains(word), "there is to be one command of " + COMMANDS);
                command = word;
            }
        }
        require(command != null, "there is to be one command of " + COMMANDS);
        Arguments arguments = new Arguments(command, names, values);
        arguments.check();
        return arguments;
    }

    private void check() {
        for (String name : values.keySet()) {
            boolean known = COMMON.contains(name) || OWN.get(command).contains(name)
                || (command.equals("consume") || command.equals("smoke")) && RECEIVING.contains(name)
                || writesHistory() && HISTORY.contains(name);
            require(known, command + " has no option --" + name);
        }
        for (String name : List.of("endpoints", "topic")) {
            require(values.containsKey(name), "--" + name + " is missing");
        }
        require(!writesHistory() || values.containsKey("history"), "--history is missing");
        require(command.equals("scenario") != names.isEmpty(), "scenario takes names, other commands none");
        require(!command.equals("consume") || values.containsKey("group"), "--group is missing");
    }

    private boolean writesHistory() {
        return command.equals("produce") || command.equals("consume");
    }

    private static void require(boolean condition, String problem) {
        if (!condition) {
            throw new IllegalArgumentException(problem);
        }
    }

    String text(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    double number(String name, double otherwise) {
        String text = values.get(name);
        if (text == null) {
            return otherwise;
        }
        try {
            return Double.parseDouble(text);
        } catch (NumberFormatException problem) {
            throw new IllegalArgumentException("--" + name + " " + text + " is no number", problem);
        }
    }

    int whole(String name, int otherwise) {
        return (int) number(name, otherwise);
    }

    String topic() {
        return values.get("topic");
    }

    Duration startTimeout() {
        return Duration.ofMillis((long) (number("start-timeout", 30) * 1000));
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    /** As the user that is named, if any; the scenarios have users of their own. */
    ClientConfiguration configuration() {
        ClientConfigurationBuilder builder = ClientConfiguration.newBuilder()
            .setEndpoints(values.get("endpoints"))
            .enableSsl(has("tls"));
        if (has("access-key") && !command.equals("scenario")) {
            builder.setCredentialProvider(
                new StaticSessionCredentialsProvider(values.get("access-key"), values.get("secret-key")));
        }
        return builder.build();
    }
}
