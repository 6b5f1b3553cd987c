import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs scenarios one after the other and tells how each went in a JSON line. A scenario has a topic and a consumer group
 * of its own, both named PREFIX-SCENARIO, and must end within LIMIT.
 */
final class Scenario {
    /** In seconds, for one scenario; what hangs in the library is left behind a little later. */
    private static final int LIMIT = 25;
    private static final int HUNG = 10;

    /** What a scenario does; it tells figures of interest. */
    interface Scene {
        void play(Stage stage, Json told) throws Exception;
    }

    private static final Map<String, Scene> SCENES = new LinkedHashMap<>();

    static {
        SendingScenes.add(SCENES);
        TimingScenes.add(SCENES);
        TransactionScenes.add(SCENES);
        FilterScenes.add(SCENES);
        ConsumingScenes.add(SCENES);
        AccessScenes.add(SCENES);
    }

    private Scenario() {
    }

    /** Whether none failed. */
    static boolean run(Arguments arguments) throws InterruptedException {
        boolean well = true;
        for (String name : arguments.names) {
            long began = System.nanoTime();
            Json told = inTime(arguments, name);
            String seconds = "%.2f".formatted((System.nanoTime() - began) / 1e9);
            System.out.println(new Json().put("scenario", name).put("seconds", Double.parseDouble(seconds)).putAll(told));
            well = well && !told.has("outcome", "failed");
        }
        return well;
    }

    private static Json inTime(Arguments arguments, String name) throws InterruptedException {
        FutureTask<Json> task = new FutureTask<>(() -> play(arguments, name));
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        thread.start();
        try {
            return task.get(LIMIT + HUNG, TimeUnit.SECONDS);
        } catch (TimeoutException hung) {
            return outcome("failed", "hangs in the library after " + (LIMIT + HUNG) + " s");
        } catch (ExecutionException problem) {
            return outcome("failed", String.valueOf(problem.getCause()));
        }
    }

    private static Json play(Arguments arguments, String name) throws InterruptedException {
        Scene scene = SCENES.get(name);
        if (scene == null) {
            return outcome("failed", "this program does not know the scenario");
        }
        Stage stage = new Stage(arguments, name, LIMIT);
        try {
            Json told = new Json().put("outcome", "ok");
            scene.play(stage, told);
            return told;
        } catch (Stage.Unsupported reason) {
            return outcome("unsupported", reason.getMessage());
        } catch (Stage.Failed reason) {
            return outcome("failed", reason.getMessage());
        } catch (Exception error) {
            return outcome("failed", chain(error));
        } finally {
            stage.close();
        }
    }

    private static Json outcome(String outcome, String reason) {
        return new Json().put("outcome", outcome).put("reason", reason);
    }

    /** The library wraps what happened, often more than once. */
    static String chain(Throwable error) {
        List<String> texts = new ArrayList<>();
        for (Throwable cause = error; cause != null && texts.size() < 8; cause = cause.getCause()) {
            texts.add(cause.toString());
        }
        return String.join("; because of ", texts);
    }
}
