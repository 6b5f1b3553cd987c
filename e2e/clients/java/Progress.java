import java.util.LinkedHashMap;
import java.util.Map;

/** Counts what happens and prints the counts as JSON lines while it does. */
final class Progress {
    private final Map<String, Long> counts = new LinkedHashMap<>();
    private final String client;
    private final Thread printer;

    Progress(double seconds, String client, String... names) {
        this.client = client;
        for (String name : names) {
            counts.put(name, 0L);
        }
        printer = new Thread(() -> printRegularly((long) (seconds * 1000)));
        printer.setDaemon(true);
        if (seconds > 0) {
            printer.start();
        }
    }

    synchronized void add(String name, long number) {
        counts.merge(name, number, Long::sum);
    }

    void add(String name) {
        add(name, 1);
    }

    synchronized void set(String name, long number) {
        counts.merge(name, number, Long::max);
    }

    synchronized Map<String, Long> counts() {
        return new LinkedHashMap<>(counts);
    }

    void finish() {
        printer.interrupt();
        System.out.println(json().put("final", true));
    }

    private Json json() {
        Json json = new Json().put("client", client);
        counts().forEach(json::put);
        return json;
    }

    private void printRegularly(long milliseconds) {
        try {
            while (true) {
                Thread.sleep(milliseconds);
                System.out.println(json());
            }
        } catch (InterruptedException finished) {
            Thread.currentThread().interrupt();
        }
    }
}
