//! Raft elects by itself, in bounded time, and a leader that reaches nobody gives up.

use mainstay_consensus::{Action, Event, Membership, Message, Mode, Problem, Role, VoteRequest};
use mainstay_record::{BatchKind, EntryId, Epoch, LogIndex};

use crate::rig::{Rig, millis, node, start};

#[test]
fn a_single_member_leads_at_once_in_every_mode() {
    for mode in [Mode::Raft, Mode::Sync { min_in_sync: 1 }, Mode::Async] {
        let mut rig = Rig::new(mode, 1);
        rig.pass(millis(5));
        let view = rig.view(1);
        assert_eq!((view.role, view.serving, view.quorum_reachable), (Role::Leader, true, true), "{mode:?}");
        assert_eq!(view.commit, LogIndex(2), "its epoch and its membership are in the log");
        let kinds: Vec<_> = rig.replicas[&1].log.iter().map(|batch| batch.header().kind).collect();
        assert_eq!(kinds, [BatchKind::Epoch, BatchKind::Membership]);
        rig.propose(1).unwrap();
        assert_eq!(rig.view(1).commit, LogIndex(3));
    }
}

#[test]
fn a_killed_leader_is_replaced_within_two_seconds() {
    let mut worst = millis(0);
    for lap in 0..50 {
        let (mut rig, leader) = Rig::led(Mode::Raft, 3);
        rig.pass(millis(lap * 37));
        rig.down.insert(leader);
        let serves = |rig: &Rig| rig.leader().is_some_and(|raw| rig.view(raw).serving);
        worst = worst.max(rig.pass_until(millis(2000), serves));
    }
    eprintln!("worst failover of 50: {worst:?}");
}

#[test]
fn a_leader_that_reaches_nobody_stops_serving_and_steps_down() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let others: Vec<_> = (1..=3).filter(|raw| *raw != leader).collect();
    rig.mute.extend(&others);
    let lease = rig.view(leader).lease_remaining;
    assert!(lease > millis(0) && lease <= millis(900));
    rig.pass(lease + millis(5));
    assert!(!rig.view(leader).serving);
    rig.pass(millis(200));
    assert_ne!(rig.view(leader).role, Role::Leader, "it hears nobody for more than a lease");
}

#[test]
fn a_cut_off_candidate_does_not_inflate_epochs_or_disturb_the_leader() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let epoch = rig.view(leader).epoch;
    let alone = if leader == 1 { 2 } else { 1 };
    rig.down.insert(alone);
    rig.pass(millis(3000));
    rig.down.remove(&alone);
    // It has long been campaigning in vain.
    rig.pass(millis(3000));
    assert_eq!((rig.leader(), rig.view(leader).epoch), (Some(leader), epoch));
    assert_eq!(rig.view(alone).leader, Some(node(leader)));
}

#[test]
fn the_best_log_wins() {
    for lap in 0..20 {
        let logs = [(1, vec![1, 1, 2]), (2, vec![1, 1]), (3, vec![1, 1, 1 + lap % 2])].into_iter().collect();
        let mut rig = Rig::with_logs(Mode::Raft, 3, &logs);
        let took = rig.pass_until(millis(2000), |rig| rig.leader().is_some());
        let leader = rig.leader().unwrap();
        let best = if lap % 2 == 0 { leader == 1 } else { leader != 2 };
        assert!(best, "{leader} leads after {took:?}");
    }
}

#[test]
fn who_is_no_member_neither_grants_nor_campaigns() {
    let membership = Membership::new(1, Mode::Raft, vec![node(1), node(2)]).unwrap();
    let mut rig = Rig::new(Mode::Raft, 3);
    let outsider = start(3, &[], &membership, rig.now);
    rig.replicas.get_mut(&3).unwrap().core = outsider;
    rig.down.extend([1, 2]);
    rig.pass(millis(5000));
    assert_eq!(rig.view(3).role, Role::Follower);
    assert_eq!(rig.view(3).problem, Some(Problem::NotMember));
    let request = VoteRequest {
        membership: 1,
        epoch: Epoch::new(9, node(1)),
        pre_vote: false,
        last: EntryId { epoch: Epoch::new(8, node(1)), index: LogIndex(9) },
        released: None,
        forced: false,
    };
    rig.step(3, Event::Message { from: node(1), message: Message::VoteRequest(request) }).unwrap();
    assert_eq!(rig.view(3).granted, Epoch::ZERO);
    let sent = |action: &Action| matches!(action, Action::Send { .. } | Action::StoreHardState(_));
    assert!(!rig.replicas[&3].actions.iter().any(sent));
}

#[test]
fn a_grant_is_stored_before_it_is_told() {
    let mut rig = Rig::new(Mode::Raft, 3);
    rig.pass_until(millis(3000), |rig| rig.leader().is_some());
    for replica in rig.replicas.values() {
        let stored = replica.actions.iter().position(|action| matches!(action, Action::StoreHardState(_)));
        let told = replica.actions.iter().position(|action| match action {
            Action::Send { message: Message::VoteRequest(request), .. } => !request.pre_vote,
            Action::Send { message: Message::VoteResponse(response), .. } => {
                response.granted && !response.pre_vote
            }
            Action::Send { message: Message::AppendResponse(_), .. } => true,
            _ => false,
        });
        assert!(stored.is_some() && stored < told, "{:?}", replica.actions);
    }
}

#[test]
fn a_release_counts_only_for_the_epoch_that_it_names() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let (voter, candidate) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let reign = rig.view(leader).epoch;
    rig.down.insert(leader);
    let mut ask = |released| {
        let epoch = Epoch::new(reign.number + 1, node(candidate));
        let last = rig.view(voter).last;
        let request = VoteRequest { epoch, pre_vote: false, membership: 1, last, released, forced: false };
        let event = Event::Message { from: node(candidate), message: Message::VoteRequest(request) };
        rig.step(voter, event).unwrap();
        rig.view(voter).granted == epoch
    };
    assert!(!ask(None), "the lease runs");
    assert!(!ask(Some(Epoch::new(reign.number, node(candidate)))), "another reign's release");
    assert!(ask(Some(reign)));
}
