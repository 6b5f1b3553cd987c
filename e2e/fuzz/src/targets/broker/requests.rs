//! The calls of the client API: how the bytes of a request are made ready, and what an answer must have.
//!
//! What a broker makes up, a script cannot know: texts beginning with `@` stand for the last receipt handle, transaction
//! id or recall handle that an answer of the same input held. Long polls are cut short, and small times are counted
//! from now. Everything else goes as it is.

use bytes::Bytes;
use mainstay_proto::rocketmq::pull_message_response::Content as Pulled;
use mainstay_proto::rocketmq::receive_message_response::Content as Received;
use mainstay_proto::rocketmq::*;
use prost::Message as _;
use prost_types::Duration;

use super::rig::now;

/// Longest poll, so that inputs take milliseconds.
const POLL: Duration = Duration { seconds: 0, nanos: 3_000_000 };

/// What answers have brought.
#[derive(Debug, Default)]
pub(super) struct Memory {
    receipt: String,
    transaction: String,
    recall: String,
}

impl Memory {
    /// Fills in what `text` stands for.
    fn fill(&self, text: &mut String) {
        let meant = match text.as_str() {
            "@receipt" => &self.receipt,
            "@transaction" => &self.transaction,
            "@recall" => &self.recall,
            _ => return,
        };
        text.clone_from(meant);
    }
}

/// One kind of call.
pub(super) struct Call {
    pub(super) name: &'static str,
    /// `None` when the bytes are no such request.
    pub(super) prepare: fn(&Bytes, &Memory) -> Option<Bytes>,
    /// Panics when an answer lacks a status or has none of the protocol's.
    pub(super) check: fn(&[Bytes], &mut Memory),
}

macro_rules! unary {
    ($name:literal, $request:ty, $response:ty, $prepare:expr, $learn:expr) => {
        Call {
            name: $name,
            prepare: |bytes, memory| prepared::<$request>(bytes, |request| $prepare(request, memory)),
            check: |messages, memory| {
                let [message] = messages else { panic!("{}: {} answers", $name, messages.len()) };
                let response = <$response>::decode(message.clone()).expect("an answer");
                known(response.status.as_ref());
                $learn(&response, memory);
            },
        }
    };
    ($name:literal, $request:ty, $response:ty) => {
        unary!(
            $name,
            $request,
            $response,
            |_: &mut $request, _: &Memory| {},
            |_: &$response, _: &mut Memory| {}
        )
    };
}

pub(super) const CALLS: [Call; 16] = [
    unary!(
        "SendMessage",
        SendMessageRequest,
        SendMessageResponse,
        soon,
        |sent: &SendMessageResponse, memory: &mut Memory| {
            for entry in &sent.entries {
                known(entry.status.as_ref());
                keep(&mut memory.transaction, &entry.transaction_id);
                keep(&mut memory.recall, &entry.recall_handle);
            }
        }
    ),
    Call { name: "ReceiveMessage", prepare: |bytes, _| prepared(bytes, short_poll), check: received },
    unary!(
        "AckMessage",
        AckMessageRequest,
        AckMessageResponse,
        |ack: &mut AckMessageRequest, memory: &Memory| {
            ack.entries.iter_mut().for_each(|entry| memory.fill(&mut entry.receipt_handle));
        },
        |acked: &AckMessageResponse, _: &mut Memory| {
            acked.entries.iter().for_each(|entry| known(entry.status.as_ref()));
        }
    ),
    unary!(
        "ChangeInvisibleDuration",
        ChangeInvisibleDurationRequest,
        ChangeInvisibleDurationResponse,
        |change: &mut ChangeInvisibleDurationRequest, memory: &Memory| memory
            .fill(&mut change.receipt_handle),
        |changed: &ChangeInvisibleDurationResponse, memory: &mut Memory| {
            keep(&mut memory.receipt, &changed.receipt_handle);
        }
    ),
    unary!(
        "ForwardMessageToDeadLetterQueue",
        ForwardMessageToDeadLetterQueueRequest,
        ForwardMessageToDeadLetterQueueResponse,
        |dead: &mut ForwardMessageToDeadLetterQueueRequest, memory: &Memory| {
            memory.fill(&mut dead.receipt_handle);
        },
        |_: &ForwardMessageToDeadLetterQueueResponse, _: &mut Memory| {}
    ),
    unary!(
        "EndTransaction",
        EndTransactionRequest,
        EndTransactionResponse,
        |end: &mut EndTransactionRequest, memory: &Memory| memory.fill(&mut end.transaction_id),
        |_: &EndTransactionResponse, _: &mut Memory| {}
    ),
    unary!(
        "RecallMessage",
        RecallMessageRequest,
        RecallMessageResponse,
        |recall: &mut RecallMessageRequest, memory: &Memory| memory.fill(&mut recall.recall_handle),
        |_: &RecallMessageResponse, _: &mut Memory| {}
    ),
    unary!("QueryRoute", QueryRouteRequest, QueryRouteResponse),
    unary!("QueryAssignment", QueryAssignmentRequest, QueryAssignmentResponse),
    unary!("Heartbeat", HeartbeatRequest, HeartbeatResponse),
    unary!("NotifyClientTermination", NotifyClientTerminationRequest, NotifyClientTerminationResponse),
    Call { name: "PullMessage", prepare: |bytes, _| prepared(bytes, short_pull), check: pulled },
    unary!("UpdateOffset", UpdateOffsetRequest, UpdateOffsetResponse),
    unary!("GetOffset", GetOffsetRequest, GetOffsetResponse),
    unary!("QueryOffset", QueryOffsetRequest, QueryOffsetResponse),
    unary!("SyncLiteSubscription", SyncLiteSubscriptionRequest, SyncLiteSubscriptionResponse),
];

