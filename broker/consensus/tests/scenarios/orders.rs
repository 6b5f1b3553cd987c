//! What the operator orders: refused when stale, expired or out of place, carried out when it is safe.

use std::collections::BTreeMap;

use mainstay_consensus::{Action, Event, Mode, Order, Problem, Role, StepError, TailFate};
use mainstay_record::{Epoch, LogIndex};

use crate::rig::{Rig, millis, node};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

#[test]
fn stale_expired_and_misplaced_orders_are_refused() {
    let (mut rig, leader) = Rig::led(SYNC, 3);
    let expires = rig.now.plus(millis(1000));
    let granted = rig.view(2).granted;
    let stale = rig.order(2, Order::Campaign { epoch: 1, expires });
    assert_eq!(stale, Err(StepError::StaleOrder { ordered: 1, granted }));
    let late = rig.order(2, Order::Campaign { epoch: 5, expires: rig.now });
    assert_eq!(late, Err(StepError::ExpiredOrder { ordered: 5, expires: rig.now }));
    assert_eq!(rig.order(2, Order::Promote { epoch: 5, expires }), Err(StepError::NotAsync));
    let epoch = rig.view(leader).epoch;
    let leads = rig.order(leader, Order::Campaign { epoch: 5, expires });
    assert_eq!(leads, Err(StepError::AlreadyLeads { epoch }));
    let lease = rig.step(leader, Event::OperatorLease { epoch, until: expires });
    assert_eq!(lease, Err(StepError::NotAsync));
    assert_eq!(rig.leader(), Some(leader));
}

#[test]
fn nobody_campaigns_without_an_order_in_sync_mode() {
    let mut rig = Rig::new(SYNC, 3);
    rig.pass(millis(10_000));
    assert!(rig.replicas.keys().all(|raw| rig.view(*raw).role == Role::Follower));
}

#[test]
fn a_campaign_waits_for_the_lease_and_then_wins() {
    let (mut rig, leader) = Rig::led(SYNC, 3);
    rig.propose(leader).unwrap();
    rig.down.insert(leader);
    let expires = rig.now.plus(millis(3000));
    let died = rig.now;
    rig.order(2, Order::Campaign { epoch: 2, expires }).unwrap();
    rig.order(2, Order::Campaign { epoch: 2, expires }).unwrap();
    let took = rig.pass_until(millis(3000), |rig| rig.leader() == Some(2) && rig.view(2).serving);
    assert!(took >= millis(850), "the lease was promised for 1 s; it took {took:?} from {died:?}");
    assert_eq!(rig.view(2).epoch, Epoch::new(2, node(2)));
}

#[test]
fn a_campaign_against_a_leader_in_charge_expires_and_disturbs_nobody() {
    let (mut rig, leader) = Rig::led(SYNC, 3);
    let epoch = rig.view(leader).epoch;
    let expires = rig.now.plus(millis(2000));
    rig.order(2, Order::Campaign { epoch: 7, expires }).unwrap();
    rig.pass(millis(1000));
    rig.propose(leader).unwrap();
    assert_eq!(rig.view(2).last, rig.view(leader).last, "it goes on following meanwhile");
    rig.pass(millis(2000));
    let (leading, ordered) = (rig.view(leader), rig.view(2));
    assert_eq!((leading.role, leading.epoch, leading.serving), (Role::Leader, epoch, true));
    assert_eq!(ordered.problem, Some(Problem::Expired { epoch: Epoch::new(7, node(2)) }));
    assert_eq!((ordered.role, ordered.granted), (Role::Follower, epoch));
    rig.pass(millis(6000));
    assert_eq!(rig.view(2).problem, None, "the leader stayed: nothing is wrong any more");
}

#[test]
fn a_failed_campaign_is_forgotten_when_a_newer_epoch_has_a_leader() {
    let (mut rig, leader) = Rig::led(SYNC, 3);
    let expires = rig.now.plus(millis(2000));
    rig.order(2, Order::Campaign { epoch: 7, expires }).unwrap();
    rig.pass(millis(3000));
    assert_eq!(rig.view(2).problem, Some(Problem::Expired { epoch: Epoch::new(7, node(2)) }));
    rig.down.insert(leader);
    let other = [1, 2, 3].into_iter().find(|id| ![leader, 2].contains(id)).unwrap();
    let expires = rig.now.plus(millis(3000));
    rig.order(other, Order::Campaign { epoch: 8, expires }).unwrap();
    rig.pass_until(millis(3000), |rig| rig.leader() == Some(other) && rig.view(other).serving);
    rig.pass(millis(300));
    assert_eq!((rig.view(2).role, rig.view(2).problem), (Role::Follower, None));
}

