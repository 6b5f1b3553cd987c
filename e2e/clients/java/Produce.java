import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalLong;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.ProducerBuilder;
import org.apache.rocketmq.client.java.impl.producer.SendReceiptImpl;

/** Sends numbered messages from several threads and writes down how each send ended. */
final class Produce {
    /** After a failed send: an unreachable broker must not use up all messages in a moment. */
    private static final long PAUSE_AFTER_FAILURE = 100;
    /** At the end, for calls under way: three requests of three seconds each. */
    private static final long LAST_CALLS = 10_000;

    private final Arguments arguments;
    private final Stop stop;
    private final History history;
    private final Progress progress;
    private final Kind kind;
    private final Producer producer;
    private final long began = System.nanoTime();
    private long next;

    private Produce(Arguments arguments, Stop stop) throws Exception {
        this.arguments = arguments;
        this.stop = stop;
        this.history = new History(Path.of(arguments.text("history", "")),
            arguments.text("name", History.clientName("producer")));
        history.start(new Json().put("topic", arguments.topic()));
        this.progress = new Progress(arguments.number("progress", 1), history.client, "sent", "acknowledged",
            "unknown", "failed", "asked");
        this.kind = Kind.of(arguments, history, progress);
        this.producer = Starting.retry(arguments.startTimeout(), this::create);
    }

    static void run(Arguments arguments, Stop stop) throws Exception {
        new Produce(arguments, stop).run();
    }

    private Producer create() throws ClientException {
        ProducerBuilder builder = ClientServiceProvider.loadService().newProducerBuilder()
            .setClientConfiguration(arguments.configuration()).setTopics(arguments.topic());
        kind.prepare(builder);
        return builder.build();
    }

    private void run() throws InterruptedException, IOException {
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < arguments.whole("in-flight", 16); number++) {
            String session = "s" + number;
            Thread thread = new Thread(() -> session(session));
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            while (thread.isAlive() && !stop.isRequested()) {
                thread.join(100);
            }
        }
        long deadline = System.nanoTime() + LAST_CALLS * 1_000_000;
        for (Thread thread : threads) {
            thread.join(Math.max(1, (deadline - System.nanoTime()) / 1_000_000));
        }
        history.end(stop.isRequested() ? "signal" : "count", progress.counts());
        progress.finish();
        stop.farewell(producer);
    }

    private void session(String session) {
        try {
            for (OptionalLong number = take(); number.isPresent(); number = take()) {
                if (!sendOne(session, number.getAsLong())) {
                    Thread.sleep(PAUSE_AFTER_FAILURE);
                }
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Hands out the numbers of messages at the wanted rate until there are enough. */
    private OptionalLong take() throws InterruptedException {
        long number;
        synchronized (this) {
            int count = arguments.whole("count", 0);
            if (stop.isRequested() || count > 0 && next >= count) {
                return OptionalLong.empty();
            }
            number = next++;
        }
        double rate = arguments.number("rate", 0);
        if (rate > 0) {
            long wait = (long) (number * 1e9 / rate) - (System.nanoTime() - began);
            if (stop.awaitRequest(Math.max(0, wait / 1_000_000))) {
                return OptionalLong.empty();
            }
        }
        return OptionalLong.of(number);
    }

    private boolean sendOne(String session, long number) {
        String id = history.client + "-" + number;
        byte[] body = body(id, arguments.whole("size", 256));
        Json told = new Json();
        Message message = message(session, number, body, told);
        long call = history.invoke("send", new Json().put("session", session).put("id", id)
            .put("checksum", History.checksum(body)).put("tag", message.getTag().orElse(null)).putAll(told));
        progress.add("sent");
        try {
            Kind.Sent sent = kind.send(producer, message, number);
            Json fields = new Json().put("message_id", sent.receipt().getMessageId().toString());
            if (kind.hasPlace() && sent.receipt() instanceof SendReceiptImpl details) {
                fields.put("offset", details.getOffset());
            }
            history.complete("send", call, "ok", fields);
            progress.add("acknowledged");
            sent.rest().run();
            return true;
        } catch (Exception error) {
            // A client goes on whatever happens.
            Problem problem = Problem.of(error);
            history.complete("send", call, problem.outcome(), problem.fields());
            progress.add(problem.certain() ? "failed" : "unknown");
            return false;
        }
    }

    private Message message(String session, long number, byte[] body, Json told) {
        MessageBuilder message = ClientServiceProvider.loadService().newMessageBuilder()
            .setTopic(arguments.topic()).setBody(body);
        if (number % 2 == 0) {
            message.setTag("even");
        }
        if (number % 3 == 0) {
            message.setKeys("key-" + number);
        }
        if (number % 5 == 0) {
            message.addProperty("number", Long.toString(number));
        }
        message.addProperty("quarter", Long.toString(number % 4));
        kind.prepare(message, session, number, told);
        return message.build();
    }

    /** The id, a line end, and filler that differs between messages. */
    private static byte[] body(String id, int size) {
        byte[] head = (id + "\n").getBytes(StandardCharsets.US_ASCII);
        byte[] body = Arrays.copyOf(head, Math.max(size, head.length));
        for (int at = head.length; at < body.length; at++) {
            body[at] = head[at % (head.length - 1)];
        }
        return body;
    }
}
