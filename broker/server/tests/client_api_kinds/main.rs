//! Every kind of message through the client API of one broker: order, delay, recall, transactions, priorities, dead
//! letters.

#![allow(clippy::unwrap_used)]

#[path = "../client/mod.rs"]
mod client;
mod groups;
mod order;
mod readers;
#[path = "../server/mod.rs"]
mod server;

use std::time::{Duration, Instant, SystemTime};

use client::{Client, code, handle, message, polling, resource};
use mainstay_messaging::TopicKind;
use mainstay_proto::rocketmq::*;
use server::Server;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(15);

fn with(mut message: Message, change: impl FnOnce(&mut SystemProperties)) -> Message {
    change(message.system_properties.as_mut().unwrap());
    message
}

fn fifo(topic: &str, id: &str, group: &str) -> Message {
    with(message(topic, id, id.to_owned()), |system| system.message_group = Some(group.to_owned()))
}

fn delayed(topic: &str, id: &str, at: SystemTime) -> Message {
    with(message(topic, id, id.to_owned()), |system| system.delivery_timestamp = Some(at.into()))
}

fn half(topic: &str, id: &str) -> Message {
    with(message(topic, id, id.to_owned()), |system| system.message_type = MessageType::Transaction as i32)
}

fn system(message: &Message) -> &SystemProperties {
    message.system_properties.as_ref().unwrap()
}

fn in_order(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| system(message).message_id.as_str()).collect()
}

async fn end(client: &Client, topic: &str, id: &str, resolution: TransactionResolution) -> (Code, String) {
    let request = client.request(EndTransactionRequest {
        topic: Some(resource(topic)),
        message_id: "m".to_owned(),
        transaction_id: id.to_owned(),
        resolution: resolution as i32,
        ..EndTransactionRequest::default()
    });
    let status = client.grpc.clone().end_transaction(request).await.unwrap().into_inner().status.unwrap();
    (status.code(), status.message)
}

async fn recall(client: &Client, topic: &str, handle: &str) -> RecallMessageResponse {
    let request = client
        .request(RecallMessageRequest { topic: Some(resource(topic)), recall_handle: handle.to_owned() });
    client.grpc.clone().recall_message(request).await.unwrap().into_inner()
}

async fn bury(client: &Client, group: &str, topic: &str, handle: &str) -> Code {
    let request = client.request(ForwardMessageToDeadLetterQueueRequest {
        group: Some(resource(group)),
        topic: Some(resource(topic)),
        receipt_handle: handle.to_owned(),
        message_id: "m".to_owned(),
        delivery_attempt: 1,
        max_delivery_attempts: 1,
        ..ForwardMessageToDeadLetterQueueRequest::default()
    });
    code(
        &client.grpc.clone().forward_message_to_dead_letter_queue(request).await.unwrap().into_inner().status,
    )
}

