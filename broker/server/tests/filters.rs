//! Receives whose messages the leader looked into, on several replicas: all of them come to the same, and none looks
//! again into what another leader has settled.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use mainstay_broker::group::GroupHandle;
use mainstay_messaging::sql::Expression;
use mainstay_messaging::{Ack, Command, Delivery, GroupName, Outcome, Publish, QueueProgress, TopicName};
use support::{Group, Plan, bodies_of, prepare_topic, publish, receive, soon, until};

/// Longer than any test waits.
const HIDDEN_MS: u64 = 600_000;

fn condition(text: &str) -> Arc<Expression> {
    Arc::new(Expression::parse(text).unwrap())
}

async fn send_numbers(handle: &GroupHandle, numbers: std::ops::Range<u32>) {
    let numbered = |n: u32| {
        let Command::Publish(publish) = publish("letters", &n.to_string()) else { unreachable!() };
        Command::Publish(Publish { properties: vec![("n".to_owned(), n.to_string())], ..publish })
    };
    let outcomes = handle.propose_many(numbers.map(numbered).collect(), soon()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Published { .. })));
}

async fn take(handle: &GroupHandle, text: &str, wait: Duration) -> Vec<Delivery> {
    let until = std::time::Instant::now() + wait;
    handle.receive_where(receive("letters", "readers", HIDDEN_MS), condition(text), until).await.unwrap()
}

async fn progress(handle: &GroupHandle) -> Vec<QueueProgress> {
    handle.query(|state| state.progress("readers", "letters")).await.unwrap().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_settles_the_same_and_a_new_leader_goes_on_from_there() {
    let mut group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    let handle = group.handle(leader);
    prepare_topic(&handle).await;
    send_numbers(&handle, 0..100).await;
    let first = take(&handle, "n >= 90", Duration::from_secs(15)).await;
    let bodies = bodies_of(&handle, &first).await;
    assert_eq!(bodies, (90..100).map(|n| n.to_string()).collect::<Vec<_>>());
    let there = progress(&handle).await;
    assert_eq!((there[0].next.0, there[0].in_flight), (100, 10));
    for index in group.running() {
        until("the replica has applied it", async || {
            (progress(&group.handle(index)).await == there).then_some(())
        })
        .await;
    }

    group.kill(leader);
    let leader = group.leader().await;
    let handle = group.handle(leader);
    let ack = |handle| {
        let (group, topic) = (GroupName::new("readers").unwrap(), TopicName::new("letters").unwrap());
        Command::Ack(Ack { group, topic, handles: vec![handle], by: String::new() })
    };
    for delivery in &first {
        let outcome = handle.propose(ack(delivery.handle), soon()).await.unwrap();
        assert_eq!(outcome, Outcome::Acked(vec![Ok(())]));
    }
    assert!(
        take(&handle, "TRUE", Duration::from_millis(100)).await.is_empty(),
        "what was refused is settled"
    );
    send_numbers(&handle, 100..110).await;
    let second = take(&handle, "n = 105", Duration::from_secs(15)).await;
    assert_eq!(bodies_of(&handle, &second).await, ["105"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_starts_again_has_settled_what_it_had() {
    let mut group = Group::start(Plan::single()).await;
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    send_numbers(&handle, 0..50).await;
    assert!(take(&handle, "FALSE", Duration::from_millis(300)).await.is_empty());
    let there = progress(&handle).await;
    assert!(there[0].next.0 > 0);
    group.kill(0);
    group.start_node(0).await;
    let handle = group.handle(group.leader().await);
    assert_eq!(progress(&handle).await, there);
    send_numbers(&handle, 50..51).await;
    assert_eq!(bodies_of(&handle, &take(&handle, "n = 50", Duration::from_secs(15)).await).await, ["50"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_poll_puts_nothing_into_the_log_while_nothing_comes() {
    let group = Group::start(Plan::single()).await;
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    send_numbers(&handle, 0..40).await;
    let poll = tokio::spawn({
        let handle = handle.clone();
        async move { take(&handle, "n = 1000", Duration::from_secs(15)).await }
    });
    let settled = async |end: u64| {
        until("all that is there was looked into", async || {
            (progress(&handle).await[0].next.0 == end).then_some(())
        })
        .await;
    };
    settled(40).await;
    let applied = group.status(0).await.applied;
    for _ in 0..50 {
        handle.query(|_| ()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(group.status(0).await.applied, applied, "it waits without a record");
    send_numbers(&handle, 999..1001).await;
    let found = poll.await.unwrap();
    assert_eq!(bodies_of(&handle, &found).await, ["1000"]);
    assert!(group.status(0).await.applied.0 <= applied.0 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_poll_is_given_up_no_message_stays_hidden_with_it() {
    let group = Group::start(Plan::single()).await;
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    for round in 0..8 {
        let receive = receive("letters", "readers", HIDDEN_MS);
        let mut given_up = Box::pin(handle.receive_where(receive, condition("TRUE"), soon()));
        assert!(futures::poll!(&mut given_up).is_pending());
        send_numbers(&handle, round..round + 1).await;
        // Given up at another point of the look and of the receive's way each time.
        for _ in 0..round {
            handle.query(|_| ()).await.unwrap();
        }
        drop(given_up);
        let found = take(&handle, "TRUE", Duration::from_secs(15)).await;
        assert_eq!(bodies_of(&handle, &found).await, [round.to_string()]);
    }
}
