//! Members whose machine failed with flush Async: their word counts for nothing until they have caught up, except when
//! nobody else is left.

use mainstay_consensus::{
    Action, AppendResponse, Event, Message, Mode, Order, Problem, Role, Standing, StepError, TailFate,
};
use mainstay_record::{Epoch, LogIndex};

use crate::rig::{Rig, millis, node};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

fn serves(rig: &Rig) -> bool {
    rig.leader().is_some_and(|raw| rig.view(raw).serving)
}

/// A Raft group in which only the leader and `with` have the last entry. Leader, `with`, the third.
fn acknowledged_by_two() -> (Rig, u64, u64, u64) {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    rig.pass(millis(200));
    let (with, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.deaf.insert(third);
    rig.propose(leader).unwrap();
    assert_eq!(rig.view(leader).commit, rig.view(with).last.index);
    assert!(rig.view(third).last < rig.view(with).last);
    (rig, leader, with, third)
}

#[test]
fn a_member_that_lost_power_helps_nobody_to_overrule_what_it_acknowledged() {
    let (mut rig, leader, with, third) = acknowledged_by_two();
    let acknowledged = rig.view(leader).last;
    rig.down.insert(leader);
    let kept = rig.replicas[&with].log.len() - 1;
    rig.lose_power(with, kept);
    rig.deaf.clear();
    rig.pass(millis(10_000));
    assert_eq!(rig.leader(), None, "two logs without the entry must not outvote the one that has it");
    assert_eq!(rig.view(with).problem, Some(Problem::CatchingUp));
    rig.restart(leader);
    rig.down.clear();
    rig.pass_until(millis(4000), serves);
    rig.pass(millis(500));
    for raw in [leader, with, third] {
        assert!(rig.replicas[&raw].log.iter().any(|batch| batch.id() == acknowledged));
        assert!(rig.view(raw).standing.caught_up && rig.view(raw).problem.is_none());
    }
    assert_eq!(rig.replicas[&with].standing, Standing { losses: 1, caught_up: true });
}

#[test]
fn a_member_that_restarts_before_it_has_caught_up_starts_over() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    rig.mute.insert(leader);
    rig.lose_power(follower, 0);
    rig.restart(follower);
    assert_eq!(rig.view(follower).standing, Standing { losses: 1, caught_up: false });
}

#[test]
fn when_every_member_lost_power_the_best_log_that_survived_leads() {
    for mode in [Mode::Raft, SYNC, Mode::Async] {
        for (best, forced) in [(1, false), (2, true), (3, false)] {
            let (mut rig, leader) = Rig::led(mode, 3);
            for _ in 0..4 {
                rig.propose(leader).unwrap();
            }
            rig.pass(millis(300));
            for raw in 1..=3 {
                rig.lose_power(raw, if raw == best { 5 } else { 3 });
            }
            let order = |rig: &mut Rig, raw: u64, epoch: u64| {
                let expires = rig.now.plus(millis(3000));
                let forced = forced && mode == Mode::Async;
                let campaign = Order::Campaign { epoch, expires };
                let promote = Order::Promote { epoch, expires };
                rig.order(raw, if forced { promote } else { campaign }).unwrap();
            };
            let absent = best % 3 + 1;
            rig.down.insert(absent);
            if mode != Mode::Raft {
                order(&mut rig, best, 5);
            }
            rig.pass(millis(4000));
            assert_eq!(rig.leader(), None, "{mode:?}: who is absent may know more");
            if mode != Mode::Raft {
                let epoch = Epoch::new(5, node(best));
                assert_eq!(rig.view(best).problem, Some(Problem::NotCaughtUp { epoch }));
            }
            rig.down.clear();
            if mode != Mode::Raft {
                let other = (best + 1) % 3 + 1;
                order(&mut rig, other, 6);
                rig.pass(millis(4000));
                assert_eq!(rig.leader(), None, "{mode:?}: a worse log leads nobody");
                order(&mut rig, best, 7);
            }
            rig.pass_until(millis(6000), |rig| rig.leader().is_some());
            assert_eq!(rig.leader(), Some(best), "{mode:?}");
            rig.propose(best).unwrap();
            rig.pass(millis(600));
            let log = &rig.replicas[&best].log;
            assert!(log.len() > 5);
            for raw in 1..=3 {
                assert_eq!((&rig.replicas[&raw].log, rig.replicas[&raw].standing.caught_up), (log, true));
            }
        }
    }
}