async fn with_topic(kind: TopicKind, queues: u32) -> (Server, Client) {
    let server = server::start().await;
    server.create_topic_of(kind, "t", queues).await;
    let client = server.client();
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_comes_at_its_time_and_never_before() {
    let (server, client) = with_topic(TopicKind::Delay, 4).await;
    let mut due = Vec::new();
    for number in 0..20u64 {
        let at = SystemTime::now() + Duration::from_millis(700 + 40 * number);
        let sent = client.send_ok(vec![delayed("t", &format!("m{number:02}"), at)]).await;
        assert!(!sent.entries[0].recall_handle.is_empty());
        due.push(at);
    }
    let past = SystemTime::now() - Duration::from_secs(60);
    let at_once = client.send_ok(vec![delayed("t", "past", past)]).await;
    assert!(at_once.entries[0].recall_handle.is_empty(), "nothing to recall");
    let mut lateness = Vec::new();
    let mut got = Vec::new();
    while got.len() < 21 {
        let received = client.receive(polling("g", "t", LONG)).await.messages;
        let now = SystemTime::now();
        for message in &received {
            let id = system(message).message_id.clone();
            if let Ok(number) = id[1..].parse::<usize>() {
                let late = now.duration_since(due[number]);
                lateness.push(late.unwrap_or_else(|early| panic!("{id} came {:?} early", early.duration())));
            }
            assert_eq!(system(message).message_type, MessageType::Delay as i32);
            got.push(id);
            client.acknowledge("g", "t", &[handle(message)]).await;
        }
    }
    assert_eq!(got[0], "past");
    lateness.sort();
    println!("lateness of 20 messages: median {:?}, longest {:?}", lateness[10], lateness[19]);
    assert!(lateness[19] < Duration::from_secs(2), "{lateness:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recalled_message_never_comes_and_can_be_recalled_once() {
    let (server, client) = with_topic(TopicKind::Delay, 2).await;
    let at = SystemTime::now() + Duration::from_millis(900);
    let recalled = client.send_ok(vec![delayed("t", "gone", at)]).await.entries[0].recall_handle.clone();
    client.send_ok(vec![delayed("t", "stays", at)]).await;
    let answer = recall(&client, "t", &recalled).await;
    assert_eq!((code(&answer.status), answer.message_id.as_str()), (Code::Ok, "gone"));
    assert_eq!(code(&recall(&client, "t", &recalled).await.status), Code::PreconditionFailed);
    let mut got = client.receive(polling("g", "t", LONG)).await.messages;
    got.extend(client.receive(polling("g", "t", SHORT)).await.messages);
    assert_eq!(in_order(&got), ["stays"]);
    server.create_topic_of(TopicKind::Delay, "other", 1).await;
    for (topic, bad) in [("t", ""), ("t", "x"), ("other", recalled.as_str())] {
        let refused = recall(&client, topic, bad).await.status.unwrap();
        assert_eq!(refused.code(), Code::BadRequest, "{refused:?}");
        assert!(refused.message.contains("recall_handle"), "{refused:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_message_comes_when_it_is_committed_and_decisions_hold() {
    use TransactionResolution::{Commit, Rollback, Unspecified};
    let (server, client) = with_topic(TopicKind::Transaction, 4).await;
    let mut transactions = Vec::new();
    for id in ["kept", "dropped", "open"] {
        let sent = client.send_ok(vec![half("t", id)]).await;
        transactions.push(sent.entries[0].transaction_id.clone());
    }
    assert!(transactions.iter().all(|id| !id.is_empty()));
    assert_eq!(client.receive(polling("g", "t", SHORT)).await.status.code(), Code::MessageNotFound);
    let end = async |at: usize, resolution| end(&client, "t", &transactions[at], resolution).await;
    assert_eq!(end(2, Unspecified).await.0, Code::Ok, "the producer does not know yet");
    for _ in 0..2 {
        assert_eq!(end(0, Commit).await.0, Code::Ok, "the same decision again is fine");
        assert_eq!(end(1, Rollback).await.0, Code::Ok);
    }
    for (at, contrary) in [(0, Rollback), (1, Commit)] {
        let (code, text) = end(at, contrary).await;
        assert_eq!(code, Code::PreconditionFailed);
        assert!(text.contains("transaction_id"), "{text}");
    }
    let got = client.receive(polling("g", "t", LONG)).await.messages;
    assert_eq!(in_order(&got), ["kept"]);
    assert_eq!(system(&got[0]).message_type, MessageType::Transaction as i32);
    assert_eq!(got[0].body, "kept".as_bytes());
    assert_eq!(client.receive(polling("g", "t", SHORT)).await.status.code(), Code::MessageNotFound);
    for bad in ["", " ", "x", &transactions[0][1..]] {
        let (code, text) = self::end(&client, "t", bad, Commit).await;
        assert_eq!(code, Code::InvalidTransactionId, "{bad}");
        assert!(text.contains("transaction_id"), "{text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_has_the_answer_of_the_first_and_is_stored_once() {
    let server = server::start().await;
    server.create_topic_of(TopicKind::Mixed, "t", 4).await;
    let client = server.client();
    let at = SystemTime::now() + Duration::from_secs(3600);
    for message in [message("t", "n", "x"), fifo("t", "f", "g"), delayed("t", "d", at), half("t", "h")] {
        let first = client.send_ok(vec![message.clone()]).await;
        let again = client.send_ok(vec![message]).await;
        assert_eq!(first, again);
    }
    let got = client.receive(polling("g", "t", SHORT)).await.messages;
    let mut ids = in_order(&got);
    ids.sort_unstable();
    assert_eq!(ids, ["f", "n"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_last_attempt_a_message_is_a_dead_letter_exactly_once() {
    let server = server::start_with(|config| config.consumer_groups.max_attempts = 3).await;
    let client = server.client();
    client.send_ok(vec![message("t", "poison", "x")]).await;
    for attempt in 1..=3 {
        let got = client.receive(polling("g", "t", LONG)).await.messages;
        assert_eq!(system(&got[0]).delivery_attempt, Some(attempt));
        client.change("g", "t", handle(&got[0]), Duration::ZERO).await;
    }
    assert_eq!(client.receive(polling("g", "t", SHORT)).await.status.code(), Code::MessageNotFound);
    let letters = client.receive(polling("undertaker", "%DLQ%g", LONG)).await.messages;
    assert_eq!(in_order(&letters), ["poison"]);
    let origin = system(&letters[0]).dead_letter_queue.clone().unwrap();
    assert_eq!((origin.topic.as_str(), origin.message_id.as_str()), ("t", "poison"));
    client.acknowledge("undertaker", "%DLQ%g", &[handle(&letters[0])]).await;
    let more = client.receive(polling("undertaker", "%DLQ%g", SHORT)).await;
    assert_eq!(more.status.code(), Code::MessageNotFound, "once and no more");
    let sent = client.send(vec![message("%DLQ%g", "forged", "x")]).await;
    assert_eq!(code(&sent.status), Code::IllegalTopic, "clients do not publish dead letters");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_fall_due_in_time_beside_many_that_do_not() {
    let (server, client) = with_topic(TopicKind::Delay, 4).await;
    let far = SystemTime::now() + Duration::from_secs(3600);
    for part in 0..10 {
        client.send_ok((0..1024).map(|n| delayed("t", &format!("far-{part}-{n}"), far)).collect()).await;
    }
    let first = SystemTime::now() + Duration::from_millis(1500);
    let due = |number: u64| first + Duration::from_millis(number);
    for part in 0..2 {
        let numbers = part * 1024..(part + 1) * 1024;
        client.send_ok(numbers.map(|n| delayed("t", &n.to_string(), due(n))).collect()).await;
    }
    let started = Instant::now();
    let mut lateness = Vec::new();
    while lateness.len() < 2048 {
        let received = client.receive(polling("g", "t", LONG)).await.messages;
        assert!(!received.is_empty() && started.elapsed() < Duration::from_secs(60), "{}", lateness.len());
        for message in &received {
            let at = SystemTime::try_from(system(message).store_timestamp.unwrap()).unwrap();
            let due = due(system(message).message_id.parse().unwrap());
            // Stamps are whole milliseconds.
            lateness.push((at + Duration::from_millis(1)).duration_since(due).expect("never early"));
        }
        let handles: Vec<_> = received.iter().map(handle).collect();
        client.acknowledge("g", "t", &handles).await;
    }
    lateness.sort();
    let p99 = lateness[lateness.len() * 99 / 100];
    println!(
        "2048 messages, one each millisecond, beside 10240 of later: p50 {:?}, p99 {p99:?}",
        lateness[1024]
    );
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    server.stop().await;
}
