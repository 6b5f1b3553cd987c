//! Async groups: leases are vouched for, and nobody is promoted while one may run.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mainstay_crds::group::{Order, OrderKind};
use mainstay_operator::decide::{
    decide, lease,
    memory::Memory,
    observed::{Mode, NodeId, Role},
};

use crate::groups::*;

#[test]
fn an_async_promotion_waits_out_the_lease_that_was_vouched_for() {
    let (mut observed, memory) = converged(Mode::Async, 3);
    let granted = memory.grant.clone().expect("the leader was vouched for");
    silence(&mut observed, 0);
    let mut memory = memory;
    let mut promoted = None;
    for millis in (2000..20_000).step_by(100) {
        let decision = decide(&observed, &memory, at(millis));
        assert_eq!(grants(&decision), []);
        if let [(epoch, member, kind)] = &orders(&decision)[..] {
            promoted = Some(at(millis));
            assert_eq!((*epoch, member.as_str(), *kind), (2, "orders-0-1", OrderKind::Promote));
            break;
        }
        memory = decision.memory;
    }
    let promoted = promoted.expect("somebody is promoted");
    assert!(promoted >= granted.until.plus(lease::DRIFT), "{promoted:?} is before {granted:?}");
    assert!(
        promoted <= granted.until.plus(Duration::from_millis(300)),
        "{promoted:?} is late for {granted:?}"
    );
}

#[test]
fn an_operator_that_has_just_started_assumes_that_another_has_just_vouched() {
    let (mut observed, _) = converged(Mode::Async, 3);
    silence(&mut observed, 0);
    let memory = Memory::new(at(100_000));
    let mut decision = decide(&observed, &memory, at(100_000));
    for millis in (100_000..103_000).step_by(100) {
        decision = decide(&observed, &decision.memory, at(millis));
        assert_eq!(orders(&decision), [], "{millis}");
    }
    decision = decide(&observed, &decision.memory, at(103_200));
    assert_eq!(orders(&decision).len(), 1);
}

#[test]
fn a_restarted_async_leader_is_elected_again_with_nothing_lost() {
    let (mut observed, memory) = converged(Mode::Async, 3);
    let old = observed.members[0].report.as_mut().expect("answers");
    old.role = Role::Follower;
    old.serving = false;
    old.last_index = 120;
    for member in &mut observed.members {
        member.report.as_mut().expect("answers").leader = None;
    }
    let decision = decide(&observed, &memory, at(2500));
    assert_eq!(orders(&decision), [(2, "orders-0-0".to_owned(), OrderKind::Campaign)]);
}

#[test]
fn a_superseded_async_leader_gets_no_lease_any_more() {
    let (mut observed, memory) = converged(Mode::Async, 2);
    observed.recorded.order = Some(Order {
        epoch: 5,
        member: "orders-0-1".to_owned(),
        kind: OrderKind::Promote,
        reason: String::new(),
        issued_at: Time(observed.wall),
    });
    let mut memory = memory;
    for millis in (10_000..12_000).step_by(500) {
        let decision = decide(&observed, &memory, at(millis));
        assert_eq!((grants(&decision), orders(&decision)), (vec![], vec![]), "{millis}");
        memory = decision.memory;
    }
    let decision = decide(&observed, &memory, at(12_200));
    assert_eq!(grants(&decision), [(NodeId(1), 77_000)], "the order is void and led nowhere");
    assert_eq!(orders(&decision), []);
}

/// A leader hands over on its own while the operator orders a campaign above the new leader's epoch: the campaign fails
/// against the new leader, and the group must settle under it all the same.
#[test]
fn an_async_group_settles_when_a_hand_over_overtakes_an_order() {
    let (mut observed, mut memory) = converged(Mode::Async, 3);
    for member in &mut observed.members {
        let report = member.report.as_mut().expect("answers");
        report.role = Role::Follower;
        report.leader = None;
    }
    let decision = decide(&observed, &memory, at(3000));
    assert_eq!(orders(&decision).len(), 1, "nobody leads: somebody is to campaign");
    execute(&mut observed, &decision.actions);
    memory = decision.memory;
    let ordered = observed.ordered();
    let handed_over = led(Mode::Async, 3, 2, ordered);
    observed.members = handed_over.members;
    for member in &mut observed.members {
        let report = member.report.as_mut().expect("answers");
        report.epoch = epoch(ordered - 1, 3);
        report.granted = report.epoch;
        report.highest = report.epoch;
        report.last_epoch = report.epoch;
    }
    observed.recorded.order.as_mut().expect("ordered").epoch = ordered as i64;
    let mut settled = None;
    for millis in (3200..20_000).step_by(200) {
        let decision = decide(&observed, &memory, at(millis));
        assert_eq!(orders(&decision), [], "{millis}: the leader lives");
        execute(&mut observed, &decision.actions);
        if settled.is_none() && !grants(&decision).is_empty() {
            settled = Some(millis);
        }
        memory = decision.memory;
    }
    assert!(settled.is_some_and(|millis| millis <= 5600), "{settled:?}");
    assert_eq!(observed.recorded.leader.as_deref(), Some("orders-0-2"));
}

#[test]
fn an_async_group_whose_replicas_do_not_reach_each_other_gets_a_leader_by_force() {
    let (mut observed, mut memory) = converged(Mode::Async, 3);
    for member in &mut observed.members {
        let report = member.report.as_mut().expect("answers");
        report.role = Role::Follower;
        report.leader = None;
    }
    let mut kinds = Vec::new();
    for millis in (10_000..40_000).step_by(200) {
        let decision = decide(&observed, &memory, at(millis));
        kinds.extend(orders(&decision).into_iter().map(|(_, _, kind)| kind));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
    }
    assert_eq!(kinds[..3], [OrderKind::Campaign, OrderKind::Campaign, OrderKind::Promote]);
}
