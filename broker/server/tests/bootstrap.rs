//! How a group comes into being, and who stays out.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use mainstay_broker::group::Role;
use mainstay_proto::control::StatusRequest;
use mainstay_storage::MemFileSystem;
use support::{Group, Plan, SECRET, bodies, control, prepare_topic, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_begins_when_all_members_have_met() {
    let mut group = Group::prepare(Plan::raft()).await;
    group.start_node(0).await;
    group.start_node(1).await;
    until("it tells whom it waits for", async || {
        let view = group.view(0);
        let waits = view.role == Role::Bootstrapping && view.problem.ends_with("missing: node-2");
        waits.then_some(())
    })
    .await;
    let status = group.control(0).await.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.role(), mainstay_proto::control::Role::Bootstrapping);
    group.start_node(2).await;
    group.leader().await;
    let members = group.status(0).await.consensus.unwrap().membership;
    for index in 0..3 {
        assert!(members.contains(group.view(index).node));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_volume_was_replaced_waits_to_be_taken_in_and_says_so() {
    let mut group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    prepare_topic(&group.handle(leader)).await;
    send(&group.handle(leader), "kept").await;
    let lost = (leader + 1) % 3;
    group.kill(lost);
    group.nodes[lost].fs = MemFileSystem::new(99);
    group.start_node(lost).await;
    until("it waits", async || {
        let view = group.view(lost);
        (view.role == Role::Learner && view.problem.contains("not a member")).then_some(())
    })
    .await;
    send(&group.handle(group.leader().await), "more").await;
    assert_eq!(bodies(&group.handle(group.leader().await)).await, ["kept", "more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_port_refuses_who_does_not_know_the_secret() {
    let group = Group::start(Plan::single()).await;
    group.leader().await;
    let address = group.nodes[0].addresses.unwrap().internal;
    for wrong in [None, Some(""), Some("a-test-secre"), Some("a-test-secret2")] {
        let refused = control(address, wrong).await.status(StatusRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{wrong:?}");
    }
    let status = control(address, Some(SECRET)).await.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.cluster.as_str(), status.member.as_str(), status.serving), ("test", "node-0", true));
    assert!(status.writable && status.write_quorum == 1 && status.problem.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_whether_a_call_can_be_answered() {
    let mut group = Group::start(Plan::raft()).await;
    group.leader().await;
    for index in 0..3 {
        until("every broker is ready", async || {
            (probe(&group, index, "/readyz").await.0 == 200).then_some(())
        })
        .await;
        assert_eq!(probe(&group, index, "/livez").await.0, 200);
    }
    let leader = group.leader().await;
    let (code, text) = probe(&group, leader, "/metrics").await;
    assert_eq!(code, 200);
    for name in [
        "mainstay_group_leader 1",
        "mainstay_log_syncs_total",
        "mainstay_group_follower_lag_batches{node=",
        "mainstay_client_connections 0",
        "mainstay_replica_connections 2",
    ] {
        assert!(text.contains(name), "{name} in\n{text}");
    }
    for index in 0..3 {
        if index != leader {
            group.kill(index);
        }
    }
    until("alone it is not ready", async || (probe(&group, leader, "/readyz").await.0 == 503).then_some(()))
        .await;
    assert_eq!(probe(&group, leader, "/livez").await.0, 200);
}

/// Code and text of a plain HTTP request.
async fn probe(group: &Group, index: usize, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = group.nodes[index].addresses.unwrap().http;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut text));
    read.await.unwrap().unwrap();
    (text[9..12].parse().unwrap(), text)
}
