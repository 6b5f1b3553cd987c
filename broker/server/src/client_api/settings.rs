//! Settings of a client as the Telemetry stream carries them: the client's own, with what the server decides merged
//! over. No call depends on settings having been sent.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_messaging::{DeliveryOrder, GroupName, RetryPolicy as Retry};
use mainstay_proto::rocketmq::retry_policy::Strategy;
use mainstay_proto::rocketmq::settings::PubSub;
use mainstay_proto::rocketmq::{
    ClientType, Code, CustomizedBackoff, ExponentialBackoff, Language, Metric, Publishing, RetryPolicy,
    Settings, Subscription, SubscriptionEntry, Ua,
};

use super::catalog::Delivering;
use super::filter::Filters;
use super::limits::MAX_BODY_BYTES;
use super::names;
use super::refusal::{Checked, Refusal};
use super::times::{MAX_POLL, wire_duration};

/// Messages of one receive call at most.
pub(crate) const MAX_RECEIVE_BATCH: u32 = 32;
const PRODUCER_ATTEMPTS: i32 = 3;
/// Of a list that stands for growing waits: the rest are as long as the last.
const LONGEST_LIST: u32 = 64;
const DOUBLING: u32 = 2;
/// After a failure this library goes on with the next message of the batch before it tries the failed one again: only what
/// is not in the batch stays in order.
const GO_FIFO_BATCH: i32 = 1;
const LITE_SUBSCRIPTION_QUOTA: i32 = 2000;
const MAX_LITE_TOPIC_BYTES: i32 = 64;

const MAX_CLIENT_PROPERTIES: usize = 32;
const MAX_CLIENT_PROPERTY_KEY: usize = 64;
const MAX_CLIENT_PROPERTY_VALUE: usize = 256;
const MAX_CLIENT_PROPERTY_BYTES: usize = 4096;
const RESERVED_CLIENT_PROPERTY_PREFIX: &str = "rocketmq.";

/// Merges what the server decides over `settings`. `delivering` tells how messages of the topics subscribed to are
/// delivered to a consumer group of this name.
///
/// # Errors
/// When the client says neither what it publishes nor what it subscribes, or something with an illegal name or filter.
pub(crate) fn merge(
    mut settings: Settings,
    filters: &Filters,
    delivering: impl FnOnce(&str, &[SubscriptionEntry]) -> Delivering,
) -> Checked<Settings> {
    check_client_properties(&settings.client_properties)?;
    let kind = client_type(&settings)?;
    let language = settings.user_agent.as_ref().map(Ua::language).unwrap_or_default();
    settings.backoff_policy = Some(match settings.pub_sub.as_mut() {
        Some(PubSub::Publishing(publishing)) => {
            merge_publishing(publishing)?;
            producer_policy()
        }
        Some(PubSub::Subscription(subscription)) => {
            // A simple consumer is told by its first receive, which every library shows to its caller; refused settings some
            // hide behind another error, and Node's waits for ever.
            let push = !matches!(kind, ClientType::SimpleConsumer | ClientType::LiteSimpleConsumer);
            let filters = (push && language != Language::NodeJs).then_some(filters);
            let group = merge_subscription(subscription, kind, filters)?;
            let delivering = delivering(group.as_str(), &subscription.subscriptions);
            let fifo = delivering.order == DeliveryOrder::Fifo;
            subscription.fifo = Some(fifo);
            if fifo && language == Language::Golang {
                subscription.receive_batch_size = Some(GO_FIFO_BATCH);
            }
            consumer_policy(&delivering, language)
        }
        None => {
            return Err(Refusal::new(Code::BadRequest, "settings have neither publishing nor subscription"));
        }
    });
    settings.metric = Some(Metric { on: false, endpoints: None });
    Ok(settings)
}

fn client_type(settings: &Settings) -> Checked<ClientType> {
    match settings.client_type.map(ClientType::try_from) {
        Some(Ok(ClientType::Unspecified)) | None => Ok(match settings.pub_sub {
            Some(PubSub::Subscription(_)) => ClientType::SimpleConsumer,
            _ => ClientType::Producer,
        }),
        Some(Ok(kind)) => Ok(kind),
        Some(Err(unknown)) => {
            Err(Refusal::new(Code::UnrecognizedClientType, format!("settings.client_type: {unknown}")))
        }
    }
}

fn merge_publishing(publishing: &mut Publishing) -> Checked<()> {
    for topic in &publishing.topics {
        names::topic(Some(topic))?;
    }
    publishing.max_body_size = MAX_BODY_BYTES as i32;
    publishing.validate_message_type = true;
    Ok(())
}

