//! Every limit and status code of the protocol that a client can meet, one row each: the last value that is taken and
//! the first that is not, the code, and that the message names the field.

#![allow(clippy::unwrap_used)]

mod call;
#[path = "../client/mod.rs"]
mod client;
#[path = "../server/mod.rs"]
mod server;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use call::{Call, perform};
use client::{Client, message, polling, resource};
use mainstay_messaging::TopicKind;
use mainstay_proto::rocketmq::*;

const SHORT: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

struct Row {
    call: Call,
    code: Code,
    /// What the message has to name.
    names: &'static str,
}

fn row(call: Call, code: Code, names: &'static str) -> Row {
    Row { call, code, names }
}

fn taken(call: Call) -> Row {
    row(call, Code::Ok, "")
}

fn with(topic: &str, change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Call {
    let id = format!("{:032X}", rand_id());
    let mut message = message(topic, &id, "x");
    let mut system = message.system_properties.take().unwrap();
    change(&mut message, &mut system);
    message.system_properties = Some(system);
    Call::Send(message)
}

/// Another one each time.
fn rand_id() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn check(client: &Client, rows: Vec<Row>) {
    for (at, Row { call, code, names }) in rows.into_iter().enumerate() {
        let (found, text) = perform(client, call).await;
        assert_eq!(found, code, "row {at}: {text}");
        assert!(text.contains(names), "row {at}: '{text}' does not name '{names}'");
    }
}

async fn with_topics() -> (server::Server, Client) {
    let server = server::start().await;
    for (kind, name) in [
        (TopicKind::Normal, "normal"),
        (TopicKind::Fifo, "fifo"),
        (TopicKind::Delay, "delay"),
        (TopicKind::Transaction, "half"),
        (TopicKind::Priority, "priority"),
        (TopicKind::Mixed, "mixed"),
    ] {
        server.create_topic_of(kind, name, 2).await;
    }
    let client = server.client();
    (server, client)
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn ahead(time: Duration) -> Option<prost_types::Timestamp> {
    Some((SystemTime::now() + time).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_message() {
    use Code::*;
    let (server, client) = with_topics().await;
    let body = |length: usize| with("normal", move |m, _| m.body = vec![0; length].into());
    let id = |id: &'static str| with("normal", move |_, s| s.message_id = id.into());
    let property = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        with("normal", move |m, _| drop(m.user_properties.insert(name, value)))
    };
    let properties = |count: usize| {
        with("normal", move |m, _| {
            m.user_properties = (0..count).map(|i| (format!("p{i}"), "v".to_owned())).collect();
        })
    };
    let tag = |tag: &'static str| with("normal", move |_, s| s.tag = Some(tag.to_owned()));
    let key = |key: &'static str| with("normal", move |_, s| s.keys = vec![key.to_owned()]);
    let group = |group: String| with("fifo", move |_, s| s.message_group = Some(group));
    let recovery = |wait| {
        with("half", move |_, s| {
            s.message_type = MessageType::Transaction as i32;
            s.orphaned_transaction_recovery_duration = seconds(wait);
        })
    };
    let rows = vec![
        taken(body(1)),
        taken(body(4_194_304)),
        row(body(4_194_305), MessageBodyTooLarge, "body"),
        row(with("normal", |m, _| m.body = Bytes::new()), MessageBodyEmpty, "body"),
        row(id(""), IllegalMessageId, "message_id"),
        row(id("  "), IllegalMessageId, "message_id"),
        row(id("a\u{7}"), IllegalMessageId, "message_id"),
        taken(properties(128)),
        row(properties(129), MessagePropertiesTooLarge, "user_properties"),
        taken(property("p", &"v".repeat(16_383))),
        row(property("p", &"v".repeat(16_384)), MessagePropertiesTooLarge, "user_properties"),
        row(property("", "v"), IllegalMessagePropertyKey, "key"),
        row(property("a\tb", "v"), IllegalMessagePropertyKey, "key"),
        row(property("p", "a\nb"), IllegalMessagePropertyKey, "'p'"),
        row(property("UNIQ_KEY", "v"), IllegalMessagePropertyKey, "UNIQ_KEY"),
        taken(tag("red")),
        row(tag(" "), IllegalMessageTag, "tag"),
        row(tag("a|b"), IllegalMessageTag, "tag"),
        row(tag("a\u{1}"), IllegalMessageTag, "tag"),
        taken(key("order 1")),
        row(key(""), IllegalMessageKey, "key"),
        row(key("a\u{1}"), IllegalMessageKey, "key"),
        taken(group("g".repeat(63))),
        row(group("g".repeat(64)), IllegalMessageGroup, "message_group"),
        row(group(" ".to_owned()), IllegalMessageGroup, "message_group"),
        row(group("g\u{1}".to_owned()), IllegalMessageGroup, "message_group"),
        taken(recovery(3600)),
        row(recovery(3601), BadRequest, "orphaned_transaction_recovery_duration"),
        row(recovery(-1), BadRequest, "orphaned_transaction_recovery_duration"),
        taken(with("delay", |_, s| s.delivery_timestamp = ahead(MAX_DELAY - Duration::from_secs(60)))),
        taken(with("delay", |_, s| s.delivery_timestamp = Some(prost_types::Timestamp::default()))),
        row(
            with("delay", |_, s| s.delivery_timestamp = ahead(MAX_DELAY + Duration::from_secs(60))),
            IllegalDeliveryTime,
            "delivery_timestamp",
        ),
        taken(with("priority", |_, s| s.priority = Some(0))),
        row(with("priority", |_, s| s.priority = Some(-1)), BadRequest, "priority"),
        row(with("normal", |_, s| s.lite_topic = Some("l".into())), Unsupported, "lite_topic"),
        row(with("mixed", |_, s| s.priority = Some(1)), MessagePropertyConflictWithType, "mixed"),
        row(
            with("mixed", |_, s| {
                s.message_group = Some("g".into());
                s.delivery_timestamp = ahead(Duration::ZERO);
            }),
            MessagePropertyConflictWithType,
            "message_group",
        ),
        row(
            with("half", |_, s| {
                s.message_type = MessageType::Transaction as i32;
                s.priority = Some(1);
            }),
            MessagePropertyConflictWithType,
            "priority",
        ),
        row(with("normal", |m, _| m.topic = None), IllegalTopic, "topic"),
        row(with("normal", |m, _| m.topic = Some(resource("a.b"))), IllegalTopic, "topic"),
        row(with("normal", |m, _| m.topic = Some(resource(&"t".repeat(128)))), IllegalTopic, "topic"),
        row(with("normal", |m, _| m.topic = Some(resource("SCHEDULE_TOPIC_XXXX"))), IllegalTopic, "topic"),
        row(
            Call::Send(Message { topic: Some(resource("normal")), body: "x".into(), ..Message::default() }),
            BadRequest,
            "system_properties",
        ),
        row(Call::SendMany(vec![]), MessageCorrupted, "messages"),
        row(
            Call::SendMany(vec![message("normal", "1", "x"), message("mixed", "2", "x")]),
            MessageCorrupted,
            "messages",
        ),
        row(
            Call::SendMany((0..1025).map(|i| message("normal", &format!("n{i}"), "x")).collect()),
            PayloadTooLarge,
            "messages",
        ),
        row(
            Call::SendMany(vec![message("normal", "good", "x"), message("normal", "bad", "")]),
            MultipleResults,
            "entries",
        ),
    ];
    check(&client, rows).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_to_topics_of_its_type_only() {
    let (server, client) = with_topics().await;
    let kinds = ["normal", "fifo", "delay", "half", "priority"];
    let of = |kind: &'static str, topic: &str| {
        with(topic, move |_, s| match kind {
            "fifo" => s.message_group = Some("g".into()),
            "delay" => s.delivery_timestamp = ahead(Duration::ZERO),
            "half" => s.message_type = MessageType::Transaction as i32,
            "priority" => s.priority = Some(1),
            _ => {}
        })
    };
    let mut rows = Vec::new();
    for topic in kinds {
        for kind in kinds {
            rows.push(if kind == topic {
                taken(of(kind, topic))
            } else {
                row(of(kind, topic), Code::MessagePropertyConflictWithType, topic)
            });
        }
        rows.push(match topic {
            "priority" => row(of(topic, "mixed"), Code::MessagePropertyConflictWithType, "mixed"),
            _ => taken(of(topic, "mixed")),
        });
    }
    check(&client, rows).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_consumers_calls() {
    use Code::*;
    let (server, client) = with_topics().await;
    let receive = |change: &dyn Fn(&mut ReceiveMessageRequest)| {
        let mut request = polling("g", "normal", SHORT);
        change(&mut request);
        Call::Receive(request)
    };
    client.send_ok(vec![message("normal", "m", "x")]).await;
    let held = client.receive(polling("holder", "normal", Duration::from_secs(15))).await.messages;
    let handle = client::handle(&held[0]).to_owned();
    let change = |wait, handle: &str| {
        Call::Change(ChangeInvisibleDurationRequest {
            group: Some(resource("holder")),
            topic: Some(resource("normal")),
            receipt_handle: handle.to_owned(),
            invisible_duration: wait,
            message_id: "m".to_owned(),
            ..ChangeInvisibleDurationRequest::default()
        })
    };
    let acknowledge = |handles: &[&str]| {
        let entry = |handle: &&str| AckMessageEntry {
            receipt_handle: (*handle).to_owned(),
            ..AckMessageEntry::default()
        };
        Call::Acknowledge(AckMessageRequest {
            group: Some(resource("holder")),
            topic: Some(resource("normal")),
            entries: handles.iter().map(entry).collect(),
        })
    };
    let filter =
        |kind: FilterType, text: &str| FilterExpression { r#type: kind as i32, expression: text.into() };
    let rows = vec![
        row(receive(&|r| r.invisible_duration = seconds(9)), IllegalInvisibleTime, "invisible_duration"),
        row(receive(&|r| r.invisible_duration = seconds(43_201)), IllegalInvisibleTime, "invisible_duration"),
        row(receive(&|r| r.long_polling_timeout = seconds(-1)), IllegalPollingTime, "long_polling_timeout"),
        row(
            receive(&|r| r.filter_expression = Some(filter(FilterType::Tag, "a|b"))),
            IllegalFilterExpression,
            "filter_expression",
        ),
        row(receive(&|r| r.attempt_id = Some("a".repeat(257))), BadRequest, "attempt_id"),
        row(receive(&|r| r.group = None), IllegalConsumerGroup, "consumer group"),
        row(receive(&|r| r.group = Some(resource("a b"))), IllegalConsumerGroup, "consumer group"),
        row(receive(&|r| r.group = Some(resource("CID_RMQ_SYS_X"))), IllegalConsumerGroup, "consumer group"),
        row(receive(&|r| r.group = Some(resource(&"g".repeat(121)))), IllegalConsumerGroup, "consumer group"),
        row(receive(&|r| r.message_queue = None), IllegalTopic, "topic"),
        row(change(seconds(43_201), &handle), IllegalInvisibleTime, "invisible_duration"),
        row(change(seconds(-1), &handle), IllegalInvisibleTime, "invisible_duration"),
        row(change(None, &handle), IllegalInvisibleTime, "invisible_duration"),
        row(change(seconds(1), "x"), InvalidReceiptHandle, "receipt_handle"),
        row(acknowledge(&[]), BadRequest, "entries"),
        row(acknowledge(&["x"]), InvalidReceiptHandle, "receipt_handle"),
        row(acknowledge(&["x", &handle]), MultipleResults, "entries"),
        row(change(seconds(1), &handle), InvalidReceiptHandle, "not in flight"),
        row(
            Call::Bury(ForwardMessageToDeadLetterQueueRequest {
                group: Some(resource("holder")),
                topic: Some(resource("normal")),
                receipt_handle: "x".to_owned(),
                ..ForwardMessageToDeadLetterQueueRequest::default()
            }),
            InvalidReceiptHandle,
            "receipt_handle",
        ),
        row(
            Call::Bury(ForwardMessageToDeadLetterQueueRequest {
                topic: Some(resource("normal")),
                receipt_handle: handle.clone(),
                ..ForwardMessageToDeadLetterQueueRequest::default()
            }),
            IllegalConsumerGroup,
            "consumer group",
        ),
        row(
            Call::Assignment(QueryAssignmentRequest {
                topic: Some(resource("normal")),
                ..QueryAssignmentRequest::default()
            }),
            IllegalConsumerGroup,
            "consumer group",
        ),
        row(Call::Lite(SyncLiteSubscriptionRequest::default()), Unsupported, "lite"),
    ];
    check(&client, rows).await;
    let capped = client
        .receive(ReceiveMessageRequest { batch_size: 1000, ..polling("capped", "normal", SHORT) })
        .await;
    assert!(capped.messages.len() <= 32, "a batch is 32 at most, without a word");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_decisions_and_of_offsets() {
    use Code::*;
    let (server, client) = with_topics().await;
    client.send_ok(vec![message("normal", "m", "x")]).await;
    let end = |id: &str| {
        Call::End(EndTransactionRequest {
            topic: Some(resource("half")),
            transaction_id: id.to_owned(),
            resolution: TransactionResolution::Commit as i32,
            ..EndTransactionRequest::default()
        })
    };
    let recall = |handle: &str| {
        Call::Recall(RecallMessageRequest {
            topic: Some(resource("delay")),
            recall_handle: handle.to_owned(),
        })
    };
    let queue =
        |id: i32| Some(MessageQueue { topic: Some(resource("normal")), id, ..MessageQueue::default() });
    let query = |id, policy, timestamp| {
        Call::QueryOffset(QueryOffsetRequest {
            message_queue: queue(id),
            query_offset_policy: policy,
            timestamp,
        })
    };
    let pull = |offset| {
        Call::Pull(PullMessageRequest {
            group: Some(resource("reader")),
            message_queue: queue(0),
            offset,
            batch_size: 1,
            long_polling_timeout: Some(SHORT.try_into().unwrap()),
            ..PullMessageRequest::default()
        })
    };
    let update = |offset| {
        Call::UpdateOffset(UpdateOffsetRequest {
            group: Some(resource("reader")),
            message_queue: queue(0),
            offset,
        })
    };
    let get = |group: &str| {
        Call::GetOffset(GetOffsetRequest { group: Some(resource(group)), message_queue: queue(0) })
    };
    let timestamp = QueryOffsetPolicy::Timestamp as i32;
    let foreign = Some(MessageQueue {
        topic: Some(resource("normal")),
        broker: Some(Broker { name: "elsewhere-9".to_owned(), ..Broker::default() }),
        ..MessageQueue::default()
    });
    let rows = vec![
        row(end(""), InvalidTransactionId, "transaction_id"),
        row(end("x"), InvalidTransactionId, "transaction_id"),
        row(recall(""), BadRequest, "recall_handle"),
        row(recall("x"), BadRequest, "recall_handle"),
        taken(query(0, QueryOffsetPolicy::Beginning as i32, None)),
        taken(query(1, QueryOffsetPolicy::End as i32, None)),
        taken(query(1, timestamp, Some(prost_types::Timestamp::default()))),
        row(query(2, QueryOffsetPolicy::End as i32, None), BadRequest, "message_queue.id"),
        row(query(-1, QueryOffsetPolicy::End as i32, None), BadRequest, "message_queue.id"),
        row(query(0, timestamp, None), BadRequest, "timestamp"),
        row(query(0, 9, None), BadRequest, "query_offset_policy"),
        row(
            Call::QueryOffset(QueryOffsetRequest { message_queue: foreign, ..QueryOffsetRequest::default() }),
            BadRequest,
            "message_queue.broker",
        ),
        row(Call::QueryOffset(QueryOffsetRequest::default()), BadRequest, "message_queue"),
        row(pull(-1), IllegalOffset, "offset"),
        row(pull(1000), IllegalOffset, "offset"),
        row(get("nobody"), ConsumerGroupNotFound, "nobody"),
        row(update(-1), IllegalOffset, "offset"),
        taken(update(0)),
        taken(get("reader")),
    ];
    check(&client, rows).await;
    let late = client.receive(polling("late", "mixed", SHORT)).await;
    assert_eq!(late.status.code(), MessageNotFound);
    let unread = Call::GetOffset(GetOffsetRequest { group: Some(resource("late")), message_queue: queue(0) });
    let (code, text) = perform(&client, unread).await;
    assert_eq!(code, OffsetNotFound, "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_what_clients_say_about_themselves() {
    use Code::*;
    let (server, client) = with_topics().await;
    let producer = |change: &dyn Fn(&mut Settings)| {
        let publishing = Publishing { topics: vec![resource("normal")], ..Publishing::default() };
        let mut settings = Settings {
            client_type: Some(ClientType::Producer as i32),
            pub_sub: Some(settings::PubSub::Publishing(publishing)),
            ..Settings::default()
        };
        change(&mut settings);
        Call::Settings(settings)
    };
    let property = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        producer(&move |settings| drop(settings.client_properties.insert(key.clone(), value.clone())))
    };
    let rows = vec![
        taken(producer(&|_| {})),
        taken(property(&"k".repeat(64), &"v".repeat(256))),
        row(property(&"k".repeat(65), "v"), InvalidClientProperties, "client_properties"),
        row(property("1k", "v"), InvalidClientProperties, "client_properties"),
        row(property("k", &"v".repeat(257)), InvalidClientProperties, "client_properties"),
        row(property("rocketmq.k", "v"), InvalidClientProperties, "client_properties"),
        row(
            producer(&|s| s.client_properties = (0..33).map(|i| (format!("k{i}"), "v".into())).collect()),
            InvalidClientProperties,
            "client_properties",
        ),
        row(producer(&|s| s.pub_sub = None), BadRequest, "publishing"),
        row(producer(&|s| s.client_type = Some(99)), UnrecognizedClientType, "client_type"),
        row(
            Call::Heartbeat(HeartbeatRequest { group: None, client_type: 99 }),
            UnrecognizedClientType,
            "client_type",
        ),
        row(
            Call::Heartbeat(HeartbeatRequest {
                group: Some(resource("a b")),
                client_type: ClientType::PushConsumer as i32,
            }),
            IllegalConsumerGroup,
            "consumer group",
        ),
        row(Call::Route(QueryRouteRequest::default()), IllegalTopic, "topic"),
    ];
    check(&client, rows).await;
    server.stop().await;
}
