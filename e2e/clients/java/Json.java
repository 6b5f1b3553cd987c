import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;

/** A flat JSON object of texts, numbers and truth values, in the order of adding. Absent values are left out. */
final class Json {
    private final Map<String, Object> fields = new LinkedHashMap<>();

    Json put(String name, String value) {
        return set(name, value);
    }

    Json put(String name, Long value) {
        return set(name, value);
    }

    Json put(String name, long value) {
        return set(name, value);
    }

    Json put(String name, boolean value) {
        return set(name, value);
    }

    Json put(String name, double value) {
        return set(name, value);
    }

    boolean has(String name, String value) {
        return value.equals(fields.get(name));
    }

    Json putAll(Json other) {
        fields.putAll(other.fields);
        return this;
    }

    private Json set(String name, Object value) {
        if (value != null) {
            fields.put(name, value);
        }
        return this;
    }

    @Override
    public String toString() {
        return fields.entrySet().stream()
            .map(field -> quoted(field.getKey()) + ":" + text(field.getValue()))
            .collect(Collectors.joining(",", "{", "}"));
    }

    private static String text(Object value) {
        return value instanceof String string ? quoted(string) : value.toString();
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                quoted.append('\\').append(letter);
            } else if (letter < ' ') {
                quoted.append("\\u%04x".formatted((int) letter));
            } else {
                quoted.append(letter);
            }
        }
        return quoted.append('"').toString();
    }
}
