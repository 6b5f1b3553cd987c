//! Access control over clients: a client id is one client for each user, and what was opened with a secret ends with it.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod users;

use std::time::{Duration, Instant};

use client::{Client, code, handle, ids, message, polling, resource};
use mainstay_messaging::TopicKind;
use mainstay_proto::rocketmq::settings::PubSub;
use mainstay_proto::rocketmq::telemetry_command::Command as Told;
use mainstay_proto::rocketmq::*;
use server::Server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use users::{NEW_SECRET, SECRET, admin, change_secret, create, delete, rights, with_auth};

/// Bound of everything that waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(15);
/// Longer than what was released stays hidden.
const RELEASED: Duration = Duration::from_secs(4);
const SHARED: &str = "shared@1";

/// An open Telemetry stream.
struct Stream {
    commands: mpsc::Sender<TelemetryCommand>,
    incoming: Streaming<TelemetryCommand>,
}

impl Stream {
    async fn open(client: &Client) -> Self {
        let (commands, outgoing) = mpsc::channel(4);
        let mut request = client.request(ReceiverStream::new(outgoing));
        request.metadata_mut().remove("grpc-timeout");
        let incoming = client.grpc.clone().telemetry(request).await.unwrap().into_inner();
        Self { commands, incoming }
    }

    /// Of a producer of the topic `t`.
    async fn of_producer(client: &Client) -> Self {
        let mut stream = Self::open(client).await;
        let settings = Settings {
            client_type: Some(ClientType::Producer as i32),
            pub_sub: Some(PubSub::Publishing(Publishing {
                topics: vec![resource("t")],
                ..Publishing::default()
            })),
            ..Settings::default()
        };
        let command = TelemetryCommand { command: Some(Told::Settings(settings)), status: None };
        stream.commands.send(command).await.unwrap();
        assert!(matches!(stream.next().await.unwrap().command, Some(Told::Settings(_))));
        stream
    }

    async fn next(&mut self) -> Result<TelemetryCommand, tonic::Status> {
        let next = tokio::time::timeout(PATIENCE, self.incoming.message()).await.expect("told in time");
        next.map(|command| command.expect("an end comes with its reason"))
    }
}

