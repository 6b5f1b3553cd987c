//! Any broker takes any call: it goes to the leader, is held while there is none, and is answered in time.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod support;

use std::time::{Duration, Instant};

use client::{Client, code, handle, ids, message, polling, resource};
use mainstay_proto::rocketmq::*;
use support::{Group, PATIENCE, Plan, create_topic, soon, until};
use tokio::sync::watch;

const LONG: Duration = Duration::from_secs(15);

fn client(group: &Group, node: usize) -> Client {
    Client::plain(group.nodes[node].addresses.unwrap().client.port())
}

/// Three replicas with the topic `t`, known everywhere; and the leader.
async fn three() -> (Group, usize) {
    let group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    group.handle(leader).propose(create_topic("t"), soon()).await.unwrap();
    for node in group.running() {
        let handle = group.handle(node);
        until("the topic is known", async || handle.metadata().topic("t").map(drop)).await;
    }
    (group, leader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_every_call_as_the_leader_would() {
    let (group, leader) = three().await;
    let followers: Vec<_> = group.running().into_iter().filter(|node| *node != leader).collect();
    let (one, other) = (client(&group, followers[0]), client(&group, followers[1]));
    assert_eq!(code(&one.route("t").await.status), Code::Ok);
    assert_eq!(code(&one.route("nowhere").await.status), Code::TopicNotFound);

    let sent = one.send(vec![message("t", "1", "a"), message("t", "2", ""), message("t", "3", "c")]).await;
    let codes: Vec<_> = sent.entries.iter().map(|entry| code(&entry.status)).collect();
    assert_eq!(codes, [Code::Ok, Code::MessageBodyEmpty, Code::Ok]);

    let mut received = Vec::new();
    while received.len() < 2 {
        received.extend(other.receive(polling("g", "t", LONG)).await.messages);
    }
    assert_eq!(ids(&received), ["1", "3"]);
    let changed = one.change("g", "t", handle(&received[0]), Duration::from_secs(0)).await;
    assert_eq!(code(&changed.status), Code::Ok);
    let acknowledged = other.acknowledge("g", "t", &["bad", handle(&received[1])]).await;
    let codes: Vec<_> = acknowledged.entries.iter().map(|entry| code(&entry.status)).collect();
    assert_eq!(codes, [Code::InvalidReceiptHandle, Code::Ok]);

    let again = client(&group, leader).receive(polling("g", "t", LONG)).await;
    assert_eq!(ids(&again.messages), ids(&received[..1]));
    assert_eq!(again.messages[0].system_properties.as_ref().unwrap().delivery_attempt, Some(2));
    let void = one.change("g", "t", handle(&received[0]), Duration::from_secs(1)).await;
    assert_eq!(code(&void.status), Code::InvalidReceiptHandle);
    assert_eq!(void.receipt_handle, handle(&received[0]));

    let sql = FilterExpression { r#type: FilterType::Sql as i32, expression: "a =".to_owned() };
    let refused = ReceiveMessageRequest { filter_expression: Some(sql), ..polling("g", "t", LONG) };
    assert_eq!(one.receive(refused).await.status.code(), Code::IllegalFilterExpression);
    let empty = one.receive(polling("g", "t", Duration::from_millis(50))).await;
    assert_eq!(empty.status.code(), Code::MessageNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_held_while_the_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let (mut group, leader) = three().await;
    let survivor = client(&group, (leader + 1) % 3);
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let id = format!("before-{number}");
        survivor.send_ok(vec![message("t", &id, "x")]).await;
        acknowledged.push(id);
    }
    group.kill(leader);
    let killed = Instant::now();
    // Its first try may have been on its way to the old leader, and say that it does not know.
    for number in 0.. {
        let id = format!("after-{number}");
        let answer = survivor.send(vec![message("t", &id, "x")]).await;
        match code(&answer.status) {
            Code::Ok => {
                acknowledged.push(id);
                break;
            }
            Code::ProxyTimeout => assert!(answer.status.unwrap().message.contains("outcome unknown")),
            other => panic!("{other:?}: {answer:?}"),
        }
        assert!(killed.elapsed() < PATIENCE);
    }
    println!("acknowledged again after {:?}", killed.elapsed());
    let mut found = Vec::new();
    while found.iter().filter(|id: &&String| acknowledged.contains(id)).count() < acknowledged.len() {
        let received = survivor.receive(polling("g", "t", LONG)).await;
        assert_eq!(received.status.code(), Code::Ok, "{} of {}", found.len(), acknowledged.len());
        found.extend(ids(&received.messages));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_every_call_is_answered_before_its_deadline() {
    let (mut group, leader) = three().await;
    let lonely = (leader + 1) % 3;
    let client = client(&group, lonely);
    client.send_ok(vec![message("t", "m", "x")]).await;
    let received = client.receive(polling("g", "t", LONG)).await;
    let held = handle(&received.messages[0]).to_owned();
    group.kill(leader);
    group.kill((leader + 2) % 3);
    let deadline = Duration::from_secs(2);

    let started = Instant::now();
    let mut send = client.request(SendMessageRequest { messages: vec![message("t", "n", "x")] });
    send.set_timeout(deadline);
    let sent = client.grpc.clone().send_message(send).await.expect("no transport error").into_inner();
    assert!(started.elapsed() < deadline, "{:?}", started.elapsed());
    assert_eq!(code(&sent.status), Code::ProxyTimeout, "{sent:?}");
    assert_eq!(sent.entries.len(), 1);

    let started = Instant::now();
    let mut acknowledge = client.request(AckMessageRequest {
        group: Some(resource("g")),
        topic: Some(resource("t")),
        entries: vec![AckMessageEntry { receipt_handle: held.clone(), ..AckMessageEntry::default() }],
    });
    acknowledge.set_timeout(deadline);
    let answer = client.grpc.clone().ack_message(acknowledge).await.expect("no transport error").into_inner();
    assert!(started.elapsed() < deadline, "{:?}", started.elapsed());
    assert_eq!(code(&answer.entries[0].status), Code::ProxyTimeout, "{answer:?}");

    let beat = client.request(HeartbeatRequest { group: None, client_type: ClientType::Producer as i32 });
    let started = Instant::now();
    let beat = client.grpc.clone().heartbeat(beat).await.unwrap().into_inner();
    assert_eq!(code(&beat.status), Code::Ok);
    assert!(started.elapsed() < Duration::from_secs(1), "heartbeats wait for nobody");
    assert_eq!(code(&client.route("t").await.status), Code::Ok, "routes are known without a leader");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polls_passed_on_keep_no_send_waiting() {
    const POLLS: u64 = 400;
    let (group, leader) = three().await;
    let follower = client(&group, (leader + 1) % 3);
    follower.receive(polling("g", "t", Duration::from_millis(10))).await;
    let polls: Vec<_> = (0..POLLS)
        .map(|_| {
            let follower = follower.clone();
            tokio::spawn(async move { follower.receive(polling("g", "t", LONG)).await })
        })
        .collect();
    let http = group.nodes[leader].addresses.unwrap().http;
    until("all polls wait at the leader", async || {
        (server::polls_waiting(http).await == POLLS).then_some(())
    })
    .await;
    let mut send = follower.request(SendMessageRequest { messages: vec![message("t", "m", "x")] });
    send.set_timeout(Duration::from_secs(3));
    let sent = follower.grpc.clone().send_message(send).await.unwrap().into_inner();
    assert_eq!(code(&sent.status), Code::Ok, "{sent:?}");
    for poll in polls {
        poll.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_hand_over_fails_no_send() {
    let (mut group, leader) = three().await;
    let follower = client(&group, (leader + 1) % 3);
    let (acknowledged, mut count) = watch::channel(0);
    // Until nobody counts any more.
    let sender = tokio::spawn(async move {
        for number in 1.. {
            follower.send_ok(vec![message("t", &format!("{number}"), "x")]).await;
            if acknowledged.send(number).is_err() {
                break;
            }
        }
    });
    let mut until_sent = async |more: u32| {
        let wanted = *count.borrow() + more;
        let sent = tokio::time::timeout(PATIENCE, count.wait_for(|sent| *sent >= wanted)).await;
        sent.expect("in time").expect("every send is acknowledged");
    };
    until_sent(50).await;
    group.stop(leader).await;
    until_sent(50).await;
    drop(count);
    tokio::time::timeout(PATIENCE, sender).await.expect("ends in time").expect("every send is acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_spread_over_broker_groups_and_each_broker_takes_calls_for_all() {
    let [first, second] = server::start_pair().await;
    let (one, two) = (first.client(), second.client());
    // Created through the broker that does not hold the metadata.
    let route = two.route("t").await;
    assert_eq!(code(&route.status), Code::Ok, "{route:?}");
    let brokers: Vec<_> =
        route.message_queues.iter().map(|queue| (queue.broker.clone().unwrap().name, queue.id)).collect();
    let expected = [("pair-0", 0), ("pair-0", 1), ("pair-1", 0), ("pair-1", 1)];
    assert_eq!(brokers, expected.map(|(name, id)| (name.to_owned(), id)));

    one.send_ok(vec![message("t", "at-0", "x")]).await;
    two.send_ok(vec![message("t", "at-1", "x")]).await;
    let from = |broker: &str| {
        let mut request = polling("g", "t", LONG);
        let broker = Broker { name: broker.to_owned(), ..Broker::default() };
        request.message_queue.as_mut().unwrap().broker = Some(broker);
        request
    };
    for (asked, broker, expected) in [(&two, "pair-0", "at-0"), (&one, "pair-1", "at-1")] {
        let received = asked.receive(from(broker)).await;
        assert_eq!(ids(&received.messages), [expected], "{:?}", received.status);
        let acknowledged = asked.acknowledge("g", "t", &[handle(&received.messages[0])]).await;
        assert_eq!(code(&acknowledged.status), Code::Ok, "{acknowledged:?}");
    }
    // One call with handles of both groups.
    one.send_ok(vec![message("t", "at-0-again", "y")]).await;
    two.send_ok(vec![message("t", "at-1-again", "y")]).await;
    let here = one.receive(from("pair-0")).await;
    let there = one.receive(from("pair-1")).await;
    let handles = [handle(&there.messages[0]), handle(&here.messages[0])];
    let both = one.acknowledge("g", "t", &handles).await;
    assert_eq!(code(&both.status), Code::Ok, "{both:?}");
    assert_eq!(both.entries[0].receipt_handle, handles[0]);
    assert_eq!(both.entries[1].receipt_handle, handles[1]);
    // A topic with queues in the first group only is still sent to through the second.
    first.create_topic("narrow", 1).await;
    two.send_ok(vec![message("narrow", "n", "x")]).await;
    first.stop().await;
    second.stop().await;
}
