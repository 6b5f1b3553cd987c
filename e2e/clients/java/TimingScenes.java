import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;

/** Messages that are delivered at a time. */
final class TimingScenes {
    /** A machine at work on many things may be late by so much, in milliseconds; never early. */
    private static final long LATE = 3000;

    private TimingScenes() {
    }

    static void add(Map<String, Scenario.Scene> scenes) {
        scenes.put("delay", TimingScenes::delay);
        scenes.put("recall", TimingScenes::recall);
    }

    /** Whole seconds, which every library knows. */
    private static long inSeconds(int seconds) {
        return (System.currentTimeMillis() / 1000 + 1 + seconds) * 1000;
    }

    /** Not a millisecond early, and not much too late. */
    private static void delay(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer();
        Map<String, Long> due = new HashMap<>();
        for (int number : new int[] {3, 1, 2}) {
            String body = "delay-" + number;
            due.put(body, inSeconds(number));
            producer.send(stage.message(body).setDeliveryTimestamp(due.get(body)).build());
        }
        Map<String, Long> late = new HashMap<>();
        while (late.size() < due.size()) {
            for (MessageView message : stage.receive(consumer, 32, () -> "more than " + late)) {
                String body = Stage.text(message);
                late.put(body, System.currentTimeMillis() - due.get(body));
                if (late.get(body) < 0 || late.get(body) > LATE) {
                    throw new Stage.Failed("%s came %d ms after its time".formatted(body, late.get(body)));
                }
                Stage.expect("delivery time of " + body, message.getDeliveryTimestamp().orElse(null), due.get(body));
                consumer.ack(message);
            }
        }
        told.put("late_ms", late.values().stream().max(Long::compare).orElseThrow());
    }

    /** What was recalled never comes; what has come cannot be recalled. */
    private static void recall(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer();
        SendReceipt takenBack = producer.send(stage.message("recalled").setDeliveryTimestamp(inSeconds(2)).build());
        SendReceipt kept = producer.send(stage.message("kept").setDeliveryTimestamp(inSeconds(3)).build());
        String recalled = producer.recallMessage(stage.topic, takenBack.getRecallHandle()).getMessageId().toString();
        Stage.expect("message id of the recalled message", recalled, takenBack.getMessageId().toString());
        stage.collect(consumer, List.of("kept"));
        try {
            producer.recallMessage(stage.topic, kept.getRecallHandle());
        } catch (ClientException refused) {
            // Which code it is differs.
            return;
        }
        throw new Stage.Failed("a message that was delivered could be recalled");
    }
}
