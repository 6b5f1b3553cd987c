import java.io.Closeable;
import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The wish to end: a signal begins the shutdown of the process, which waits here until the work is written down. */
final class Stop {
    private static final long PATIENCE = 15;
    private final CountDownLatch requested = new CountDownLatch(1);

    Stop() {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            requested.countDown();
            try {
                // Until the program halts, which it does with an exit code of its own.
                TimeUnit.SECONDS.sleep(PATIENCE);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    boolean isRequested() {
        return requested.getCount() == 0;
    }

    boolean awaitRequest(long milliseconds) throws InterruptedException {
        return requested.await(milliseconds, TimeUnit.MILLISECONDS);
    }

    /** Closes a client of the library, which must not outlive an unreachable broker. */
    void farewell(Closeable client) throws InterruptedException {
        Thread closing = new Thread(() -> {
            try {
                client.close();
            } catch (IOException | RuntimeException ignored) {
                // There is nothing left to do for this client.
            }
        });
        closing.setDaemon(true);
        closing.start();
        closing.join(3_000);
    }
}
