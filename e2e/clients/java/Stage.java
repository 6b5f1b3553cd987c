import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.TransactionChecker;

/** What a scenario works with: names of its own, clients that are closed afterwards, and waiting that ends. */
final class Stage {
    /** How long a delivered message is invisible, and a receive waits. */
    static final Duration INVISIBLE = Duration.ofSeconds(30);
    private static final Duration WAIT = Duration.ofSeconds(5);
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();

    final Arguments arguments;
    final String topic;
    final String group;
    private final long deadline;
    private final List<Closeable> clients = new ArrayList<>();

    Stage(Arguments arguments, String name, int seconds) {
        this.arguments = arguments;
        this.topic = arguments.topic() + "-" + name;
        this.group = topic;
        this.deadline = System.nanoTime() + seconds * 1_000_000_000L;
    }

    /** What is not as it should be, for people. */
    static final class Failed extends RuntimeException {
        private static final long serialVersionUID = 1;

        Failed(String reason) {
            super(reason);
        }
    }

    /** Why this library cannot do it. */
    static final class Unsupported extends RuntimeException {
        private static final long serialVersionUID = 1;

        Unsupported(String reason) {
            super(reason);
        }
    }

    static void expect(String what, Object found, Object wanted) {
        if (!Objects.equals(found, wanted)) {
            throw new Failed("%s is %s instead of %s".formatted(what, found, wanted));
        }
    }

    static String text(MessageView message) {
        return StandardCharsets.US_ASCII.decode(message.getBody()).toString();
    }

    /** The call must be refused with this status code of the protocol. */
    static void refused(String what, long wanted, Callable<?> call) {
        try {
            call.call();
        } catch (Exception error) {
            Long code = Problem.of(error).code();
            if (code == null || code != wanted) {
                throw new Failed("%s was refused with %s instead of code %d"
                    .formatted(what, Scenario.chain(error), wanted));
            }
            return;
        }
        throw new Failed(what + " was not refused");
    }

    Producer producer(TransactionChecker checker) throws Exception {
        return start(() -> {
            var builder = PROVIDER.newProducerBuilder()
                .setClientConfiguration(arguments.configuration()).setTopics(topic);
            return (checker == null ? builder : builder.setTransactionChecker(checker)).build();
        });
    }

    Producer producer() throws Exception {
        return producer(null);
    }

    SimpleConsumer consumer() throws Exception {
        return consumer(FilterExpression.SUB_ALL);
    }

    SimpleConsumer consumer(FilterExpression expression) throws Exception {
        return consumer(arguments.configuration(), topic, group, expression);
    }

    /** Of the messages that nobody could consume. */
    SimpleConsumer deadLetters() throws Exception {
        return consumer(arguments.configuration(), "%DLQ%" + group, group + "-reader", FilterExpression.SUB_ALL);
    }

    SimpleConsumer consumer(ClientConfiguration configuration, String topic, String group, FilterExpression expression)
        throws Exception {
        return start(() -> PROVIDER.newSimpleConsumerBuilder().setClientConfiguration(configuration)
            .setConsumerGroup(group).setSubscriptionExpressions(Map.of(topic, expression)).setAwaitDuration(WAIT)
            .build());
    }

    void push(MessageListener listener) throws Exception {
        start(() -> PROVIDER.newPushConsumerBuilder().setClientConfiguration(arguments.configuration())
            .setConsumerGroup(group).setSubscriptionExpressions(Map.of(topic, FilterExpression.SUB_ALL))
            .setMessageListener(listener).build());
    }

    <T extends Closeable> T start(Callable<T> create) throws Exception {
        T client = Starting.retry(arguments.startTimeout(), create);
        clients.add(client);
        return client;
    }

    MessageBuilder message(String body) {
        return PROVIDER.newMessageBuilder().setTopic(topic).setBody(body.getBytes(StandardCharsets.US_ASCII));
    }

    /** Waits until the condition holds; whoever changes what it looks at calls {@link #changed}. */
    synchronized void await(Supplier<String> what, BooleanSupplier condition) throws InterruptedException {
        while (!condition.getAsBoolean()) {
            long left = (deadline - System.nanoTime()) / 1_000_000;
            if (left <= 0) {
                throw new Failed("waited in vain for " + what.get());
            }
            wait(left);
        }
    }

    synchronized void changed(Runnable change) {
        change.run();
        notifyAll();
    }

    /** One receive call's messages; fails once the time is over. */
    List<MessageView> receive(SimpleConsumer consumer, int batch, Supplier<String> what) throws Exception {
        if (System.nanoTime() > deadline) {
            throw new Failed("waited in vain for " + what.get());
        }
        return consumer.receive(batch, INVISIBLE);
    }

    MessageView next(SimpleConsumer consumer, String what) throws Exception {
        List<MessageView> messages = List.of();
        while (messages.isEmpty()) {
            messages = receive(consumer, 1, () -> what);
        }
        return messages.get(0);
    }

    /** The messages with these bodies, each of which must come once, and nothing else. */
    Map<String, MessageView> collect(SimpleConsumer consumer, Collection<String> wanted) throws Exception {
        Set<String> missing = new LinkedHashSet<>(wanted);
        Map<String, MessageView> got = new HashMap<>();
        while (!missing.isEmpty()) {
            for (MessageView message : receive(consumer, 32, missing::toString)) {
                String body = text(message);
                if (!missing.remove(body)) {
                    throw new Failed(body + " came " + (got.containsKey(body) ? "again" : "although it should not"));
                }
                got.put(body, message);
                consumer.ack(message);
            }
        }
        return got;
    }

    /** Says goodbye; an unreachable broker must not hold this up. */
    void close() throws InterruptedException {
        List<Thread> goodbyes = clients.stream().map(client -> new Thread(() -> closeQuietly(client))).toList();
        for (Thread goodbye : goodbyes) {
            goodbye.setDaemon(true);
            goodbye.start();
        }
        for (Thread goodbye : goodbyes) {
            goodbye.join(2000);
        }
    }

    private static void closeQuietly(Closeable client) {
        try {
            client.close();
        } catch (IOException | RuntimeException ignored) {
            // There is nothing left to do for this client.
        }
    }
}
