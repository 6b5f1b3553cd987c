//! Members come and go, one changes place with another, and the write quorum changes: through the log.

use mainstay_consensus::{Action, ChangeView, Event, Membership, Mode, Part, Role, StepError};
use mainstay_record::BatchKind;

use crate::rig::{Rig, millis, node};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

fn change(rig: &mut Rig, mode: Mode, members: &[u64]) -> Result<(), StepError> {
    let leader = rig.leader().unwrap();
    let members = members.iter().map(|raw| node(*raw)).collect();
    rig.step(leader, Event::ChangeMembership { mode, members })
}

/// The voters of what is in force on a member, and its version; `None` while a change is under way.
pub(crate) fn settled(rig: &Rig, raw: u64) -> Option<(Vec<u64>, u64)> {
    let membership = rig.view(raw).membership;
    let voters = membership.voters().iter().map(|node| node.get()).collect();
    (!membership.is_joint()).then_some((voters, membership.version()))
}

/// A group that leads and has something in its log. Its leader.
pub(crate) fn group(mode: Mode, members: u64) -> (Rig, u64) {
    let (mut rig, leader) = Rig::led(mode, members);
    for _ in 0..5 {
        rig.propose(leader).unwrap();
    }
    rig.pass(millis(200));
    (rig, leader)
}

/// What the membership batches of the log say, in order.
pub(crate) fn steps(rig: &Rig, raw: u64) -> Vec<(u64, bool)> {
    let log = rig.replicas[&raw].log.iter().filter(|batch| batch.header().kind == BatchKind::Membership);
    let read = log.map(|batch| Membership::decode(&batch.record(0).unwrap()).unwrap());
    read.map(|membership| (membership.version(), membership.is_joint())).collect()
}

#[test]
fn a_group_grows_from_one_to_three() {
    for mode in [Mode::Raft, Mode::Sync { min_in_sync: 1 }, Mode::Async] {
        let (mut rig, leader) = group(mode, 1);
        for raw in [2, 3] {
            rig.join(raw, mode);
        }
        change(&mut rig, mode, &[1, 2, 3]).unwrap();
        rig.pass(millis(500));
        for raw in 1..=3 {
            assert_eq!(settled(&rig, raw), Some((vec![1, 2, 3], 3)), "{mode:?} on {raw}");
            assert!(rig.view(raw).standing.caught_up);
            assert_eq!(rig.view(raw).problem, None);
        }
        assert_eq!(steps(&rig, leader), [(1, false), (2, true), (3, false)]);
        rig.propose(leader).unwrap();
        assert_eq!(rig.view(3).last, rig.view(leader).last);
        assert!(rig.view(leader).serving);
        if mode == Mode::Raft {
            rig.down.insert(leader);
            rig.pass_until(millis(4000), |rig| rig.leader().is_some_and(|raw| rig.view(raw).serving));
        }
    }
}

#[test]
fn a_member_is_replaced_in_one_change_and_stops() {
    for mode in [Mode::Raft, SYNC, Mode::Async] {
        let (mut rig, leader) = group(mode, 3);
        let old = leader % 3 + 1;
        let stays = (leader + 1) % 3 + 1;
        rig.join(4, mode);
        rig.propose(leader).unwrap();
        change(&mut rig, mode, &[leader, stays, 4]).unwrap();
        rig.pass(millis(1000));
        let mut voters = vec![leader, stays, 4];
        voters.sort_unstable();
        for raw in [leader, stays, 4, old] {
            assert_eq!(settled(&rig, raw), Some((voters.clone(), 3)), "{mode:?} on {raw}");
        }
        let ids: Vec<_> = rig.view(leader).members.iter().map(|member| member.id.get()).collect();
        assert_eq!(ids, voters, "the removed one is talked to no more");
        rig.down.insert(leader);
        rig.replicas.get_mut(&old).unwrap().actions.clear();
        rig.pass(millis(5000));
        assert_eq!(rig.view(old).role, Role::Follower);
        let asks = |action: &&Action| matches!(action, Action::Send { .. });
        assert_eq!(rig.replicas[&old].actions.iter().filter(asks).count(), 0);
        if mode == Mode::Raft {
            let next = rig.leader().expect("the others elect one");
            assert!(next != old && rig.view(next).serving);
        }
    }
}

