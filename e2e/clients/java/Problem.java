import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What an exception of the library says: code, text, and whether the operation certainly had no effect. */
record Problem(Long code, String text, boolean certain) {
    private static final Pattern CODE = Pattern.compile("response-code=(\\d+)");
    /** Refused for what the request is: no repetition of it can have been stored. */
    private static final List<long[]> CERTAIN_REFUSALS = List.of(
        new long[] {40000, 40199}, new long[] {40300, 40499}, new long[] {41300, 41399}, new long[] {43100, 43199});

    static Problem of(Throwable error) {
        Long code = null;
        for (Throwable cause = error; cause != null && code == null; cause = cause.getCause()) {
            Matcher matcher = CODE.matcher(String.valueOf(cause.getMessage()));
            if (matcher.find()) {
                code = Long.valueOf(matcher.group(1));
            }
        }
        return new Problem(code, error.toString(), isCertain(code));
    }

    String outcome() {
        return certain ? "fail" : "unknown";
    }

    Json fields() {
        Json fields = new Json().put("error", text);
        return code == null ? fields : fields.put("code", code);
    }

    private static boolean isCertain(Long code) {
        return code != null && CERTAIN_REFUSALS.stream().anyMatch(range -> range[0] <= code && code <= range[1]);
    }
}
