import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.ProducerBuilder;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;

/** A kind of messages that a producer sends: what goes into one, what the history tells, how a send ends. */
class Kind {
    /** How a send ended, and why it did not end as usual. */
    record Sent(SendReceipt receipt, String outcome, String reason) {
        static Sent ok(SendReceipt receipt) {
            return new Sent(receipt, "ok", null);
        }
    }

    static Kind of(Arguments arguments) {
        Map<String, Supplier<Kind>> all = Map.of("normal", Kind::new, "fifo", Fifo::new,
            "delay", () -> new Delay(arguments.whole("delay", 2)), "transaction", Transactional::new);
        String name = arguments.text("type", "normal");
        return Optional.ofNullable(all.get(name)).map(Supplier::get)
            .orElseThrow(() -> new IllegalArgumentException("--type is one of " + all.keySet()));
    }

    void prepare(ProducerBuilder builder) {
    }

    /** Makes the message one of this kind; the history is told of it. */
    void prepare(MessageBuilder message, String session, long number, Json told) {
    }

    Sent send(Producer producer, Message message, long number) throws ClientException, IOException {
        return Sent.ok(producer.send(message));
    }

    /** Whether an acknowledged message has its place in a queue. */
    boolean hasPlace() {
        return true;
    }

    /** A session sends one after the other. */
    private static final class Fifo extends Kind {
        @Override
        void prepare(MessageBuilder message, String session, long number, Json told) {
            message.setMessageGroup(session);
            told.put("message_group", session);
        }
    }

    private static final class Delay extends Kind {
        private final int seconds;

        Delay(int seconds) {
            this.seconds = seconds;
        }

        @Override
        void prepare(MessageBuilder message, String session, long number, Json told) {
            // Whole seconds, as every library knows them.
            long due = (System.currentTimeMillis() / 1000 + 1 + seconds) * 1000;
            message.setDeliveryTimestamp(due);
            told.put("deliver_at", due);
        }

        @Override
        boolean hasPlace() {
            return false;
        }
    }

    /** Every fourth message is rolled back, of the others every third is left to the broker's question. */
    private static final class Transactional extends Kind {
        @Override
        void prepare(ProducerBuilder builder) {
            builder.setTransactionChecker(Transactional::check);
        }

        private static TransactionResolution check(MessageView message) {
            String body = StandardCharsets.ISO_8859_1.decode(message.getBody()).toString();
            String id = body.substring(0, body.indexOf('\n'));
            long number = Long.parseLong(id.substring(id.lastIndexOf('-') + 1));
            return wanted(number) ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
        }

        private static boolean wanted(long number) {
            return number % 4 != 0;
        }

        @Override
        void prepare(MessageBuilder message, String session, long number, Json told) {
            told.put("resolution", wanted(number) ? "commit" : "rollback");
        }

        @Override
        Sent send(Producer producer, Message message, long number) throws ClientException, IOException {
            Transaction transaction = producer.beginTransaction();
            SendReceipt receipt = producer.send(message, transaction);
            if (!wanted(number)) {
                rollback(transaction);
                return new Sent(receipt, "fail", "rolled back");
            }
            if (number % 3 == 0) {
                return new Sent(receipt, "unknown", "left to the broker's question");
            }
            transaction.commit();
            return Sent.ok(receipt);
        }

        /** Nothing can commit it any more, whether or not this is heard. */
        private static void rollback(Transaction transaction) {
            try {
                transaction.rollback();
            } catch (ClientException unheard) {
                // The broker will ask.
            }
        }

        @Override
        boolean hasPlace() {
            return false;
        }
    }
}
