//! Changing who belongs to a group while it serves: a lost volume is replaced, members go and come, the write quorum changes.

#![allow(clippy::unwrap_used)]

mod support;

use mainstay_broker::group::{OrderError, Role};
use mainstay_consensus::{Membership, Mode, StepError, View};
use mainstay_record::NodeId;
use mainstay_storage::MemFileSystem;
use support::{Group, PATIENCE, Plan, bodies, lead, prepare_topic, send, until};

const SYNC: &str = "mode = \"sync\"\nmin_in_sync = 2";

async fn consensus(group: &Group, node: usize) -> View {
    until("it takes part", async || group.status(node).await.consensus).await
}

/// Waits until the leader's membership is settled, and exactly of these nodes.
async fn settled(group: &Group, nodes: &[usize]) {
    let mut wanted: Vec<NodeId> = nodes.iter().map(|node| group.view(*node).node).collect();
    wanted.sort_unstable();
    until("the change is through", async || {
        let leader = group.leader().await;
        let membership = consensus(group, leader).await.membership;
        (!membership.is_joint() && membership.members() == wanted).then_some(())
    })
    .await;
}

/// Asks the leader until it takes the change.
async fn change(group: &Group, mode: Mode, nodes: &[usize]) {
    let members: Vec<NodeId> = nodes.iter().map(|node| group.view(*node).node).collect();
    until("the change is taken", async || {
        let leader = group.handle(group.leader().await);
        leader.change_membership(mode, members.clone()).await.ok()
    })
    .await;
}