#[test]
fn a_pair_waits_for_the_one_that_lost_nothing() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 2);
    rig.propose(leader).unwrap();
    rig.pass(millis(200));
    let last = rig.view(leader).last;
    let other = leader % 2 + 1;
    rig.down.insert(other);
    rig.lose_power(leader, 1);
    rig.pass(millis(5000));
    assert_eq!(rig.leader(), None, "one grant is enough here, but not one that may have forgotten");
    rig.down.clear();
    rig.pass_until(millis(3000), serves);
    assert_eq!(rig.leader(), Some(other));
    rig.pass(millis(300));
    assert!(rig.replicas[&leader].log.iter().any(|batch| batch.id() == last));
}

#[test]
fn a_single_member_goes_on_with_what_survived() {
    let mut rig = Rig::new(Mode::Async, 1);
    rig.pass(millis(5));
    rig.propose(1).unwrap();
    rig.lose_power(1, 2);
    rig.pass(millis(5));
    assert_eq!((rig.view(1).role, rig.view(1).serving), (Role::Leader, true));
    assert_eq!(rig.replicas[&1].standing, Standing { losses: 1, caught_up: true });
}

#[test]
fn what_was_acknowledged_before_the_loss_is_not_counted_after_it() {
    let (mut rig, leader, with, third) = acknowledged_by_two();
    rig.persists = false;
    rig.propose(leader).unwrap();
    let last = rig.view(leader).last;
    // Persisted and acknowledged, but not on the leader yet.
    rig.step(with, Event::Persisted { last }).unwrap();
    let kept = rig.replicas[&with].log.len() - 2;
    let stale = AppendResponse {
        epoch: rig.view(with).granted,
        accepted: true,
        round: 0,
        index: last.index,
        index_epoch: Epoch::ZERO,
        floor: false,
        standing: Standing::default(),
    };
    rig.lose_power(with, kept);
    rig.pass(millis(300));
    let event = Event::Message { from: node(with), message: Message::AppendResponse(stale) };
    rig.step(leader, event).unwrap();
    let before = rig.view(leader).commit;
    rig.step(leader, Event::Persisted { last }).unwrap();
    assert_eq!(rig.view(leader).commit, before, "one copy is not two");
    rig.step(with, Event::Persisted { last }).unwrap();
    assert_eq!(rig.view(leader).commit, last.index);
    assert!(rig.view(third).last < last);
}

/// What the leader committed counting on the lost copy, before it knew, must be back as well.
#[test]
fn only_a_leader_that_knows_of_the_loss_can_say_that_it_is_made_good() {
    let (mut rig, leader, with, _) = acknowledged_by_two();
    // The last entry counts on `with`.
    let kept = rig.replicas[&with].log.len() - 1;
    let before = rig.replicas[&with].log[kept - 1].id();
    rig.down.insert(leader);
    rig.lose_power(with, kept);
    let header = mainstay_consensus::AppendHeader {
        membership: 1,
        epoch: rig.view(leader).epoch,
        prev: before,
        commit: before.index,
        losses: 0,
        round: 1,
    };
    let mut hear = |losses, commit| {
        let header = mainstay_consensus::AppendHeader { losses, commit, ..header };
        let append = mainstay_consensus::Append { header, batches: vec![] };
        let event = Event::Message { from: node(leader), message: Message::Append(append) };
        rig.step(with, event).unwrap();
        rig.view(with).standing.caught_up
    };
    assert!(!hear(0, before.index), "a straggler from before the leader knew");
    assert!(!hear(1, before.index.next()), "it has more");
    assert!(!hear(1, before.index));
    rig.down.clear();
    rig.pass(millis(300));
    assert!(rig.view(with).standing.caught_up);
}

