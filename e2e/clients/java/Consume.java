import java.io.Closeable;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.java.message.MessageViewImpl;

/** Receives and acknowledges, and writes down everything that came and how each call ended. */
final class Consume {
    private static final long PAUSE_AFTER_FAILURE = 100;
    private static final int ACK_TRIES = 3;

    private final Arguments arguments;
    private final Stop stop;
    private final History history;
    private final Progress progress;
    private final Duration invisible;
    private final Duration giveBack;
    private final Set<String> ids = new HashSet<>();
    private final long began = System.nanoTime();
    private long lastMessage = began;

    private Consume(Arguments arguments, Stop stop) throws Exception {
        this.arguments = arguments;
        this.stop = stop;
        this.invisible = Duration.ofSeconds(arguments.whole("invisible", 30));
        this.giveBack = Duration.ofSeconds(arguments.whole("give-back", 0));
        this.history = new History(Path.of(arguments.text("history", "")),
            arguments.text("name", History.clientName("consumer")));
        history.start(new Json().put("topic", arguments.topic()).put("group", arguments.text("group", null))
            .put("filter", arguments.text("wants", filter())).put("sql", arguments.has("sql") ? filter() : null)
            .put("kind", kind()).put("order", arguments.text("order", null)).put("max_attempts", maxAttempts()));
        this.progress = new Progress(arguments.number("progress", 1), history.client, "received", "deliveries",
            "acknowledged", "receive_errors", "ack_errors");
    }

    static void run(Arguments arguments, Stop stop) throws Exception {
        new Consume(arguments, stop).run();
    }

    private String kind() {
        return arguments.text("kind", "simple");
    }

    private void run() throws Exception {
        List<Thread> threads = new ArrayList<>();
        Closeable consumer = Starting.retry(arguments.startTimeout(),
            () -> kind().equals("push") ? push() : simple(threads));
        postpone();
        String reason = reason();
        while (reason == null) {
            stop.awaitRequest(100);
            reason = reason();
        }
        // Acknowledgements under way; a receive that waits for messages may take longer: nobody saw it end.
        long deadline = System.nanoTime() + 1_000_000_000L;
        for (Thread thread : threads) {
            thread.join(Math.max(1, (deadline - System.nanoTime()) / 1_000_000));
        }
        history.end(reason, progress.counts());
        progress.finish();
        stop.farewell(consumer);
    }

    private String filter() {
        return arguments.text("filter", "*");
    }

    private Long maxAttempts() {
        return arguments.has("max-attempts") ? (long) arguments.whole("max-attempts", 0) : null;
    }

    private Map<String, FilterExpression> subscription() {
        FilterExpressionType type = arguments.has("sql") ? FilterExpressionType.SQL92 : FilterExpressionType.TAG;
        return Map.of(arguments.topic(), new FilterExpression(filter(), type));
    }

