//! Access control over the wire: who has no right gets UNAUTHORIZED and a sentence, and nothing happens.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod users;

use std::time::{Duration, SystemTime};

use client::{Client, code, handle, ids, message, polling, resource, sign};
use mainstay_messaging::Outcome;
use mainstay_proto::rocketmq::settings::PubSub;
use mainstay_proto::rocketmq::telemetry_command::Command as Told;
use mainstay_proto::rocketmq::*;
use server::Server;
use tonic::Request;
use users::{NEW_SECRET, SECRET, admin, change_rights, change_secret, create, delete, rights, with_auth};

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with credentials needed, the topic `t`, and a user with these grants.
async fn start(user: &str, grants: &[&str]) -> Server {
    let server = server::start_with(with_auth).await;
    assert_eq!(code(&admin(&server).route("t").await.status), Code::Ok, "the administrator may create it");
    assert_eq!(server.propose(create(user, rights(grants))).await, Outcome::UserCreated { created: true });
    server
}

fn today() -> String {
    prost_types::Timestamp::from(SystemTime::now()).to_string()
}

/// Seconds from now, in the form of most clients.
fn compact(off: i64) -> String {
    let mut stamp = prost_types::Timestamp::from(SystemTime::now());
    stamp.seconds += off;
    stamp.nanos = 0;
    stamp.to_string().replace(['-', ':'], "")
}

