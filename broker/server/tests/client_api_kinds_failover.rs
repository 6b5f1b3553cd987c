//! Every kind of message with three replicas: what was acknowledged keeps its meaning when the leader is killed, and
//! producers are asked through whichever broker has them.

#![allow(clippy::unwrap_used)]

mod client;
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use client::{Client, code, handle, message, polling, resource};
use mainstay_messaging::{Command, CreateTopic, QueueCount, TopicKind, TopicName};
use mainstay_proto::rocketmq::telemetry_command::Command as Telemetry;
use mainstay_proto::rocketmq::*;
use support::{Group, PATIENCE, Plan, soon, until};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(15);

fn client(group: &Group, node: usize) -> Client {
    Client::plain(group.nodes[node].addresses.unwrap().client.port())
}

/// Three replicas with the topic `t`, known everywhere; and the leader.
async fn three(kind: TopicKind) -> (Group, usize) {
    let group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    let create = Command::CreateTopic(CreateTopic {
        name: TopicName::new("t").unwrap(),
        kind,
        queues: QueueCount::new(4).unwrap(),
    });
    group.handle(leader).propose(create, soon()).await.unwrap();
    for node in group.running() {
        let handle = group.handle(node);
        until("the topic is known", async || handle.metadata().topic("t").map(drop)).await;
    }
    (group, leader)
}

fn with(mut message: Message, change: impl FnOnce(&mut SystemProperties)) -> Message {
    change(message.system_properties.as_mut().unwrap());
    message
}

fn half(id: &str, check_after: Duration) -> Message {
    with(message("t", id, id.to_owned()), |system| {
        system.message_type = MessageType::Transaction as i32;
        system.orphaned_transaction_recovery_duration = Some(check_after.try_into().unwrap());
    })
}

fn delayed(id: &str, at: SystemTime) -> Message {
    with(message("t", id, id.to_owned()), |system| system.delivery_timestamp = Some(at.into()))
}

fn id_of(message: &Message) -> &str {
    &message.system_properties.as_ref().unwrap().message_id
}

async fn end(client: &Client, transaction: &str, resolution: TransactionResolution) -> Code {
    let request = client.request(EndTransactionRequest {
        topic: Some(resource("t")),
        message_id: "m".to_owned(),
        transaction_id: transaction.to_owned(),
        resolution: resolution as i32,
        ..EndTransactionRequest::default()
    });
    code(&client.grpc.clone().end_transaction(request).await.unwrap().into_inner().status)
}

/// Everything that comes until nothing does, acknowledged.
async fn drain(client: &Client) -> Vec<Message> {
    let mut got: Vec<Message> = Vec::new();
    loop {
        let wait = if got.is_empty() { LONG } else { Duration::from_secs(1) };
        let messages = client.receive(polling("g", "t", wait)).await.messages;
        if messages.is_empty() {
            return got;
        }
        let handles: Vec<_> = messages.iter().map(handle).collect();
        assert_eq!(code(&client.acknowledge("g", "t", &handles).await.status), Code::Ok);
        got.extend(messages);
    }
}

/// A producer's open stream.
struct Producer {
    _commands: mpsc::Sender<TelemetryCommand>,
    incoming: Streaming<TelemetryCommand>,
}

impl Producer {
    /// Opens a stream; `settings` tells whether it says what it publishes.
    async fn open(client: &Client, settings: bool) -> Self {
        let (commands, outgoing) = mpsc::channel(4);
        let mut request = client.request(ReceiverStream::new(outgoing));
        request.metadata_mut().remove("grpc-timeout");
        let mut incoming = client.grpc.clone().telemetry(request).await.unwrap().into_inner();
        if settings {
            let settings = Settings {
                client_type: Some(ClientType::Producer as i32),
                pub_sub: Some(settings::PubSub::Publishing(Publishing {
                    topics: vec![resource("t")],
                    ..Publishing::default()
                })),
                ..Settings::default()
            };
            let command = TelemetryCommand { command: Some(Telemetry::Settings(settings)), status: None };
            commands.send(command).await.unwrap();
            let answer = incoming.message().await.unwrap().unwrap();
            assert!(matches!(answer.command, Some(Telemetry::Settings(_))), "{answer:?}");
        }
        Self { _commands: commands, incoming }
    }

