//! Long polls that are given up: what they were about to get goes to somebody else soon.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use mainstay_broker::group::{ProposeError, ReceiveError};
use mainstay_messaging::{
    Command, CreateGroup, DeliveryOrder, GroupName, Receive, RetryPolicy, StartPosition,
};
use support::{
    Group, PATIENCE, Plan, Stall, StallingFileSystem, bodies_of, prepare_topic, receive, send, soon, until,
};

/// Longer than any test waits.
const HIDDEN_MS: u64 = 600_000;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_arrived_when_nobody_waited_any_more_are_made_again() {
    let group = Group::start(Plan::single()).await;
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    let mut given_up = Box::pin(handle.receive(receive("letters", "readers", HIDDEN_MS), soon()));
    assert!(futures::poll!(&mut given_up).is_pending());
    send(&handle, "x").await;
    until("the message is in flight", async || {
        let progress = handle.query(|state| state.progress("readers", "letters")).await.unwrap()?;
        progress.iter().any(|queue| queue.in_flight == 1).then_some(())
    })
    .await;
    drop(given_up);
    let deliveries = handle.receive(receive("letters", "readers", HIDDEN_MS), soon()).await.unwrap();
    assert_eq!(bodies_of(&handle, &deliveries).await, ["x"]);
    assert_eq!(deliveries[0].attempt, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_given_up_while_its_deliveries_are_on_the_way_to_the_disk_takes_none_with_it() {
    let stall = Stall::default();
    let mut group = Group::prepare(Plan::single()).await;
    let fs = StallingFileSystem::new(group.nodes[0].fs.clone(), &stall);
    group.start_node_on(0, Arc::new(fs)).await.unwrap();
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    send(&handle, "x").await;
    stall.set(true);
    let mut given_up = Box::pin(handle.receive(receive("letters", "readers", HIDDEN_MS), soon()));
    assert!(futures::poll!(&mut given_up).is_pending());
    // What came before the first of these was taken up in the same turn, and that turn ends before the second.
    for _ in 0..2 {
        handle.query(|_| ()).await.unwrap();
    }
    drop(given_up);
    stall.set(false);
    let deliveries = handle.receive(receive("letters", "readers", HIDDEN_MS), soon()).await.unwrap();
    assert_eq!(bodies_of(&handle, &deliveries).await, ["x"]);
    assert_eq!(deliveries[0].attempt, 2, "it was delivered to the poll that was given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_poll_is_given_up_no_message_stays_hidden_with_it() {
    const MESSAGES: usize = 60;
    let group = Group::start(Plan::single()).await;
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    let name = GroupName::new("patient").unwrap();
    let patient = CreateGroup {
        name,
        start: StartPosition::Earliest,
        order: DeliveryOrder::Concurrent,
        max_attempts: 1000,
        retry: RetryPolicy::default(),
    };
    handle.propose(Command::CreateGroup(patient), soon()).await.unwrap();
    let mut left = MESSAGES;
    for number in 0..MESSAGES {
        let mut given_up = Box::pin(handle.receive(receive("letters", "patient", HIDDEN_MS), soon()));
        // It may already find what earlier ones gave back.
        if let Poll::Ready(found) = futures::poll!(&mut given_up) {
            left -= found.unwrap().len();
        }
        let body = number.to_string();
        let mut sending = Box::pin(send(&handle, &body));
        // Given up at another point of the message's way each time.
        for _ in 0..=number {
            if futures::poll!(&mut sending).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(given_up);
    }
    let started = Instant::now();
    while left > 0 {
        let found = handle.receive(receive("letters", "patient", HIDDEN_MS), soon()).await.unwrap();
        assert!(!found.is_empty() && started.elapsed() < PATIENCE, "{left} messages stay hidden");
        left -= found.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_no_batch_holds_is_refused() {
    let group = Group::start(Plan::single()).await;
    let handle = group.handle(group.leader().await);
    prepare_topic(&handle).await;
    let attempt_id = Some("a".repeat(200 << 20));
    let huge = Receive { attempt_id, ..receive("letters", "readers", HIDDEN_MS) };
    let answer = handle.receive(huge, soon()).await;
    assert!(matches!(answer, Err(ReceiveError::Propose(ProposeError::TooLarge))), "{answer:?}");
    send(&handle, "x").await;
    assert_eq!(handle.receive(receive("letters", "readers", HIDDEN_MS), soon()).await.unwrap().len(), 1);
}
