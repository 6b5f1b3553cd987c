//! Whatever the core is shown, in whatever order: what it never does.

use std::collections::BTreeMap;

use mainstay_crds::group::OrderKind;
use mainstay_operator::decide::{
    decide, election, lease,
    memory::Memory,
    observed::{Epoch, Mode, Moment, NodeId, Observed, Report, Role},
};
use proptest::prelude::*;

use crate::groups::*;

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
