//! A replica that lacks what its leader's log no longer has takes over log and state, whatever happens meanwhile.

#![allow(clippy::unwrap_used)]

mod marker;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use mainstay_broker::group::{GroupHandle, Role};
use mainstay_consensus::Mode;
use mainstay_messaging::{Ack, Command, GroupName, QueueId, TopicName};
use mainstay_record::LogIndex;
use mainstay_storage::{FileSystem, LogBase, MemFileSystem, TailFate};
use marker::{mark, open_log, without_snapshots};
use support::{
    Group, PATIENCE, Plan, bodies, large, lead, prepare_topic, random, receive, send, soon, until,
};

/// Little is kept, so that the beginning of the log goes soon.
const LITTLE: &str = "snapshot_every = \"1MiB\"\nretention = {size = \"2MiB\"}";

async fn fill(handle: &GroupHandle, numbers: std::ops::Range<usize>) {
    for number in numbers {
        send(handle, &large(number)).await;
    }
}

async fn consume(handle: &GroupHandle, mut count: usize) {
    while count > 0 {
        let taken = handle.receive(receive("letters", "readers", 60_000), soon()).await.unwrap();
        count = count.saturating_sub(taken.len());
        let ack = Command::Ack(Ack {
            group: GroupName::new("readers").unwrap(),
            topic: TopicName::new("letters").unwrap(),
            handles: taken.iter().map(|delivery| delivery.handle).collect(),
            by: String::new(),
        });
        handle.propose(ack, soon()).await.unwrap();
    }
}

/// A group whose node `behind` is down, and lacks what the others' logs no longer have.
async fn left_behind(plan: Plan) -> (Group, usize, usize) {
    let mut group = Group::start(plan).await;
    let leader = match group.nodes.len() {
        2 => {
            lead(&group, 0, 1).await;
            0
        }
        _ => group.leader().await,
    };
    let behind = (leader + 1) % group.nodes.len();
    prepare_topic(&group.handle(leader)).await;
    fill(&group.handle(leader), 0..10).await;
    until("the follower has them", async || (bodies(&group.handle(behind)).await.len() == 10).then_some(()))
        .await;
    let had = group.status(behind).await.applied;
    group.kill(behind);
    if group.nodes.len() == 2 {
        vouch(&group, leader).await;
    }
    move_on(&group, leader, 10..130, had).await;
    (group, leader, behind)
}

