import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Writes a client's history: one JSON object per line, on disk before the caller goes on. README.md beside the launcher
 * describes the lines. A killed client tears at most the last one.
 */
final class History {
    final String client;
    private final FileChannel file;
    private final AtomicLong calls = new AtomicLong();
    private boolean ended;

    History(Path path, String client) throws IOException {
        this.client = client;
        this.file = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE);
    }

    static String clientName(String role) {
        return "java-%s-%d-%06x".formatted(role, ProcessHandle.current().pid(),
            ThreadLocalRandom.current().nextInt(1 << 24));
    }

    static String checksum(byte[] body) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(body);
            return HexFormat.of().formatHex(digest).substring(0, 16);
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    void start(Json fields) throws IOException {
        String boot = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
        write(List.of(line("start", new Json().put("boot", boot).put("language", "java").putAll(fields))));
    }

    /** The number of the call, above 0; 0 once the history has ended: nobody may act on it any more. */
    long invoke(String op, Json fields) {
        long call = calls.incrementAndGet();
        boolean written = write(List.of(line("invoke", new Json().put("op", op).put("call", call).putAll(fields))));
        return written ? call : 0;
    }

    /** Messages that the call brought come before its end: a call that ended has told all. */
    void complete(String op, long call, String outcome, Json fields, List<Json> messages) {
        Json end = new Json().put("op", op).put("call", call).put("outcome", outcome).putAll(fields);
        Stream<String> brought = messages.stream()
            .map(message -> line("message", new Json().put("call", call).putAll(message)));
        write(Stream.concat(brought, Stream.of(line("complete", end))).collect(Collectors.toList()));
    }

    void complete(String op, long call, String outcome, Json fields) {
        complete(op, call, outcome, fields, List.of());
    }

    /** A message that a push consumer was given. */
    void message(Json fields) {
        write(List.of(line("message", fields)));
    }

    synchronized void end(String reason, Map<String, Long> counts) {
        Json fields = new Json().put("reason", reason);
        counts.forEach(fields::put);
        write(List.of(line("end", fields)));
        ended = true;
    }

    private String line(String event, Json fields) {
        return new Json().put("event", event).put("ts", System.nanoTime()).put("wall", System.currentTimeMillis())
            .put("client", client).putAll(fields).toString();
    }

    private synchronized boolean write(List<String> lines) {
        // A call that ends after the end line is one whose end nobody saw.
        if (ended) {
            return false;
        }
        ByteBuffer text = ByteBuffer.wrap((String.join("\n", lines) + "\n").getBytes(StandardCharsets.UTF_8));
        try {
            while (text.hasRemaining()) {
                file.write(text);
            }
            return true;
        } catch (IOException problem) {
            throw new UncheckedIOException(problem);
        }
    }
}