#[test]
fn a_leader_that_removes_itself_hands_over() {
    for mode in [Mode::Raft, SYNC, Mode::Async] {
        let (mut rig, leader) = group(mode, 3);
        let rest: Vec<u64> = (1..=3).filter(|raw| *raw != leader).collect();
        let wanted = if mode == SYNC { Mode::Sync { min_in_sync: 1 } } else { mode };
        change(&mut rig, wanted, &rest).unwrap();
        rig.pass(millis(300));
        let next = rig.leader().expect("handed over at once");
        assert!(rest.contains(&next), "{mode:?}");
        rig.propose(next).unwrap();
        rig.pass(millis(300));
        assert_eq!(settled(&rig, next), Some((rest.clone(), 3)));
        assert!(rig.view(next).serving);
        assert_eq!(rig.view(leader).role, Role::Follower);
    }
}

#[test]
fn the_write_quorum_changes_alone() {
    let (mut rig, leader) = group(SYNC, 3);
    change(&mut rig, Mode::Sync { min_in_sync: 3 }, &[1, 2, 3]).unwrap();
    rig.pass(millis(200));
    assert_eq!(rig.view(leader).membership.write_quorum(), 3);
    let follower = leader % 3 + 1;
    rig.down.insert(follower);
    rig.propose(leader).unwrap();
    assert!(rig.view(leader).commit < rig.view(leader).last.index, "three are needed now");
    rig.down.clear();
    rig.pass(millis(300));
    assert_eq!(rig.view(leader).commit, rig.view(leader).last.index);
}

#[test]
fn a_wish_waits_for_its_learner_and_can_be_dropped_or_replaced() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    change(&mut rig, Mode::Raft, &[1, 2, 3, 4]).unwrap();
    rig.pass(millis(500));
    let waits =
        ChangeView { mode: Mode::Raft, members: (1..=4).map(node).collect(), waits_for: vec![node(4)] };
    assert_eq!(rig.view(leader).change, Some(waits));
    let learner = rig.view(leader).members.into_iter().find(|member| member.id == node(4)).unwrap();
    assert_eq!((learner.part, learner.heard_at), (Part::Learner, None));
    assert_eq!(settled(&rig, leader), Some((vec![1, 2, 3], 1)));
    // Replaced by one that can be done.
    rig.join(5, Mode::Raft);
    change(&mut rig, Mode::Raft, &[1, 2, 3, 5]).unwrap();
    rig.pass(millis(500));
    assert_eq!(settled(&rig, leader), Some((vec![1, 2, 3, 5], 3)));
    assert_eq!(rig.view(leader).change, None);
    // Dropped, by event or by asking for what there is.
    change(&mut rig, Mode::Raft, &[1, 2, 3, 4, 5]).unwrap();
    rig.step(leader, Event::AbandonChange).unwrap();
    assert_eq!(rig.view(leader).change, None);
    change(&mut rig, Mode::Raft, &[1, 2, 3, 4, 5]).unwrap();
    change(&mut rig, Mode::Raft, &[1, 2, 3, 5]).unwrap();
    assert_eq!(rig.view(leader).change, None);
    assert_eq!(rig.view(leader).members.len(), 4);
    assert_eq!(settled(&rig, leader), Some((vec![1, 2, 3, 5], 3)));
}

/// A learner that is far behind gets a snapshot, and counts only when it has nearly everything.
#[test]
fn a_learner_counts_for_nothing_until_it_has_caught_up() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    for _ in 0..30 {
        rig.propose(leader).unwrap();
    }
    rig.pass(millis(200));
    rig.compact(leader, 20);
    rig.join(4, Mode::Raft);
    rig.stalled.insert(4);
    change(&mut rig, Mode::Raft, &[1, 2, 3, 4]).unwrap();
    rig.pass(millis(3000));
    assert_eq!(settled(&rig, leader), Some((vec![1, 2, 3], 1)), "it has nothing yet");
    assert!(!rig.view(4).standing.caught_up);
    // With two of three gone, its copy and its answers are worth nothing.
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.down.extend([one, other]);
    rig.propose(leader).unwrap();
    rig.pass(millis(1500));
    assert!(!rig.view(leader).serving && rig.view(leader).commit < rig.view(leader).last.index);
    rig.down.clear();
    rig.stalled.clear();
    rig.pass_until(millis(5000), |rig| rig.leader().is_some_and(|raw| rig.view(raw).serving));
    let leader = rig.leader().unwrap();
    // The wish went with the reign, if that ended.
    change(&mut rig, Mode::Raft, &[1, 2, 3, 4]).unwrap();
    let epoch = rig.view(leader).epoch;
    rig.step(leader, Event::SnapshotEnded { to: node(4), epoch }).unwrap();
    rig.pass(millis(3000));
    assert_eq!(settled(&rig, 4), Some((vec![1, 2, 3, 4], 3)));
    assert!(rig.view(4).standing.caught_up);
}

