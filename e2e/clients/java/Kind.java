import java.io.IOException;
import java.nio.ByteBuffer;
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

/** A kind of messages that a producer sends: what goes into one, what the history tells, what follows a send. */
class Kind {
    /** A receipt, and what is still to be done then, if anything. */
    record Sent(SendReceipt receipt, Runnable rest) {
    }

    /** What is done about a message that was sent. */
    interface Act {
        void run() throws ClientException;
    }

    static Kind of(Arguments arguments, History history, Progress progress) {
        Map<String, Supplier<Kind>> all = Map.of("normal", Kind::new, "fifo", Fifo::new,
            "delay", () -> new Delay(arguments.whole("delay", 2)),
            "recall", () -> new Recalling(arguments.whole("delay", 2), history),
            "transaction", () -> new Transactional(history, progress), "priority", Priority::new);
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
        return new Sent(producer.send(message), () -> { });
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

    private static class Delay extends Kind {
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

    /** Every third message is taken back at once. */
    private static final class Recalling extends Delay {
        private final History history;

        Recalling(int seconds, History history) {
            super(seconds);
            this.history = history;
        }

        @Override
        Sent send(Producer producer, Message message, long number) throws ClientException {
            SendReceipt receipt = producer.send(message);
            Json which = new Json().put("id", id(message.getBody()));
            return number % 3 != 0 ? new Sent(receipt, () -> { }) : new Sent(receipt, () -> told(history, "recall", which,
                () -> producer.recallMessage(message.getTopic(), receipt.getRecallHandle())));
        }
    }

    private static final class Priority extends Kind {
        @Override
        void prepare(MessageBuilder message, String session, long number, Json told) {
            int priority = (int) (number % 10);
            message.setPriority(priority);
            told.put("priority", priority);
        }
    }

    /** An operation of which only success and failure are known. */
    private static void told(History history, String op, Json which, Act act) {
        long call = history.invoke(op, which);
        try {
            act.run();
            history.complete(op, call, "ok", new Json());
        } catch (ClientException | RuntimeException error) {
            Problem problem = Problem.of(error);
            history.complete(op, call, problem.outcome(), problem.fields());
        }
    }

    private static String id(ByteBuffer body) {
        String text = StandardCharsets.ISO_8859_1.decode(body).toString();
        return text.substring(0, text.indexOf('\n'));
    }

    /** Every fourth message is rolled back, of the others every third is left to the broker's question. */
    private static final class Transactional extends Kind {
        private final History history;
        private final Progress progress;

        Transactional(History history, Progress progress) {
            this.history = history;
            this.progress = progress;
        }

        @Override
        void prepare(ProducerBuilder builder) {
            builder.setTransactionChecker(this::check);
        }

        private TransactionResolution check(MessageView message) {
            String id = id(message.getBody());
            String verdict = verdict(Long.parseLong(id.substring(id.lastIndexOf('-') + 1)));
            long call = history.invoke("decide", new Json().put("id", id).put("verdict", verdict));
            if (call == 0) {
                return TransactionResolution.UNKNOWN;
            }
            history.complete("decide", call, "unknown",
                new Json().put("error", "the library answers the broker's question"));
            progress.add("asked");
            return verdict.equals("commit") ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
        }

        private static String verdict(long number) {
            return number % 4 == 0 ? "rollback" : "commit";
        }

        @Override
        void prepare(MessageBuilder message, String session, long number, Json told) {
            told.put("transaction", true);
        }

        @Override
        Sent send(Producer producer, Message message, long number) throws ClientException, IOException {
            Transaction transaction = producer.beginTransaction();
            SendReceipt receipt = producer.send(message, transaction);
            String verdict = verdict(number);
            if (verdict.equals("commit") && number % 3 == 0) {
                return new Sent(receipt, () -> { });
            }
            Act ending = verdict.equals("commit") ? transaction::commit : transaction::rollback;
            Json which = new Json().put("id", id(message.getBody())).put("verdict", verdict);
            return new Sent(receipt, () -> told(history, "decide", which, ending));
        }

        @Override
        boolean hasPlace() {
            return false;
        }
    }
}
