//! Snapshots and retention: a restart applies only what came after the newest snapshot, what is old goes away, and
//! whatever happens in between, nothing that is kept is lost or moved.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_broker::group::{GroupHandle, Role};
use mainstay_messaging::{Ack, Command, GroupName, Outcome, Place, QueueId, QueueOffset, TopicName};
use mainstay_record::LogIndex;
use mainstay_storage::FileSystem;
use support::{
    Group, PATIENCE, Plan, bodies, large, prepare_topic, publish, random, receive, send, soon, until,
};

const OFTEN: &str = "snapshot_every = \"1MiB\"";
/// Longer than the second after which a broker looks again whether messages may go. Nothing tells of a look after which
/// none has gone.
const LOOKED_AGAIN: Duration = Duration::from_millis(1500);

async fn single(storage: &'static str) -> Group {
    let group = Group::start(Plan { storage, ..Plan::single() }).await;
    group.leader().await;
    prepare_topic(&group.handle(0)).await;
    group
}

/// Sends so many messages, numbered from `from`.
async fn fill(handle: &GroupHandle, from: usize, count: usize) {
    for number in from..from + count {
        send(handle, &large(number)).await;
    }
}

async fn snapshot_behind(group: &Group, node: usize, index: LogIndex) -> LogIndex {
    until("a snapshot", async || group.status(node).await.snapshot.filter(|at| *at > index)).await
}