#[test]
fn impossible_and_untimely_changes_are_refused_by_name() {
    let (mut rig, leader) = group(SYNC, 3);
    let refused = |rig: &mut Rig, mode, members: &[u64]| change(rig, mode, members).unwrap_err();
    assert!(matches!(refused(&mut rig, SYNC, &[]), StepError::BadChange(_)));
    assert!(matches!(refused(&mut rig, SYNC, &[1, 1, 2]), StepError::BadChange(_)));
    assert!(matches!(refused(&mut rig, SYNC, &[1]), StepError::BadChange(_)));
    assert_eq!(refused(&mut rig, Mode::Raft, &[1, 2, 3]), StepError::ModeFixed);
    let follower = leader % 3 + 1;
    let event = Event::ChangeMembership { mode: SYNC, members: vec![node(1), node(2)] };
    assert!(matches!(rig.step(follower, event), Err(StepError::NotLeader { .. })));
    // Who is left could not commit.
    let other = (leader + 1) % 3 + 1;
    rig.down.insert(follower);
    rig.pass(millis(1500));
    assert_eq!(refused(&mut rig, SYNC, &[leader, follower]), StepError::WouldLeaveNoQuorum);
    rig.down.clear();
    rig.pass(millis(500));
    // One at a time: the joint membership waits for both quorums.
    rig.persists = false;
    change(&mut rig, SYNC, &[leader, other]).unwrap();
    assert!(rig.view(leader).membership.is_joint());
    let again = change(&mut rig, SYNC, &[leader, other]);
    assert_eq!(again, Ok(()), "the same wish");
    let error = refused(&mut rig, SYNC, &[1, 2, 3]);
    assert_eq!(error, StepError::ChangeInProgress { version: 2 });
    assert_eq!(rig.step(leader, Event::AbandonChange), Err(StepError::ChangeInProgress { version: 2 }));
}

/// Neither quorum alone decides anything while both are in force.
#[test]
fn a_joint_membership_commits_with_both_quorums_only() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    for raw in [4, 5] {
        rig.join(raw, Mode::Raft);
    }
    // Learners keep up; then both members that stay behind vanish.
    change(&mut rig, Mode::Raft, &[leader, 4, 5, 6]).unwrap();
    rig.pass(millis(300));
    rig.down.extend([one, other]);
    change(&mut rig, Mode::Raft, &[leader, 4, 5]).unwrap();
    rig.propose(leader).unwrap();
    rig.pass(millis(300));
    let view = rig.view(leader);
    assert!(
        view.membership.is_joint() && view.commit < view.last.index,
        "the new quorum has it, the old has not"
    );
    rig.down.remove(&one);
    rig.pass(millis(500));
    let now_leads = rig.leader().unwrap();
    rig.pass_until(millis(5000), |rig| settled(rig, now_leads).is_some_and(|(_, version)| version == 3));
    let mut voters = vec![leader, 4, 5];
    voters.sort_unstable();
    assert_eq!(settled(&rig, 4), Some((voters, 3)));
}

/// The leader dies with the joint membership in the log: who comes next finishes the change.
#[test]
fn a_new_leader_finishes_the_change_that_it_finds() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    let (old, stays) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.join(4, Mode::Raft);
    rig.stalled.clear();
    change(&mut rig, Mode::Raft, &[leader, stays, 4, 9]).unwrap();
    rig.pass(millis(300));
    // It is sent, but no answer comes back.
    rig.deaf.insert(leader);
    change(&mut rig, Mode::Raft, &[leader, stays, 4]).unwrap();
    rig.pass(millis(10));
    assert!([old, stays, 4].iter().all(|raw| rig.view(*raw).membership.is_joint()));
    rig.down.insert(leader);
    rig.deaf.clear();
    rig.pass_until(millis(5000), |rig| rig.leader().is_some_and(|raw| rig.view(raw).serving));
    rig.pass(millis(1000));
    let next = rig.leader().expect("somebody leads");
    let mut voters = vec![leader, stays, 4];
    voters.sort_unstable();
    assert_eq!(settled(&rig, next), Some((voters, 3)));
    assert_ne!(next, old, "it hands over when it is removed");
}

