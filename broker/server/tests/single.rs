//! One broker by itself: what it acknowledged survives a restart and a kill, and long polls are answered when they
//! should be.

#![allow(clippy::unwrap_used)]

#[path = "server/figures.rs"]
mod figures;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_broker::group::{ProposeError, ReceiveError};
use mainstay_messaging::{Ack, Command, GroupName, Outcome, QueueOffset, Refusal, TopicName};
use mainstay_record::{BatchBuilder, BatchKind, EntryId, GroupId};
use mainstay_storage::{FileSystem, Flush, Log, LogOptions, Recovered, TailFate};
use support::{
    Group, PATIENCE, Plan, bodies, bodies_of, create_topic, prepare_topic, publish, receive, send, soon,
    until,
};

async fn single() -> Group {
    let group = Group::start(Plan::single()).await;
    group.leader().await;
    prepare_topic(&group.handle(0)).await;
    group
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_stop_and_a_kill() {
    let mut group = single().await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..50 {
            let body = format!("{round}-{number}");
            send(&group.handle(0), &body).await;
            expected.push(body);
        }
        if round == 1 {
            group.stop(0).await;
        } else {
            group.kill(0);
        }
        group.start_node(0).await;
        group.leader().await;
        assert_eq!(bodies(&group.handle(0)).await, expected);
        assert!(group.handle(0).metadata().topic("letters").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_that_a_topic_exists_finds_it_at_once() {
    let group = single().await;
    let handle = group.handle(0);
    for number in 0..200 {
        let name = format!("topic-{number}");
        handle.propose(create_topic(&name), soon()).await.unwrap();
        assert!(handle.metadata().topic(&name).is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_one_call_share_a_batch_and_have_an_outcome_each() {
    let group = single().await;
    let commands = vec![publish("letters", "a"), publish("missing", "b"), publish("letters", "c")];
    let outcomes = group.handle(0).propose_many(commands, soon()).await.unwrap();
    assert!(outcomes[0].offset() == Some(QueueOffset(0)));
    assert!(matches!(&outcomes[1], Outcome::Refused(Refusal::UnknownTopic(name)) if name == "missing"));
    assert!(outcomes[2].offset() == Some(QueueOffset(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_senders_at_once_are_all_answered_and_share_batches() {
    let group = single().await;
    let before = group.status(0).await.consensus.unwrap().last.index.0;
    let sends = (0..500).map(|number| {
        let handle = group.handle(0);
        tokio::spawn(async move { send(&handle, &number.to_string()).await })
    });
    for sent in sends.collect::<Vec<_>>() {
        sent.await.unwrap();
    }
    let batches = group.status(0).await.consensus.unwrap().last.index.0 - before;
    assert!(batches < 500, "{batches} batches for 500 messages");
    let mut bodies: Vec<u32> = bodies(&group.handle(0)).await.iter().map(|b| b.parse().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_by_the_next_message() {
    let group = single().await;
    let handle = group.handle(0);
    let waiting = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.receive(receive("letters", "readers", 60_000), soon()).await })
    };
    let before = group.status(0).await.consensus.unwrap().last.index;
    let http = group.nodes[0].addresses.unwrap().http;
    until("the poll waits", async || (figures::polls_waiting(http).await == 1).then_some(())).await;
    // Each is a turn of the broker, in which it could write.
    for _ in 0..50 {
        handle.query(|_| ()).await.unwrap();
    }
    let idle = group.status(0).await.consensus.unwrap().last.index;
    assert_eq!(idle, before, "waiting writes nothing into the log");
    send(&handle, "hello").await;
    let deliveries = waiting.await.unwrap().unwrap();
    assert_eq!(bodies_of(&handle, &deliveries).await, ["hello"]);
    assert_eq!(deliveries[0].attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_empty_at_its_deadline_and_unknown_names_at_once() {
    let group = single().await;
    let start = Instant::now();
    let deadline = start + Duration::from_millis(200);
    let answer = group.handle(0).receive(receive("letters", "readers", 60_000), deadline).await.unwrap();
    assert!(answer.is_empty() && start.elapsed() >= Duration::from_millis(200));
    let answer = group.handle(0).receive(receive("missing", "readers", 60_000), soon()).await;
    assert!(matches!(answer, Err(ReceiveError::Refused(Refusal::UnknownTopic(_)))), "{answer:?}");
    let answer = group.handle(0).receive(receive("letters", "nobody", 60_000), soon()).await;
    assert!(matches!(answer, Err(ReceiveError::Refused(Refusal::UnknownGroup(_)))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unacknowledged_message_comes_back_to_a_waiting_poll_after_its_time() {
    let group = single().await;
    let handle = group.handle(0);
    send(&handle, "again").await;
    let first = handle.receive(receive("letters", "readers", 300), soon()).await.unwrap();
    let start = Instant::now();
    let second = handle.receive(receive("letters", "readers", 60_000), soon()).await.unwrap();
    assert_eq!((first[0].attempt, second[0].attempt), (1, 2));
    assert!(start.elapsed() > Duration::from_millis(150), "{:?}", start.elapsed());
    let ack = Command::Ack(Ack {
        group: GroupName::new("readers").unwrap(),
        topic: TopicName::new("letters").unwrap(),
        handles: vec![first[0].handle, second[0].handle],
        by: String::new(),
    });
    let Outcome::Acked(results) = handle.propose(ack, soon()).await.unwrap() else { panic!() };
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn competing_polls_share_the_messages_and_none_gets_one_twice() {
    let group = single().await;
    let polls: Vec<_> = (0..8)
        .map(|_| {
            let handle = group.handle(0);
            tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    let deadline = Instant::now() + Duration::from_millis(500);
                    let answer =
                        handle.receive(receive("letters", "readers", 60_000), deadline).await.unwrap();
                    if answer.is_empty() {
                        return got;
                    }
                    got.extend(bodies_of(&handle, &answer).await);
                }
            })
        })
        .collect();
    let sends: Vec<_> = (0..300).map(|n| publish("letters", &n.to_string())).collect();
    for command in sends {
        group.handle(0).propose(command, soon()).await.unwrap();
    }
    let mut got = Vec::new();
    for poll in polls {
        got.extend(poll.await.unwrap());
    }
    let mut numbers: Vec<u32> = got.iter().map(|body| body.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_broker_answers_its_long_polls_and_takes_nothing_new() {
    let mut group = single().await;
    let handle = group.handle(0);
    let waiting = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.receive(receive("letters", "readers", 60_000), soon()).await })
    };
    group.status(0).await;
    group.stop(0).await;
    let answer = waiting.await.unwrap();
    assert!(matches!(answer, Err(ReceiveError::Propose(ProposeError::ShuttingDown))), "{answer:?}");
    let answer = handle.propose(publish("letters", "late"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::ShuttingDown)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_larger_than_a_batch_is_refused_before_it_is_stored() {
    let group = single().await;
    let body = "x".repeat(33 << 20);
    let answer = group.handle(0).propose(publish("letters", &body), soon()).await;
    assert!(matches!(answer, Err(ProposeError::TooLarge)), "{answer:?}");
    send(&group.handle(0), "small").await;
    assert_eq!(bodies(&group.handle(0)).await, ["small"]);
}

/// The log of a broker that does not run.
fn log(group: &Group) -> (Log, Recovered) {
    let fs: Arc<dyn FileSystem> = Arc::new(group.nodes[0].fs.clone());
    let options = LogOptions {
        directory: "/data".into(),
        group: GroupId(0),
        segment_bytes: 1 << 20,
        flush: Flush::Sync,
        cache_bytes: 1 << 20,
    };
    Log::open(fs, options, Box::new(|_| {})).unwrap()
}

/// Waits until the broker cannot go on.
async fn fails(group: &Group) -> String {
    let broker = group.nodes[0].broker.as_ref().unwrap();
    tokio::time::timeout(PATIENCE, broker.failed()).await.expect("it stops").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_version_stops_the_broker_at_every_start_and_costs_nothing() {
    let mut group = single().await;
    send(&group.handle(0), "acknowledged").await;
    group.stop(0).await;
    let (newer, recovered) = log(&group);
    let id = EntryId { index: recovered.last.index.next(), ..recovered.last };
    let mut batch = BatchBuilder::default();
    batch.push(&[2, 250]);
    let (end, at) = (recovered.end, recovered.last_timestamp);
    newer.append(vec![batch.seal(BatchKind::Data, GroupId(0), id, end, at)]);
    newer.close().unwrap();
    for _ in 0..2 {
        group.start_node(0).await;
        let said = fails(&group).await;
        let expected = format!("record {}/0 cannot be applied: command 250 is unknown", id.index);
        assert!(said.contains(&expected), "{said}");
        let late = group.handle(0).propose(publish("letters", "late"), soon()).await;
        assert!(matches!(late, Err(ProposeError::Failed(_))), "{late:?}");
        group.kill(0);
    }
    // Everything before is there for a broker that gets over it.
    let (log, _) = log(&group);
    log.truncate(recovered.last.index, TailFate::Discard);
    log.close().unwrap();
    group.start_node(0).await;
    group.leader().await;
    assert_eq!(bodies(&group.handle(0)).await, ["acknowledged"]);
}