fn half(id: &str) -> Message {
    let mut half = message("t", id, "of no concern to others");
    let system = half.system_properties.as_mut().unwrap();
    system.message_type = MessageType::Transaction as i32;
    system.orphaned_transaction_recovery_duration = Some(Duration::from_secs(1).try_into().unwrap());
    half
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_hears_nothing_and_ends_once_its_user_has_another_secret_or_none() {
    let server = server::start_with(with_auth).await;
    server.create_topic_of(TopicKind::Transaction, "t", 1).await;
    server.propose(create("ann", rights(&["publish:topic:t"]))).await;
    let mut old = Stream::of_producer(&server.client().named(SHARED).signed("ann", SECRET)).await;
    server.propose(change_secret("ann")).await;
    let mut new = Stream::of_producer(&server.client().named(SHARED).signed("ann", NEW_SECRET)).await;
    admin(&server).send_ok(vec![half("m")]).await;
    match new.next().await.unwrap().command {
        Some(Told::RecoverOrphanedTransactionCommand(asked)) => {
            assert_eq!(ids(&[asked.message.unwrap()]), ["m"]);
        }
        other => panic!("{other:?}"),
    }
    let ended = old.next().await.expect_err("nothing but its end");
    assert_eq!(ended.code(), tonic::Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("user 'ann' has another secret key by now"), "{ended:?}");

    server.propose(delete("ann")).await;
    let ended = loop {
        // Asked again and again, until it is deleted.
        if let Err(ended) = new.next().await {
            break ended;
        }
    };
    assert_eq!(ended.code(), tonic::Code::PermissionDenied, "{ended:?}");
    assert!(ended.message().contains("does not exist any more"), "{ended:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_refused_on_a_stream_opened_with_another_secret() {
    let server = server::start_with(with_auth).await;
    server.create_topic("t", 1).await;
    server.propose(create("ann", rights(&["publish:topic:t"]))).await;
    let mut stream = Stream::open(&server.client().signed("ann", SECRET)).await;
    server.propose(change_secret("ann")).await;
    let settings = Settings {
        client_type: Some(ClientType::Producer as i32),
        pub_sub: Some(PubSub::Publishing(Publishing::default())),
        ..Settings::default()
    };
    let command = TelemetryCommand { command: Some(Told::Settings(settings)), status: None };
    stream.commands.send(command).await.unwrap();
    let ended = stream.next().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::PermissionDenied, "{ended:?}");
    server.stop().await;
}

/// `ann` holds the message `m` of the topic `t` under the shared client id; `ben` may do nothing.
async fn held() -> (Server, Client, Client, String) {
    let server = server::start_with(with_auth).await;
    server.propose(create("ann", rights(&["subscribe:topic:t", "subscribe:group:g"]))).await;
    server.propose(create("ben", rights(&[]))).await;
    let [ann, ben] = ["ann", "ben"].map(|user| server.client().named(SHARED).signed(user, SECRET));
    admin(&server).send_ok(vec![message("t", "m", "x")]).await;
    // As a push consumer asks: the broker keeps the leases.
    let pushed =
        ReceiveMessageRequest { auto_renew: true, invisible_duration: None, ..polling("g", "t", LONG) };
    let received = ann.receive(pushed).await;
    assert_eq!(ids(&received.messages), ["m"]);
    let handle = handle(&received.messages[0]).to_owned();
    (server, ann, ben, handle)
}

async fn beat_as_producer(client: &Client) {
    let beat = HeartbeatRequest { group: None, client_type: ClientType::Producer as i32 };
    let answer = client.grpc.clone().heartbeat(client.request(beat)).await.unwrap().into_inner();
    assert_eq!(code(&answer.status), Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_neither_ends_nor_changes_the_client_of_another_by_its_id() {
    let (server, ann, ben, handle) = held().await;
    beat_as_producer(&ben).await;
    let end = ben.request(NotifyClientTerminationRequest { group: None });
    let answer = ben.grpc.clone().notify_client_termination(end).await.unwrap().into_inner();
    assert_eq!(code(&answer.status), Code::Ok, "it is a client of its own");
    beat_as_producer(&ben).await;
    let admin = admin(&server);
    let none = admin.receive(polling("g", "t", RELEASED)).await;
    assert_eq!(none.status.code(), Code::MessageNotFound, "{none:?}");

    // Only a push consumer's failure has to wait although it asks for nothing.
    let failed = Instant::now();
    let changed = ann.change("g", "t", &handle, Duration::ZERO).await;
    assert_eq!(code(&changed.status), Code::Ok, "{changed:?}");
    assert_eq!(ids(&admin.receive(polling("g", "t", LONG)).await.messages), ["m"]);
    assert!(failed.elapsed() >= Duration::from_millis(900), "{:?}", failed.elapsed());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_does_not_keep_the_client_of_another_alive_by_its_id() {
    let (server, ann, ben, _handle) = held().await;
    let started = Instant::now();
    let _open = Stream::open(&ben).await;
    let admin = admin(&server);
    let again = loop {
        let received = admin.receive(polling("g", "t", LONG)).await;
        if !received.messages.is_empty() {
            break received.messages;
        }
        assert!(started.elapsed() < Duration::from_secs(50), "still its");
    };
    assert_eq!(ids(&again), ["m"]);
    drop(ann);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_ends_its_own_client() {
    let (server, ann, _ben, _handle) = held().await;
    let end = ann.request(NotifyClientTerminationRequest { group: None });
    let answer = ann.grpc.clone().notify_client_termination(end).await.unwrap().into_inner();
    assert_eq!(code(&answer.status), Code::Ok);
    let again = admin(&server).receive(polling("g", "t", RELEASED)).await;
    assert_eq!(ids(&again.messages), ["m"], "released at once");
    server.stop().await;
}
