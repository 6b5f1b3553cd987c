import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;

/** The test client on the official Java library. */
final class Client {
    private Client() {
    }

    public static void main(String[] words) throws InterruptedException {
        List<Arguments> parts;
        try {
            parts = Arguments.parts(words);
        } catch (IllegalArgumentException problem) {
            System.err.println("clients/run java: " + problem.getMessage());
            System.exit(2);
            return;
        }
        Stop stop = new Stop();
        AtomicBoolean well = new AtomicBoolean(true);
        List<Thread> threads = new ArrayList<>();
        for (Arguments arguments : parts) {
            Thread thread = new Thread(() -> {
                if (!run(arguments, stop)) {
                    well.set(false);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.flush();
        // Without waiting for the library's threads, and without the hook waiting for us.
        Runtime.getRuntime().halt(well.get() ? 0 : 1);
    }

    private static boolean run(Arguments arguments, Stop stop) {
        try {
            switch (arguments.command) {
                case "produce" -> Produce.run(arguments, stop);
                case "consume" -> Consume.run(arguments, stop);
                case "scenario" -> {
                    return Scenario.run(arguments);
                }
                default -> Smoke.run(arguments, stop);
            }
            return true;
        } catch (Exception problem) {
            String what = arguments.command + " " + arguments.text("name", arguments.topic());
            System.err.println("java: " + what + " failed: " + problem);
            return false;
        }
    }
}
