//! Bad input over the wire: the protocol's code, a message that names the thing, and never a transport error.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, code, handle, message, polling, resource};
use mainstay_messaging::{Command, DeleteGroup, DeleteTopic, GroupName, Outcome, TopicName};
use mainstay_proto::rocketmq::*;
use tonic::Request;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(15);

fn with(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Message {
    let mut message = message("t", "id", "x");
    let mut system = message.system_properties.take().unwrap();
    change(&mut message, &mut system);
    message.system_properties = Some(system);
    message
}

async fn refused_send(client: &Client, message: Message) -> (Code, String) {
    let answer = client.send(vec![message]).await;
    assert_eq!(answer.entries.len(), 1, "{answer:?}");
    let status = answer.entries[0].status.clone().unwrap();
    assert_eq!(answer.status.unwrap().code, status.code);
    (status.code(), status.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_of_a_message_answers_with_its_code() {
    let server = server::start().await;
    let client = server.client();
    let stamp = prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 };
    let rows: Vec<(Message, Code, &str)> = vec![
        (with(|m, _| m.body = Bytes::new()), Code::MessageBodyEmpty, "body"),
        (with(|m, _| m.body = vec![0; 4_194_305].into()), Code::MessageBodyTooLarge, "body"),
        (with(|_, s| s.message_id = " ".into()), Code::IllegalMessageId, "message_id"),
        (with(|_, s| s.tag = Some("a|b".into())), Code::IllegalMessageTag, "tag"),
        (with(|_, s| s.keys = vec![String::new()]), Code::IllegalMessageKey, "key"),
        (
            with(|m, _| m.user_properties = (0..129).map(|i| (format!("p{i}"), "v".into())).collect()),
            Code::MessagePropertiesTooLarge,
            "129",
        ),
        (
            with(|m, _| drop(m.user_properties.insert("p".into(), "v".repeat(16_384)))),
            Code::MessagePropertiesTooLarge,
            "user_properties",
        ),
        (
            with(|m, _| drop(m.user_properties.insert("DELAY".into(), "3".into()))),
            Code::IllegalMessagePropertyKey,
            "DELAY",
        ),
        (with(|_, s| s.message_group = Some("g".repeat(64))), Code::IllegalMessageGroup, "message_group"),
        (with(|_, s| s.message_group = Some("g".into())), Code::MessagePropertyConflictWithType, "FIFO"),
        (with(|_, s| s.delivery_timestamp = Some(stamp)), Code::MessagePropertyConflictWithType, "DELAY"),
        (
            with(|_, s| s.message_type = MessageType::Transaction as i32),
            Code::MessagePropertyConflictWithType,
            "TRANSACTION",
        ),
        (with(|_, s| s.priority = Some(1)), Code::MessagePropertyConflictWithType, "PRIORITY"),
        (with(|_, s| s.lite_topic = Some("l".into())), Code::Unsupported, "lite_topic"),
        (with(|m, _| m.topic = Some(resource("no good"))), Code::IllegalTopic, "topic"),
        (with(|m, _| m.topic = Some(resource(&"t".repeat(128)))), Code::IllegalTopic, "topic"),
        (with(|m, _| m.topic = Some(resource("TBW102"))), Code::IllegalTopic, "TBW102"),
        (with(|m, _| m.topic = None), Code::IllegalTopic, "topic"),
    ];
    for (at, (message, expected, words)) in rows.into_iter().enumerate() {
        let (code, text) = refused_send(&client, message).await;
        assert_eq!(code, expected, "row {at}: {text}");
        assert!(text.contains(words), "row {at}: {text}");
    }
    client.send_ok(vec![with(|m, _| m.body = vec![0; 4_194_304].into())]).await;
    let received = client.receive(polling("g", "t", LONG)).await;
    assert_eq!(received.messages.len(), 1, "nothing that was refused was stored");
    assert_eq!(received.messages[0].body.len(), 4_194_304);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_of_a_receive_answers_with_its_code() {
    let server = server::start().await;
    let client = server.client();
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let with = |change: &dyn Fn(&mut ReceiveMessageRequest)| {
        let mut request = polling("g", "t", SHORT);
        change(&mut request);
        request
    };
    let sql = FilterExpression { r#type: FilterType::Sql as i32, expression: "a =".into() };
    let pipe = FilterExpression { r#type: FilterType::Tag as i32, expression: "a|b".into() };
    let rows = [
        (with(&|r| r.invisible_duration = duration(9)), Code::IllegalInvisibleTime, "invisible_duration"),
        (
            with(&|r| r.invisible_duration = duration(43_201)),
            Code::IllegalInvisibleTime,
            "invisible_duration",
        ),
        (with(&|r| r.long_polling_timeout = duration(-1)), Code::IllegalPollingTime, "long_polling_timeout"),
        (with(&|r| r.filter_expression = Some(sql.clone())), Code::IllegalFilterExpression, "SQL"),
        (
            with(&|r| r.filter_expression = Some(pipe.clone())),
            Code::IllegalFilterExpression,
            "filter_expression",
        ),
        (with(&|r| r.group = Some(resource("no good"))), Code::IllegalConsumerGroup, "consumer group"),
        (with(&|r| r.group = None), Code::IllegalConsumerGroup, "consumer group"),
        (with(&|r| r.message_queue = None), Code::IllegalTopic, "topic"),
        (with(&|_| {}), Code::MessageNotFound, "no message"),
    ];
    for (at, (request, expected, words)) in rows.into_iter().enumerate() {
        let received = client.receive(request).await;
        assert_eq!(received.status.code(), expected, "row {at}: {:?}", received.status);
        assert!(received.status.message.contains(words), "row {at}: {:?}", received.status);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_handle_is_an_invalid_one() {
    let server = server::start().await;
    let client = server.client();
    client.send_ok(vec![message("t", "m", "x")]).await;
    client.send_ok(vec![message("u", "m", "x")]).await;
    let foreign = client.receive(polling("g", "u", LONG)).await;
    let foreign = handle(&foreign.messages[0]);
    let damaged = foreign.replace(&foreign[10..11], if &foreign[10..11] == "A" { "B" } else { "A" });
    for bad in ["", "x", "ünïcode", foreign, &damaged, &"A".repeat(10_000)] {
        let answer = client.acknowledge("g", "t", &[bad]).await;
        assert_eq!(answer.entries.len(), 1, "{bad}");
        assert_eq!(code(&answer.entries[0].status), Code::InvalidReceiptHandle, "{bad}");
        assert_eq!(code(&answer.status), Code::InvalidReceiptHandle, "{bad}");
        assert_eq!(answer.entries[0].receipt_handle, bad);
        let change = client.change("g", "t", bad, Duration::from_secs(10)).await;
        assert_eq!(code(&change.status), Code::InvalidReceiptHandle, "{bad}");
        assert_eq!(change.receipt_handle, bad, "a failed change gives the handle back");
    }
    let late = client.change("g", "u", foreign, Duration::from_secs(43_201)).await;
    assert_eq!(code(&late.status), Code::IllegalInvisibleTime);
    assert_eq!(late.receipt_handle, foreign);
    assert_eq!(code(&client.acknowledge("g", "t", &[]).await.status), Code::BadRequest);
    let good = client.acknowledge("g", "u", &[foreign]).await;
    assert_eq!(code(&good.status), Code::Ok, "a foreign try does no harm");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_client_id_is_told_so() {
    let server = server::start().await;
    let mut grpc = server.client().grpc;
    let send = SendMessageRequest { messages: vec![message("t", "m", "x")] };
    let sent = grpc.send_message(Request::new(send)).await.unwrap().into_inner();
    assert_eq!(code(&sent.status), Code::ClientIdRequired);
    assert_eq!(sent.entries.len(), 1);
    let route = QueryRouteRequest { topic: Some(resource("t")), endpoints: None };
    let route = grpc.query_route(Request::new(route)).await.unwrap().into_inner();
    assert_eq!(code(&route.status), Code::ClientIdRequired);
    let acknowledge = AckMessageRequest { entries: vec![AckMessageEntry::default()], ..Default::default() };
    let acknowledged = grpc.ack_message(Request::new(acknowledge)).await.unwrap().into_inner();
    assert_eq!(code(&acknowledged.entries[0].status), Code::ClientIdRequired);
    let beat = HeartbeatRequest { group: None, client_type: ClientType::Producer as i32 };
    let beat = grpc.heartbeat(Request::new(beat)).await.unwrap().into_inner();
    assert_eq!(code(&beat.status), Code::Ok, "the first heartbeat of a recovering Go client has none");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_of_a_topic_or_consumer_group_that_is_gone_are_void_and_cost_no_record() {
    let servers = server::start_pair().await;
    let client = servers[0].client();
    servers[0].create_topic("t", 8).await;
    servers[0].create_topic("other", 8).await;
    let elsewhere = servers[1].client();
    let receive = async |client: &client::Client, topic: &str, id: &str| {
        client.send_ok(vec![message(topic, id, "x")]).await;
        let received = client.receive(polling("g", topic, LONG)).await;
        handle(&received.messages[0]).to_owned()
    };
    let of_topic = [receive(&client, "t", "1").await, receive(&elsewhere, "t", "2").await];
    let of_group = [receive(&client, "other", "3").await, receive(&elsewhere, "other", "4").await];
    let outcome =
        servers[0].propose(Command::DeleteTopic(DeleteTopic { name: TopicName::new("t").unwrap() })).await;
    assert_eq!(outcome, Outcome::TopicDeleted);
    until(async || servers.iter().all(|server| server.group().metadata().topic("t").is_none())).await;
    assert_void(&servers, "t", &of_topic).await;
    let name = GroupName::new("g").unwrap();
    let outcome =
        servers[0].propose(Command::DeleteGroup(DeleteGroup { name, with_dead_letters: false })).await;
    assert_eq!(outcome, Outcome::GroupDeleted);
    until(async || servers.iter().all(|server| server.group().metadata().group("g").is_none())).await;
    assert_void(&servers, "other", &of_group).await;
    let illegal = client.acknowledge("g", "a.b", &[&of_topic[0]]).await;
    assert_eq!(code(&illegal.status), Code::IllegalTopic, "a name that is none stays what it is");
    for server in servers {
        server.stop().await;
    }
}

async fn until(holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whichever broker is asked, about whichever broker group's handle, by acknowledgement or change.
async fn assert_void(servers: &[server::Server], topic: &str, handles: &[String]) {
    let applied = async || {
        let status = futures::future::join_all(servers.iter().map(|server| server.group().status())).await;
        status.into_iter().map(|status| status.unwrap().applied).collect::<Vec<_>>()
    };
    let before = applied().await;
    for server in servers {
        let client = server.client();
        for handle in handles {
            let acknowledged = client.acknowledge("g", topic, &[handle]).await;
            assert_eq!(code(&acknowledged.entries[0].status), Code::InvalidReceiptHandle, "{acknowledged:?}");
            let changed = client.change("g", topic, handle, Duration::from_secs(30)).await;
            assert_eq!(code(&changed.status), Code::InvalidReceiptHandle, "{changed:?}");
            let forward = ForwardMessageToDeadLetterQueueRequest {
                group: Some(resource("g")),
                topic: Some(resource(topic)),
                receipt_handle: handle.clone(),
                ..ForwardMessageToDeadLetterQueueRequest::default()
            };
            let forward = client.request(forward);
            let buried = client.grpc.clone().forward_message_to_dead_letter_queue(forward).await.unwrap();
            assert_eq!(code(&buried.into_inner().status), Code::InvalidReceiptHandle);
        }
    }
    assert_eq!(applied().await, before, "nothing went into a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_named_where_nothing_is_created_on_first_use() {
    let server = server::start_with(|config| {
        config.topics.auto_create = false;
        config.consumer_groups.auto_create = false;
    })
    .await;
    let client = server.client();
    let (code_of_send, text) = refused_send(&client, message("nowhere", "m", "x")).await;
    assert_eq!(code_of_send, Code::TopicNotFound);
    assert!(text.contains("'nowhere'"), "{text}");
    assert_eq!(code(&client.route("nowhere").await.status), Code::TopicNotFound);
    let received = client.receive(polling("g", "nowhere", SHORT)).await;
    assert_eq!(received.status.code(), Code::TopicNotFound);
    server.create_topic("t", 4).await;
    client.send_ok(vec![message("t", "m", "x")]).await;
    let received = client.receive(polling("nobody", "t", SHORT)).await;
    assert_eq!(received.status.code(), Code::ConsumerGroupNotFound);
    assert!(received.status.message.contains("'nobody'"), "{:?}", received.status);
    server.stop().await;
}
