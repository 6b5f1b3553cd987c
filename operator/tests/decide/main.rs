//! The pure core on hand-made groups: what it does in each mode, and what it never does whatever it is shown.

mod groups;
mod membership;
mod naming;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mainstay_crds::group::{Order, OrderKind};
use mainstay_operator::decide::{
    ALERT, CALM, LEASED,
    action::Action,
    decide, election, lease,
    memory::Memory,
    observed::{Epoch, Mode, Moment, NodeId, Observed, Report, Role, Tail},
    restart,
};
use proptest::prelude::*;

use groups::*;

#[test]
fn a_converged_group_is_left_alone() {
    for (mode, replicas) in
        [(Mode::None, 1), (Mode::Raft, 3), (SYNC, 3), (SYNC, 2), (Mode::Async, 2), (Mode::Async, 3)]
    {
        let (observed, mut memory) = converged(mode, replicas);
        for round in 3..40 {
            let decision = decide(&observed, &memory, at(round * 1000));
            let left: Vec<_> = decision
                .actions
                .iter()
                .filter(|action| !matches!(action, Action::GrantLease { .. }))
                .collect();
            assert!(left.is_empty(), "{mode:?}: {left:?}");
            assert_eq!(decision.next, if mode == Mode::Async { LEASED } else { CALM });
            memory = decision.memory;
        }
    }
}