async fn send_as(client: &Client, request: Request<SendMessageRequest>) -> SendMessageResponse {
    client.grpc.clone().send_message(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_does_what_its_grants_say() {
    let grants = ["publish:topic:t", "subscribe:topic:t", "subscribe:group:g"];
    let server = start("ann", &grants).await;
    let ann = server.client().signed("ann", SECRET);
    assert_eq!(code(&ann.route("t").await.status), Code::Ok);
    ann.send_ok(vec![message("t", "m1", "x")]).await;
    let received = ann.receive(polling("g", "t", LONG)).await;
    assert_eq!(ids(&received.messages), ["m1"]);
    let changed = ann.change("g", "t", handle(&received.messages[0]), Duration::from_secs(10)).await;
    assert_eq!(code(&changed.status), Code::Ok, "{changed:?}");
    let acknowledged = ann.acknowledge("g", "t", &[&changed.receipt_handle]).await;
    assert_eq!(code(&acknowledged.status), Code::Ok, "{acknowledged:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_refused_and_does_nothing() {
    let server = start("reader", &["subscribe:topic:t", "subscribe:group:g"]).await;
    server.propose(create("writer", rights(&["publish:topic:t"]))).await;
    let reader = server.client().signed("reader", SECRET);
    let writer = server.client().signed("writer", SECRET);

    let sent = reader.send(vec![message("t", "forbidden", "x"), message("t", "too", "x")]).await;
    assert_eq!(code(&sent.status), Code::Unauthorized);
    assert_eq!(sent.entries.len(), 2, "one entry for each message, whatever becomes of them");
    assert!(sent.entries.iter().all(|entry| code(&entry.status) == Code::Unauthorized));
    let text = sent.status.unwrap().message;
    assert!(text.contains("user 'reader' may not publish with topic 't'"), "{text}");

    writer.send_ok(vec![message("t", "allowed", "x")]).await;
    let received = writer.receive(polling("g", "t", SHORT)).await;
    assert_eq!(received.status.code(), Code::Unauthorized);
    assert!(received.status.message.contains("may not subscribe with consumer group 'g'"), "{received:?}");
    let received = reader.receive(polling("other", "t", SHORT)).await;
    assert_eq!(received.status.code(), Code::Unauthorized, "the topic alone is not enough");

    let received = reader.receive(polling("g", "t", LONG)).await;
    assert_eq!(ids(&received.messages), ["allowed"], "what was refused was not stored");
    let handle = handle(&received.messages[0]);
    let acknowledged = writer.acknowledge("g", "t", &[handle]).await;
    assert_eq!(code(&acknowledged.entries[0].status), Code::Unauthorized);
    let changed = writer.change("g", "t", handle, Duration::ZERO).await;
    assert_eq!(code(&changed.status), Code::Unauthorized);
    assert_eq!(changed.receipt_handle, handle, "clients keep the handle of the answer");
    let acknowledged = reader.acknowledge("g", "t", &[handle]).await;
    assert_eq!(code(&acknowledged.status), Code::Ok, "the handle is as good as before");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_credential_is_unauthorized_and_says_why() {
    let server = start("ann", &["publish:topic:*"]).await;
    let client = server.client();
    let request = || client.request(SendMessageRequest { messages: vec![message("t", "m", "x")] });
    let signed = |access_key: &str, secret: &str, date: &str| {
        let mut request = request();
        sign(&mut request, access_key, secret, date);
        request
    };
    let with = |name: &'static str, value: &str| {
        let mut request = signed("ann", SECRET, &today());
        request.metadata_mut().insert(name, value.parse().unwrap());
        request
    };
    let without = |name: &str| {
        let mut request = signed("ann", SECRET, &today());
        request.metadata_mut().remove(name);
        request
    };
    let unknown = "the access key is unknown or the secret key is wrong";
    let rows = [
        (request(), "'authorization' is missing"),
        (without("authorization"), "'authorization' is missing"),
        (without("x-mq-date-time"), "'x-mq-date-time' is missing"),
        (with("authorization", "Bearer token"), "is no signature"),
        (with("authorization", "MQv2-HMAC-SHA1 "), "is no signature"),
        (with("authorization", "MQv2-HMAC-SHA1 Credential=ann"), "is no signature"),
        (signed("", SECRET, &today()), "the access key is empty"),
        (signed("ben", SECRET, &today()), unknown),
        (signed("ann", "another-secret", &today()), unknown),
        (signed("Ann", SECRET, &today()), unknown),
        (with("x-mq-date-time", "2023-12-27T19:46:19Z"), unknown),
        (signed("ann", SECRET, "yesterday"), "is no date"),
        (signed("ann", SECRET, "2023-12-27T19:46:19Z"), "behind the broker's clock"),
        (signed("ann", SECRET, &compact(-400)), "behind the broker's clock"),
        (signed("ann", SECRET, &compact(400)), "before the broker's clock"),
        (signed("ann", SECRET, &compact(20 * 3600)), "before the broker's clock"),
    ];
    for (at, (request, words)) in rows.into_iter().enumerate() {
        let status = send_as(&client, request).await.status.unwrap();
        assert_eq!(status.code(), Code::Unauthorized, "row {at}: {status:?}");
        assert!(status.message.contains(words), "row {at}: {}", status.message);
        assert!(!status.message.contains("secret-of"), "row {at}");
    }
    for (at, date) in [today(), compact(0), compact(200), compact(2 * 3600), compact(-5 * 3600 + 1800)]
        .into_iter()
        .enumerate()
    {
        let answer = send_as(&client, signed("ann", SECRET, &date)).await;
        assert_eq!(code(&answer.status), Code::Ok, "date {at}, {date}: {answer:?}");
    }
    server.stop().await;
}

/// The calls of the protocol, each with something in it that needs a right.
macro_rules! refused_everywhere {
    ($client:expr, $($call:ident($request:expr)),+ $(,)?) => {{
        let mut names = Vec::new();
        $(
            let answer = $client.grpc.clone().$call($client.request($request)).await.unwrap().into_inner();
            assert_eq!(code(&answer.status), Code::Unauthorized, "{}: {answer:?}", stringify!($call));
            names.push(stringify!($call).replace('_', ""));
        )+
        names
    }};
}

/// Asks every call of the service, as the protocol's file lists them, so that a new one cannot be forgotten.
async fn assert_every_call_is_refused(client: &Client) {
    let (group, topic) = (Some(resource("g")), Some(resource("t")));
    let queue = Some(MessageQueue { topic: topic.clone(), ..MessageQueue::default() });
    let mut names = refused_everywhere!(
        client,
        query_route(QueryRouteRequest { topic: topic.clone(), endpoints: None }),
        heartbeat(HeartbeatRequest { group: group.clone(), client_type: ClientType::PushConsumer as i32 }),
        send_message(SendMessageRequest { messages: vec![message("t", "m", "x")] }),
        query_assignment(QueryAssignmentRequest {
            topic: topic.clone(),
            group: group.clone(),
            ..QueryAssignmentRequest::default()
        }),
        ack_message(AckMessageRequest {
            group: group.clone(),
            topic: topic.clone(),
            entries: vec![AckMessageEntry::default()],
        }),
        change_invisible_duration(ChangeInvisibleDurationRequest {
            group: group.clone(),
            topic: topic.clone(),
            ..ChangeInvisibleDurationRequest::default()
        }),
        notify_client_termination(NotifyClientTerminationRequest { group: group.clone() }),
        forward_message_to_dead_letter_queue(ForwardMessageToDeadLetterQueueRequest {
            group: group.clone(),
            topic: topic.clone(),
            ..ForwardMessageToDeadLetterQueueRequest::default()
        }),
        end_transaction(EndTransactionRequest { topic: topic.clone(), ..EndTransactionRequest::default() }),
        recall_message(RecallMessageRequest { topic: topic.clone(), ..RecallMessageRequest::default() }),
        sync_lite_subscription(SyncLiteSubscriptionRequest {
            topic: topic.clone(),
            group: group.clone(),
            ..SyncLiteSubscriptionRequest::default()
        }),
        update_offset(UpdateOffsetRequest { group: group.clone(), message_queue: queue.clone(), offset: 0 }),
        get_offset(GetOffsetRequest { group: group.clone(), message_queue: queue.clone() }),
        query_offset(QueryOffsetRequest { message_queue: queue.clone(), ..QueryOffsetRequest::default() }),
    );
    assert_eq!(client.receive(polling("g", "t", SHORT)).await.status.code(), Code::Unauthorized);
    let pull = PullMessageRequest { group, message_queue: queue, ..PullMessageRequest::default() };
    let mut pulled = client.grpc.clone().pull_message(client.request(pull)).await.unwrap().into_inner();
    let first = pulled.message().await.unwrap().unwrap().content.unwrap();
    let pull_message_response::Content::Status(status) = first else { panic!("{first:?}") };
    assert_eq!(status.code(), Code::Unauthorized);
    assert!(settle(client, consumer("g", "t")).await.is_err());
    names.extend(["receivemessage", "pullmessage", "telemetry"].map(str::to_owned));

    let service = include_str!("../../proto/proto/apache/rocketmq/v2/service.proto");
    let listed = service.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
    let mut listed: Vec<_> =
        listed.filter_map(|rest| rest.split('(').next()).map(|name| name.trim().to_lowercase()).collect();
    listed.sort();
    names.sort();
    assert_eq!(names, listed, "the calls asked here are those of the service");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_passes_without_credentials_or_without_the_right() {
    let server = start("nobody", &[]).await;
    assert_every_call_is_refused(&server.client()).await;
    assert_every_call_is_refused(&server.client().signed("nobody", SECRET)).await;
    server.stop().await;
}

fn consumer(group: &str, topic: &str) -> Settings {
    Settings {
        client_type: Some(ClientType::PushConsumer as i32),
        pub_sub: Some(PubSub::Subscription(Subscription {
            group: Some(resource(group)),
            subscriptions: vec![SubscriptionEntry { topic: Some(resource(topic)), expression: None }],
            ..Subscription::default()
        })),
        ..Settings::default()
    }
}

fn producer(topic: &str) -> Settings {
    Settings {
        client_type: Some(ClientType::Producer as i32),
        pub_sub: Some(PubSub::Publishing(Publishing {
            topics: vec![resource(topic)],
            ..Publishing::default()
        })),
        ..Settings::default()
    }
}

/// What a Telemetry stream answers to these settings.
async fn settle(client: &Client, settings: Settings) -> Result<Settings, tonic::Status> {
    let command = TelemetryCommand { status: None, command: Some(Told::Settings(settings)) };
    let commands = tokio_stream::StreamExt::chain(
        tokio_stream::once(command),
        tokio_stream::pending::<TelemetryCommand>(),
    );
    let mut answers = client.grpc.clone().telemetry(client.request(commands)).await?.into_inner();
    match answers.message().await?.unwrap().command.unwrap() {
        Told::Settings(settings) => Ok(settings),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telemetry_stream_ends_with_an_error_when_its_user_may_not() {
    let server = start("ann", &["subscribe:topic:t", "subscribe:group:g"]).await;
    let client = server.client();
    let ann = client.signed("ann", SECRET);
    assert!(settle(&ann, consumer("g", "t")).await.is_ok());
    for (client, settings, code, words) in [
        (client.clone(), consumer("g", "t"), tonic::Code::Unauthenticated, "credentials are needed"),
        (client.signed("ann", "wrong-secret"), consumer("g", "t"), tonic::Code::Unauthenticated, "is wrong"),
        (ann.clone(), consumer("other", "t"), tonic::Code::PermissionDenied, "consumer group 'other'"),
        (ann.clone(), consumer("g", "u"), tonic::Code::PermissionDenied, "topic 'u'"),
        (ann.clone(), producer("t"), tonic::Code::PermissionDenied, "may not publish"),
    ] {
        let status = settle(&client, settings).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "{status:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_for_who_may_subscribe_for_their_group() {
    let server = start("all-topics", &["publish,subscribe,manage:topic:*", "subscribe:group:reader"]).await;
    server.propose(create("owner", rights(&["subscribe:group:g", "subscribe:group:reader"]))).await;
    let refused =
        server.client().signed("all-topics", SECRET).receive(polling("reader", "%DLQ%g", SHORT)).await;
    assert_eq!(refused.status.code(), Code::Unauthorized, "{refused:?}");
    let allowed = server.client().signed("owner", SECRET).receive(polling("reader", "%DLQ%g", SHORT)).await;
    assert_ne!(allowed.status.code(), Code::Unauthorized, "{allowed:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_created_by_first_use_only_for_who_may_manage_it() {
    let server = start("user", &["publish:topic:*"]).await;
    server.propose(create("manager", rights(&["publish,manage:topic:new-*"]))).await;
    let user = server.client().signed("user", SECRET);
    user.send_ok(vec![message("t", "m", "x")]).await;
    let route = user.route("new-1").await;
    assert_eq!(code(&route.status), Code::TopicNotFound);
    assert!(route.status.unwrap().message.contains("user 'user' may not manage it"));
    let sent = user.send(vec![message("new-1", "m", "x")]).await;
    assert_eq!(code(&sent.entries[0].status), Code::TopicNotFound, "{sent:?}");
    server.client().signed("manager", SECRET).send_ok(vec![message("new-1", "m", "x")]).await;
    user.send_ok(vec![message("new-1", "m2", "x")]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_survive_a_restart_and_changes_hold_from_the_next_call_on() {
    let server = start("ann", &["publish:topic:t"]).await;
    let server = server.restart(with_auth).await;
    let ann = server.client().signed("ann", SECRET);
    ann.send_ok(vec![message("t", "m", "x")]).await;

    assert_eq!(server.propose(change_secret("ann")).await, Outcome::UserChanged);
    assert_eq!(code(&ann.send(vec![message("t", "m", "x")]).await.status), Code::Unauthorized);
    let ann = ann.signed("ann", NEW_SECRET);
    ann.send_ok(vec![message("t", "m", "x")]).await;

    server.propose(change_rights("ann", rights(&["publish:topic:u"]))).await;
    assert_eq!(code(&ann.send(vec![message("t", "m", "x")]).await.status), Code::Unauthorized);
    server.propose(delete("ann")).await;
    let refused = ann.send(vec![message("u", "m", "x")]).await;
    assert_eq!(code(&refused.status), Code::Unauthorized);

    let open = server.restart(|_| {}).await;
    open.client().send_ok(vec![message("t", "m", "x")]).await;
    open.client().signed("", "").send_ok(vec![message("t", "m", "x")]).await;
    open.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_group_knows_the_users_and_calls_passed_on_are_not_asked_again() {
    let [first, second] = server::start_pair_with(with_auth).await;
    // One queue, which lies in the first group: the second has to pass calls on.
    first.create_topic("t", 1).await;
    first.propose(create("ann", rights(&["publish,subscribe:topic:t", "subscribe:group:g"]))).await;
    let ann = second.client().signed("ann", SECRET);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let sent = ann.send(vec![message("t", "m", "x")]).await;
        match code(&sent.status) {
            Code::Ok => break,
            // Not followed yet.
            Code::Unauthorized => assert!(std::time::Instant::now() < deadline),
            other => panic!("{other:?}: {sent:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = second.client().send(vec![message("t", "n", "x")]).await;
    assert_eq!(code(&refused.status), Code::Unauthorized);
    first.stop().await;
    second.stop().await;
}
