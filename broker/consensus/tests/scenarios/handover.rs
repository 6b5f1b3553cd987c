//! Planned change of leader: quick when the successor is well, harmless when it is not.

use mainstay_consensus::{AppendResponse, Event, Message, Mode, Role, Standing, StepError, VoteRequest};
use mainstay_record::{Epoch, LogIndex};

use crate::rig::{Rig, millis, node};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

#[test]
fn leadership_moves_at_once_and_without_an_order() {
    for mode in [Mode::Raft, SYNC, Mode::Async] {
        let (mut rig, leader) = Rig::led(mode, 3);
        rig.propose(leader).unwrap();
        let last = rig.view(leader).last;
        let to = leader % 3 + 1;
        rig.step(leader, Event::StepDown { to: Some(node(to)) }).unwrap();
        assert_eq!(rig.leader(), Some(to), "{mode:?}: no waiting for leases");
        let (old, new) = (rig.view(leader), rig.view(to));
        assert!(new.serving && !old.serving);
        assert_eq!(old.role, Role::Follower);
        assert!(new.commit > last.index && rig.replicas[&to].log.iter().any(|batch| batch.id() == last));
    }
}

#[test]
fn the_most_advanced_member_is_chosen() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let (behind, best) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.down.insert(behind);
    rig.propose(leader).unwrap();
    rig.down.remove(&behind);
    rig.step(leader, Event::StepDown { to: None }).unwrap();
    assert_eq!(rig.leader(), Some(best));
}

#[test]
fn nobody_to_hand_over_to_is_said_and_changes_nothing() {
    let mut rig = Rig::new(Mode::Raft, 1);
    rig.pass(millis(5));
    assert_eq!(rig.step(1, Event::StepDown { to: None }), Err(StepError::NoSuccessorAtAll));
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let stranger = Err(StepError::NoSuccessor(node(9)));
    assert_eq!(rig.step(leader, Event::StepDown { to: Some(node(9)) }), stranger);
    let follower = leader % 3 + 1;
    let not_leader = Err(StepError::NotLeader { leader: Some(node(leader)) });
    assert_eq!(rig.step(follower, Event::StepDown { to: None }), not_leader);
    let (mut rig, leader) = Rig::led(Mode::Async, 3);
    rig.down.insert(3);
    rig.pass(millis(1100));
    let too_few = Err(StepError::TooFewForHandOver);
    assert_eq!(rig.step(leader, Event::StepDown { to: Some(node(2)) }), too_few, "Async needs every grant");
    rig.propose(leader).unwrap();
}

#[test]
fn a_successor_that_cannot_catch_up_costs_bounded_time() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let to = leader % 3 + 1;
    rig.down.insert(to);
    rig.propose(leader).unwrap();
    rig.step(leader, Event::StepDown { to: Some(node(to)) }).unwrap();
    let busy = Err(StepError::HandingOver { to: node(to) });
    assert_eq!(rig.propose(leader), busy);
    assert_eq!(rig.view(leader).handing_over_to, Some(node(to)));
    assert!(rig.view(leader).serving, "nothing was released yet");
    rig.pass(millis(1605));
    rig.propose(leader).unwrap();
}

#[test]
fn a_successor_that_dies_after_the_release_is_outlived() {
    for mode in [Mode::Raft, SYNC] {
        let (mut rig, leader) = Rig::led(mode, 3);
        let to = leader % 3 + 1;
        rig.mute.insert(leader);
        rig.step(leader, Event::StepDown { to: Some(node(to)) }).unwrap();
        assert!(!rig.view(leader).serving, "the lease is given up");
        rig.down.insert(to);
        rig.mute.clear();
        rig.pass_until(millis(4000), |rig| rig.leader().is_some_and(|raw| rig.view(raw).serving));
    }
}

/// Hand-overs that follow each other within a lease: what the second leader had promised to the first is no reason to
/// refuse the third, even if the second hears of the third epoch before it is asked to grant it.
#[test]
fn a_leader_owes_nothing_to_the_one_before() {
    let (mut rig, first) = Rig::led(Mode::Async, 3);
    let (second, third) = (first % 3 + 1, (first + 1) % 3 + 1);
    rig.step(first, Event::StepDown { to: Some(node(second)) }).unwrap();
    let led = rig.view(second).epoch;
    let next = Epoch::new(led.number + 1, node(third));
    let told = AppendResponse {
        epoch: next,
        accepted: false,
        round: 0,
        index: LogIndex(0),
        index_epoch: Epoch::ZERO,
        floor: false,
        standing: Standing::default(),
    };
    let from = node(first);
    rig.step(second, Event::Message { from, message: Message::AppendResponse(told) }).unwrap();
    assert_eq!(rig.view(second).role, Role::Follower);
    let last = rig.view(second).last;
    let vote =
        VoteRequest { epoch: next, pre_vote: false, membership: 1, last, released: Some(led), forced: false };
    let from = node(third);
    rig.step(second, Event::Message { from, message: Message::VoteRequest(vote) }).unwrap();
    assert_eq!(rig.view(second).granted, next, "within the lease of the first leader");
}
