import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientConfigurationBuilder;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.StaticSessionCredentialsProvider;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.producer.Producer;

/** Access control: the broker that --access-endpoints names knows the user of --access-key. */
final class AccessScenes {
    private static final long UNAUTHORIZED = 40100;

    private AccessScenes() {
    }

    static void add(Map<String, Scenario.Scene> scenes) {
        scenes.put("access", AccessScenes::access);
    }

    /** The right key works for what its user may do; a wrong key, no key and a topic of others are refused. */
    private static void access(Stage stage, Json told) throws Exception {
        String endpoints = stage.arguments.text("access-endpoints", null);
        String key = stage.arguments.text("access-key", null);
        String secret = stage.arguments.text("secret-key", null);
        if (endpoints == null || key == null || secret == null) {
            throw new Stage.Failed("--access-endpoints, --access-key and --secret-key are needed");
        }
        ClientConfiguration right = configuration(stage, endpoints, key, secret);
        SimpleConsumer consumer = stage.consumer(right, stage.topic, stage.group, FilterExpression.SUB_ALL);
        Producer sender = stage.start(() -> producer(right, stage.topic));
        sender.send(stage.message("allowed").build());
        stage.collect(consumer, List.of("allowed"));

        denied(stage, "a wrong secret", configuration(stage, endpoints, key, secret + "x"), stage.topic);
        denied(stage, "an unknown user", configuration(stage, endpoints, "nobody", secret), stage.topic);
        denied(stage, "no key", configuration(stage, endpoints, null, null), stage.topic);
        denied(stage, "a topic of others", right, stage.topic + "-of-others");
    }

    private static ClientConfiguration configuration(Stage stage, String endpoints, String key, String secret) {
        ClientConfigurationBuilder builder = ClientConfiguration.newBuilder().setEndpoints(endpoints)
            .enableSsl(stage.arguments.text("tls", null) != null);
        if (key != null) {
            builder.setCredentialProvider(new StaticSessionCredentialsProvider(key, secret));
        }
        return builder.build();
    }

    private static Producer producer(ClientConfiguration configuration, String topic) throws Exception {
        return ClientServiceProvider.loadService().newProducerBuilder().setClientConfiguration(configuration)
            .setTopics(topic).build();
    }

    private static void denied(Stage stage, String what, ClientConfiguration configuration, String topic) {
        Message message = stage.message("forbidden").setTopic(topic).build();
        Stage.refused(what, UNAUTHORIZED, () -> {
            try (Producer producer = producer(configuration, topic)) {
                return producer.send(message);
            }
        });
    }
}
