/** The test client on the official Java library. */
final class Client {
    private Client() {
    }

    public static void main(String[] words) {
        Arguments arguments;
        try {
            arguments = Arguments.parse(words);
        } catch (IllegalArgumentException problem) {
            System.err.println("clients/run java: " + problem.getMessage());
            System.exit(2);
            return;
        }
        Stop stop = new Stop();
        int code = 0;
        try {
            switch (arguments.command) {
                case "produce" -> Produce.run(arguments, stop);
                case "consume" -> Consume.run(arguments, stop);
                case "scenario" -> code = Scenario.run(arguments) ? 0 : 1;
                default -> Smoke.run(arguments, stop);
            }
        } catch (Exception problem) {
            System.err.println("java: " + arguments.command + " failed: " + problem);
            code = 1;
        }
        System.out.flush();
        // Without waiting for the library's threads, and without the hook waiting for us.
        Runtime.getRuntime().halt(code);
    }
}