    async fn asked(&mut self) -> RecoverOrphanedTransactionCommand {
        let command = tokio::time::timeout(PATIENCE, self.incoming.message()).await.expect("asked in time");
        match command.unwrap().unwrap().command {
            Some(Telemetry::RecoverOrphanedTransactionCommand(recover)) => recover,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_is_asked_through_the_broker_that_has_it_and_may_answer_anywhere() {
    let (group, leader) = three(TopicKind::Transaction).await;
    let (one, other) = (client(&group, (leader + 1) % 3), client(&group, (leader + 2) % 3));
    let mut producer = Producer::open(&one.named("producer@1"), true).await;
    let sent = other.named("producer@2").send_ok(vec![half("asked", Duration::from_secs(1))]).await;
    let transaction = sent.entries[0].transaction_id.clone();
    let asked = producer.asked().await;
    assert_eq!(asked.transaction_id, transaction);
    let shown = asked.message.unwrap();
    assert_eq!(shown.topic, Some(resource("t")));
    assert_eq!(shown.body, "asked".as_bytes());
    let system = shown.system_properties.unwrap();
    assert_eq!(system.message_id, "asked");
    assert_eq!(system.message_type, MessageType::Transaction as i32);
    let digest = system.body_digest.unwrap();
    assert_eq!((digest.r#type(), digest.checksum.len()), (DigestType::Md5, 32));
    assert!(other.receive(polling("g", "t", SHORT)).await.messages.is_empty(), "asking decides nothing");
    assert_eq!(end(&client(&group, leader), &transaction, TransactionResolution::Commit).await, Code::Ok);
    let got = drain(&one).await;
    assert_eq!(got.iter().map(id_of).collect::<Vec<_>>(), ["asked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_settings_counts_once_its_client_sends_half_messages() {
    let (group, leader) = three(TopicKind::Transaction).await;
    let follower = client(&group, (leader + 1) % 3).named("python@1");
    let mut producer = Producer::open(&follower, false).await;
    let sent = follower.send_ok(vec![half("x", Duration::from_secs(1))]).await;
    assert_eq!(producer.asked().await.transaction_id, sent.entries[0].transaction_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_survive_the_leader_and_the_next_one_asks_about_those_left_open() {
    let (mut group, leader) = three(TopicKind::Transaction).await;
    let survivor = client(&group, (leader + 1) % 3);
    let wait = Duration::from_secs(2);
    let messages = ["late", "dropped", "open"].map(|id| half(id, wait));
    let sent = survivor.send_ok(messages.to_vec()).await;
    let ids: Vec<_> = sent.entries.iter().map(|entry| entry.transaction_id.clone()).collect();
    assert_eq!(end(&survivor, &ids[1], TransactionResolution::Rollback).await, Code::Ok);
    group.kill(leader);
    let mut producer = Producer::open(&survivor.named("producer@1"), true).await;
    assert_eq!(end(&survivor, &ids[0], TransactionResolution::Commit).await, Code::Ok);
    assert_eq!(end(&survivor, &ids[1], TransactionResolution::Rollback).await, Code::Ok, "as before");
    assert_eq!(end(&survivor, &ids[1], TransactionResolution::Commit).await, Code::PreconditionFailed);
    assert_eq!(producer.asked().await.transaction_id, ids[2]);
    assert_eq!(end(&survivor, &ids[2], TransactionResolution::Commit).await, Code::Ok);
    let got: BTreeSet<String> = drain(&survivor).await.iter().map(|m| id_of(m).to_owned()).collect();
    assert_eq!(got, BTreeSet::from(["late".to_owned(), "open".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_survive_the_leader_and_come_once_and_not_before_their_time() {
    let (mut group, leader) = three(TopicKind::Delay).await;
    let survivor = client(&group, (leader + 1) % 3);
    let at = SystemTime::now() + Duration::from_secs(6);
    let messages: Vec<_> = (0..10).map(|number| delayed(&format!("m{number}"), at)).collect();
    let sent = survivor.send_ok(messages).await;
    let recalled = RecallMessageRequest {
        topic: Some(resource("t")),
        recall_handle: sent.entries[9].recall_handle.clone(),
    };
    group.kill(leader);
    let answer = until("the recall is answered", async || {
        let request = survivor.request(recalled.clone());
        let answer = survivor.grpc.clone().recall_message(request).await.unwrap().into_inner();
        (code(&answer.status) != Code::ProxyTimeout).then_some(answer)
    })
    .await;
    assert_eq!((code(&answer.status), answer.message_id.as_str()), (Code::Ok, "m9"));
    let got = drain(&survivor).await;
    for message in &got {
        let released = message.system_properties.as_ref().unwrap().store_timestamp.unwrap();
        let released = SystemTime::try_from(released).unwrap();
        let late = released.duration_since(at - Duration::from_millis(1)).expect("never early");
        assert!(late < Duration::from_secs(3), "{late:?}");
    }
    let mut ids: Vec<_> = got.iter().map(|message| id_of(message).to_owned()).collect();
    ids.sort();
    assert_eq!(ids, (0..9).map(|number| format!("m{number}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_repeated_after_the_leader_was_killed_is_stored_once_and_answered_as_before() {
    let (mut group, leader) = three(TopicKind::Normal).await;
    let survivor = client(&group, (leader + 1) % 3);
    let messages: Vec<_> = (0..20).map(|number| message("t", &format!("m{number:02}"), "x")).collect();
    let mut first = Vec::new();
    for message in &messages {
        first.push(survivor.send_ok(vec![message.clone()]).await.entries[0].offset);
    }
    group.kill(leader);
    for (message, offset) in messages.iter().zip(first) {
        // As a client does whose call was cut off.
        let again = until("the send is answered", async || {
            let answer = survivor.send(vec![message.clone()]).await;
            (code(&answer.status) != Code::ProxyTimeout).then_some(answer)
        })
        .await;
        assert_eq!((code(&again.status), again.entries[0].offset), (Code::Ok, offset));
    }
    let got = drain(&survivor).await;
    let ids: BTreeSet<_> = got.iter().map(id_of).collect();
    assert_eq!((got.len(), ids.len()), (20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn message_groups_stay_in_order_when_the_leader_is_killed_under_their_head() {
    let (mut group, leader) = three(TopicKind::Fifo).await;
    let survivor = client(&group, (leader + 1) % 3);
    for number in 0..6 {
        let of_group = with(message("t", &format!("m{number}"), "x"), |system| {
            system.message_group = Some("orders-1".to_owned());
        });
        survivor.send_ok(vec![of_group]).await;
    }
    let one = ReceiveMessageRequest { batch_size: 1, ..polling("g", "t", LONG) };
    let head = survivor.receive(one.clone()).await.messages;
    assert_eq!(id_of(&head[0]), "m0");
    group.kill(leader);
    let empty = survivor.receive(polling("g", "t", Duration::from_secs(1))).await;
    assert!(empty.messages.is_empty(), "the new leader keeps back what waits for the head");
    let void = survivor.change("g", "t", handle(&head[0]), Duration::ZERO).await;
    assert_eq!(code(&void.status), Code::Ok, "a handle survives the leader");
    let mut got = Vec::new();
    while got.len() < 6 {
        let received = survivor.receive(one.clone()).await.messages;
        got.push(id_of(&received[0]).to_owned());
        survivor.acknowledge("g", "t", &[handle(&received[0])]).await;
    }
    assert_eq!(got, ["m0", "m1", "m2", "m3", "m4", "m5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_one_whichever_leader_made_it() {
    let (mut group, leader) = three(TopicKind::Normal).await;
    let survivor = client(&group, (leader + 1) % 3);
    survivor.send_ok(vec![message("t", "poison", "x")]).await;
    let got = survivor.receive(polling("g", "t", LONG)).await.messages;
    let bury = async || {
        let request = survivor.request(ForwardMessageToDeadLetterQueueRequest {
            group: Some(resource("g")),
            topic: Some(resource("t")),
            receipt_handle: handle(&got[0]).to_owned(),
            ..ForwardMessageToDeadLetterQueueRequest::default()
        });
        let answer = survivor.grpc.clone().forward_message_to_dead_letter_queue(request).await.unwrap();
        code(&answer.into_inner().status)
    };
    assert_eq!(bury().await, Code::Ok);
    group.kill(leader);
    assert_ne!(bury().await, Code::ProxyTimeout, "answered by the new leader");
    let letters = survivor.receive(polling("undertaker", "%DLQ%g", LONG)).await.messages;
    assert_eq!(letters.iter().map(id_of).collect::<Vec<_>>(), ["poison"]);
    assert!(survivor.receive(polling("undertaker", "%DLQ%g", SHORT)).await.messages.is_empty());
}