#[test]
fn a_commit_of_an_older_epoch_proves_nothing() {
    let logs = (1..=3).map(|raw| (raw, vec![1, 1, 1])).collect();
    let mut rig = Rig::with_logs(Mode::Raft, 3, &logs);
    let last = rig.view(1).last;
    rig.lose_power(1, 3);
    let epoch = Epoch::new(5, node(2));
    let header = mainstay_consensus::AppendHeader {
        epoch,
        membership: 1,
        prev: last,
        commit: last.index,
        losses: 1,
        round: 1,
    };
    let append = mainstay_consensus::Append { header, batches: vec![] };
    let event = Event::Message { from: node(2), message: Message::Append(append) };
    rig.step(1, event).unwrap();
    assert!(!rig.view(1).standing.caught_up, "the leader may lack what an older one still commits");
}

#[test]
fn leadership_is_not_handed_to_who_is_catching_up() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    rig.pass(millis(200));
    let (with, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.persists = false;
    rig.propose(leader).unwrap();
    rig.lose_power(with, 1);
    rig.pass(millis(300));
    let refused = Err(StepError::SuccessorCatchingUp(node(with)));
    assert_eq!(rig.step(leader, Event::StepDown { to: Some(node(with)) }), refused);
    let standing = |rig: &Rig, raw| {
        let members = rig.view(leader).members;
        members.iter().find(|member| member.id == node(raw)).unwrap().caught_up
    };
    assert!(!standing(&rig, with) && standing(&rig, other));
    rig.step(leader, Event::StepDown { to: None }).unwrap();
    assert_eq!(rig.view(leader).handing_over_to, Some(node(other)));
}

#[test]
fn a_promotion_by_force_does_not_wait_for_who_may_not_lead() {
    let (mut rig, leader) = Rig::led(Mode::Async, 3);
    rig.pass(millis(200));
    rig.mute.insert(leader);
    for _ in 0..3 {
        rig.propose(leader).unwrap();
    }
    rig.mute.clear();
    let (well, absent) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let survived = rig.replicas[&leader].log.len() - 1;
    rig.down.insert(absent);
    rig.lose_power(leader, survived);
    let expires = rig.now.plus(millis(3000));
    rig.order(leader, Order::Promote { epoch: 4, expires }).unwrap();
    rig.pass(millis(3100));
    let epoch = Epoch::new(4, node(leader));
    assert_eq!(rig.view(leader).problem, Some(Problem::NotCaughtUp { epoch }));
    let expires = rig.now.plus(millis(3000));
    rig.order(well, Order::Promote { epoch: 5, expires }).unwrap();
    rig.pass_until(millis(3000), |rig| rig.leader() == Some(well));
    rig.pass(millis(300));
    let quarantined = |action: &Action| {
        matches!(action, Action::Truncate { keep: LogIndex(2), fate: TailFate::Quarantine })
    };
    assert!(rig.replicas[&leader].actions.iter().any(quarantined), "nothing that survived is destroyed");
}

#[test]
fn the_first_answer_after_the_loss_voids_older_ones_even_if_it_lacks_nothing_it_was_asked_for() {
    let (mut rig, leader, with, _) = acknowledged_by_two();
    let before = rig.view(leader).commit;
    rig.persists = false;
    rig.propose(leader).unwrap();
    let last = rig.view(leader).last;
    rig.step(with, Event::Persisted { last }).unwrap();
    // A straggler of the leader found the log of `with` as far as it speaks of it.
    let answer = AppendResponse {
        epoch: rig.view(with).granted,
        accepted: true,
        round: 0,
        index: before,
        index_epoch: Epoch::ZERO,
        floor: false,
        standing: Standing::default().after_loss(),
    };
    let event = Event::Message { from: node(with), message: Message::AppendResponse(answer) };
    rig.down.insert(with);
    rig.step(leader, event).unwrap();
    rig.step(leader, Event::Persisted { last }).unwrap();
    assert_eq!(rig.view(leader).commit, before, "the copy of `with` is lost");
}
