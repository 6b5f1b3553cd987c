//! Three replicas that elect by themselves: what was acknowledged survives the loss of a leader, whichever way it goes.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_broker::group::{ProposeError, Role};
use mainstay_messaging::Outcome;
use mainstay_proto::replication::{AppendRequest, EntryId, Envelope, Epoch, envelope};
use mainstay_record::{BatchBuilder, BatchKind, GroupId, LogIndex, LogPosition, Timestamp};
use support::{Group, PATIENCE, Plan, bodies, prepare_topic, publish, send, soon, until};

async fn caught_up(group: &Group, expected: &[String]) {
    for index in group.running() {
        let handle = group.handle(index);
        until("every replica has every message", async || (bodies(&handle).await == expected).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_on_members_and_leader_and_hold_the_same() {
    let group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    prepare_topic(&group.handle(leader)).await;
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for body in &expected {
        send(&group.handle(leader), body).await;
    }
    caught_up(&group, &expected).await;
    let node = group.view(leader).node;
    for index in group.running() {
        until("everybody knows the leader by name", async || {
            let view = group.view(index);
            let known = view.leader.filter(|known| known.node == node)?;
            (known.member.as_deref() == Some(&*group.nodes[leader].name)).then_some(())
        })
        .await;
        let consensus = group.status(index).await.consensus.unwrap();
        assert_eq!(consensus.membership.members().len(), 3);
    }
    let follower = (leader + 1) % 3;
    let answer = group.handle(follower).propose(publish("letters", "x"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::NotLeader { leader: Some(l) }) if l == node), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_leader_is_killed_under_load() {
    let mut group = Group::start(Plan::raft()).await;
    let first = group.leader().await;
    prepare_topic(&group.handle(first)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for sender in 0..8 {
        let (handle, stop) = (group.handle(first), Arc::clone(&stop));
        senders.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let body = format!("{sender}-{number}");
                match handle.propose(publish("letters", &body), soon()).await {
                    Ok(Outcome::Published { .. }) => acknowledged.push(body),
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => return acknowledged,
                }
                if stop.load(Ordering::Relaxed) {
                    return acknowledged;
                }
            }
            acknowledged
        }));
    }
    let handle = group.handle(first);
    until("enough is in flight", async || (bodies(&handle).await.len() > 200).then_some(())).await;
    group.kill(first);
    let killed = Instant::now();
    let second = group.leader().await;
    send(&group.handle(second), "after").await;
    println!("first acknowledgement {:?} after the kill", killed.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::from(["after".to_owned()]);
    for sender in senders {
        acknowledged.extend(sender.await.unwrap());
    }
    let held = bodies(&group.handle(second)).await;
    let held_set: BTreeSet<_> = held.iter().cloned().collect();
    assert_eq!(held_set.len(), held.len(), "nothing is there twice");
    let lost: Vec<_> = acknowledged.difference(&held_set).collect();
    assert!(lost.is_empty(), "{} acknowledged, lost {lost:?}", acknowledged.len());
    group.start_node(first).await;
    caught_up(&group, &held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_gives_way() {
    let group = Group::start(Plan::raft()).await;
    let old = group.leader().await;
    prepare_topic(&group.handle(old)).await;
    send(&group.handle(old), "kept").await;
    group.network.isolate(old).await;
    let start = Instant::now();
    let answer = group.handle(old).propose(publish("letters", "lost"), soon()).await;
    assert!(matches!(answer, Err(ProposeError::TooFewReplicas | ProposeError::LeadershipLost)), "{answer:?}");
    assert!(start.elapsed() < PATIENCE / 2);
    let new = until("another leader", async || {
        let serves =
            |index: &usize| *index != old && group.view(*index).is_leader() && group.view(*index).serving;
        group.running().into_iter().find(serves)
    })
    .await;
    assert!(!group.view(old).serving, "no two leaders serve");
    send(&group.handle(new), "new").await;
    group.network.heal(old);
    let expected = vec!["kept".to_owned(), "new".to_owned()];
    caught_up(&group, &expected).await;
    until("the old one follows", async || (group.view(old).role == Role::Follower).then_some(())).await;
    assert!(group.handle(old).quarantined().is_empty(), "what was never committed is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_when_leadership_was_lost_is_told_as_not_certain() {
    let plan = Plan { replication: "mode = \"raft\"\nack_timeout = \"20s\"", ..Plan::raft() };
    let group = Group::start(plan).await;
    let old = group.leader().await;
    prepare_topic(&group.handle(old)).await;
    let before = group.status(old).await.consensus.unwrap().last;
    group.network.isolate(old).await;
    let handle = group.handle(old);
    let sending = tokio::spawn(async move { handle.propose(publish("letters", "lost?"), soon()).await });
    until("it is in the log", async || {
        (group.status(old).await.consensus?.last.index > before.index).then_some(())
    })
    .await;
    until("another leads", async || (0..3).find(|node| *node != old && group.view(*node).serving)).await;
    group.network.heal(old);
    let answer = sending.await.unwrap();
    assert!(matches!(answer, Err(ProposeError::LeadershipLost)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_hands_leadership_over() {
    let mut group = Group::start(Plan::raft()).await;
    let old = group.leader().await;
    prepare_topic(&group.handle(old)).await;
    send(&group.handle(old), "before").await;
    let start = Instant::now();
    let others: Vec<_> = group.running().into_iter().filter(|index| *index != old).collect();
    let watching = others.iter().map(|index| {
        let mut view = group.handle(*index).watch();
        tokio::spawn(async move { view.wait_for(|view| view.is_leader()).await.map(|_| start.elapsed()) })
    });
    let watching: Vec<_> = watching.collect();
    group.stop(old).await;
    let (took, _, _) = futures::future::select_all(watching).await;
    let took = took.unwrap().unwrap();
    println!("handed over after {took:?}");
    assert!(took < Duration::from_millis(900), "an election by silence takes longer than {took:?}");
    let new = group.leader().await;
    send(&group.handle(new), "after").await;
    group.start_node(old).await;
    caught_up(&group, &["before".to_owned(), "after".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_group_comes_back_after_all_were_killed() {
    let mut group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    prepare_topic(&group.handle(leader)).await;
    for number in 0..20 {
        send(&group.handle(leader), &number.to_string()).await;
    }
    for index in 0..3 {
        group.kill(index);
    }
    for index in 0..3 {
        group.start_node(index).await;
    }
    group.leader().await;
    caught_up(&group, &(0..20).map(|n| n.to_string()).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_committed_log_is_contradicted_stops() {
    let group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    prepare_topic(&group.handle(leader)).await;
    let (target, liar) = ((leader + 1) % 3, group.view((leader + 2) % 3).node);
    let view = until("something is committed there", async || {
        let view = group.status(target).await.consensus.unwrap();
        (view.commit > LogIndex(1)).then_some(view)
    })
    .await;
    let mut builder = BatchBuilder::default();
    builder.push(b"");
    let id = mainstay_record::EntryId {
        epoch: mainstay_record::Epoch::new(view.epoch.number, liar),
        index: LogIndex(1),
    };
    let batch = builder.seal(BatchKind::Epoch, GroupId(0), id, LogPosition(0), Timestamp(0));
    let epoch = |number, candidate| Some(Epoch { number, candidate });
    let append = AppendRequest {
        membership: 1,
        epoch: epoch(view.highest.number + 1, liar.get()),
        prev: Some(EntryId { epoch: epoch(0, 0), index: 0 }),
        commit: 0,
        round: 0,
        losses: 0,
        batches: vec![batch.bytes().clone()],
    };
    let envelope = Envelope {
        from: liar.get(),
        to: group.view(target).node.get(),
        clock_ms: 0,
        message: Some(envelope::Message::AppendRequest(append)),
    };
    group.replication(target).await.deliver(futures::stream::iter([envelope])).await.unwrap();
    let failed = group.nodes[target].broker.as_ref().unwrap().failed();
    let reason = tokio::time::timeout(PATIENCE, failed).await.expect("it stops in time").to_string();
    assert!(reason.contains("contradicts the committed entry 1"), "{reason}");
    assert_eq!((group.view(target).role, group.view(target).problem), (Role::Fenced, reason));
}
