import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.producer.Producer;

/** Subscriptions to a part of a topic. */
final class FilterScenes {
    private static final long ILLEGAL_FILTER_EXPRESSION = 40010;

    private FilterScenes() {
    }

    static void add(Map<String, Scenario.Scene> scenes) {
        scenes.put("tag", FilterScenes::tag);
        scenes.put("sql", FilterScenes::sql);
    }

    /** One of several tags, and nothing else. */
    private static void tag(Stage stage, Json told) throws Exception {
        SimpleConsumer consumer = stage.consumer(new FilterExpression("red || blue"));
        Producer producer = stage.producer();
        List<String> wanted = new ArrayList<>();
        for (int number = 0; number < 4; number++) {
            producer.send(stage.message("green-" + number).setTag("green").build());
            producer.send(stage.message("untagged-" + number).build());
            for (String colour : List.of("red", "blue")) {
                producer.send(stage.message(colour + "-" + number).setTag(colour).build());
                wanted.add(colour + "-" + number);
            }
        }
        stage.collect(consumer, wanted).forEach((body, message) ->
            Stage.expect("tag of " + body, message.getTag().orElse(null), body.split("-")[0]));
    }

    /** Properties as numbers and texts, tags, absent properties; an expression that makes no sense is refused. */
    private static void sql(Stage stage, Json told) throws Exception {
        String expression =
            "price > 10 AND region IN ('north', 'south') AND (TAGS = 'red' OR owner IS NULL)";
        SimpleConsumer consumer = stage.consumer(new FilterExpression(expression, FilterExpressionType.SQL92));
        Producer producer = stage.producer();
        send(stage, producer, "yes-1", "red", Map.of("price", "10.5", "region", "north", "owner", "a"));
        send(stage, producer, "yes-2", "blue", Map.of("price", "100", "region", "south"));
        send(stage, producer, "no-cheap", "red", Map.of("price", "9", "region", "north"));
        send(stage, producer, "no-region", "red", Map.of("price", "11", "region", "east"));
        send(stage, producer, "no-owner", "blue", Map.of("price", "11", "region", "north", "owner", "a"));
        send(stage, producer, "no-price", "red", Map.of("region", "north"));
        send(stage, producer, "yes-3", "red", Map.of("price", "11", "region", "south"));
        stage.collect(consumer, List.of("yes-1", "yes-2", "yes-3"));
        Stage.refused("an expression that makes no sense", ILLEGAL_FILTER_EXPRESSION, () ->
            stage.consumer(new FilterExpression("price >", FilterExpressionType.SQL92)).receive(1, Stage.INVISIBLE));
    }

    private static void send(Stage stage, Producer producer, String body, String tag, Map<String, String> properties)
        throws Exception {
        MessageBuilder message = stage.message(body).setTag(tag);
        properties.forEach(message::addProperty);
        producer.send(message.build());
    }
}