#[test]
fn progress_alone_is_published_now_and_then_only() {
    let (mut observed, mut memory) = converged(Mode::Raft, 3);
    let mut writes = 0;
    for second in 3..63 {
        for member in &mut observed.members {
            let report = member.report.as_mut().expect("answers");
            report.last_index += 1000;
            report.persisted_index += 1000;
        }
        let decision = decide(&observed, &memory, at(second * 1000));
        writes += decision.actions.len();
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
    }
    assert!((5..=7).contains(&writes), "{writes} writes in a minute");
}

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
fn a_failover_is_recorded_with_how_long_it_took() {
    let (mut observed, memory) = converged(SYNC, 3);
    silence(&mut observed, 0);
    let decision = decide(&observed, &memory, at(10_000));
    execute(&mut observed, &decision.actions);
    let mut after = led(SYNC, 3, 1, 2);
    after.members[0] = observed.members[0].clone();
    after.recorded = observed.recorded.clone();
    for (member, old) in after.members.iter_mut().zip(&observed.members) {
        member.pod = old.pod.clone();
    }
    let new_leader = after.members[1].report.as_mut().expect("answers");
    new_leader.serving = false;
    let elected = decide(&after, &decision.memory, at(10_900));
    assert!(events(&elected).is_empty(), "a leader that does not serve yet ends no failover");
    after.members[1].report.as_mut().expect("answers").serving = true;
    let served = decide(&after, &elected.memory, at(11_500));
    assert_eq!(events(&served), ["FailedOver"]);
    let record = published(&served).last_failover.clone().expect("recorded");
    assert_eq!((record.from.as_deref(), record.to.as_str()), (Some("orders-0-0"), "orders-0-1"));
    assert_eq!(record.duration_ms, Some(1500));
    assert!(record.reason.contains("orders-0-0 is not heard"), "{}", record.reason);
    let leads = |a: &&Action| matches!(a, Action::Label { member, role: Some("leader"), routable: true, .. } if member == "orders-0-1");
    assert_eq!(served.actions.iter().filter(leads).count(), 1);
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

#[test]
fn quarantined_tails_are_told_and_stay_on_record_while_their_broker_is_silent() {
    let (mut observed, memory) = converged(Mode::Async, 2);
    let tail =
        Tail { file: "q/1".to_owned(), records: 7, batches: 2, bytes: 900, first_index: 90, last_index: 91 };
    observed.members[1].report.as_mut().expect("answers").quarantined.push(tail);
    let decision = decide(&observed, &memory, at(10_000));
    assert_eq!(events(&decision), ["TailQuarantined"]);
    execute(&mut observed, &decision.actions);
    observed.members[1].report = None;
    let decision = decide(&observed, &decision.memory, at(11_000));
    assert_eq!(events(&decision), Vec::<&str>::new());
    execute(&mut observed, &decision.actions);
    assert_eq!(observed.recorded.quarantined.len(), 1);
    assert!(observed.recorded.conditions.iter().any(|c| c.type_ == "Quarantined" && c.status == "True"));
}

#[test]
fn failover_readiness_is_what_the_mode_can_keep() {
    let condition = |observed: &Observed| {
        let decision = decide(observed, &Memory::new(at(0)), at(0));
        let found = published(&decision).conditions.iter().find(|c| c.type_ == "FailoverReady").cloned();
        let found = found.expect("always there");
        (found.status == "True", found.reason)
    };
    assert_eq!(condition(&led(Mode::None, 1, 0, 1)), (false, "SingleReplica".to_owned()));
    assert!(condition(&led(Mode::Raft, 3, 0, 1)).0);
    assert!(condition(&led(SYNC, 3, 0, 1)).0);
    assert_eq!(
        condition(&led(SYNC, 2, 0, 1)),
        (false, "TooFewReplicas".to_owned()),
        "no writes without the second"
    );
    let mut raft = led(Mode::Raft, 3, 0, 1);
    raft.members[2].report = None;
    assert_eq!(condition(&raft), (false, "TooFewReplicas".to_owned()));
    let mut behind = led(Mode::Async, 2, 0, 1);
    behind.members[1].report.as_mut().expect("answers").persisted_index = 99;
    assert_eq!(condition(&behind), (false, "UnshippedTail".to_owned()));
    assert!(condition(&led(Mode::Async, 2, 0, 1)).0);
}

#[test]
fn a_rolling_restart_goes_followers_first_and_the_leader_hands_over() {
    let (mut observed, mut memory) = converged(Mode::Raft, 3);
    for member in &mut observed.members {
        member.pod.as_mut().expect("has a pod").outdated = true;
    }
    let mut steps = Vec::new();
    let mut handed_over = None;
    for second in 10..120 {
        let decision = decide(&observed, &memory, at(second * 1000));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
        for action in &decision.actions {
            match action {
                Action::DeletePod { member, .. } => {
                    if let Some(at) = handed_over {
                        assert!(
                            second - at >= restart::SETTLED.as_secs(),
                            "the new leader is given time to settle"
                        );
                    }
                    steps.push(format!("delete {member}"));
                    let ordinal = observed.members.iter().position(|m| m.name == *member).expect("known");
                    let pod = observed.members[ordinal].pod.as_mut().expect("has a pod");
                    pod.outdated = false;
                    pod.uid.push('+');
                }
                Action::StepDown { member, to, .. } => {
                    handed_over = Some(second);
                    steps.push(format!("{member} hands over to {to}"));
                    let pods: BTreeMap<_, _> =
                        observed.members.iter().map(|m| (m.name.clone(), m.pod.clone())).collect();
                    let recorded = observed.recorded.clone();
                    observed = led(Mode::Raft, 3, to.0 as usize - 1, 2);
                    observed.recorded = recorded;
                    for member in &mut observed.members {
                        member.pod = pods[&member.name].clone();
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(
        steps,
        [
            "delete orders-0-1",
            "delete orders-0-2",
            "orders-0-0 hands over to 0000000000000003",
            "delete orders-0-0"
        ]
    );
    assert!(observed.recorded.last_failover.is_none(), "a planned change is no failover");
}

#[test]
fn a_restart_stops_at_the_first_pod_that_does_not_come_back() {
    let (mut observed, mut memory) = converged(Mode::Raft, 3);
    observed.members[0].pod.as_mut().expect("has a pod").outdated = true;
    observed.members[1].pod.as_mut().expect("has a pod").ready = false;
    observed.members[1].report = None;
    for second in 10..100 {
        let decision = decide(&observed, &memory, at(second * 1000));
        let acts = |a: &&Action| matches!(a, Action::DeletePod { .. } | Action::StepDown { .. });
        assert_eq!(decision.actions.iter().filter(acts).count(), 0);
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
    }
    // But a pod of the old version that cannot start is given the new one.
    observed.members[1].pod.as_mut().expect("has a pod").outdated = true;
    let decision = decide(&observed, &memory, at(100_000));
    assert!(
        decision
            .actions
            .iter()
            .any(|a| matches!(a, Action::DeletePod { member, .. } if member == "orders-0-1"))
    );
    assert!(restart::HOPELESS < Duration::from_secs(90));
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Raft), Just(SYNC), Just(Mode::Async), Just(Mode::None)]
}

prop_compose! {
    fn any_report(node: u64)(
        role in prop_oneof![
            Just(Role::Bootstrapping), Just(Role::Follower), Just(Role::Follower), Just(Role::Candidate),
            Just(Role::Leader), Just(Role::Fenced)
        ],
        number in 0..6_u64, candidate in 1..4_u64, granted in 0..6_u64, highest in 0..6_u64,
        leader in proptest::option::of(1..4_u64), last_index in 0..5_u64, serving: bool, writable: bool,
    ) -> Report {
        let mut report = report(node, role);
        report.epoch = epoch(number, if role == Role::Leader { node } else { candidate });
        report.granted = epoch(granted, candidate);
        report.highest = epoch(highest, candidate);
        report.last_epoch = epoch(number, candidate);
        report.leader = leader.map(NodeId);
        report.last_index = last_index;
        report.persisted_index = last_index;
        report.serving = serving && role == Role::Leader;
        report.writable = writable && role == Role::Leader;
        report
    }
}

fn any_round() -> impl Strategy<Value = (Vec<Option<Report>>, u64, Vec<bool>)> {
    let reports: Vec<_> = (1..=3).map(|node| proptest::option::weighted(0.7, any_report(node))).collect();
    (reports, 50..1500_u64, proptest::collection::vec(any::<bool>(), 3))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever brokers say, in whatever order: order epochs only grow, each goes to one member, never while a healthy
    /// leader is seen, never in Raft; and in Async no promotion while a lease that was vouched for may run.
    #[test]
    fn orders_are_safe(mode in any_mode(), rounds in proptest::collection::vec(any_round(), 1..40)) {
        let mut observed = fresh(mode, 3);
        let mut memory = Memory::new(at(0));
        let mut now = 0;
        // Epoch numbers that were given out, and to whom.
        let mut given: BTreeMap<u64, String> = BTreeMap::new();
        let mut leases: Vec<(NodeId, Epoch, Moment)> = Vec::new();
        let mut ordered_at = at(0);
        for (reports, step, ready) in rounds {
            now += step;
            for ((member, report), ready) in observed.members.iter_mut().zip(reports).zip(ready) {
                member.report = report.map(|mut report| { report.received = at(now); report });
                member.pod.as_mut().expect("has a pod").ready = ready;
            }
            // A broker that says that it leads no more, or in another epoch, has no lease of that epoch any more.
            leases.retain(|(holder, granted, _)| {
                observed.reports().all(|(_, r)| r.node != *holder || (r.role == Role::Leader && r.epoch <= *granted))
            });
            let before = observed.clone();
            let decision = decide(&observed, &memory, at(now));
            let given_now = orders(&decision);
            prop_assert!(given_now.len() <= 1);
            for (number, member, kind) in given_now {
                ordered_at = at(now);
                prop_assert!(!matches!(mode, Mode::Raft | Mode::None));
                prop_assert!(number > before.ordered(), "{number} is not above the record");
                for (_, report) in before.reports() {
                    prop_assert!(number > report.granted.number && number > report.epoch.number);
                }
                prop_assert!(given.insert(number, member.clone()).is_none(), "{number} given twice");
                let target = before.member(&member).and_then(|m| m.report.as_ref()).expect("answers");
                prop_assert!(target.role.takes_part());
                if let Mode::Sync { .. } = mode {
                    let healthy = before.reports().any(|(_, r)| r.role == Role::Leader && r.writable
                        && before.reports().all(|(_, other)| other.role != Role::Leader || other.epoch <= r.epoch));
                    prop_assert!(!healthy, "a healthy leader is left alone");
                }
                if kind == OrderKind::Promote {
                    for (holder, _, until) in &leases {
                        prop_assert!(at(now) > *until, "{holder} may hold its lease until {until:?}");
                    }
                    let voters = before.reports().filter(|(_, r)| r.role.takes_part());
                    let best = voters.map(|(_, r)| (r.last_epoch, r.last_index)).max().expect("somebody");
                    prop_assert_eq!((target.last_epoch, target.last_index), best);
                }
            }
            for (node, _) in grants(&decision) {
                prop_assert!(mode == Mode::Async);
                let report = before.reports().find(|(_, r)| r.node == node).expect("answers").1;
                let open = at(now) < ordered_at.plus(election::ORDER_VALID);
                prop_assert!(report.role == Role::Leader);
                prop_assert!(report.epoch.number >= before.ordered() || !open, "somebody else may be promoted");
                for (holder, granted, until) in &leases {
                    let same = *holder == node && *granted == report.epoch;
                    prop_assert!(same || at(now) > *until, "{holder} may hold its lease until {until:?}");
                }
                leases.push((node, report.epoch, at(now).plus(lease::LEASE)));
            }
            let routable = |o: &Observed| o.members.iter().filter(|m| m.pod.as_ref().is_some_and(|p| p.routable)).count();
            execute(&mut observed, &decision.actions);
            prop_assert!(routable(&observed) >= 1, "somebody can always be reached");
            memory = decision.memory;
        }
    }

    /// The same input gives the same output.
    #[test]
    fn decisions_are_deterministic(mode in any_mode(), round in any_round()) {
        let mut observed = fresh(mode, 3);
        for (member, report) in observed.members.iter_mut().zip(round.0) {
            member.report = report;
        }
        let memory = Memory::new(at(0));
        prop_assert_eq!(decide(&observed, &memory, at(9000)), decide(&observed, &memory, at(9000)));
    }
}
