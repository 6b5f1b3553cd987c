//! Who is to lead, and when it is ordered: Sync, Raft, and the first leader of any group.

use std::time::Duration;

use mainstay_crds::group::OrderKind;
use mainstay_operator::decide::{
    ALERT,
    action::Action,
    decide, election,
    memory::Memory,
    observed::{Mode, Role},
};

use crate::groups::*;

#[test]
fn the_first_leader_is_elected_when_enough_replicas_have_met() {
    let mut observed = fresh(SYNC, 3);
    observed.members[2].report.as_mut().expect("answers").role = Role::Bootstrapping;
    observed.members[1].report.as_mut().expect("answers").role = Role::Bootstrapping;
    let memory = Memory::new(at(0));
    let decision = decide(&observed, &memory, at(0));
    assert_eq!(orders(&decision), []);
    assert_eq!(events(&decision), Vec::<&str>::new(), "a group that is just starting is nothing to warn of");
    let decision = decide(&fresh(SYNC, 3), &memory, at(0));
    assert_eq!(orders(&decision), [(1, "orders-0-0".to_owned(), OrderKind::Campaign)]);
    assert_eq!(decision.next, ALERT);

    let mut observed = fresh(Mode::Async, 2);
    observed.members[1].report.as_mut().expect("answers").role = Role::Bootstrapping;
    assert_eq!(orders(&decide(&observed, &memory, at(60_000))), [], "nobody leads before all have met");
    let decision = decide(&fresh(Mode::Async, 2), &memory, at(0));
    assert_eq!(orders(&decision), [(1, "orders-0-0".to_owned(), OrderKind::Campaign)]);
}

#[test]
fn raft_groups_elect_by_themselves() {
    let (mut observed, memory) = converged(Mode::Raft, 3);
    silence(&mut observed, 0);
    let decision = decide(&observed, &memory, at(10_000));
    assert_eq!(orders(&decision), []);
    assert_eq!(decision.next, ALERT);
    assert!(!published(&decision).writable);
    assert_eq!(published(&decision).leader.as_deref(), Some("orders-0-0"));
    let routable = |action: &Action| matches!(action, Action::Label { routable: true, role: None, .. });
    assert_eq!(decision.actions.iter().filter(|a| routable(a)).count(), 2, "clients reach whoever is left");
}

#[test]
fn a_lost_sync_leader_is_replaced_by_the_most_advanced_replica() {
    let (mut observed, memory) = converged(SYNC, 3);
    silence(&mut observed, 0);
    observed.members[2].report.as_mut().expect("answers").last_index = 101;
    let decision = decide(&observed, &memory, at(10_000));
    assert_eq!(orders(&decision), [(2, "orders-0-2".to_owned(), OrderKind::Campaign)]);
    execute(&mut observed, &decision.actions);

    let decision = decide(&observed, &decision.memory, at(10_200));
    assert_eq!(orders(&decision), [], "an order is given its time");
    let decision = decide(&observed, &decision.memory, at(10_000 + election::ORDER_VALID.as_millis() as u64));
    let decision = decide(&observed, &decision.memory, at(15_000));
    assert_eq!(
        orders(&decision),
        [(3, "orders-0-2".to_owned(), OrderKind::Campaign)],
        "then a higher one is given"
    );
}

#[test]
fn the_delay_is_kept_and_a_leader_that_returns_is_left_alone() {
    let (healthy, memory) = converged(SYNC, 3);
    let mut observed = healthy.clone();
    observed.failover_delay = Duration::from_secs(5);
    silence(&mut observed, 0);
    let first = decide(&observed, &memory, at(10_000));
    assert_eq!(orders(&first), []);
    let later = decide(&observed, &first.memory, at(14_900));
    assert_eq!(orders(&later), []);
    let back = decide(&healthy, &later.memory, at(14_950));
    assert_eq!(orders(&back), []);
    let again = decide(&observed, &back.memory, at(15_100));
    assert_eq!(orders(&again), [], "the delay starts anew");
    let due = decide(&observed, &again.memory, at(20_200));
    assert_eq!(orders(&due).len(), 1);
}

#[test]
fn followers_that_hear_the_leader_are_believed_for_a_while() {
    let (mut observed, mut memory) = converged(SYNC, 3);
    observed.members[0].report = None;
    let mut called = None;
    for millis in (10_000..20_000).step_by(200) {
        let decision = decide(&observed, &memory, at(millis));
        if !orders(&decision).is_empty() {
            called = Some(millis - 10_000);
            break;
        }
        assert!(
            !decision.actions.iter().any(|action| matches!(action, Action::Label { .. })),
            "{decision:?}"
        );
        memory = decision.memory;
    }
    assert_eq!(called, Some(3000));
}

#[test]
fn too_few_replicas_block_a_sync_election_and_people_are_told_once() {
    let (mut observed, memory) = converged(SYNC, 3);
    silence(&mut observed, 0);
    silence(&mut observed, 1);
    let decision = decide(&observed, &memory, at(10_000));
    assert_eq!(orders(&decision), []);
    assert_eq!(events(&decision), ["ElectionBlocked"]);
    execute(&mut observed, &decision.actions);
    let again = decide(&observed, &decision.memory, at(30_000));
    assert_eq!((orders(&again), events(&again)), (vec![], vec![]));
}
