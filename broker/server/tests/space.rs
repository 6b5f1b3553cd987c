//! A full disk: new messages are refused early and with a code of their own, everything else goes on, and once there is
//! space again it all goes on by itself.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod support;

use std::io::ErrorKind;
use std::time::Duration;

use client::{Client, code, handle, ids, message, polling};
use mainstay_broker::group::Role;
use mainstay_messaging::Outcome;
use mainstay_proto::control::StatusRequest;
use mainstay_proto::rocketmq::Code;
use mainstay_storage::Operation;
use support::{Group, Plan, create_topic, soon, until};

const LONG: Duration = Duration::from_secs(10);

/// Sends until one is refused; the ids of what was acknowledged, and the refusal.
async fn fill(client: &Client) -> (Vec<String>, String) {
    let body = vec![7; 100_000];
    let mut acknowledged = Vec::new();
    for number in 0..1000 {
        let id = format!("m-{number:03}");
        let answer = client.send(vec![message("t", &id, body.clone())]).await;
        match code(&answer.entries[0].status) {
            Code::Ok => acknowledged.push(id),
            Code::TooManyRequests => {
                return (acknowledged, answer.entries[0].status.clone().unwrap().message);
            }
            other => panic!("{other:?}: {answer:?}"),
        }
    }
    panic!("never refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_messages_and_nothing_else() {
    let group = Group::start(Plan::single()).await;
    group.leader().await;
    group.handle(0).propose(create_topic("t"), soon()).await.unwrap();
    let client = Client::plain(group.nodes[0].addresses.unwrap().client.port());
    client.send_ok(vec![message("t", "first", "x")]).await;
    let fs = group.nodes[0].fs.clone();
    for _ in 0..100_000 {
        fs.fail(Operation::Create, "spare", 0, ErrorKind::StorageFull);
    }
    let (mut acknowledged, told) = fill(&client).await;
    acknowledged.insert(0, "first".to_owned());
    assert!(told.contains("no space") && told.ends_with("nothing was stored"), "{told}");

    let status = group.control(0).await.status(StatusRequest {}).await.unwrap().into_inner();
    assert!(status.short_of_space && status.problem.is_empty(), "{status:?}");
    assert_eq!(group.view(0).role, Role::Leader);
    assert_eq!(server::gauge(group.nodes[0].addresses.unwrap().http, "mainstay_log_short_of_space").await, 1);

    let mut received = Vec::new();
    while received.len() < acknowledged.len() {
        let mut request = polling("g", "t", LONG);
        request.batch_size = 4;
        let answer = client.receive(request).await;
        assert_eq!(answer.status.code(), Code::Ok, "{} of {}", received.len(), acknowledged.len());
        for message in &answer.messages {
            let answer = client.acknowledge("g", "t", &[handle(message)]).await;
            assert_eq!(code(&answer.status), Code::Ok, "{answer:?}");
        }
        received.extend(ids(&answer.messages));
    }
    received.sort();
    assert_eq!(received, acknowledged);
    let outcome = group.handle(0).propose(create_topic("another"), soon()).await.unwrap();
    assert_eq!(outcome, Outcome::TopicCreated { created: true });
    let again = client.send(vec![message("t", "still", "x")]).await;
    assert_eq!(code(&again.status), Code::TooManyRequests);

    fs.heal();
    until("messages are taken again", async || {
        (code(&client.send(vec![message("t", "after", "x")]).await.status) == Code::Ok).then_some(())
    })
    .await;
    assert!(!group.view(0).short_of_space);
    let after = client.receive(polling("g", "t", LONG)).await;
    assert_eq!(ids(&after.messages), ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_that_nobody_receives_from_has_space_again_when_its_messages_are_old() {
    let storage = "snapshot_every = \"1GiB\"\nretention = {time = \"1s\"}";
    let group = Group::start(Plan { storage, ..Plan::single() }).await;
    group.leader().await;
    group.handle(0).propose(create_topic("t"), soon()).await.unwrap();
    let client = Client::plain(group.nodes[0].addresses.unwrap().client.port());
    client.send_ok(vec![message("t", "first", "x")]).await;
    let fs = group.nodes[0].fs.clone();
    fs.set_capacity(Some(fs.used() + (8 << 20)));
    let (acknowledged, _) = fill(&client).await;
    assert!(acknowledged.len() > 10, "{} fit on 8 MiB", acknowledged.len());
    assert!(group.view(0).short_of_space);
    until("old messages make room", async || {
        (code(&client.send(vec![message("t", "after", "x")]).await.status) == Code::Ok).then_some(())
    })
    .await;
}