    private SimpleConsumer simple(List<Thread> threads) throws ClientException {
        SimpleConsumer consumer = ClientServiceProvider.loadService().newSimpleConsumerBuilder()
            .setClientConfiguration(arguments.configuration())
            .setConsumerGroup(arguments.text("group", null))
            .setSubscriptionExpressions(subscription())
            .setAwaitDuration(Duration.ofSeconds(arguments.whole("wait", 5)))
            .build();
        postpone();
        for (int number = 0; number < arguments.whole("in-flight", 8); number++) {
            String session = "r" + number;
            Thread thread = new Thread(() -> session(consumer, session));
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        return consumer;
    }

    /** The library acknowledges by itself and does not tell how that ended. */
    private Closeable push() throws ClientException {
        return ClientServiceProvider.loadService().newPushConsumerBuilder()
            .setClientConfiguration(arguments.configuration())
            .setConsumerGroup(arguments.text("group", null))
            .setSubscriptionExpressions(subscription())
            .setConsumptionThreadCount(arguments.whole("in-flight", 8))
            .setMessageListener(this::listen)
            .build();
    }

    private ConsumeResult listen(MessageView message) {
        history.message(describe(message));
        note(List.of(message));
        if (isGivenBack(message)) {
            return ConsumeResult.FAILURE;
        }
        long call = history.invoke("ack", which(message));
        if (call == 0) {
            return ConsumeResult.FAILURE;
        }
        history.complete("ack", call, "unknown", new Json().put("error", "the library acknowledges"));
        progress.add("acknowledged");
        return ConsumeResult.SUCCESS;
    }

    private void session(SimpleConsumer consumer, String session) {
        try {
            while (reason() == null) {
                List<MessageView> messages = receive(consumer, session);
                for (MessageView message : messages) {
                    if (isGivenBack(message)) {
                        giveBack(consumer, session, message);
                    } else {
                        acknowledge(consumer, session, message);
                    }
                    postpone();
                }
                if (!messages.isEmpty()) {
                    Thread.sleep((long) (arguments.number("rest", 0) * 1000));
                }
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private List<MessageView> receive(SimpleConsumer consumer, String session) throws InterruptedException {
        long call = history.invoke("receive", new Json().put("session", session));
        try {
            List<MessageView> messages = consumer.receive(arguments.whole("batch", 32), invisible);
            List<Json> described = messages.stream()
                .map(message -> describe(message).put("invisible_ms", away(message).toMillis())).toList();
            history.complete("receive", call, "ok", new Json().put("count", messages.size()), described);
            if (!messages.isEmpty()) {
                note(messages);
            }
            return messages;
        } catch (ClientException | RuntimeException error) {
            Problem problem = Problem.of(error);
            history.complete("receive", call, problem.outcome(), problem.fields());
            progress.add("receive_errors");
            postpone();
            Thread.sleep(PAUSE_AFTER_FAILURE);
            return List.of();
        }
    }

    private void acknowledge(SimpleConsumer consumer, String session, MessageView message)
        throws InterruptedException {
        Json which = which(message).put("session", session);
        for (int tried = 0; tried < ACK_TRIES; tried++) {
            long call = history.invoke("ack", which);
            try {
                consumer.ack(message);
                history.complete("ack", call, "ok", new Json());
                progress.add("acknowledged");
                return;
            } catch (ClientException | RuntimeException error) {
                Problem problem = Problem.of(error);
                history.complete("ack", call, problem.outcome(), problem.fields());
                progress.add("ack_errors");
                if (problem.certain()) {
                    return;
                }
                Thread.sleep(PAUSE_AFTER_FAILURE);
            }
        }
    }

    /** Some messages are to come again. */
    private boolean isGivenBack(MessageView message) {
        String id = idIn(message);
        return !giveBack.isZero() && message.getDeliveryAttempt() <= arguments.whole("give-back-times", 1) && id != null
            && id.matches(".*-\\d+") && Long.parseLong(id.substring(id.lastIndexOf('-') + 1)) % 5 == 0;
    }

    private Duration away(MessageView message) {
        return isGivenBack(message) ? giveBack : invisible;
    }

    private void giveBack(SimpleConsumer consumer, String session, MessageView message) {
        long call = history.invoke("change",
            which(message).put("session", session).put("invisible_ms", giveBack.toMillis()));
        try {
            consumer.changeInvisibleDuration(message, giveBack);
            history.complete("change", call, "ok", new Json());
        } catch (ClientException | RuntimeException error) {
            // It comes again when its time is over.
            Problem problem = Problem.of(error);
            history.complete("change", call, problem.outcome(), problem.fields());
        }
    }

    /** Names a delivery. */
    private static Json which(MessageView message) {
        return new Json().put("id", idIn(message))
            .put("message_id", message.getMessageId().toString()).put("offset", offset(message))
            .put("attempt", message.getDeliveryAttempt());
    }

    /** The library keeps the offset but not the queue that the message was in. */
    private static Json describe(MessageView message) {
        return new Json().put("id", idIn(message)).put("checksum", History.checksum(body(message)))
            .put("message_id", message.getMessageId().toString()).put("offset", offset(message))
            .put("attempt", message.getDeliveryAttempt()).put("tag", message.getTag().orElse(null))
            .put("corrupted", message instanceof MessageViewImpl details && details.isCorrupted())
            .put("message_group", message.getMessageGroup().orElse(null))
            .put("deliver_at", message.getDeliveryTimestamp().orElse(null));
    }

    private static long offset(MessageView message) {
        return ((MessageViewImpl) message).getOffset();
    }

    private static byte[] body(MessageView message) {
        byte[] body = new byte[message.getBody().remaining()];
        message.getBody().get(body);
        return body;
    }

    /** The id in a body that one of our producers wrote, else nothing. */
    private static String idIn(MessageView message) {
        String head = new String(body(message), StandardCharsets.ISO_8859_1);
        int end = head.indexOf('\n');
        return end > 0 && end < 256 ? head.substring(0, end) : null;
    }

    private synchronized void note(List<MessageView> messages) {
        messages.stream().map(Consume::idIn).filter(id -> id != null).forEach(ids::add);
        lastMessage = System.nanoTime();
        progress.set("received", ids.size());
        progress.add("deliveries", messages.size());
    }

    /** A library that is starting, a session that is busy, a broker that cannot be asked: no sign that there is no more. */
    private synchronized void postpone() {
        lastMessage = System.nanoTime();
    }

    /** Why enough has been received, or nothing. */
    private synchronized String reason() {
        double now = System.nanoTime();
        int count = arguments.whole("count", 0);
        double duration = arguments.number("duration", 0);
        double idle = arguments.number("until-idle", 0);
        double patience = Math.max(idle, ids.isEmpty() ? arguments.number("first-within", 0) : 0);
        if (stop.isRequested()) {
            return "signal";
        }
        if (count > 0 && ids.size() >= count) {
            return "count";
        }
        if (duration > 0 && now - began >= duration * 1e9) {
            return "duration";
        }
        return idle > 0 && now - lastMessage >= patience * 1e9 ? "idle" : null;
    }
}
