import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.BiPredicate;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;

/** Ways to consume, and what becomes of messages that nobody can consume. */
final class ConsumingScenes {
    private static final long INVALID_RECEIPT_HANDLE = 40013;
    private static final List<Integer> WHOLE = List.of(0, 1, 2, 3, 4, 5);

    private ConsumingScenes() {
    }

    static void add(Map<String, Scenario.Scene> scenes) {
        scenes.put("push", ConsumingScenes::push);
        scenes.put("simple", ConsumingScenes::simple);
        scenes.put("fifo", ConsumingScenes::fifo);
        scenes.put("fifo-dead-letter", ConsumingScenes::fifoDeadLetter);
        scenes.put("dead-letter", ConsumingScenes::deadLetter);
    }

    /** The listener gets every message, once. */
    private static void push(Stage stage, Json told) throws Exception {
        List<String> came = new ArrayList<>();
        stage.push(message -> {
            stage.changed(() -> came.add(Stage.text(message) + " attempt " + message.getDeliveryAttempt()));
            return ConsumeResult.SUCCESS;
        });
        Producer producer = stage.producer();
        List<String> bodies = IntStream.range(0, 20).mapToObj(number -> "push-" + number).toList();
        for (String body : bodies) {
            producer.send(stage.message(body).build());
        }
        stage.await(() -> bodies.size() + " messages, came " + came, () -> came.size() >= bodies.size());
        Stage.expect("what came", came.stream().sorted().toList(),
            bodies.stream().map(body -> body + " attempt 1").sorted().toList());
    }

    /** The consumer chooses when a message comes again; the receipt of the earlier delivery is void then. */
    private static void simple(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        stage.producer().send(stage.message("once more").build());
        MessageView first = stage.next(consumer, "the message");
        Stage.expect("attempt", first.getDeliveryAttempt(), 1);
        consumer.changeInvisibleDuration(first, java.time.Duration.ofSeconds(2));
        long changed = System.nanoTime();
        MessageView second = stage.next(consumer, "the message again");
        long away = (System.nanoTime() - changed) / 1_000_000;
        if (away < 1900) {
            throw new Stage.Failed("the message came again after " + away + " ms instead of 2 s");
        }
        Stage.expect("attempt", second.getDeliveryAttempt(), 2);
        Stage.refused("an acknowledgement of the first delivery", INVALID_RECEIPT_HANDLE, () -> {
            consumer.ack(first);
            return null;
        });
        consumer.ack(second);
        told.put("away_ms", away);
    }

    /** Notes what a FIFO listener is given, and that a message group has one message at a time. */
    private static final class Ordered {
        private final Stage stage;
        private final BiPredicate<String, Long> fails;
        private final Map<String, List<Integer>> came = new TreeMap<>();
        private final Set<String> busy = new HashSet<>();
        private String overlap;

        Ordered(Stage stage, BiPredicate<String, Long> fails) {
            this.stage = stage;
            this.fails = fails;
            for (String group : List.of("a", "b", "c")) {
                came.put(group, new ArrayList<>());
            }
        }

        private ConsumeResult consume(MessageView message) {
            String body = Stage.text(message);
            String group = body.split("-")[0];
            Integer number = Integer.valueOf(body.split("-")[1]);
            long[] times = new long[1];
            stage.changed(() -> {
                if (!busy.add(group)) {
                    overlap = body + " came while another message of its group was being consumed";
                }
                came.get(group).add(number);
                times[0] = came.get(group).stream().filter(number::equals).count();
            });
            boolean failed = fails.test(body, times[0]);
            stage.changed(() -> busy.remove(group));
            return failed ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
        }

        void play(Map<String, List<Integer>> wanted) throws Exception {
            Producer producer = stage.producer();
            for (int number : WHOLE) {
                for (String group : came.keySet()) {
                    producer.send(stage.message(group + "-" + number).setMessageGroup(group).build());
                }
            }
            stage.push(this::consume);
            stage.await(() -> wanted + ", came " + came, () -> wanted.keySet().stream()
                .allMatch(group -> came.get(group).size() >= wanted.get(group).size()));
            Stage.expect("what came", came, wanted);
            Stage.expect("overlap", overlap, null);
        }
    }

    /** Each message group in its order, one at a time, whatever fails in between; others go on meanwhile. */
    private static void fifo(Stage stage, Json told) throws Exception {
        Ordered ordered = new Ordered(stage, (body, times) -> body.equals("a-2") && times == 1);
        ordered.play(Map.of("a", List.of(0, 1, 2, 2, 3, 4, 5), "b", WHOLE, "c", WHOLE));
    }

    /** A message that always fails goes to the dead letters after its last attempt, and the next of its group come. */
    private static void fifoDeadLetter(Stage stage, Json told) throws Exception {
        SimpleConsumer dead = stage.deadLetters();
        Ordered ordered = new Ordered(stage, (body, times) -> body.equals("a-2"));
        ordered.play(Map.of("a", List.of(0, 1, 2, 2, 2, 3, 4, 5), "b", WHOLE, "c", WHOLE));
        stage.collect(dead, List.of("a-2"));
    }

    /** A message that always fails comes as often as its group allows, then it is a dead letter. */
    private static void deadLetter(Stage stage, Json told) throws Exception {
        List<Integer> attempts = new ArrayList<>();
        SimpleConsumer dead = stage.deadLetters();
        stage.push(message -> {
            stage.changed(() -> attempts.add(message.getDeliveryAttempt()));
            return ConsumeResult.FAILURE;
        });
        SendReceipt receipt = stage.producer()
            .send(stage.message("hopeless").setTag("blue").addProperty("number", "1").build());
        MessageView letter = stage.collect(dead, List.of("hopeless")).get("hopeless");
        Stage.expect("attempts", attempts, List.of(1, 2, 3));
        Stage.expect("message id", letter.getMessageId().toString(), receipt.getMessageId().toString());
        Stage.expect("tag", letter.getTag().orElse(null), "blue");
        Stage.expect("property", letter.getProperties().get("number"), "1");
    }
}
