//! What is sent arrives, once acknowledged stays away, and comes back otherwise.

#![allow(clippy::unwrap_used)]

mod client;
mod server;

use std::time::{Duration, Instant};

use client::{code, handle, ids, message, polling, resource, tagged};
use mainstay_proto::rocketmq::*;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_sent_and_stays_away_once_acknowledged() {
    let server = server::start().await;
    let client = server.client();
    let mut sent = message("orders", "0101", vec![7; 2000]);
    sent.user_properties.insert("colour".to_owned(), "blue".to_owned());
    let system = sent.system_properties.as_mut().unwrap();
    system.tag = Some("red".to_owned());
    system.keys = vec!["k1".to_owned(), "k2".to_owned()];
    let answer = client.send_ok(vec![sent.clone()]).await;
    assert_eq!(answer.entries.len(), 1);
    assert_eq!(answer.entries[0].message_id, "0101");

    let received = client.receive(polling("billing", "orders", LONG)).await;
    assert_eq!(received.status.code(), Code::Ok);
    let [got] = received.messages.as_slice() else { panic!("{:?}", received.messages) };
    assert_eq!(got.body, sent.body);
    assert_eq!(got.topic, Some(resource("orders")));
    assert_eq!(got.user_properties, sent.user_properties);
    let (was, is) = (sent.system_properties.unwrap(), got.system_properties.clone().unwrap());
    assert_eq!((&is.tag, &is.keys, &is.message_id), (&was.tag, &was.keys, &was.message_id));
    assert_eq!(is.delivery_attempt, Some(1));
    assert_eq!(is.body_encoding(), Encoding::Identity);
    assert_eq!(is.message_type(), MessageType::Normal);
    assert_eq!(is.born_host, "tester");
    assert!(is.born_timestamp.is_some() && is.store_timestamp.is_some() && !is.store_host.is_empty());
    assert!(is.queue_offset.is_some());
    let digest = is.body_digest.clone().unwrap();
    assert_eq!(digest.r#type(), DigestType::Md5);
    assert_eq!(digest.checksum, server::md5_upper_hex(&got.body));

    let acknowledged = client.acknowledge("billing", "orders", &[is.receipt_handle()]).await;
    assert_eq!(code(&acknowledged.status), Code::Ok);
    assert_eq!(acknowledged.entries.len(), 1);
    assert_eq!(acknowledged.entries[0].receipt_handle, is.receipt_handle());
    let empty = client.receive(polling("billing", "orders", SHORT)).await;
    assert_eq!(empty.status.code(), Code::MessageNotFound);
    assert!(empty.messages.is_empty());

    let other = client.receive(polling("audit", "orders", LONG)).await;
    assert_eq!(ids(&other.messages), ["0101"], "another group gets it as well");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_comes_back_after_its_invisible_time_and_its_old_handle_is_void() {
    let server = server::start().await;
    let client = server.client();
    client.send_ok(vec![message("t", "m", "x")]).await;
    let first = client.receive(polling("g", "t", LONG)).await;
    let old = handle(&first.messages[0]).to_owned();
    assert_eq!(client.receive(polling("g", "t", SHORT)).await.status.code(), Code::MessageNotFound);

    let changed = client.change("g", "t", &old, Duration::from_millis(300)).await;
    assert_eq!(code(&changed.status), Code::Ok);
    assert_ne!(changed.receipt_handle, old);
    let started = Instant::now();
    let second = client.receive(polling("g", "t", LONG)).await;
    let waited = started.elapsed();
    assert_eq!(ids(&second.messages), ["m"]);
    assert_eq!(second.messages[0].system_properties.as_ref().unwrap().delivery_attempt, Some(2));
    assert!(waited >= Duration::from_millis(100), "came back after {waited:?}, still invisible");
    assert!(waited < Duration::from_secs(5), "came back after {waited:?} only");

    for void in [&old, &changed.receipt_handle] {
        let refused = client.acknowledge("g", "t", &[void.as_str()]).await;
        assert_eq!(code(&refused.entries[0].status), Code::InvalidReceiptHandle);
        let unchanged = client.change("g", "t", void, Duration::from_secs(1)).await;
        assert_eq!(code(&unchanged.status), Code::InvalidReceiptHandle);
        assert_eq!(&unchanged.receipt_handle, void, "a failed change gives the handle back");
    }
    let fine = client.acknowledge("g", "t", &[handle(&second.messages[0])]).await;
    assert_eq!(code(&fine.status), Code::Ok);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_poll_is_woken_by_a_send() {
    let server = server::start().await;
    let client = server.client();
    // The topic and the group exist once this has come back.
    client.receive(polling("g", "t", SHORT)).await;
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let poll = tokio::spawn({
            let client = client.clone();
            async move { (client.receive(polling("g", "t", LONG)).await, Instant::now()) }
        });
        server.until_polls_wait(1).await;
        let sent = Instant::now();
        client.send_ok(vec![message("t", &format!("m{round}"), "x")]).await;
        let (received, at) = poll.await.unwrap();
        assert_eq!(ids(&received.messages), [format!("m{round}")]);
        slowest = slowest.max(at - sent);
        client.acknowledge("g", "t", &[handle(&received.messages[0])]).await;
    }
    println!("slowest wake-up, the send included: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_hangs_up_while_it_waits_takes_nothing_with_it() {
    let server = server::start().await;
    let client = server.client();
    client.receive(polling("g", "t", SHORT)).await;
    let poll = tokio::spawn({
        let client = client.clone();
        async move { client.receive(polling("g", "t", LONG)).await }
    });
    server.until_polls_wait(1).await;
    poll.abort();
    client.send_ok(vec![message("t", "m", "x")]).await;
    // Well before the 30 s that the other would have hidden it for.
    let received = client.receive(polling("g", "t", LONG)).await;
    assert_eq!(ids(&received.messages), ["m"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_select_and_what_does_not_match_is_passed_over() {
    let server = server::start().await;
    let client = server.client();
    for (id, tag) in [("1", "red"), ("2", "green"), ("3", "blue"), ("4", "red")] {
        client.send_ok(vec![tagged("t", id, tag)]).await;
    }
    client.send_ok(vec![message("t", "5", "untagged")]).await;
    let mut filtered = polling("g", "t", LONG);
    filtered.filter_expression.as_mut().unwrap().expression = "red || blue".to_owned();
    let mut found = Vec::new();
    while found.len() < 3 {
        let received = client.receive(filtered.clone()).await;
        assert_eq!(received.status.code(), Code::Ok, "{found:?}");
        found.extend(ids(&received.messages));
    }
    found.sort();
    assert_eq!(found, ["1", "3", "4"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_one_result_for_each_message_in_order() {
    let server = server::start().await;
    let client = server.client();
    let answer =
        client.send(vec![message("t", "1", "a"), message("t", "2", ""), message("t", "3", "c")]).await;
    assert_eq!(code(&answer.status), Code::MultipleResults);
    let results: Vec<_> =
        answer.entries.iter().map(|entry| (entry.message_id.as_str(), code(&entry.status))).collect();
    assert_eq!(results, [("1", Code::Ok), ("2", Code::MessageBodyEmpty), ("3", Code::Ok)]);
    let mut found = Vec::new();
    while found.len() < 2 {
        found.extend(ids(&client.receive(polling("g", "t", LONG)).await.messages));
    }
    found.sort();
    assert_eq!(found, ["1", "3"]);

    let mixed = client.send(vec![message("t", "4", "a"), message("u", "5", "a")]).await;
    assert_eq!(code(&mixed.status), Code::MessageCorrupted);
    assert_eq!(mixed.entries.len(), 2, "an entry for each message all the same");
    assert_eq!(code(&client.send(vec![]).await.status), Code::MessageCorrupted);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_brings_at_most_32_messages_and_acknowledges_each_by_itself() {
    let server = server::start().await;
    let client = server.client();
    client.send_ok((0..40).map(|n| message("t", &format!("{n:02}"), "x")).collect()).await;
    let mut request = polling("g", "t", LONG);
    request.batch_size = 1000;
    let received = client.receive(request).await;
    assert_eq!(received.messages.len(), 32);
    let mut handles: Vec<_> = received.messages.iter().map(handle).collect();
    handles.insert(1, "no handle");
    let answer = client.acknowledge("g", "t", &handles).await;
    assert_eq!(code(&answer.status), Code::MultipleResults);
    assert_eq!(answer.entries.len(), 33);
    for (at, entry) in answer.entries.iter().enumerate() {
        let expected = if at == 1 { Code::InvalidReceiptHandle } else { Code::Ok };
        assert_eq!(code(&entry.status), expected, "entry {at}");
        assert_eq!(entry.receipt_handle, handles[at]);
    }
    let rest = client.receive(polling("g", "t", LONG)).await;
    assert_eq!(rest.messages.len(), 8);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_gives_back_what_a_push_consumer_held_when_it_ends() {
    let server = server::start().await;
    let (leaving, staying) = (server.client().named("leaving"), server.client().named("staying"));
    staying.send_ok(vec![message("t", "m", "x")]).await;
    let mut pushed = polling("g", "t", LONG);
    pushed.auto_renew = true;
    pushed.invisible_duration = None;
    let held = leaving.receive(pushed).await;
    assert_eq!(ids(&held.messages), ["m"]);
    let invisible = held.messages[0].system_properties.as_ref().unwrap().invisible_duration.unwrap();
    assert_eq!(invisible.seconds, 60);
    let ended = leaving.request(NotifyClientTerminationRequest { group: Some(resource("g")) });
    let ended = leaving.grpc.clone().notify_client_termination(ended).await.unwrap().into_inner();
    assert_eq!(code(&ended.status), Code::Ok);
    let started = Instant::now();
    let received = staying.receive(polling("g", "t", LONG)).await;
    assert_eq!(ids(&received.messages), ["m"]);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    server.stop().await;
}