/// A member that has caught up but does not know yet that it is one must be asked: without it nobody could be elected.
#[test]
fn a_new_member_that_has_not_heard_of_it_grants_to_who_has() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    let (old, stays) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.join(4, Mode::Raft);
    change(&mut rig, Mode::Raft, &[leader, stays, 4, 9]).unwrap();
    rig.pass(millis(300));
    rig.deaf.insert(4);
    change(&mut rig, Mode::Raft, &[leader, stays, 4]).unwrap();
    rig.pass(millis(10));
    assert!(!rig.view(4).membership.contains(node(4)), "it has not heard");
    assert_eq!(settled(&rig, stays).map(|(_, version)| version), Some(3));
    rig.down.extend([leader, old]);
    rig.deaf.clear();
    rig.pass_until(millis(5000), |rig| rig.leader().is_some_and(|raw| rig.view(raw).serving));
    assert_eq!(rig.leader(), Some(stays));
}

#[test]
fn a_cut_takes_a_change_back() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    rig.mute.insert(leader);
    let rest: Vec<u64> = (1..=3).filter(|raw| *raw != follower).collect();
    change(&mut rig, Mode::Raft, &rest).unwrap();
    assert!(rig.view(leader).membership.is_joint());
    rig.pass_until(millis(5000), |rig| {
        rig.replicas.keys().any(|raw| *raw != leader && rig.view(*raw).serving)
    });
    rig.mute.clear();
    rig.pass(millis(500));
    for raw in 1..=3 {
        assert_eq!(settled(&rig, raw), Some((vec![1, 2, 3], 1)), "on {raw}");
    }
}

#[test]
fn restarts_in_the_middle_of_a_change_know_both_quorums() {
    let (mut rig, leader) = group(Mode::Raft, 3);
    rig.persists = false;
    let follower = leader % 3 + 1;
    let rest: Vec<u64> = (1..=3).filter(|raw| *raw != follower).collect();
    change(&mut rig, Mode::Raft, &rest).unwrap();
    rig.persists = true;
    rig.restart(leader);
    let membership = rig.view(leader).membership;
    assert!(membership.is_joint());
    assert_eq!((membership.members().len(), membership.voters().len()), (3, 2));
    rig.pass(millis(5000));
    let next = rig.leader().unwrap();
    assert_eq!(settled(&rig, next), Some((rest, 3)));
}

/// A leader removes itself and dies before anybody has heard of the last step: nobody else has the best log, so it must
/// come back and lead once more.
#[test]
fn who_is_removed_by_what_is_not_committed_may_be_needed_once_more() {
    let (mut rig, old) = group(Mode::Raft, 1);
    for raw in [2, 3] {
        rig.join(raw, Mode::Raft);
    }
    change(&mut rig, Mode::Raft, &[2, 3, 9]).unwrap();
    rig.pass(millis(500));
    rig.persists = false;
    change(&mut rig, Mode::Raft, &[2, 3]).unwrap();
    let joint = rig.view(old).last;
    rig.step(2, Event::Persisted { last: joint }).unwrap();
    rig.step(3, Event::Persisted { last: joint }).unwrap();
    rig.mute.insert(old);
    rig.step(old, Event::Persisted { last: joint }).unwrap();
    assert_eq!(settled(&rig, old), Some((vec![2, 3], 3)));
    assert!(rig.view(2).membership.is_joint() && rig.view(3).membership.is_joint());
    rig.persists = true;
    rig.mute.clear();
    rig.restart(old);
    rig.pass_until(millis(8000), |rig| rig.leader().is_some_and(|raw| raw != old && rig.view(raw).serving));
    rig.pass(millis(500));
    assert_eq!((settled(&rig, 2), rig.view(old).role), (Some((vec![2, 3], 3)), Role::Follower));
}

/// The only member that is left restarts: it has promised to the leader that is gone, which may still serve.
#[test]
fn who_is_left_alone_keeps_its_promise_to_the_leader_that_removed_itself() {
    let (mut rig, leader) = group(Mode::Sync { min_in_sync: 1 }, 2);
    let left = 3 - leader;
    rig.persists = false;
    change(&mut rig, Mode::Sync { min_in_sync: 1 }, &[left]).unwrap();
    let last = rig.view(left).last;
    rig.step(left, Event::Persisted { last }).unwrap();
    assert_eq!(settled(&rig, left), Some((vec![left], 3)));
    rig.mute.insert(left);
    rig.deaf.insert(left);
    rig.persists = true;
    rig.restart(left);
    assert!(rig.view(leader).serving);
    let mut both = false;
    for _ in 0..800 {
        rig.pass(millis(5));
        both |= rig.view(leader).serving && rig.view(left).serving;
    }
    assert!(!both && rig.view(left).serving);
}