#[test]
fn a_leader_that_hears_nobody_does_not_keep_others_from_electing() {
    let (mut rig, leader) = Rig::led(SYNC, 3);
    // Followers go on hearing it, it does not hear them.
    rig.deaf.insert(leader);
    rig.pass(millis(1500));
    assert_eq!(rig.view(leader).role, Role::Leader, "it can go on when it is heard again");
    let expires = rig.now.plus(millis(3000));
    rig.order(2, Order::Campaign { epoch: 4, expires }).unwrap();
    let took = rig.pass_until(millis(3000), |rig| rig.view(2).serving);
    assert!(took < millis(1100), "{took:?}");
}

/// An Async group of three whose leader, 1, has a batch that nobody else has.
fn unshipped() -> Rig {
    let (mut rig, leader) = Rig::led(Mode::Async, 3);
    assert_eq!(leader, 1);
    rig.propose(1).unwrap();
    rig.pass(millis(200));
    rig.mute.insert(1);
    rig.propose(1).unwrap();
    assert_eq!(rig.view(1).commit, LogIndex(4), "one copy commits");
    rig
}

#[test]
fn a_forced_promotion_waits_out_the_lease_and_quarantines_what_was_not_shipped() {
    let mut rig = unshipped();
    rig.down.insert(1);
    let expires = rig.now.plus(millis(3000));
    rig.order(2, Order::Promote { epoch: 2, expires }).unwrap();
    let took = rig.pass_until(millis(3000), |rig| rig.leader() == Some(2));
    assert!(took >= millis(850), "{took:?}");
    rig.propose(2).unwrap();
    assert!(!rig.view(2).serving, "not every member promised it a lease");
    let epoch = rig.view(2).epoch;
    let until = rig.now.plus(millis(1000));
    let other = Epoch::new(9, node(2));
    let wrong = rig.step(2, Event::OperatorLease { epoch: other, until });
    assert_eq!(wrong, Err(StepError::WrongEpoch { offered: other, led: epoch }));
    rig.step(2, Event::OperatorLease { epoch, until }).unwrap();
    assert!(rig.view(2).serving);
    rig.pass(millis(1005));
    assert!(!rig.view(2).serving, "the operator's lease has run out");

    rig.down.clear();
    rig.mute.clear();
    rig.pass(millis(500));
    assert_eq!(rig.view(1).leader, Some(node(2)));
    assert_eq!(rig.replicas[&1].log, rig.replicas[&2].log);
    let keep = LogIndex(3);
    let cut = Action::Truncate { keep, fate: TailFate::Quarantine };
    let rewind = Action::Rewind { through: keep };
    let at = rig.replicas[&1].actions.iter().position(|action| *action == cut).expect("its tail is cut");
    assert_eq!(rig.replicas[&1].actions[at + 1], rewind);
    assert!(rig.view(2).serving, "every member has promised it a lease");
}

#[test]
fn a_promotion_is_given_up_when_a_reachable_member_is_further_ahead() {
    let mut rig = unshipped();
    rig.mute.clear();
    rig.down.insert(2);
    rig.pass(millis(200));
    rig.down.clear();
    rig.down.insert(1);
    let expires = rig.now.plus(millis(3000));
    rig.order(2, Order::Promote { epoch: 2, expires }).unwrap();
    rig.pass(millis(3000));
    let last = rig.view(3).last;
    let epoch = Epoch::new(2, node(2));
    assert_eq!(rig.view(2).problem, Some(Problem::Behind { epoch, node: node(3), last }));
    assert_eq!(rig.leader(), None);
    let expires = rig.now.plus(millis(3000));
    rig.order(3, Order::Promote { epoch: 3, expires }).unwrap();
    rig.pass_until(millis(3000), |rig| rig.leader() == Some(3));
}

#[test]
fn a_restarted_member_keeps_the_promise_it_may_have_given() {
    let logs: BTreeMap<_, _> = (1..=3).map(|raw| (raw, vec![1, 1])).collect();
    let mut rig = Rig::with_logs(SYNC, 3, &logs);
    rig.down.insert(1);
    let expires = rig.now.plus(millis(3000));
    rig.order(2, Order::Campaign { epoch: 2, expires }).unwrap();
    let took = rig.pass_until(millis(3000), |rig| rig.leader() == Some(2));
    assert!(took >= millis(1000), "{took:?}");
}