fn merge_subscription(
    subscription: &mut Subscription,
    kind: ClientType,
    filters: Option<&Filters>,
) -> Checked<GroupName> {
    let group = names::group(subscription.group.as_ref())?;
    for entry in &subscription.subscriptions {
        names::topic(entry.topic.as_ref())?;
        if let Some(filters) = filters {
            filters.parse(entry.expression.as_ref())?;
        }
    }
    subscription.receive_batch_size = Some(MAX_RECEIVE_BATCH as i32);
    subscription.long_polling_timeout = Some(wire_duration(MAX_POLL));
    if matches!(kind, ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer) {
        subscription.lite_subscription_quota = Some(LITE_SUBSCRIPTION_QUOTA);
        subscription.max_lite_topic_size = Some(MAX_LITE_TOPIC_BYTES);
    }
    Ok(group)
}

/// Exponential, since Java and Node producers start with no other.
fn producer_policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: PRODUCER_ATTEMPTS,
        strategy: Some(Strategy::ExponentialBackoff(ExponentialBackoff {
            initial: Some(wire_duration(Duration::from_millis(10))),
            max: Some(wire_duration(Duration::from_secs(1))),
            multiplier: 2.0,
        })),
    }
}

/// The group's own policy, in the form that its client can read. A list is never empty, since Java refuses that.
///
/// Node takes a list for no retries at all where it keeps the order; Python obeys nothing but a list, of whole seconds.
fn consumer_policy(delivering: &Delivering, language: Language) -> RetryPolicy {
    let Delivering { order, max_attempts, retry } = delivering;
    let strategy = match (retry, language) {
        (Retry::Exponential { initial, max, multiplier }, language) if language != Language::Python => {
            exponential(*initial, *max, *multiplier)
        }
        (Retry::Customized(delays), Language::NodeJs) if *order == DeliveryOrder::Fifo => {
            let longest = delays.iter().copied().max().unwrap_or_default();
            exponential(delays.first().copied().unwrap_or_default(), longest, DOUBLING)
        }
        (retry, language) => {
            let whole = |wait: Duration| match language {
                Language::Python => Duration::from_secs(wait.as_millis().div_ceil(1000) as u64),
                _ => wait,
            };
            let waits = match retry {
                Retry::Customized(delays) => delays.len() as u32,
                Retry::Exponential { .. } => max_attempts.saturating_sub(1).clamp(1, LONGEST_LIST),
            };
            let next = (1..=waits).map(|attempt| wire_duration(whole(retry.delay(attempt)))).collect();
            Strategy::CustomizedBackoff(CustomizedBackoff { next })
        }
    };
    RetryPolicy { max_attempts: i32::try_from(*max_attempts).unwrap_or(i32::MAX), strategy: Some(strategy) }
}

fn exponential(initial_ms: u64, max_ms: u64, multiplier: u32) -> Strategy {
    Strategy::ExponentialBackoff(ExponentialBackoff {
        initial: Some(wire_duration(Duration::from_millis(initial_ms))),
        max: Some(wire_duration(Duration::from_millis(max_ms))),
        multiplier: multiplier as f32,
    })
}