/// The bytes themselves, unless `change` changes what they say.
fn prepared<T: prost::Message + Default + PartialEq + Clone>(
    bytes: &Bytes,
    change: impl FnOnce(&mut T),
) -> Option<Bytes> {
    let said = T::decode(bytes.clone()).ok()?;
    let mut request = said.clone();
    change(&mut request);
    Some(if request == said { bytes.clone() } else { request.encode_to_vec().into() })
}

fn known(status: Option<&Status>) {
    let code = status.expect("a status").code;
    let known = Code::try_from(code).is_ok_and(|code| code != Code::Unspecified);
    assert!(known, "{code} is no code of the protocol");
    assert_ne!(code, Code::InternalError as i32, "{status:?}");
    assert_ne!(code, Code::InternalServerError as i32, "{status:?}");
}

fn keep(known: &mut String, told: &str) {
    if !told.is_empty() {
        told.clone_into(known);
    }
}

fn soon(send: &mut SendMessageRequest, _: &Memory) {
    for message in &mut send.messages {
        let time = message.system_properties.as_mut().and_then(|known| known.delivery_timestamp.as_mut());
        if let Some(time) = time.filter(|time| (0..1000).contains(&time.seconds)) {
            time.seconds += now().seconds;
        }
    }
}

fn short_poll(request: &mut ReceiveMessageRequest) {
    shorten(&mut request.long_polling_timeout);
}

fn short_pull(request: &mut PullMessageRequest) {
    shorten(&mut request.long_polling_timeout);
}

fn shorten(poll: &mut Option<Duration>) {
    let long = |poll: &Duration| poll.seconds > 0 || poll.nanos > POLL.nanos;
    if poll.as_ref().is_none_or(long) {
        *poll = Some(POLL);
    }
}

fn received(messages: &[Bytes], memory: &mut Memory) {
    let contents = messages.iter().map(|bytes| {
        ReceiveMessageResponse::decode(bytes.clone()).expect("an answer").content.expect("a content")
    });
    let mut statuses = 0;
    for content in contents {
        match content {
            Received::Status(status) => {
                known(Some(&status));
                statuses += 1;
            }
            Received::Message(message) => {
                let properties = message.system_properties.expect("system properties");
                keep(&mut memory.receipt, properties.receipt_handle());
            }
            Received::DeliveryTimestamp(_) => {}
        }
    }
    assert_eq!(statuses, 1, "a stream has one status");
}

fn pulled(messages: &[Bytes], _: &mut Memory) {
    let statuses = messages.iter().filter(|bytes| {
        let content = PullMessageResponse::decode((*bytes).clone()).expect("an answer").content;
        match content.expect("a content") {
            Pulled::Status(status) => {
                known(Some(&status));
                true
            }
            Pulled::Message(_) | Pulled::NextOffset(_) => false,
        }
    });
    assert_eq!(statuses.count(), 1, "a stream has one status");
}

const fn duration(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource { resource_namespace: String::new(), name: name.to_owned() })
}

fn queue(topic: &str, id: i32) -> Option<MessageQueue> {
    Some(MessageQueue { topic: resource(topic), id, ..MessageQueue::default() })
}