fn files(group: &Group, node: usize) -> Vec<PathBuf> {
    let folder = Path::new("/data/snapshot");
    let names = group.nodes[node].fs.list(folder).unwrap();
    let snapshots = names.into_iter().filter(|name| name.to_string_lossy().ends_with(".snap"));
    snapshots.map(|name| folder.join(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_applies_only_what_came_after_the_newest_snapshot() {
    let mut group = single(OFTEN).await;
    let handle = group.handle(0);
    fill(&handle, 0, 60).await;
    let taken = handle.receive(receive("letters", "readers", 60_000), soon()).await.unwrap();
    let ack = Command::Ack(Ack {
        group: GroupName::new("readers").unwrap(),
        topic: TopicName::new("letters").unwrap(),
        handles: taken.iter().map(|delivery| delivery.handle).collect(),
        by: String::new(),
    });
    handle.propose(ack, soon()).await.unwrap();
    let acked = group.status(0).await.applied;
    fill(&handle, 60, 30).await;
    let snapshot = snapshot_behind(&group, 0, acked).await;
    let before = group.status(0).await;
    assert!(before.applied.0 > 90, "{before:?}");
    group.kill(0);
    group.start_node(0).await;
    group.leader().await;
    let after = group.status(0).await;
    assert!(after.snapshot >= Some(snapshot));
    assert!(
        after.replayed <= after.applied.0 - snapshot.0,
        "nothing that the snapshot stands for: {after:?}"
    );
    assert!(after.replayed < 60, "less than the whole log: {after:?}");
    assert!(group.handle(0).metadata().topic("letters").is_some());
    assert_eq!(bodies(&group.handle(0)).await, (0..90).map(large).collect::<Vec<_>>());
    let next = group.handle(0).receive(receive("letters", "readers", 60_000), soon()).await.unwrap();
    assert_eq!(next[0].offset.0 as usize, taken.len(), "what was acknowledged stays acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_passed_over() {
    let mut group = single(OFTEN).await;
    fill(&group.handle(0), 0, 30).await;
    let first = snapshot_behind(&group, 0, LogIndex(0)).await;
    fill(&group.handle(0), 30, 40).await;
    snapshot_behind(&group, 0, first).await;
    group.kill(0);
    let newest = files(&group, 0).pop().unwrap();
    group.nodes[0].fs.flip_bit(&newest, 700, 3).unwrap();
    group.start_node(0).await;
    group.leader().await;
    assert_eq!(bodies(&group.handle(0)).await, (0..70).map(large).collect::<Vec<_>>());
    for file in files(&group, 0) {
        let _ = group.nodes[0].fs.flip_bit(&file, 700, 3);
    }
    group.kill(0);
    group.start_node(0).await;
    group.leader().await;
    assert_eq!(bodies(&group.handle(0)).await.len(), 70, "the log has its whole past");
}

#[tokio::test(flavor = "multi_thread")]
async fn above_its_size_the_log_loses_what_everybody_has_consumed() {
    let mut group = single("snapshot_every = \"1MiB\"\nretention = {size = \"2MiB\"}").await;
    let handle = group.handle(0);
    fill(&handle, 0, 100).await;
    tokio::time::sleep(LOOKED_AGAIN).await;
    let range = handle.query(|state| state.queue_range("letters", QueueId(0)).unwrap()).await.unwrap();
    assert_eq!(range, QueueOffset(0)..QueueOffset(100), "nothing is consumed yet");
    let mut consumed = 0;
    while consumed < 90 {
        let taken = handle.receive(receive("letters", "readers", 60_000), soon()).await.unwrap();
        consumed += taken.len();
        let ack = Command::Ack(Ack {
            group: GroupName::new("readers").unwrap(),
            topic: TopicName::new("letters").unwrap(),
            handles: taken.iter().map(|delivery| delivery.handle).collect(),
            by: String::new(),
        });
        handle.propose(ack, soon()).await.unwrap();
    }
    let start = until("messages go", async || {
        let range = handle.query(|state| state.queue_range("letters", QueueId(0)).unwrap()).await.unwrap();
        assert_eq!(range.end, QueueOffset(100));
        (range.start.0 >= 40).then_some(range.start.0)
    })
    .await;
    assert!(start as usize <= consumed, "what is not consumed stays");
    let first = until("the log's beginning goes", async || {
        let status = group.status(0).await;
        (status.first > LogIndex(30)).then_some(status.first)
    })
    .await;
    drop(handle);
    group.kill(0);
    group.start_node(0).await;
    group.leader().await;
    assert!(group.status(0).await.first >= first);
    let held = bodies(&group.handle(0)).await;
    assert_eq!(held.last().unwrap(), &large(99));
    assert_eq!(held.first().unwrap(), &large(100 - held.len()), "no gap");
    send(&group.handle(0), "after").await;
}

/// Power fails at random changes of the disk while snapshots are written and the log's beginning is removed; every
/// other time the newest snapshot turns out to be damaged as well.
async fn whenever_the_power_fails(storage: &'static str) {
    let mut group = single(storage).await;
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    let (mut number, mut forgotten) = (0, 0);
    for round in 0..12 {
        let handle = group.handle(0);
        let change = 50 + random(round) % 800;
        println!("round {round}: the power fails at change {change}");
        if round % 3 == 2 {
            // On a fast machine the power would always fail before something is old enough to go.
            let (first, deadline) = (group.status(0).await.first, Instant::now() + PATIENCE);
            while group.status(0).await.first == first {
                let text = large(number);
                let stored = handle.propose(publish("letters", &text), soon()).await;
                let Some(offset) = stored.as_ref().ok().and_then(Outcome::offset) else {
                    panic!("{stored:?}")
                };
                acknowledged.push((offset.0, text));
                number += 1;
                assert!(Instant::now() < deadline, "the log's beginning stays");
            }
        }
        group.nodes[0].fs.cut_power_at(change);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = large(number);
            match handle.propose(publish("letters", &text), Instant::now() + Duration::from_secs(2)).await {
                Ok(Outcome::Published { place: Place::Queue { offset, .. }, .. }) => {
                    acknowledged.push((offset.0, text))
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => break,
            }
            number += 1;
            assert!(Instant::now() < deadline, "the power does not fail");
        }
        drop(handle);
        group.nodes[0].broker = None;
        group.nodes[0].fs = group.nodes[0].fs.crash();
        if round % 2 == 0
            && let Some(newest) = files(&group, 0).pop()
        {
            // An older one stands for the log that is gone.
            println!("round {round}: the newest snapshot is damaged");
            let last = group.nodes[0].fs.contents(&newest).unwrap().len() as u64 - 1;
            group.nodes[0].fs.flip_bit(&newest, last, 3).unwrap();
        }
        group.start_node(0).await;
        group.leader().await;
        let handle = group.handle(0);
        let range = handle.query(|state| state.queue_range("letters", QueueId(0)).unwrap()).await.unwrap();
        let held = bodies(&handle).await;
        for (offset, text) in acknowledged.iter().filter(|(offset, _)| *offset >= range.start.0) {
            let at = (*offset - range.start.0) as usize;
            assert_eq!(
                held.get(at).map(|held| &held[..5]),
                Some(&text[..5]),
                "round {round}, offset {offset}"
            );
        }
        // What was in the log without having been acknowledged is there, or not.
        number += 1;
        forgotten = forgotten.max(group.status(0).await.first.0);
    }
    assert!(forgotten > 1, "the log's beginning went away meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_power_fails_what_is_kept_is_where_it_was() {
    whenever_the_power_fails("snapshot_every = \"1MiB\"\nretention = {time = \"200ms\"}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_when_snapshots_are_written_only_to_let_the_log_go() {
    whenever_the_power_fails("snapshot_every = \"1GiB\"\nretention = {time = \"200ms\"}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_tail_that_was_cut_is_not_used() {
    let plan = Plan { replication: "mode = \"async\"", storage: OFTEN, members: 2, ..Plan::raft() };
    let mut group = Group::start(plan).await;
    lead(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    send(&group.handle(0), "shipped").await;
    until("the follower has it", async || (bodies(&group.handle(1)).await.len() == 1).then_some(())).await;
    let shipped = group.status(0).await.applied;
    group.network.isolate(0).await;
    let epoch = group.view(0).epoch;
    let until_then = group.handle(0).clock_now().plus(PATIENCE);
    group.handle(0).grant_lease(epoch, until_then).await.unwrap();
    fill(&group.handle(0), 0, 60).await;
    snapshot_behind(&group, 0, shipped).await;
    let expires = group.handle(1).clock_now().plus(PATIENCE);
    group.handle(1).promote(2, expires).await.unwrap();
    until("the other one leads", async || (group.view(1).role == Role::Leader).then_some(())).await;
    group.network.heal(0);
    until("it serves", async || group.view(1).serving.then_some(())).await;
    send(&group.handle(1), "after").await;
    let expected = ["shipped".to_owned(), "after".to_owned()];
    until("the state went back", async || (bodies(&group.handle(0)).await == expected).then_some(())).await;
    assert!(!files(&group, 0).is_empty(), "the snapshot is still there");
    group.kill(0);
    group.start_node(0).await;
    until("so it is after a restart", async || (bodies(&group.handle(0)).await == expected).then_some(()))
        .await;
    // Where the old snapshots ended there are other batches now, too few bytes for a new one.
    for number in 0..100 {
        send(&group.handle(1), &number.to_string()).await;
    }
    until("the follower has all", async || (bodies(&group.handle(0)).await.len() == 102).then_some(())).await;
    group.kill(0);
    group.start_node(0).await;
    let expected = bodies(&group.handle(1)).await;
    until("still", async || (bodies(&group.handle(0)).await == expected).then_some(())).await;
}

async fn lead(group: &Group, node: usize, epoch: u64) {
    let handle = group.handle(node);
    until("the order is taken", async || {
        handle.campaign(epoch, handle.clock_now().plus(Duration::from_secs(5))).await.ok()
    })
    .await;
    until("it leads", async || (group.leader().await == node).then_some(())).await;
}
