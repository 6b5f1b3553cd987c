//! What a push consumer holds stays with it for as long as it lives and can have it, and no longer.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod users;

use std::time::{Duration, Instant};

use client::{Client, code, handle, ids, message, polling, resource};
use mainstay_messaging::Command;
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::*;
use server::Server;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use users::{NEW_SECRET, SECRET, admin, change_rights, change_secret, create, delete, rights, with_auth};

const LONG: Duration = Duration::from_secs(15);
/// Twice the period in which the broker looks after its clients.
const LOOKED_AFTER: Duration = Duration::from_secs(10);

/// As a push consumer asks: the broker keeps the leases.
fn pushed(group: &str, topic: &str) -> ReceiveMessageRequest {
    ReceiveMessageRequest { auto_renew: true, invisible_duration: None, ..polling(group, topic, LONG) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_consumer_that_is_only_heard_by_its_receive_keeps_its_message_and_is_one() {
    let server = server::start().await;
    let (fresh, other) = (server.client().named("fresh"), server.client().named("other"));
    other.send_ok(vec![message("t", "m", "x")]).await;
    let held = fresh.receive(pushed("g", "t")).await;
    assert_eq!(ids(&held.messages), ["m"]);
    let none = other.receive(polling("g", "t", LOOKED_AFTER)).await;
    assert_eq!(none.status.code(), Code::MessageNotFound, "{none:?}");

    // A push consumer's failure has to wait as its group says, at least a second, although it asks for nothing.
    let failed = Instant::now();
    let changed = fresh.change("g", "t", handle(&held.messages[0]), Duration::ZERO).await;
    assert_eq!(code(&changed.status), Code::Ok, "the handle is as good as ever: {changed:?}");
    let again = fresh.receive(pushed("g", "t")).await;
    assert_eq!(ids(&again.messages), ["m"]);
    assert_eq!(again.messages[0].system_properties.as_ref().unwrap().delivery_attempt, Some(2));
    assert!(failed.elapsed() >= Duration::from_millis(900), "{:?}", failed.elapsed());
    let acknowledged = fresh.acknowledge("g", "t", &[handle(&again.messages[0])]).await;
    assert_eq!(code(&acknowledged.status), Code::Ok, "{acknowledged:?}");
    server.stop().await;
}

/// A message large enough that a few of them cannot be written to a client that does not read on.
fn large(topic: &str, id: &str) -> Message {
    message(topic, id, vec![7; 3 << 20])
}

async fn beat(client: &Client) {
    let beat = HeartbeatRequest { group: Some(resource("g")), client_type: ClientType::PushConsumer as i32 };
    let beat = client.grpc.clone().heartbeat(client.request(beat)).await.unwrap().into_inner();
    assert_eq!(code(&beat.status), Code::Ok);
}

/// Reads the status and one message of a stream, and no further.
async fn begin(client: &Client, request: ReceiveMessageRequest) -> Streaming<ReceiveMessageResponse> {
    let mut stream = client.grpc.clone().receive_message(client.request(request)).await.unwrap().into_inner();
    for _ in 0..2 {
        let read = stream.message().await.unwrap().unwrap().content.unwrap();
        assert!(matches!(read, Content::Status(_) | Content::Message(_)), "{read:?}");
    }
    stream
}

/// Receives until all of `expected` have come, and returns their delivery attempts.
async fn gather(client: &Client, request: ReceiveMessageRequest, expected: &[String]) -> Vec<i32> {
    let (mut found, mut attempts) = (Vec::new(), Vec::new());
    while found.len() < expected.len() {
        let received = client.receive(request.clone()).await;
        assert_eq!(received.status.code(), Code::Ok, "{found:?} of {expected:?}");
        found.extend(ids(&received.messages));
        let system = received.messages.iter().map(|message| message.system_properties.as_ref().unwrap());
        attempts.extend(system.map(|system| system.delivery_attempt()));
    }
    found.sort();
    assert_eq!(found, expected);
    attempts
}

/// Messages that do not all fit into what a connection takes unread. Their ids.
async fn send_eight(client: &Client) -> Vec<String> {
    let ids: Vec<_> = (0..8).map(|number| number.to_string()).collect();
    for id in &ids {
        client.send_ok(vec![large("t", id)]).await;
    }
    ids
}

/// The stream of one client breaks in the middle, and another gets everything.
async fn all_comes_again_at_once(
    leaving: &Client,
    staying: &Client,
    request: ReceiveMessageRequest,
    expected: &[String],
) {
    let group = request.group.as_ref().unwrap().name.clone();
    let stream = begin(leaving, request.clone()).await;
    beat(leaving).await;
    drop(stream);
    let started = Instant::now();
    let attempts = gather(staying, request, expected).await;
    assert!(started.elapsed() < LONG, "{group}: {:?}", started.elapsed());
    assert!(attempts.contains(&2), "{group}: {attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_stream_that_breaks_before_its_end_is_delivered_again_at_once() {
    let server = server::start().await;
    let (leaving, staying) = (server.client().named("leaving"), server.client().named("staying"));
    let expected = send_eight(&staying).await;
    for request in [pushed("push", "t"), polling("simple", "t", LONG)] {
        all_comes_again_at_once(&leaving, &staying, request, &expected).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_stream_passed_on_by_another_broker_is_delivered_again_at_once() {
    let [first, second] = server::start_pair().await;
    let (leaving, staying) = (first.client().named("leaving"), second.client().named("staying"));
    assert_eq!(code(&staying.route("t").await.status), Code::Ok);
    let expected = send_eight(&staying).await;
    for mut request in [pushed("push", "t"), polling("simple", "t", LONG)] {
        let broker = Broker { name: "pair-1".to_owned(), ..Broker::default() };
        request.message_queue.as_mut().unwrap().broker = Some(broker);
        all_comes_again_at_once(&leaving, &staying, request, &expected).await;
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_lost_with_its_connection_is_delivered_again_after_its_lease() {
    let server = server::start().await;
    let (living, other) = (server.client().named("living"), server.client().named("other"));
    other.send_ok(vec![message("t", "m", "x")]).await;
    let connection = server.client().named("living");
    assert_eq!(ids(&connection.receive(pushed("g", "t")).await.messages), ["m"]);
    let started = Instant::now();
    drop(connection);
    let again = loop {
        beat(&living).await;
        let received = other.receive(polling("g", "t", LOOKED_AFTER)).await;
        if !received.messages.is_empty() {
            break received.messages;
        }
        assert!(started.elapsed() < Duration::from_secs(75), "not delivered again");
    };
    assert_eq!(ids(&again), ["m"]);
    assert!(started.elapsed() > Duration::from_secs(58), "{:?}: sooner than its lease", started.elapsed());
    server.stop().await;
}

/// A broker where the user `ann` may consume `t` as `g`.
async fn start_with_user() -> Server {
    let server = server::start_with(with_auth).await;
    server.propose(create("ann", rights(&["subscribe:topic:t", "subscribe:group:g"]))).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_waits_brings_nothing_once_its_right_is_taken_away() {
    for revoke in [change_rights("ann", rights(&[])), change_secret("ann"), delete("ann")] {
        let server = start_with_user().await;
        let admin = admin(&server).named("admin");
        let ann = server.client().named("ann").signed("ann", SECRET);
        admin.receive(polling("g", "t", Duration::from_millis(100))).await;
        let polls: Vec<_> = [pushed("g", "t"), polling("g", "t", LONG)]
            .map(|request| {
                let ann = ann.clone();
                tokio::spawn(async move { ann.receive(request).await })
            })
            .into();
        server.until_polls_wait(2).await;
        server.propose(revoke.clone()).await;
        for id in ["1", "2"] {
            admin.send_ok(vec![message("t", id, "x")]).await;
        }
        for poll in polls {
            let received = poll.await.unwrap();
            assert_eq!(received.status.code(), Code::Unauthorized, "{revoke:?}: {received:?}");
            assert!(received.messages.is_empty());
        }
        // Well before the invisible times of what the two were about to bring.
        gather(&admin, polling("g", "t", LONG), &["1".to_owned(), "2".to_owned()]).await;
        server.stop().await;
    }
}

/// What `ann` holds goes to others after `revoke`, although its client lives on, with this secret.
async fn goes_to_others_after(revoke: Command, secret: &str) {
    let server = start_with_user().await;
    let admin = admin(&server).named("admin");
    let ann = server.client().named("ann").signed("ann", SECRET);
    admin.send_ok(vec![message("t", "m", "x")]).await;
    assert_eq!(ids(&ann.receive(pushed("g", "t")).await.messages), ["m"]);
    let started = Instant::now();
    server.propose(revoke).await;
    let (_commands, outgoing) = tokio::sync::mpsc::channel(4);
    let mut telemetry = ann.signed("ann", secret).request(ReceiverStream::new(outgoing));
    telemetry.metadata_mut().remove("grpc-timeout");
    let _open = ann.grpc.clone().telemetry(telemetry).await.unwrap();
    let again = loop {
        let received = admin.receive(polling("g", "t", LOOKED_AFTER)).await;
        if !received.messages.is_empty() {
            break received.messages;
        }
        assert!(started.elapsed() < Duration::from_secs(45), "still its");
    };
    assert_eq!(ids(&again), ["m"]);
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_push_consumer_holds_goes_to_others_once_its_right_is_taken_away() {
    goes_to_others_after(change_rights("ann", rights(&[])), SECRET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_push_consumer_holds_goes_to_others_once_its_user_has_another_secret() {
    goes_to_others_after(change_secret("ann"), NEW_SECRET).await;
}
