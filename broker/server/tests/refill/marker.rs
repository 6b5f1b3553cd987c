//! The marker that says that a log is being refilled empties no log whose loss was not counted, and knows when it is of no
//! use any more.

use std::path::Path;
use std::sync::Arc;

use mainstay_consensus::{Membership, Mode, Standing};
use mainstay_record::{GroupId, LogIndex};
use mainstay_storage::{
    FileSystem, Flush, Log, LogBase, LogOptions, MemFileSystem, Recovered, StateFile, TailFate,
};

use crate::support::{Group, Plan, bodies, prepare_topic, soon, until};
use crate::{LITTLE, consume, fill, left_behind, overtaken, whole};

/// Notes a refill that is to begin the log behind `log_base`.
pub(crate) fn mark(fs: &MemFileSystem, log_base: &LogBase, membership: &Membership) {
    let membership = membership.encode();
    let mut begun = vec![1];
    begun.extend((membership.len() as u32).to_le_bytes());
    begun.extend(&membership);
    begun.extend(&log_base.to_bytes());
    StateFile::open(Arc::new(fs.clone()), Path::new("/data/refill")).unwrap().store(&begun).unwrap();
}

/// Of a node that does not run.
pub(crate) fn without_snapshots(fs: &MemFileSystem) {
    let folder = Path::new("/data/snapshot");
    for name in fs.list(folder).unwrap() {
        fs.remove(&folder.join(name)).unwrap();
    }
    fs.sync_dir(folder).unwrap();
}

/// The log of a node that does not run.
pub(crate) fn open_log(fs: &MemFileSystem) -> (Log, Recovered) {
    let options = LogOptions {
        directory: "/data".into(),
        group: GroupId(0),
        segment_bytes: 1 << 20,
        flush: Flush::Sync,
        cache_bytes: 1 << 20,
    };
    Log::open(Arc::new(fs.clone()), options, Box::new(|_| {})).unwrap()
}

/// What a state file holds.
fn load(fs: &MemFileSystem, name: &str) -> Vec<u8> {
    let file = StateFile::open(Arc::new(fs.clone()), Path::new("/data").join(name)).unwrap();
    file.load().unwrap().unwrap_or_default()
}

async fn membership(group: &Group, node: usize) -> Membership {
    group.status(node).await.consensus.unwrap().membership.known().unwrap()
}

async fn standing(group: &Group, node: usize) -> Standing {
    group.status(node).await.consensus.unwrap().standing
}

/// Another node leads, and one has caught up with it: what is in its log may have been acknowledged.
async fn caught_up() -> (Group, usize, usize) {
    let (mut group, leader, behind) = left_behind(Plan { storage: LITTLE, ..Plan::raft() }).await;
    group.start_node(behind).await;
    whole(&group, behind, leader).await;
    (group, leader, behind)
}

/// Alone, a node that has counted a loss stays as it is.
async fn starts_without_its_log(mut group: Group, node: usize, losses: u64) {
    group.start_node(node).await;
    let standing = standing(&group, node).await;
    assert!(!standing.caught_up && standing.losses > losses, "{standing:?} after {losses} losses");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_was_not_counted_before_a_log_is_emptied_is_counted_then() {
    let (mut group, shipped) = overtaken().await;
    let membership = membership(&group, 1).await;
    group.kill(1);
    let fs = &group.nodes[0].fs;
    let (log, _) = open_log(fs);
    log.truncate(shipped, TailFate::Quarantine);
    log.close().unwrap();
    mark(fs, &LogBase::default(), &membership);
    starts_without_its_log(group, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_beside_a_log_in_good_standing_counts_its_loss() {
    let (mut group, leader, behind) = caught_up().await;
    let membership = membership(&group, leader).await;
    let losses = standing(&group, behind).await.losses;
    (0..3).for_each(|node| group.kill(node));
    let fs = &group.nodes[behind].fs;
    without_snapshots(fs);
    mark(fs, &LogBase::default(), &membership);
    starts_without_its_log(group, behind, losses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_of_the_logs_own_beginning_counts_its_loss() {
    let (mut group, leader, behind) = caught_up().await;
    let membership = membership(&group, leader).await;
    let losses = standing(&group, behind).await.losses;
    (0..3).for_each(|node| group.kill(node));
    let fs = &group.nodes[behind].fs;
    let (log, recovered) = open_log(fs);
    log.close().unwrap();
    mark(fs, &recovered.base, &membership);
    starts_without_its_log(group, behind, losses).await;
}

/// A refill that was noted, and whose node caught up without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_does_not_outlive_a_start_with_the_whole_log() {
    let mut group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    prepare_topic(&group.handle(leader)).await;
    fill(&group.handle(leader), 0..10).await;
    let follower = (leader + 1) % 3;
    until("it has them", async || (bodies(&group.handle(follower)).await.len() == 10).then_some(())).await;
    let membership = membership(&group, leader).await;
    group.kill(follower);
    let fs = &group.nodes[follower].fs;
    let (log, _) = open_log(fs);
    let base = log.base_at(LogIndex(4)).unwrap();
    log.close().unwrap();
    mark(fs, &base, &membership);
    group.start_node(follower).await;
    fill(&group.handle(leader), 10..20).await;
    whole(&group, follower, leader).await;
    group.kill(follower);
    let file =
        StateFile::open(Arc::new(group.nodes[follower].fs.clone()), Path::new("/data/refill")).unwrap();
    let left = file.load().unwrap().unwrap_or_default();
    assert!(left.is_empty(), "a later start may empty a log in good standing");
}

/// Only the marker tells of a membership that came after the founding one, when the log is empty.
#[tokio::test(flavor = "multi_thread")]
async fn the_membership_outlives_the_log_that_told_of_it_and_the_marker() {
    let (mut group, leader, behind) = caught_up().await;
    let first = membership(&group, leader).await;
    let later = Membership::new(first.version() + 1, Mode::Raft, first.members().to_vec()).unwrap();
    (0..3).for_each(|node| group.kill(node));
    let (log, recovered) = open_log(&group.nodes[behind].fs);
    log.close().unwrap();
    mark(&group.nodes[behind].fs, &recovered.base, &later);
    group.start_node(behind).await;
    until("the marker goes", async || load(&group.nodes[behind].fs, "refill").is_empty().then_some(())).await;
    let kept = Membership::decode(&load(&group.nodes[behind].fs, "membership")).unwrap();
    assert_eq!(kept, later);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_refilled_still_knows_topics_groups_and_users() {
    let (group, leader, behind) = caught_up().await;
    let handle = group.handle(behind);
    assert!(handle.metadata().topic("letters").is_some());
    let had = group.status(behind).await.applied;
    // It runs, and is cut off while the others move on.
    group.network.isolate(behind).await;
    fill(&group.handle(leader), 130..260).await;
    consume(&group.handle(leader), 110).await;
    let others = [leader, 3 - leader - behind];
    until("the logs begin late", async || {
        for node in others {
            if group.status(node).await.first <= had.next() {
                return None;
            }
        }
        Some(())
    })
    .await;
    group.network.heal(behind);
    let (mut looks, deadline) = (0, soon());
    while group.status(behind).await.applied <= had {
        assert!(std::time::Instant::now() < deadline, "it is not refilled");
        assert!(handle.metadata().topic("letters").is_some(), "unknown after {looks} looks");
        looks += 1;
    }
}
