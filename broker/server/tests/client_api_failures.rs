//! What a client is told when a message cannot be stored as it should: a late disk, late replicas, too few of them, a lost
//! leader. Each has its own code, comes in time, and says whether the message may have been stored.

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, code, ids, message, polling};
use mainstay_broker::group::Role;
use mainstay_proto::rocketmq::*;
use support::{Group, PATIENCE, Plan, Stall, StallingFileSystem, create_topic, soon, until};

const LONG: Duration = Duration::from_secs(15);
/// The timeouts of these groups are 300 ms; the machine may be busy.
const IN_TIME: Duration = Duration::from_secs(3);

fn client(group: &Group, node: usize) -> Client {
    Client::plain(group.nodes[node].addresses.unwrap().client.port())
}

/// Sends one message and expects to be told `expected` in time; the sentence.
async fn refused(client: &Client, id: &str, expected: Code) -> String {
    let start = Instant::now();
    let answer = client.send(vec![message("t", id, "x")]).await;
    let (took, entry) = (start.elapsed(), &answer.entries[0]);
    assert_eq!((code(&answer.status), code(&entry.status)), (expected, expected), "{answer:?}");
    assert!(took < IN_TIME, "told after {took:?}");
    entry.status.clone().unwrap().message
}

async fn create(group: &Group, leader: usize) {
    group.handle(leader).propose(create_topic("t"), soon()).await.unwrap();
    for node in group.running() {
        let handle = group.handle(node);
        until("the topic is known", async || handle.metadata().topic("t").map(drop)).await;
    }
}

/// Receives until `expected` messages are there; their ids.
async fn drain(client: &Client, expected: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < expected {
        let received = client.receive(polling("g", "t", LONG)).await;
        assert_eq!(received.status.code(), Code::Ok, "{found:?}");
        found.extend(ids(&received.messages));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_disk() {
    let stall = Stall::default();
    let plan = Plan { flush: "type = \"sync\"\ntimeout = \"300ms\"", ..Plan::single() };
    let mut group = Group::prepare(plan).await;
    let fs = StallingFileSystem::new(group.nodes[0].fs.clone(), &stall);
    group.start_node_on(0, Arc::new(fs)).await.unwrap();
    group.leader().await;
    create(&group, 0).await;
    let client = client(&group, 0);
    stall.set(true);
    let told = refused(&client, "late", Code::MasterPersistenceTimeout).await;
    assert!(told.contains("disk") && told.ends_with("outcome unknown"), "{told}");
    stall.set(false);
    client.send_ok(vec![message("t", "in-time", "x")]).await;
    assert_eq!(drain(&client, 2).await, ["in-time", "late"], "late, not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_replicas() {
    let stall = Stall::default();
    let plan = Plan {
        replication: "mode = \"sync\"\nmin_in_sync = 2\nack_timeout = \"300ms\"",
        members: 2,
        ..Plan::raft()
    };
    let mut group = Group::prepare(plan).await;
    group.start_node(0).await;
    let fs = StallingFileSystem::new(group.nodes[1].fs.clone(), &stall);
    group.start_node_on(1, Arc::new(fs)).await.unwrap();
    lead(&group, 0).await;
    create(&group, 0).await;
    stall.set(true);
    for (node, id) in [(0, "at-leader"), (1, "at-follower")] {
        let told = refused(&client(&group, node), id, Code::SlavePersistenceTimeout).await;
        assert!(told.contains("replicas") && told.ends_with("outcome unknown"), "{told}");
    }
    stall.set(false);
    assert_eq!(drain(&client(&group, 1), 2).await, ["at-follower", "at-leader"], "late, not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_replicas() {
    let plan = Plan {
        replication: "mode = \"sync\"\nmin_in_sync = 2\nack_timeout = \"300ms\"",
        members: 2,
        ..Plan::raft()
    };
    let mut group = Group::start(plan).await;
    lead(&group, 0).await;
    create(&group, 0).await;
    let client = client(&group, 0);
    client.send_ok(vec![message("t", "before", "x")]).await;
    group.kill(1);
    until("the loss is noticed", async || (!group.view(0).writable).then_some(())).await;
    let last = group.status(0).await.consensus.unwrap().last;
    for number in 0..5 {
        let told = refused(&client, &format!("refused-{number}"), Code::HaNotAvailable).await;
        assert!(told.contains("too few replicas") && told.ends_with("nothing was stored"), "{told}");
    }
    assert_eq!(group.status(0).await.consensus.unwrap().last, last, "nothing was put into the log");
    assert_eq!(code(&client.route("t").await.status), Code::Ok, "what needs no quorum goes on");
    group.start_node(1).await;
    let back = Instant::now();
    until("writes go on by themselves", async || {
        let answer = client.send(vec![message("t", "after", "x")]).await;
        (code(&answer.status) == Code::Ok).then_some(())
    })
    .await;
    println!("acknowledged again {:?} after the replica came back", back.elapsed());
    assert_eq!(drain(&client, 2).await, ["after", "before"], "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_lost_while_a_message_is_on_its_way() {
    let plan = Plan {
        replication: "mode = \"sync\"\nmin_in_sync = 2\nack_timeout = \"1500ms\"",
        members: 2,
        ..Plan::raft()
    };
    let group = Group::start(plan).await;
    lead(&group, 0).await;
    create(&group, 0).await;
    group.network.isolate(1).await;
    // The leader has not noticed yet, so that this comes into its log.
    let told = refused(&client(&group, 0), "unknown", Code::HaNotAvailable).await;
    assert!(told.contains("too few replicas") && told.ends_with("outcome unknown"), "{told}");
    group.network.heal(1);
    assert_eq!(drain(&client(&group, 0), 1).await, ["unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_loses_its_place() {
    let plan = Plan { replication: "mode = \"raft\"\nack_timeout = \"20s\"", ..Plan::raft() };
    let group = Group::start(plan).await;
    let leader = group.leader().await;
    create(&group, leader).await;
    group.network.isolate(leader).await;
    let told = refused(&client(&group, leader), "unknown", Code::ProxyTimeout).await;
    assert!(told.contains("leadership was lost") && told.ends_with("outcome unknown"), "{told}");
}

/// Has `node` lead a group whose elections the operator calls.
async fn lead(group: &Group, node: usize) {
    let deadline = Instant::now() + PATIENCE;
    until("all have met", async || {
        group.running().into_iter().all(|node| group.view(node).role == Role::Follower).then_some(())
    })
    .await;
    for epoch in 1.. {
        let handle = group.handle(node);
        let expires = handle.clock_now().plus(Duration::from_secs(2));
        let _ = handle.campaign(epoch, expires).await;
        let mut view = handle.watch();
        let leads = view.wait_for(|view| view.is_leader() && view.serving);
        if tokio::time::timeout(Duration::from_secs(2), leads).await.is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "node {node} does not lead: {:?}", group.view(node));
    }
}
