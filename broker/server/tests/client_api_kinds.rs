//! Every kind of message through the client API of one broker: order, delay, recall, transactions, priorities, dead
//! letters.

#![allow(clippy::unwrap_used)]

mod client;
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
async fn a_message_group_comes_in_order_across_queues_and_redelivery() {
    let (server, client) = with_topic(TopicKind::Fifo, 8).await;
    for number in 0..30 {
        let group = ["red", "green", "blue"][number % 3];
        client.send_ok(vec![fifo("t", &format!("{group}-{:02}", number / 3), group)]).await;
    }
    // The group is made by its first receive, in the order of its topic.
    let mut got: Vec<String> = Vec::new();
    let mut failed = false;
    while got.len() < 30 {
        let request = ReceiveMessageRequest { batch_size: 4, ..polling("g", "t", LONG) };
        let received = client.receive(request).await;
        assert!(!received.messages.is_empty(), "stuck after {got:?}");
        let first = system(&received.messages[0]);
        if !failed && first.message_id == "green-03" {
            failed = true;
            let changed = client.change("g", "t", handle(&received.messages[0]), Duration::ZERO).await;
            assert_eq!(code(&changed.status), Code::Ok);
            for message in &received.messages[1..] {
                client.change("g", "t", handle(message), Duration::ZERO).await;
            }
            continue;
        }
        for message in &received.messages {
            assert_eq!(system(message).message_type, MessageType::Fifo as i32);
            got.push(system(message).message_id.clone());
            client.acknowledge("g", "t", &[handle(message)]).await;
        }
    }
    for group in ["red", "green", "blue"] {
        let of_group: Vec<_> = got.iter().filter(|id| id.starts_with(group)).cloned().collect();
        let expected: Vec<_> = (0..10).map(|number| format!("{group}-{number:02}")).collect();
        assert_eq!(of_group, expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_head_keeps_its_message_group_back_and_no_other() {
    let (server, client) = with_topic(TopicKind::Fifo, 1).await;
    for id in ["a1", "a2", "b1"] {
        client.send_ok(vec![fifo("t", id, &id[..1])]).await;
    }
    let one = || ReceiveMessageRequest { batch_size: 1, ..polling("g", "t", SHORT) };
    let first = client.receive(one()).await.messages;
    assert_eq!(in_order(&first), ["a1"]);
    let second = client.receive(one()).await.messages;
    assert_eq!(in_order(&second), ["b1"], "another message group of the same queue goes on");
    assert_eq!(client.receive(one()).await.status.code(), Code::MessageNotFound, "a2 waits for a1");
    assert_eq!(bury(&client, "g", "t", handle(&first[0])).await, Code::Ok);
    let third = client.receive(one()).await.messages;
    assert_eq!(in_order(&third), ["a2"], "a dead letter is settled");
    assert_eq!(system(&third[0]).message_group.as_deref(), Some("a"));
    assert_eq!(bury(&client, "g", "t", handle(&first[0])).await, Code::Ok, "again is fine");
    let letters = client.receive(polling("undertaker", "%DLQ%g", LONG)).await.messages;
    assert_eq!(in_order(&letters), ["a1"]);
    let origin = system(&letters[0]).dead_letter_queue.clone().unwrap();
    assert_eq!((origin.topic.as_str(), origin.message_id.as_str()), ("t", "a1"));
    assert_eq!(letters[0].body, "a1".as_bytes());
    assert_eq!(letters[0].topic, Some(resource("%DLQ%g")));
    server.stop().await;
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
async fn higher_priorities_come_first() {
    let (server, client) = with_topic(TopicKind::Priority, 3).await;
    for (id, priority) in [("low", 0), ("middle", 1), ("high", 2), ("highest", 99)] {
        let message = with(message("t", id, "x"), |system| system.priority = Some(priority));
        client.send_ok(vec![message]).await;
    }
    let got = client.receive(polling("g", "t", LONG)).await.messages;
    assert_eq!(in_order(&got), ["high", "highest", "middle", "low"]);
    assert_eq!(system(&got[1]).priority, Some(99));
    assert_eq!(system(&got[1]).message_type, MessageType::Priority as i32);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_is_repeated_gets_the_same_messages_again() {
    let (server, client) = with_topic(TopicKind::Fifo, 1).await;
    for id in ["a1", "a2", "b1"] {
        client.send_ok(vec![fifo("t", id, &id[..1])]).await;
    }
    let attempt = |id: &str| ReceiveMessageRequest {
        attempt_id: Some(id.to_owned()),
        batch_size: 1,
        ..polling("g", "t", LONG)
    };
    let first = client.receive(attempt("one")).await.messages;
    let again = client.receive(attempt("one")).await.messages;
    assert_eq!((in_order(&first), in_order(&again)), (vec!["a1"], vec!["a1"]));
    assert_eq!(system(&again[0]).delivery_attempt, Some(1), "it is the same delivery");
    let other = client.receive(attempt("two")).await.messages;
    assert_eq!(in_order(&other), ["b1"]);
    assert_eq!(code(&client.acknowledge("g", "t", &[handle(&again[0])]).await.status), Code::Ok);
    assert_eq!(
        in_order(&client.receive(attempt("one")).await.messages),
        ["a2"],
        "settled ones do not come again"
    );
    server.stop().await;
}

/// A receive from all queues of one of the two broker groups.
fn from(broker: &str, topic: &str, wait: Duration) -> ReceiveMessageRequest {
    let mut request = polling("g", topic, wait);
    let queue = request.message_queue.as_mut().unwrap();
    queue.broker = Some(Broker { name: broker.to_owned(), ..Broker::default() });
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_group_has_one_home_whichever_broker_group_is_called() {
    let servers = server::start_pair().await;
    servers[0].create_topic_of(TopicKind::Fifo, "t", 4).await;
    let clients = [servers[0].client(), servers[1].client()];
    let groups: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
    // One call for all message groups, through one broker, then through the other.
    for round in 0..4 {
        let message = |group: &String| fifo("t", &format!("{group}/{round}"), group);
        let sent = clients[round % 2].send_ok(groups.iter().map(message).collect()).await;
        let ids: Vec<_> = sent.entries.iter().map(|entry| entry.message_id.clone()).collect();
        let expected: Vec<_> = groups.iter().map(|group| format!("{group}/{round}")).collect();
        assert_eq!(ids, expected, "one result for each, in their order");
    }
    let mut homes = std::collections::BTreeMap::new();
    let mut got: Vec<String> = Vec::new();
    for broker in ["pair-0", "pair-1"] {
        loop {
            let wait = if got.is_empty() { LONG } else { SHORT };
            let messages = clients[0].receive(from(broker, "t", wait)).await.messages;
            if messages.is_empty() {
                break;
            }
            for message in &messages {
                let group = system(message).message_group.clone().unwrap();
                assert_eq!(*homes.entry(group).or_insert(broker), broker, "a message group has one home");
                got.push(system(message).message_id.clone());
                clients[1].acknowledge("g", "t", &[handle(message)]).await;
            }
        }
    }
    for group in &groups {
        let of_group: Vec<_> = got.iter().filter(|id| id.starts_with(&format!("{group}/"))).collect();
        assert_eq!(of_group.len(), 4, "{group}: {of_group:?}");
        assert!(of_group.is_sorted(), "{group}: {of_group:?}");
    }
    let used: std::collections::BTreeSet<_> = homes.values().collect();
    assert_eq!(used.len(), 2, "message groups are spread over the broker groups: {homes:?}");
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_recalls_find_the_broker_group_that_they_are_about() {
    let servers = server::start_pair().await;
    servers[0].create_topic_of(TopicKind::Transaction, "half", 4).await;
    servers[0].create_topic_of(TopicKind::Delay, "delay", 4).await;
    let clients = [servers[0].client(), servers[1].client()];
    for (here, there) in [(0, 1), (1, 0)] {
        let sent = clients[here].send_ok(vec![half("half", &format!("h{here}"))]).await;
        let transaction = sent.entries[0].transaction_id.clone();
        let ended = end(&clients[there], "half", &transaction, TransactionResolution::Commit).await;
        assert_eq!(ended.0, Code::Ok, "{}", ended.1);
        let at = SystemTime::now() + Duration::from_secs(600);
        let sent = clients[here].send_ok(vec![delayed("delay", &format!("d{here}"), at)]).await;
        let answer = recall(&clients[there], "delay", &sent.entries[0].recall_handle).await;
        assert_eq!((code(&answer.status), answer.message_id), (Code::Ok, format!("d{here}")));
        let broker = format!("pair-{here}");
        let got = clients[there].receive(from(&broker, "half", LONG)).await.messages;
        assert_eq!(in_order(&got), [format!("h{here}")]);
        assert_eq!(bury(&clients[there], "g", "half", handle(&got[0])).await, Code::Ok);
        let letters = clients[there].receive(from(&broker, "%DLQ%g", LONG)).await.messages;
        assert_eq!(in_order(&letters), [format!("h{here}")]);
    }
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_tell_a_consumer_how_its_group_is_served() {
    let (server, client) = with_topic(TopicKind::Fifo, 2).await;
    server.create_topic("plain", 2).await;
    for (topic, group, fifo) in [("t", "of-fifo", true), ("plain", "of-plain", false)] {
        let entry = SubscriptionEntry { topic: Some(resource(topic)), ..SubscriptionEntry::default() };
        let subscription = Subscription {
            group: Some(resource(group)),
            subscriptions: vec![entry],
            ..Subscription::default()
        };
        let settings = Settings {
            client_type: Some(ClientType::PushConsumer as i32),
            pub_sub: Some(settings::PubSub::Subscription(subscription)),
            ..Settings::default()
        };
        let (commands, outgoing) = tokio::sync::mpsc::channel(1);
        let request = client.request(tokio_stream::wrappers::ReceiverStream::new(outgoing));
        let mut incoming = client.grpc.clone().telemetry(request).await.unwrap().into_inner();
        let command = Some(telemetry_command::Command::Settings(settings));
        commands.send(TelemetryCommand { command, status: None }).await.unwrap();
        let answer = incoming.message().await.unwrap().unwrap();
        let Some(telemetry_command::Command::Settings(merged)) = answer.command else { panic!("{group}") };
        let Some(settings::PubSub::Subscription(subscription)) = merged.pub_sub else { panic!("{group}") };
        assert_eq!(subscription.fifo, Some(fifo), "before its first receive has made the group");
        assert_eq!(merged.backoff_policy.unwrap().max_attempts, 17);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_everything_and_take_nothing_away() {
    let server = server::start().await;
    server.create_topic("t", 1).await;
    let client = server.client();
    let before = prost_types::Timestamp::from(SystemTime::now());
    for number in 0..5 {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        client.send_ok(vec![client::tagged("t", &format!("m{number}"), tag)]).await;
    }
    let queue = MessageQueue { topic: Some(resource("t")), ..MessageQueue::default() };
    let pull = async |offset: i64, tags: &str, wait: Duration| {
        let request = client.request(PullMessageRequest {
            group: Some(resource("reader")),
            message_queue: Some(queue.clone()),
            offset,
            batch_size: 2,
            filter_expression: Some(FilterExpression {
                r#type: FilterType::Tag as i32,
                expression: tags.to_owned(),
            }),
            long_polling_timeout: Some(wait.try_into().unwrap()),
        });
        let mut stream = client.grpc.clone().pull_message(request).await.unwrap().into_inner();
        let (mut status, mut ids, mut next) = (None, Vec::new(), None);
        while let Some(part) = stream.message().await.unwrap() {
            match part.content.unwrap() {
                pull_message_response::Content::Status(told) => status = Some(told.code()),
                pull_message_response::Content::Message(message) => {
                    assert!(system(&message).body_digest.is_some());
                    ids.push(system(&message).message_id.clone());
                }
                pull_message_response::Content::NextOffset(offset) => next = Some(offset),
            }
        }
        (status.unwrap(), ids, next.unwrap())
    };
    let found =
        |ids: &[&str], next| (Code::Ok, ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(), next);
    assert_eq!(pull(0, "*", SHORT).await, found(&["m0", "m1"], 2));
    assert_eq!(pull(2, "*", SHORT).await, found(&["m2", "m3"], 4));
    assert_eq!(pull(0, "odd", SHORT).await, found(&["m1", "m3"], 4));
    assert_eq!(
        pull(4, "odd", SHORT).await,
        (Code::MessageNotFound, vec![], 5),
        "what is not wanted is passed"
    );
    let waiting = pull(5, "*", LONG);
    let sending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send_ok(vec![message("t", "m5", "x")]).await;
    };
    let (waited, ()) = tokio::join!(waiting, sending);
    assert_eq!(waited, found(&["m5"], 6));
    let offset = async |policy: QueryOffsetPolicy, timestamp| {
        let request = client.request(QueryOffsetRequest {
            message_queue: Some(queue.clone()),
            query_offset_policy: policy as i32,
            timestamp,
        });
        let answer = client.grpc.clone().query_offset(request).await.unwrap().into_inner();
        assert_eq!(code(&answer.status), Code::Ok);
        answer.offset
    };
    assert_eq!(offset(QueryOffsetPolicy::Beginning, None).await, 0);
    assert_eq!(offset(QueryOffsetPolicy::End, None).await, 6);
    assert_eq!(offset(QueryOffsetPolicy::Timestamp, Some(before)).await, 0);
    let update = client.request(UpdateOffsetRequest {
        group: Some(resource("reader")),
        message_queue: Some(queue.clone()),
        offset: 4,
    });
    assert_eq!(code(&client.grpc.clone().update_offset(update).await.unwrap().into_inner().status), Code::Ok);
    let get = client
        .request(GetOffsetRequest { group: Some(resource("reader")), message_queue: Some(queue.clone()) });
    assert_eq!(client.grpc.clone().get_offset(get).await.unwrap().into_inner().offset, 4);
    let rest = client.receive(polling("reader", "t", SHORT)).await.messages;
    assert_eq!(in_order(&rest), ["m4", "m5"], "the place that was set is the group's own");
    server.stop().await;
}