/// Sends and consumes until no log that is there has what comes after `had`.
async fn move_on(group: &Group, leader: usize, numbers: std::ops::Range<usize>, had: LogIndex) {
    let (handle, running) = (group.handle(leader), group.running());
    let count = numbers.len();
    fill(&handle, numbers).await;
    consume(&handle, count - 20).await;
    until("the logs begin late", async || {
        for node in &running {
            if group.status(*node).await.first <= had.next() {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// The node leads by force, and serves.
async fn promoted(group: &Group, node: usize) {
    let handle = group.handle(node);
    until("it is promoted", async || {
        let _ = handle.promote(2, handle.clock_now().plus(PATIENCE)).await;
        (group.view(node).role == Role::Leader).then_some(())
    })
    .await;
    vouch(group, node).await;
    until("it serves", async || group.view(node).serving.then_some(())).await;
}

/// The operator's part of the lease.
async fn vouch(group: &Group, node: usize) {
    let handle = group.handle(node);
    let until_then = handle.clock_now().plus(PATIENCE * 4);
    handle.grant_lease(group.view(node).epoch, until_then).await.unwrap();
}

/// Through where the node has applied the log; where its log begins.
async fn whole(group: &Group, node: usize, as_of: usize) {
    let expected = bodies(&group.handle(as_of)).await;
    until("it has everything", async || {
        let status = group.status(node).await;
        let caught_up = status.consensus.is_some_and(|view| view.standing.caught_up);
        (caught_up && bodies(&group.handle(node)).await == expected).then_some(())
    })
    .await;
    let ranges = [node, as_of].map(async |of| {
        let range = group.handle(of).query(|state| state.queue_range("letters", QueueId(0))).await.unwrap();
        range.unwrap()
    });
    let [own, other] = futures::future::join_all(ranges).await.try_into().unwrap();
    assert_eq!(own, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_for_long_takes_over_log_and_state() {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    let third = 3 - leader - behind;
    group.start_node(behind).await;
    whole(&group, behind, leader).await;
    assert!(group.status(behind).await.first > LogIndex(1));
    fill(&group.handle(leader), 130..140).await;
    group.kill(leader);
    let next = group.leader().await;
    let held = bodies(&group.handle(next)).await;
    assert_eq!(held.last(), Some(&large(139)), "nothing acknowledged is lost");
    send(&group.handle(next), "with the refilled one").await;
    // Alone with the refilled one, the new node has nothing else to take it from.
    group.kill(third);
    group.start_node(leader).await;
    let next = group.leader().await;
    send(&group.handle(next), "after").await;
    whole(&group, behind, next).await;
    group.kill(behind);
    group.start_node(behind).await;
    whole(&group, behind, next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_power_of_the_follower_fails_it_takes_over_in_the_end() {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    let (mut interrupted, mut had) = (0, LogIndex(20));
    for round in 0..6 {
        let change = random(round) % 120;
        println!("round {round}: the power fails at change {change}");
        group.nodes[behind].fs.cut_power_at(change);
        let fs = Arc::new(group.nodes[behind].fs.clone());
        if group.start_node_on(behind, fs).await.is_ok() {
            let broker = group.nodes[behind].broker.as_ref().unwrap();
            let done = until("it is done", async || {
                let status = broker.group().status().await?;
                (status.first > had && status.consensus?.standing.caught_up).then_some(())
            });
            tokio::select! {
                _ = broker.failed() => interrupted += 1,
                () = done => {}
            }
        }
        group.nodes[behind].broker = None;
        group.nodes[behind].fs = group.nodes[behind].fs.crash();
        group.start_node(behind).await;
        whole(&group, behind, leader).await;
        had = group.status(behind).await.applied;
        group.kill(behind);
        let from = 130 + 100 * round as usize;
        move_on(&group, leader, from..from + 100, had).await;
    }
    assert!(interrupted > 1, "the power failed in the middle {interrupted} times only");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_refill_left_behind_makes_room_for_the_next() {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    group.start_node(behind).await;
    whole(&group, behind, leader).await;
    let before = group.status(behind).await.consensus.unwrap().standing.losses;
    group.kill(behind);
    // As if all of it had come with a refill that got no further, and the power had failed when the next one was noted but
    // the log not emptied yet.
    let fs = group.nodes[behind].fs.clone();
    without_snapshots(&fs);
    let membership = group.status(leader).await.consensus.unwrap().membership.known().unwrap();
    mark(&fs, &LogBase::default(), &membership);
    group.start_node(behind).await;
    let losses = group.status(behind).await.consensus.unwrap().standing.losses;
    assert_eq!(losses, before + 1, "what the log held may have been acknowledged");
    whole(&group, behind, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_refilled_by_the_next_leader_when_the_first_one_dies() {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    let held = bodies(&group.handle(leader)).await;
    group.start_node(behind).await;
    until("it begins", async || group.view(behind).problem.contains("takes the log over").then_some(()))
        .await;
    group.kill(leader);
    group.start_node(leader).await;
    let next = group.leader().await;
    whole(&group, behind, next).await;
    assert_eq!(bodies(&group.handle(next)).await.last(), held.last());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_follower_had_is_set_aside() {
    let plan = Plan { replication: "mode = \"async\"", storage: LITTLE, members: 2, ..Plan::raft() };
    let mut group = Group::start(plan).await;
    lead(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    fill(&group.handle(0), 0..5).await;
    until("shipped", async || (bodies(&group.handle(1)).await.len() == 5).then_some(())).await;
    group.network.isolate(0).await;
    vouch(&group, 0).await;
    send(&group.handle(0), "only here").await;
    group.kill(0);
    group.network.heal(0);
    let handle = group.handle(1);
    promoted(&group, 1).await;
    fill(&handle, 5..130).await;
    consume(&handle, 100).await;
    until("its log begins late", async || (group.status(1).await.first > LogIndex(20)).then_some(())).await;
    group.start_node(0).await;
    whole(&group, 0, 1).await;
    let aside = group.nodes[0].fs.list(Path::new("/data/quarantine")).unwrap_or_default();
    let aside: Vec<_> = aside.into_iter().filter(|name| !name.to_string_lossy().ends_with(".tmp")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
}

/// Two Async replicas whose logs begin late; then one leads alone, longer than its snapshots reach back, and is replaced.
/// Through which batch the other one has the log is returned.
async fn overtaken() -> (Group, LogIndex) {
    let plan = Plan { replication: "mode = \"async\"", storage: LITTLE, members: 2, ..Plan::raft() };
    let mut group = Group::start(plan).await;
    lead(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    fill(&group.handle(0), 0..100).await;
    consume(&group.handle(0), 100).await;
    until("both logs begin late", async || {
        let firsts = [group.status(0).await.first, group.status(1).await.first];
        (firsts.iter().all(|first| *first > LogIndex(1))).then_some(())
    })
    .await;
    let sent = group.status(0).await.applied;
    until("shipped", async || (group.status(1).await.applied >= sent).then_some(())).await;
    group.network.isolate(0).await;
    vouch(&group, 0).await;
    fill(&group.handle(0), 100..200).await;
    until("all its snapshots are of what only it has", async || {
        (group.status(0).await.snapshot? > sent.next()).then_some(())
    })
    .await;
    assert!(group.status(0).await.first <= sent, "nothing of that goes");
    let shipped = group.status(1).await.applied;
    group.kill(0);
    let handle = group.handle(1);
    promoted(&group, 1).await;
    send(&handle, "after").await;
    (group, shipped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_before_its_snapshots_begins_anew() {
    let (mut group, _) = overtaken().await;
    group.network.heal(0);
    group.start_node(0).await;
    whole(&group, 0, 1).await;
    assert_eq!(bodies(&group.handle(0)).await.last().unwrap(), "after");
    assert!(group.status(0).await.consensus.unwrap().standing.losses > 0, "it knows what it gave up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_had_been_cut_before_its_snapshots_begins_anew() {
    let (mut group, shipped) = overtaken().await;
    // As if the power had failed right after the cut.
    let (log, _) = open_log(&group.nodes[0].fs);
    log.truncate(shipped, TailFate::Quarantine);
    log.close().unwrap();
    group.network.heal(0);
    group.start_node(0).await;
    whole(&group, 0, 1).await;
    assert_eq!(bodies(&group.handle(0)).await.last().unwrap(), "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_volume_is_filled_where_the_log_begins_late() {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    group.nodes[behind].fs = MemFileSystem::new(77);
    group.start_node(behind).await;
    until("it waits to be taken in", async || (group.view(behind).role == Role::Learner).then_some(())).await;
    let voters = (0..3).map(|node| group.view(node).node).collect();
    group.handle(leader).change_membership(Mode::Raft, voters).await.unwrap();
    whole(&group, behind, leader).await;
    until("it counts", async || (group.view(behind).role == Role::Follower).then_some(())).await;
    group.kill(3 - leader - behind);
    send(&group.handle(leader), "with the new one").await;
    // What it was refilled with says which membership is in force.
    group.kill(behind);
    group.start_node(behind).await;
    send(&group.handle(group.leader().await), "again").await;
    whole(&group, behind, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_snapshots_are_for_people_to_decide_about() {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    let third = 3 - leader - behind;
    group.kill(third);
    let folder = Path::new("/data/snapshot");
    for name in group.nodes[third].fs.list(folder).unwrap() {
        group.nodes[third].fs.flip_bit(&folder.join(name), 700, 3).unwrap();
    }
    let fs = Arc::new(group.nodes[third].fs.clone());
    let error = group.start_node_on(third, fs).await.unwrap_err().to_string();
    assert!(error.contains("no intact snapshot"), "{error}");
}