fn check_client_properties(properties: &HashMap<String, String>) -> Checked<()> {
    let refuse = |why: String| {
        Err(Refusal::new(Code::InvalidClientProperties, format!("settings.client_properties: {why}")))
    };
    if properties.len() > MAX_CLIENT_PROPERTIES {
        return refuse(format!("{} entries, at most {MAX_CLIENT_PROPERTIES} are allowed", properties.len()));
    }
    let mut bytes = 0;
    for (key, value) in properties {
        bytes += key.len() + value.len();
        let rest_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let well_formed = key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key.len() <= MAX_CLIENT_PROPERTY_KEY
            && key.bytes().all(rest_allowed);
        if !well_formed {
            return refuse(format!(
                "key '{}' is not a letter and up to {} letters, digits, '_', '.' or '-'",
                key.escape_debug(),
                MAX_CLIENT_PROPERTY_KEY - 1
            ));
        }
        if key.starts_with(RESERVED_CLIENT_PROPERTY_PREFIX) {
            return refuse(format!("key '{key}' is reserved"));
        }
        if value.len() > MAX_CLIENT_PROPERTY_VALUE {
            return refuse(format!("'{key}' has more than {MAX_CLIENT_PROPERTY_VALUE} bytes"));
        }
    }
    if bytes > MAX_CLIENT_PROPERTY_BYTES {
        return refuse(format!("{bytes} bytes together, at most {MAX_CLIENT_PROPERTY_BYTES} are allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mainstay_proto::rocketmq::{Endpoints, FilterExpression, FilterType, Resource, SubscriptionEntry};

    use super::*;

    fn resource(name: &str) -> Resource {
        Resource { resource_namespace: String::new(), name: name.to_owned() }
    }

    fn producer(topic: &str) -> Settings {
        Settings {
            client_type: Some(ClientType::Producer as i32),
            access_point: Some(Endpoints::default()),
            pub_sub: Some(PubSub::Publishing(Publishing {
                topics: vec![resource(topic)],
                max_body_size: 0,
                validate_message_type: false,
            })),
            ..Settings::default()
        }
    }

    fn consumer(kind: ClientType, group: &str) -> Settings {
        Settings {
            client_type: Some(kind as i32),
            pub_sub: Some(PubSub::Subscription(Subscription {
                group: Some(resource(group)),
                long_polling_timeout: Some(wire_duration(Duration::from_secs(7))),
                ..Subscription::default()
            })),
            ..Settings::default()
        }
    }

    fn delivering(order: DeliveryOrder, max_attempts: u32, retry: Retry) -> Delivering {
        Delivering { order, max_attempts, retry }
    }

    fn usual() -> Delivering {
        delivering(DeliveryOrder::Concurrent, 17, Retry::default())
    }

    fn merged(settings: Settings) -> Settings {
        merge(settings, &Filters::default(), |_, _| usual()).unwrap()
    }

    #[test]
    fn a_producer_gets_the_body_limit_and_exponential_backoff() {
        let settings = merged(producer("orders"));
        assert_eq!(settings.access_point, Some(Endpoints::default()));
        assert_eq!(settings.metric, Some(Metric { on: false, endpoints: None }));
        let Some(PubSub::Publishing(publishing)) = settings.pub_sub else { panic!("no publishing") };
        assert_eq!(publishing.max_body_size, 4_194_304);
        assert!(publishing.validate_message_type);
        assert_eq!(publishing.topics, vec![resource("orders")]);
        let policy = settings.backoff_policy.unwrap();
        assert_eq!(policy.max_attempts, 3);
        assert!(matches!(policy.strategy, Some(Strategy::ExponentialBackoff(_))));
    }

    #[test]
    fn a_consumer_gets_the_schedule_of_its_group() {
        for kind in [ClientType::PushConsumer, ClientType::SimpleConsumer, ClientType::LitePushConsumer] {
            let settings = merge(consumer(kind, "billing"), &Filters::default(), |group, _| {
                assert_eq!(group, "billing");
                Delivering { max_attempts: 5, ..usual() }
            });
            let settings = settings.unwrap();
            let policy = settings.backoff_policy.unwrap();
            assert_eq!(policy.max_attempts, 5);
            let Some(Strategy::CustomizedBackoff(list)) = policy.strategy else { panic!("{kind:?}") };
            assert_eq!(list.next.first().map(|next| next.seconds), Some(1));
            let Some(PubSub::Subscription(subscription)) = settings.pub_sub else { panic!("{kind:?}") };
            assert_eq!(subscription.fifo, Some(false));
            assert_eq!(subscription.receive_batch_size, Some(32));
            assert_eq!(subscription.long_polling_timeout, Some(wire_duration(Duration::from_secs(20))));
            let lite = kind == ClientType::LitePushConsumer;
            assert_eq!(subscription.lite_subscription_quota, lite.then_some(2000));
            assert_eq!(subscription.max_lite_topic_size, lite.then_some(64));
        }
    }

    #[test]
    fn go_gets_ordered_messages_one_by_one() {
        let batch = |order, language: Language| {
            let mut settings = consumer(ClientType::PushConsumer, "billing");
            settings.user_agent = Some(Ua { language: language as i32, ..Ua::default() });
            let retry = Retry::Customized(vec![1000]);
            let settings = merge(settings, &Filters::default(), |_, _| delivering(order, 4, retry)).unwrap();
            let Some(PubSub::Subscription(subscription)) = settings.pub_sub else { panic!("{language:?}") };
            subscription.receive_batch_size
        };
        assert_eq!(batch(DeliveryOrder::Fifo, Language::Golang), Some(1));
        assert_eq!(batch(DeliveryOrder::Concurrent, Language::Golang), Some(32));
        assert_eq!(batch(DeliveryOrder::Fifo, Language::Java), Some(32));
    }

    #[test]
    fn each_client_gets_the_policy_of_its_group_in_the_form_it_can_read() {
        let policy = |order, retry: &Retry, language| {
            let mut settings = consumer(ClientType::PushConsumer, "billing");
            settings.user_agent = Some(Ua { language: language as i32, ..Ua::default() });
            let settings =
                merge(settings, &Filters::default(), |_, _| delivering(order, 4, retry.clone())).unwrap();
            let Some(PubSub::Subscription(subscription)) = settings.pub_sub else { panic!("{language:?}") };
            assert_eq!(subscription.fifo, Some(order == DeliveryOrder::Fifo));
            match settings.backoff_policy.unwrap().strategy.unwrap() {
                Strategy::CustomizedBackoff(list) => list
                    .next
                    .iter()
                    .map(|next| next.seconds * 1000 + i64::from(next.nanos) / 1_000_000)
                    .collect(),
                Strategy::ExponentialBackoff(growing) => {
                    vec![-growing.initial.unwrap().seconds, -growing.max.unwrap().seconds]
                }
            }
        };
        use DeliveryOrder::{Concurrent, Fifo};
        let list = Retry::Customized(vec![1500, 4000]);
        let growing = Retry::Exponential { initial: 5000, max: 12_000, multiplier: 2 };
        for (order, retry, language, expected) in [
            (Concurrent, &list, Language::Java, vec![1500, 4000]),
            (Fifo, &list, Language::Java, vec![1500, 4000]),
            (Fifo, &list, Language::Python, vec![2000, 4000]),
            (Concurrent, &list, Language::NodeJs, vec![1500, 4000]),
            (Fifo, &list, Language::NodeJs, vec![-1, -4]),
            (Concurrent, &growing, Language::Golang, vec![-5, -12]),
            (Fifo, &growing, Language::NodeJs, vec![-5, -12]),
            (Concurrent, &growing, Language::Python, vec![5000, 10_000, 12_000]),
        ] {
            assert_eq!(policy(order, retry, language), expected, "{order:?} {retry:?} {language:?}");
        }
    }

    #[test]
    fn bad_settings_name_what_is_wrong() {
        let with_property = |key: &str, value: String| {
            let mut settings = producer("orders");
            settings.client_properties.insert(key.to_owned(), value);
            settings
        };
        let mut many = producer("orders");
        many.client_properties = (0..33).map(|i| (format!("k{i}"), String::new())).collect();
        let mut large = producer("orders");
        large.client_properties = (0..17).map(|i| (format!("k{i}"), "v".repeat(250))).collect();
        let mut unfiltered = consumer(ClientType::PushConsumer, "billing");
        if let Some(PubSub::Subscription(subscription)) = &mut unfiltered.pub_sub {
            subscription.subscriptions = vec![SubscriptionEntry {
                topic: Some(resource("orders")),
                expression: Some(FilterExpression {
                    r#type: FilterType::Sql as i32,
                    expression: "a = ".into(),
                }),
            }];
        }
        let node = Ua { language: Language::NodeJs as i32, ..Ua::default() };
        let of_node = Settings { user_agent: Some(node), ..unfiltered.clone() };
        assert!(merge(of_node, &Filters::default(), |_, _| usual()).is_ok(), "it would wait for ever");
        let simple = Settings { client_type: Some(ClientType::SimpleConsumer as i32), ..unfiltered.clone() };
        assert!(merge(simple, &Filters::default(), |_, _| usual()).is_ok(), "its receive is refused");
        let unknown = Settings { client_type: Some(99), ..producer("orders") };
        for (settings, code, words) in [
            (Settings::default(), Code::BadRequest, "publishing"),
            (producer("no topic"), Code::IllegalTopic, "topic"),
            (consumer(ClientType::PushConsumer, ""), Code::IllegalConsumerGroup, "group"),
            (unfiltered, Code::IllegalFilterExpression, "at character 5"),
            (unknown, Code::UnrecognizedClientType, "client_type"),
            (with_property("rocketmq.x", "v".into()), Code::InvalidClientProperties, "rocketmq.x"),
            (with_property("1x", "v".into()), Code::InvalidClientProperties, "1x"),
            (with_property("", "v".into()), Code::InvalidClientProperties, "key"),
            (with_property(&"k".repeat(65), "v".into()), Code::InvalidClientProperties, "kkk"),
            (with_property("k", "v".repeat(257)), Code::InvalidClientProperties, "'k'"),
            (many, Code::InvalidClientProperties, "33 entries"),
            (large, Code::InvalidClientProperties, "bytes together"),
        ] {
            let refusal = merge(settings, &Filters::default(), |_, _| usual()).unwrap_err();
            assert_eq!(refusal.code, code, "{refusal}");
            assert!(refusal.message.contains(words), "{refusal}");
        }
        assert!(
            merge(with_property(&"k".repeat(64), "v".repeat(256)), &Filters::default(), |_, _| usual())
                .is_ok()
        );
    }
}