async fn has_all(group: &Group, node: usize, expected: &[String]) {
    until("it has everything", async || (bodies(&group.handle(node)).await == expected).then_some(())).await;
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

async fn sent(group: &Group, numbers: std::ops::Range<usize>) {
    for number in numbers {
        send(&group.handle(group.leader().await), &number.to_string()).await;
    }
}

/// The node comes back with an empty volume.
async fn lose_volume(group: &mut Group, node: usize) {
    group.kill(node);
    group.nodes[node].fs = MemFileSystem::new(100 + node as u64);
    group.start_node(node).await;
    until("it waits to be taken in", async || (group.view(node).role == Role::Learner).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_volume_is_replaced_and_its_successor_counts() {
    let mut group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    let (lost, third) = ((leader + 1) % 3, (leader + 2) % 3);
    prepare_topic(&group.handle(leader)).await;
    sent(&group, 0..20).await;
    lose_volume(&mut group, lost).await;
    assert_eq!(consensus(&group, leader).await.membership.version(), 1, "nobody is replaced unasked");
    sent(&group, 20..30).await;
    change(&group, Mode::Raft, &[0, 1, 2]).await;
    settled(&group, &[0, 1, 2]).await;
    has_all(&group, lost, &numbered(30)).await;
    // Two of three are a quorum only if the successor counts.
    group.kill(third);
    sent(&group, 30..40).await;
    group.start_node(third).await;
    has_all(&group, third, &numbered(40)).await;
    group.kill(leader);
    sent(&group, 40..45).await;
    // And it remembers so.
    group.kill(lost);
    group.start_node(lost).await;
    sent(&group, 45..50).await;
    group.start_node(leader).await;
    for node in 0..3 {
        has_all(&group, node, &numbered(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_loses_its_log_before_it_counts_elects_nobody() {
    let mut group = Group::start(Plan::raft()).await;
    let leader = group.leader().await;
    let (lost, third) = ((leader + 1) % 3, (leader + 2) % 3);
    prepare_topic(&group.handle(leader)).await;
    sent(&group, 0..5).await;
    lose_volume(&mut group, lost).await;
    change(&group, Mode::Raft, &[0, 1, 2]).await;
    settled(&group, &[0, 1, 2]).await;
    group.kill(third);
    sent(&group, 5..10).await;
    // Its log goes, with all that only it and the leader have.
    group.kill(lost);
    let fs = group.nodes[lost].fs.clone();
    let log = std::path::Path::new("/data/log");
    for name in mainstay_storage::FileSystem::list(&fs, log).unwrap() {
        mainstay_storage::FileSystem::remove(&fs, &log.join(name)).unwrap();
    }
    group.kill(leader);
    group.start_node(lost).await;
    group.start_node(third).await;
    until("it knows what it lost", async || {
        let standing = group.status(lost).await.consensus?.standing;
        (standing.losses > 0 && !standing.caught_up).then_some(())
    })
    .await;
    let nobody = async {
        until("nobody leads", async || group.running().into_iter().find(|node| group.view(*node).serving))
            .await
    };
    assert!(
        tokio::time::timeout(PATIENCE / 6, nobody).await.is_err(),
        "what was acknowledged may be missing"
    );
    group.start_node(leader).await;
    group.leader().await;
    for node in 0..3 {
        has_all(&group, node, &numbered(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_go_and_come_and_the_write_quorum_follows() {
    let mut group = Group::start(Plan { replication: SYNC, ..Plan::raft() }).await;
    lead(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    sent(&group, 0..5).await;
    change(&group, Mode::Sync { min_in_sync: 3 }, &[0, 1, 2]).await;
    until("three write", async || (consensus(&group, 0).await.membership.write_quorum() == 3).then_some(()))
        .await;
    settled(&group, &[0, 1, 2]).await;
    sent(&group, 5..10).await;
    change(&group, Mode::Sync { min_in_sync: 1 }, &[0, 1]).await;
    settled(&group, &[0, 1]).await;
    until("it knows that it was removed", async || (group.view(2).role == Role::Learner).then_some(())).await;
    sent(&group, 10..15).await;
    group.kill(2);
    group.kill(1);
    sent(&group, 15..20).await;
    group.start_node(1).await;
    group.start_node(2).await;
    change(&group, Mode::Sync { min_in_sync: 2 }, &[0, 1, 2]).await;
    settled(&group, &[0, 1, 2]).await;
    group.kill(1);
    sent(&group, 20..25).await;
    has_all(&group, 2, &numbered(25)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_that_make_no_sense_are_refused() {
    let group = Group::start(Plan { replication: SYNC, ..Plan::raft() }).await;
    lead(&group, 0, 1).await;
    let node = |index: usize| group.view(index).node;
    let refused = async |mode, members: Vec<NodeId>| {
        let answer = group.handle(0).change_membership(mode, members).await;
        let Err(OrderError::Refused(error)) = answer else { panic!("{answer:?}") };
        error
    };
    until("it may change", async || {
        let same = Mode::Sync { min_in_sync: 2 };
        group.handle(0).change_membership(same, (0..3).map(node).collect()).await.ok()
    })
    .await;
    assert!(matches!(refused(Mode::Raft, vec![node(0)]).await, StepError::ModeFixed));
    let twice = refused(Mode::Sync { min_in_sync: 1 }, vec![node(0), node(0)]).await;
    assert!(matches!(twice, StepError::BadChange(_)), "{twice}");
    let many = refused(Mode::Sync { min_in_sync: 4 }, (0..3).map(node).collect()).await;
    assert!(matches!(many, StepError::BadChange(_)), "{many}");
    let follower = group.handle(1).change_membership(Mode::Sync { min_in_sync: 1 }, vec![node(0)]).await;
    assert!(matches!(follower, Err(OrderError::Refused(StepError::NotLeader { .. }))), "{follower:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_member_is_needed_the_operator_names_who_is_left() {
    let plan = Plan { replication: SYNC, members: 2, ..Plan::raft() };
    let mut group = Group::start(plan).await;
    lead(&group, 0, 1).await;
    prepare_topic(&group.handle(0)).await;
    sent(&group, 0..5).await;
    lose_volume(&mut group, 1).await;
    let mode = Mode::Sync { min_in_sync: 1 };
    let left = Membership::new(2, mode, vec![group.view(0).node]).unwrap();
    until("it is adopted", async || group.handle(0).adopt_membership(left.clone()).await.ok()).await;
    sent(&group, 5..10).await;
    group.kill(0);
    group.start_node(0).await;
    until("it leads again", async || {
        let handle = group.handle(0);
        let _ = handle.campaign(5, handle.clock_now().plus(PATIENCE)).await;
        group.view(0).serving.then_some(())
    })
    .await;
    sent(&group, 10..15).await;
    change(&group, Mode::Sync { min_in_sync: 2 }, &[0, 1]).await;
    settled(&group, &[0, 1]).await;
    sent(&group, 15..20).await;
    has_all(&group, 1, &numbered(20)).await;
}

/// The operator names the survivor and the node that came back in the place of the lost one; as many copies as before.
#[tokio::test(flavor = "multi_thread")]
async fn where_every_member_is_needed_a_lost_one_is_replaced_by_name() {
    for lost in [0, 1] {
        let survivor = 1 - lost;
        let plan = Plan { replication: SYNC, members: 2, ..Plan::raft() };
        let mut group = Group::start(plan).await;
        lead(&group, 0, 1).await;
        prepare_topic(&group.handle(0)).await;
        sent(&group, 0..5).await;
        lose_volume(&mut group, lost).await;
        if lost == 0 {
            let handle = group.handle(survivor);
            until("it leads", async || {
                let _ = handle.campaign(2, handle.clock_now().plus(PATIENCE)).await;
                (group.view(survivor).role == Role::Leader).then_some(())
            })
            .await;
        }
        let mode = Mode::Sync { min_in_sync: 2 };
        let nodes = (0..2).map(|node| group.view(node).node).collect();
        let named = Membership::new(2, mode, nodes).unwrap();
        for _ in 0..2 {
            let adopted = group.handle(survivor).adopt_membership(named.clone()).await;
            assert!(adopted.is_ok(), "taken once and known after that: {adopted:?}");
        }
        let other =
            Membership::new(2, mode, vec![group.view(survivor).node, NodeId::new(7).unwrap()]).unwrap();
        let second = group.handle(survivor).adopt_membership(other).await;
        // What was named may be settled already, by the membership after it.
        let stale = StepError::StaleMembership { offered: 2, known: 2 };
        let newer = StepError::StaleMembership { offered: 2, known: 3 };
        assert!(
            matches!(&second, Err(OrderError::Refused(error)) if *error == stale || *error == newer),
            "{second:?}"
        );
        sent(&group, 5..10).await;
        settled(&group, &[0, 1]).await;
        has_all(&group, lost, &numbered(10)).await;
        // Now it counts: alone it has everything, and can lead.
        until("it has caught up", async || {
            group.status(lost).await.consensus?.standing.caught_up.then_some(())
        })
        .await;
        group.kill(survivor);
        let handle = group.handle(lost);
        until("it leads", async || {
            let _ = handle.campaign(9, handle.clock_now().plus(PATIENCE)).await;
            (group.view(lost).role == Role::Leader).then_some(())
        })
        .await;
        group.start_node(survivor).await;
        sent(&group, 10..15).await;
        for node in 0..2 {
            has_all(&group, node, &numbered(15)).await;
        }
    }
}
