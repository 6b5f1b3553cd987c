import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.java.message.MessageViewImpl;

/** Ten messages there and back: does this client work with that broker at all? */
final class Smoke {
    private static final int MESSAGES = 10;
    private static final int LIMIT_SECONDS = 30;

    private final Arguments arguments;
    private final String run = "%08x".formatted(ThreadLocalRandom.current().nextInt());
    /** Body to message id. */
    private final Map<String, String> missing = new HashMap<>();

    private Smoke(Arguments arguments) {
        this.arguments = arguments;
    }

    static void run(Arguments arguments, Stop stop) throws Exception {
        new Smoke(arguments).run(stop);
    }

    private void run(Stop stop) throws Exception {
        ClientServiceProvider provider = ClientServiceProvider.loadService();
        SimpleConsumer consumer = Starting.retry(arguments.startTimeout(), () -> provider.newSimpleConsumerBuilder()
            .setClientConfiguration(arguments.configuration())
            .setConsumerGroup(arguments.text("group", "smoke-" + run))
            .setSubscriptionExpressions(Map.of(arguments.topic(), FilterExpression.SUB_ALL))
            .setAwaitDuration(Duration.ofSeconds(arguments.whole("wait", 5)))
            .build());
        Producer producer = provider.newProducerBuilder()
            .setClientConfiguration(arguments.configuration()).setTopics(arguments.topic()).build();
        for (int number = 0; number < MESSAGES; number++) {
            String body = "smoke-" + run + "-" + number;
            Message message = provider.newMessageBuilder().setTopic(arguments.topic())
                .setBody(body.getBytes(StandardCharsets.US_ASCII)).setTag("smoke").setKeys(body)
                .addProperty("run", run).build();
            missing.put(body, producer.send(message).getMessageId().toString());
        }
        receiveAll(consumer);
        System.out.println("java: sent, received and acknowledged " + MESSAGES + " messages");
        stop.farewell(producer);
        stop.farewell(consumer);
    }

    private void receiveAll(SimpleConsumer consumer) throws Exception {
        Duration invisible = Duration.ofSeconds(arguments.whole("invisible", 30));
        long deadline = System.nanoTime() + LIMIT_SECONDS * 1_000_000_000L;
        while (!missing.isEmpty()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("%d of %d messages did not come within %d s: %s"
                    .formatted(missing.size(), MESSAGES, LIMIT_SECONDS, missing.keySet()));
            }
            for (MessageView message : consumer.receive(arguments.whole("batch", 32), invisible)) {
                String body = StandardCharsets.US_ASCII.decode(message.getBody()).toString();
                String messageId = missing.remove(body);
                if (messageId != null) {
                    judge(message, body, messageId);
                }
                consumer.ack(message);
            }
        }
    }

    private void judge(MessageView message, String body, String messageId) {
        expect("message id", body, message.getMessageId().toString(), messageId);
        expect("tag", body, message.getTag().orElse(null), "smoke");
        expect("keys", body, List.copyOf(message.getKeys()), List.of(body));
        expect("properties", body, message.getProperties(), Map.of("run", run));
        expect("attempt", body, message.getDeliveryAttempt(), 1);
        expect("corrupted", body, message instanceof MessageViewImpl details && details.isCorrupted(), false);
    }

    private static void expect(String name, String body, Object found, Object wanted) {
        if (!wanted.equals(found)) {
            throw new IllegalStateException("%s of %s is %s instead of %s".formatted(name, body, found, wanted));
        }
    }
}
