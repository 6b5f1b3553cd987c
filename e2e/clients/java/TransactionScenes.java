import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.ArrayList;
import java.util.Map;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;

/** Messages that wait for a decision. */
final class TransactionScenes {
    private TransactionScenes() {
    }

    static void add(Map<String, Scenario.Scene> scenes) {
        scenes.put("commit", TransactionScenes::commit);
        scenes.put("rollback", TransactionScenes::rollback);
        scenes.put("check-back", TransactionScenes::checkBack);
    }

    /** The library begins no transaction without a checker. */
    private static TransactionResolution undecided(MessageView message) {
        return TransactionResolution.UNKNOWN;
    }

    private record Half(Transaction transaction, SendReceipt receipt) {
        static Half send(Stage stage, Producer producer, String body) throws Exception {
            Transaction transaction = producer.beginTransaction();
            return new Half(transaction, producer.send(stage.message(body).build(), transaction));
        }
    }

    /** Nobody sees the message before it is committed; then it comes, under its own id. */
    private static void commit(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer(TransactionScenes::undecided);
        Half waiting = Half.send(stage, producer, "waits");
        Half other = Half.send(stage, producer, "committed at once");
        other.transaction().commit();
        stage.collect(consumer, List.of("committed at once"));
        waiting.transaction().commit();
        MessageView message = stage.collect(consumer, List.of("waits")).get("waits");
        Stage.expect("message id", message.getMessageId().toString(), waiting.receipt().getMessageId().toString());
    }

    /** What was rolled back never comes. */
    private static void rollback(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer(TransactionScenes::undecided);
        Half.send(stage, producer, "rolled back").transaction().rollback();
        Half.send(stage, producer, "committed").transaction().commit();
        stage.collect(consumer, List.of("committed"));
    }

    /** A producer that does not decide is asked, and its answer counts. */
    private static void checkBack(Stage stage, Json told) throws Exception {
        List<String> asked = Collections.synchronizedList(new ArrayList<>());
        SimpleConsumer consumer = stage.consumer();
        Producer producer = stage.producer(message -> {
            stage.changed(() -> asked.add(Stage.text(message)));
            return Stage.text(message).equals("to commit")
                ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
        });
        Half.send(stage, producer, "to roll back");
        Half.send(stage, producer, "to commit");
        stage.await(() -> "the broker to ask about both", () -> new HashSet<>(asked).size() == 2);
        stage.collect(consumer, List.of("to commit"));
        told.put("asked", asked.size());
    }
}
