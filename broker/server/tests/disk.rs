//! A disk that fails or does not answer: nothing waiting is acknowledged, and each caller is told what is the matter.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_broker::group::{ProposeError, Role};
use mainstay_storage::{FileSystem, MemFileSystem, Operation, Unsynced};
use support::{Group, Plan, Stall, StallingFileSystem, bodies, prepare_topic, publish, send, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fdatasync_stops_the_broker_and_acknowledges_nothing() {
    let mut group = Group::start(Plan::single()).await;
    group.leader().await;
    prepare_topic(&group.handle(0)).await;
    send(&group.handle(0), "kept").await;
    group.nodes[0].fs.fail(Operation::SyncData, ".seg", 0, ErrorKind::Other);
    let answer = group.handle(0).propose(publish("letters", "lost"), soon()).await;
    let Err(error @ ProposeError::Failed(_)) = answer else { panic!("{answer:?}") };
    assert!(error.to_string().contains("outcome unknown"), "{error}");
    let reason = group.nodes[0].broker.as_ref().unwrap().failed().await.to_string();
    assert!(reason.contains("the log failed") && reason.contains(".seg"), "{reason}");
    assert_eq!(group.view(0).role, Role::Fenced);
    let answer = group.handle(0).propose(publish("letters", "later"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::Failed(_))), "the next one does not pretend: {answer:?}");
    group.nodes[0].broker = None;
    group.nodes[0].fs = group.nodes[0].fs.crash();
    group.start_node(0).await;
    group.leader().await;
    assert_eq!(bodies(&group.handle(0)).await[0], "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_keeps_what_was_acknowledged() {
    for seed in 0..10 {
        let mut group = Group::prepare(Plan::single()).await;
        group.nodes[0].fs = MemFileSystem::new(seed);
        group.start_node(0).await;
        group.leader().await;
        prepare_topic(&group.handle(0)).await;
        let mut senders = Vec::new();
        for sender in 0..4 {
            let handle = group.handle(0);
            senders.push(tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0..1000 {
                    let body = format!("{sender}-{number}");
                    if handle.propose(publish("letters", &body), soon()).await.is_err() {
                        break;
                    }
                    acknowledged.push(body);
                }
                acknowledged
            }));
        }
        let handle = group.handle(0);
        until("some are stored", async || (bodies(&handle).await.len() > 50).then_some(())).await;
        let fs = group.nodes[0].fs.crash();
        group.nodes[0].broker = None;
        group.nodes[0].fs = fs;
        let mut acknowledged = Vec::new();
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
        group.start_node(0).await;
        group.leader().await;
        let held = bodies(&group.handle(0)).await;
        let lost: Vec<_> = acknowledged.iter().filter(|body| !held.contains(body)).collect();
        assert!(lost.is_empty(), "seed {seed}: {} acknowledged, lost {lost:?}", acknowledged.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_answer_is_told_from_late_replicas() {
    let stall = Stall::default();
    let plan = Plan { flush: "type = \"sync\"\ntimeout = \"300ms\"", ..Plan::single() };
    let mut group = Group::prepare(plan).await;
    let fs = StallingFileSystem::new(group.nodes[0].fs.clone(), &stall);
    group.start_node_on(0, Arc::new(fs)).await.unwrap();
    group.leader().await;
    prepare_topic(&group.handle(0)).await;
    stall.set(true);
    let answer = group.handle(0).propose(publish("letters", "slow"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::FlushTimeout)), "{answer:?}");
    // More than may be on its way to the disk at once: these wait in front of the log.
    for _ in 0..8 {
        let answer = group.handle(0).propose(publish("letters", "slower"), soon()).await;
        let told = matches!(answer, Err(ProposeError::FlushTimeout | ProposeError::NotTaken));
        assert!(told, "{answer:?}");
    }
    stall.set(false);
    send(&group.handle(0), "fast").await;
    let held = bodies(&group.handle(0)).await;
    assert_eq!(held.first().map(String::as_str), Some("slow"), "late, not gone");
    assert_eq!(held.last().map(String::as_str), Some("fast"));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_replicas_are_told_from_a_late_disk() {
    let stall = Stall::default();
    let plan = Plan { replication: "mode = \"raft\"\nack_timeout = \"300ms\"", ..Plan::raft() };
    let mut group = Group::prepare(plan).await;
    group.start_node(0).await;
    for index in 1..3 {
        let fs = StallingFileSystem::new(group.nodes[index].fs.clone(), &stall);
        group.start_node_on(index, Arc::new(fs)).await.unwrap();
    }
    let leader = group.leader().await;
    if leader != 0 {
        let to = group.view(0).node;
        until("node 0 leads", async || {
            let leader = group.leader().await;
            if leader != 0 {
                let _ = group.handle(leader).step_down(Some(to)).await;
            }
            (leader == 0).then_some(())
        })
        .await;
    }
    prepare_topic(&group.handle(0)).await;
    stall.set(true);
    let answer = group.handle(0).propose(publish("letters", "slow"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::ReplicaTimeout)), "{answer:?}");
    stall.set(false);
    send(&group.handle(0), "fast").await;
    assert_eq!(bodies(&group.handle(0)).await, ["slow", "fast"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_not_forgotten_although_nothing_of_its_epoch_reached_the_disk() {
    let stall = Stall::default();
    let plan = Plan { replication: "mode = \"sync\"\nmin_in_sync = 2", ..Plan::raft() };
    let mut group = Group::prepare(plan).await;
    for index in [0, 2] {
        group.start_node(index).await;
    }
    let fs = StallingFileSystem::new(group.nodes[1].fs.clone(), &stall);
    group.start_node_on(1, Arc::new(fs)).await.unwrap();
    until("all have met", async || {
        (0..3).all(|index| group.view(index).role == Role::Follower).then_some(())
    })
    .await;
    stall.set(true);
    until("the voter has granted", async || {
        // Its connections may still be on their way, so that the first request went nowhere.
        let _ = group.handle(0).campaign(7, group.handle(0).clock_now().plus(support::PATIENCE)).await;
        (group.status(1).await.consensus?.granted.number == 7).then_some(())
    })
    .await;
    group.network.isolate(1).await;
    let fs = group.nodes[1].fs.crash_with(Unsynced::Lost);
    stall.set(false);
    group.nodes[1].broker = None;
    group.nodes[1].fs = fs;
    group.start_node(1).await;
    let after = until("it has started", async || group.status(1).await.consensus).await;
    assert_eq!(after.last.epoch.number, 0, "its log knows nothing of the epoch");
    assert_eq!(after.granted.number, 7);
    let stale = group.handle(1).campaign(7, group.handle(1).clock_now().plus(support::PATIENCE)).await;
    assert!(stale.is_err(), "it does not vote twice");
}

/// Three replicas that flush once an hour. The first leads; the second and it alone hold the message `kept`; then the
/// second is treated by `lose` and started again, and the first is killed.
async fn after_a_loss(lose: impl FnOnce(&mut Group)) -> Group {
    let plan = Plan { flush: "type = \"async\"\ninterval = \"1h\"", ..Plan::raft() };
    let mut group = Group::start(plan).await;
    let first = group.view(0).node;
    until("node 0 leads", async || {
        let leader = group.leader().await;
        if leader != 0 {
            let _ = group.handle(leader).step_down(Some(first)).await;
        }
        (leader == 0).then_some(())
    })
    .await;
    prepare_topic(&group.handle(0)).await;
    until("the third has the topic", async || group.handle(2).metadata().topic("letters").map(drop)).await;
    group.network.isolate(2).await;
    send(&group.handle(0), "kept").await;
    lose(&mut group);
    group.kill(0);
    group.start_node(1).await;
    group.network.heal(2);
    group
}

fn lose_power(group: &mut Group) {
    let fs = group.nodes[1].fs.crash_with(Unsynced::Lost);
    group.nodes[1].broker = None;
    group.nodes[1].fs = fs;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_have_lost_what_it_acknowledged_elects_nobody_until_it_has_caught_up() {
    let mut group = after_a_loss(lose_power).await;
    let standing = group.status(1).await.consensus.unwrap().standing;
    assert_eq!((standing.losses, standing.caught_up), (1, false));
    // Both are there, a majority, and for longer than any election takes.
    let late = Instant::now() + Duration::from_secs(4);
    while Instant::now() < late {
        assert!(
            !group.view(1).is_leader() && !group.view(2).is_leader(),
            "nobody there knows of the message"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    group.start_node(0).await;
    let leader = group.leader().await;
    assert_eq!(bodies(&group.handle(leader)).await, ["kept"]);
    until("it has caught up", async || group.status(1).await.consensus?.standing.caught_up.then_some(()))
        .await;
    group.kill(1);
    group.start_node(1).await;
    let standing = until("it is back", async || Some(group.status(1).await.consensus?.standing)).await;
    assert_eq!((standing.losses, standing.caught_up), (1, true), "a killed process loses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_lost_its_log_is_such_a_replica() {
    let mut group = after_a_loss(|group| {
        group.kill(1);
        let (fs, folder) = (&group.nodes[1].fs, std::path::Path::new("/data/log"));
        for name in fs.list(folder).unwrap() {
            fs.remove(&folder.join(name)).unwrap();
        }
    })
    .await;
    let standing = group.status(1).await.consensus.unwrap().standing;
    assert_eq!((standing.losses, standing.caught_up), (1, false));
    group.start_node(0).await;
    let leader = group.leader().await;
    until("it has caught up", async || {
        (bodies(&group.handle(1)).await == bodies(&group.handle(leader)).await
            && group.status(1).await.consensus?.standing.caught_up)
            .then_some(())
    })
    .await;
    assert_eq!(bodies(&group.handle(1)).await, ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_is_counted_however_often_the_start_fails() {
    let mut group = Group::start(Plan::raft()).await;
    let gone = (group.leader().await + 1) % 3;
    group.kill(gone);
    let folder = std::path::Path::new("/data/log");
    for name in group.nodes[gone].fs.list(folder).unwrap() {
        group.nodes[gone].fs.remove(&folder.join(name)).unwrap();
    }
    group.nodes[gone].fs.sync_dir(folder).unwrap();
    let mut change = 0;
    while {
        group.nodes[gone].fs.cut_power_at(change);
        let fs: Arc<dyn FileSystem> = Arc::new(group.nodes[gone].fs.clone());
        group.start_node_on(gone, fs).await.is_err()
    } {
        group.nodes[gone].fs = group.nodes[gone].fs.crash();
        change += 1;
    }
    println!("the start failed {change} times");
    assert!(change > 5);
    group.nodes[gone].broker = None;
    group.nodes[gone].fs = group.nodes[gone].fs.crash();
    group.start_node(gone).await;
    let standing = until("it takes part", async || Some(group.status(gone).await.consensus?.standing)).await;
    assert!(standing.losses > 0, "{standing:?}");
}
