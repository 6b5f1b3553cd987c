import java.time.Duration;
import java.util.concurrent.Callable;

/** Starts clients of the library although the broker may still be on its way up. */
final class Starting {
    private static final long PAUSE = 500;

    private Starting() {
    }

    static <T> T retry(Duration limit, Callable<T> start) throws Exception {
        long deadline = System.nanoTime() + limit.toNanos();
        while (true) {
            try {
                return start.call();
            } catch (Exception problem) {
                if (System.nanoTime() > deadline) {
                    throw problem;
                }
                Thread.sleep(PAUSE);
            }
        }
    }
}
