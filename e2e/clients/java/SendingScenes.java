import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.java.message.MessageViewImpl;

/** Ways to send. */
final class SendingScenes {
    private SendingScenes() {
    }

    static void add(Map<String, Scenario.Scene> scenes) {
        scenes.put("normal", SendingScenes::normal);
        scenes.put("async", SendingScenes::async);
        scenes.put("one-way", (stage, told) -> {
            throw new Stage.Unsupported("the library has no send without an answer");
        });
        scenes.put("priority", SendingScenes::priority);
    }

    /** Each send is answered before the next; everything that was said about a message arrives with it. */
    private static void normal(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer();
        Map<String, String> sent = new HashMap<>();
        for (int number = 0; number < 10; number++) {
            String body = "normal-" + number;
            SendReceipt receipt = producer.send(stage.message(body).setTag("blue").setKeys(body)
                .addProperty("number", Integer.toString(number)).build());
            sent.put(body, receipt.getMessageId().toString());
        }
        stage.collect(consumer, sent.keySet()).forEach((body, message) -> {
            Stage.expect("message id of " + body, message.getMessageId().toString(), sent.get(body));
            Stage.expect("tag of " + body, message.getTag().orElse(null), "blue");
            Stage.expect("keys of " + body, List.copyOf(message.getKeys()), List.of(body));
            Stage.expect("properties of " + body, message.getProperties(),
                Map.of("number", body.substring("normal-".length())));
            Stage.expect("attempt of " + body, message.getDeliveryAttempt(), 1);
            Stage.expect("corruption of " + body, ((MessageViewImpl) message).isCorrupted(), false);
        });
    }

    /** Many sends under way at once. */
    private static void async(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer();
        List<String> bodies = IntStream.range(0, 32).mapToObj(number -> "async-" + number).toList();
        List<CompletableFuture<SendReceipt>> sends =
            bodies.stream().map(body -> producer.sendAsync(stage.message(body).build())).toList();
        Set<String> ids = new HashSet<>();
        for (CompletableFuture<SendReceipt> send : sends) {
            ids.add(send.get(10, TimeUnit.SECONDS).getMessageId().toString());
        }
        Stage.expect("number of message ids", ids.size(), bodies.size());
        stage.collect(consumer, bodies);
    }

    /** Of what waits, the larger priority comes first. */
    private static void priority(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer();
        for (int level : new int[] {1, 9, 5}) {
            producer.send(stage.message("priority-" + level).setPriority(level).build());
        }
        List<String> came = new ArrayList<>();
        while (came.size() < 3) {
            MessageView message = stage.next(consumer, "more than " + came);
            came.add(Stage.text(message));
            consumer.ack(message);
        }
        Stage.expect("the order", came, List.of("priority-9", "priority-5", "priority-1"));
    }
}