fn filter(kind: FilterType, expression: &str) -> Option<FilterExpression> {
    Some(FilterExpression { r#type: kind as i32, expression: expression.to_owned() })
}

fn endpoints() -> Option<Endpoints> {
    let addresses = vec![Address { host: "127.0.0.1".to_owned(), port: 8081 }];
    Some(Endpoints { scheme: AddressScheme::IPv4 as i32, addresses })
}

/// Messages of every kind, each to a topic of its own.
fn messages() -> Vec<Message> {
    let kinds = [
        MessageType::Normal,
        MessageType::Fifo,
        MessageType::Delay,
        MessageType::Transaction,
        MessageType::Priority,
        MessageType::Lite,
    ];
    kinds.iter().map(|kind| message(*kind)).collect()
}

fn message(kind: MessageType) -> Message {
    let time = prost_types::Timestamp { seconds: 1, nanos: 0 };
    let properties = SystemProperties {
        tag: Some("a".to_owned()),
        keys: vec!["key".to_owned()],
        message_id: format!("01FUZZ{}", kind as i32),
        body_digest: Some(Digest { r#type: DigestType::Crc32 as i32, checksum: "352441C2".to_owned() }),
        body_encoding: Encoding::Identity as i32,
        message_type: kind as i32,
        born_timestamp: Some(time),
        born_host: "here".to_owned(),
        queue_id: 1,
        trace_context: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        message_group: (kind == MessageType::Fifo).then(|| "lane".to_owned()),
        delivery_timestamp: (kind == MessageType::Delay).then_some(time),
        orphaned_transaction_recovery_duration: (kind == MessageType::Transaction)
            .then_some(Duration { seconds: 30, nanos: 0 }),
        priority: (kind == MessageType::Priority).then_some(1),
        lite_topic: (kind == MessageType::Lite).then(|| "lite".to_owned()),
        ..SystemProperties::default()
    };
    Message {
        topic: resource(&format!("topic-{}", kind as i32)),
        user_properties: [("p".to_owned(), "1".to_owned())].into(),
        system_properties: Some(properties),
        body: Bytes::from_static(b"abc"),
    }
}

/// A request of each kind and more, with the place of its call in [`CALLS`]; in an order that makes sense.
pub(super) fn seeds() -> Vec<(u8, Vec<u8>)> {
    let place = |name: &str| CALLS.iter().position(|call| call.name == name).expect("a call") as u8;
    let mut seeds = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| seeds.push((place(name), bytes));
    for message in messages() {
        let topic = message.topic.clone();
        let name = topic.clone().unwrap_or_default().name;
        let id = message.system_properties.clone().unwrap_or_default().message_id;
        add("QueryRoute", QueryRouteRequest { topic: topic.clone(), endpoints: endpoints() }.encode_to_vec());
        add("SendMessage", SendMessageRequest { messages: vec![message] }.encode_to_vec());
        add("EndTransaction", end(topic.clone(), &id).encode_to_vec());
        let recall = RecallMessageRequest { topic, recall_handle: "@recall".to_owned() };
        add("RecallMessage", recall.encode_to_vec());
        consume(&mut add, &name, &id);
    }
    add(
        "SendMessage",
        SendMessageRequest { messages: vec![message(MessageType::Normal); 2] }.encode_to_vec(),
    );
    read(&mut add);
    let group = resource("group");
    let beat = HeartbeatRequest { group: group.clone(), client_type: ClientType::PushConsumer as i32 };
    add("Heartbeat", beat.encode_to_vec());
    add("NotifyClientTermination", NotifyClientTerminationRequest { group: group.clone() }.encode_to_vec());
    let assignment = QueryAssignmentRequest { topic: resource("topic-1"), group, endpoints: endpoints() };
    add("QueryAssignment", assignment.encode_to_vec());
    add("SyncLiteSubscription", SyncLiteSubscriptionRequest::default().encode_to_vec());
    seeds
}

fn end(topic: Option<Resource>, id: &str) -> EndTransactionRequest {
    EndTransactionRequest {
        topic,
        message_id: id.to_owned(),
        transaction_id: "@transaction".to_owned(),
        resolution: TransactionResolution::Commit as i32,
        source: TransactionSource::SourceClient as i32,
        trace_context: String::new(),
    }
}

fn consume(add: &mut impl FnMut(&str, Vec<u8>), topic: &str, id: &str) {
    let (group, receipt_handle, message_id) = (resource("group"), "@receipt".to_owned(), id.to_owned());
    for filter in [filter(FilterType::Tag, "a || b"), filter(FilterType::Sql, "p = 1 AND TAGS = 'a'")] {
        let receive = ReceiveMessageRequest {
            group: group.clone(),
            message_queue: queue(topic, -1),
            filter_expression: filter,
            batch_size: 4,
            invisible_duration: duration(15),
            auto_renew: topic == "topic-1",
            long_polling_timeout: Some(POLL),
            attempt_id: Some("attempt".to_owned()),
        };
        add("ReceiveMessage", receive.encode_to_vec());
    }
    let change = ChangeInvisibleDurationRequest {
        group: group.clone(),
        topic: resource(topic),
        receipt_handle: receipt_handle.clone(),
        invisible_duration: duration(20),
        message_id: message_id.clone(),
        ..ChangeInvisibleDurationRequest::default()
    };
    add("ChangeInvisibleDuration", change.encode_to_vec());
    let entry = AckMessageEntry {
        message_id: message_id.clone(),
        receipt_handle: receipt_handle.clone(),
        lite_topic: None,
    };
    let ack = AckMessageRequest {
        group: group.clone(),
        topic: resource(topic),
        entries: vec![entry.clone(), entry],
    };
    add("AckMessage", ack.encode_to_vec());
    let dead = ForwardMessageToDeadLetterQueueRequest {
        group,
        topic: resource(topic),
        receipt_handle,
        message_id,
        delivery_attempt: 1,
        max_delivery_attempts: 2,
        lite_topic: None,
    };
    add("ForwardMessageToDeadLetterQueue", dead.encode_to_vec());
}

/// What readers call that keep track of their places themselves.
fn read(add: &mut impl FnMut(&str, Vec<u8>)) {
    let group = || resource("readers");
    let update = UpdateOffsetRequest { group: group(), message_queue: queue("topic-1", 0), offset: 1 };
    add("UpdateOffset", update.encode_to_vec());
    add("GetOffset", GetOffsetRequest { group: group(), message_queue: queue("topic-1", 0) }.encode_to_vec());
    for policy in [QueryOffsetPolicy::Beginning, QueryOffsetPolicy::End, QueryOffsetPolicy::Timestamp] {
        let query = QueryOffsetRequest {
            message_queue: queue("topic-1", 0),
            query_offset_policy: policy as i32,
            timestamp: Some(prost_types::Timestamp { seconds: 5, nanos: 1 }),
        };
        add("QueryOffset", query.encode_to_vec());
    }
    for expression in [filter(FilterType::Tag, "*"), filter(FilterType::Sql, "p IS NULL")] {
        let pull = PullMessageRequest {
            group: group(),
            message_queue: queue("topic-1", 0),
            offset: 0,
            batch_size: 8,
            filter_expression: expression,
            long_polling_timeout: Some(POLL),
        };
        add("PullMessage", pull.encode_to_vec());
    }
}

/// What producers and consumers tell of themselves.
pub(super) fn settings() -> Vec<Settings> {
    let publishing = Publishing {
        topics: vec![resource("topic-1").unwrap_or_default()],
        max_body_size: 4 << 20,
        validate_message_type: true,
    };
    let subscribed = |kind, expression| SubscriptionEntry {
        topic: resource("topic-1"),
        expression: filter(kind, expression),
    };
    let subscription = Subscription {
        group: resource("group"),
        subscriptions: vec![subscribed(FilterType::Tag, "a"), subscribed(FilterType::Sql, "p > 1")],
        fifo: Some(true),
        receive_batch_size: Some(32),
        long_polling_timeout: duration(20),
        ..Subscription::default()
    };
    let exponential = ExponentialBackoff { initial: duration(1), max: duration(10), multiplier: 2.0 };
    let backoff = RetryPolicy {
        max_attempts: 3,
        strategy: Some(retry_policy::Strategy::ExponentialBackoff(exponential)),
    };
    let of = |kind: ClientType, pub_sub| Settings {
        client_type: Some(kind as i32),
        access_point: endpoints(),
        backoff_policy: Some(backoff.clone()),
        request_timeout: duration(3),
        pub_sub: Some(pub_sub),
        user_agent: Some(Ua {
            language: Language::Java as i32,
            version: "5.0.7".to_owned(),
            ..Ua::default()
        }),
        metric: Some(Metric { on: true, endpoints: endpoints() }),
        client_properties: [("k".to_owned(), "v".to_owned())].into(),
    };
    let subscription = settings::PubSub::Subscription(subscription);
    let kinds = [
        ClientType::PushConsumer,
        ClientType::SimpleConsumer,
        ClientType::PullConsumer,
        ClientType::LitePushConsumer,
    ];
    let mut all = vec![of(ClientType::Producer, settings::PubSub::Publishing(publishing))];
    all.extend(kinds.map(|kind| of(kind, subscription.clone())));
    all
}
