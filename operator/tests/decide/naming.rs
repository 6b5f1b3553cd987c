//! Replacing a lost replica where every one is needed to commit.

use std::collections::BTreeMap;

use mainstay_operator::decide::{
    action::Action,
    decide,
    membership::PATIENCE,
    memory::Memory,
    observed::{Mode, NodeId, Observed, Report, Role},
};
use proptest::prelude::*;

use crate::groups::{at, converged, epoch, events, execute, fresh, orders, report, silence};
use crate::membership::with_a_new_volume;

const ALL_OF_TWO: Mode = Mode::Sync { min_in_sync: 2 };
const ALL_OF_THREE: Mode = Mode::Sync { min_in_sync: 3 };

/// Version, voters and copies of what was named.
type Named = (u64, Vec<u64>, u32);

/// What is different.
type Change = fn(&mut Observed);

fn raw(voters: &[NodeId]) -> Vec<u64> {
    voters.iter().map(|voter| voter.0).collect()
}

fn named(actions: &[Action]) -> Vec<Named> {
    let name = |action: &Action| match action {
        Action::NameMembership { version, voters, min_in_sync, .. } => {
            Some((*version, raw(voters), *min_in_sync))
        }
        _ => None,
    };
    actions.iter().filter_map(name).collect()
}

fn told(actions: &[Action]) -> Vec<(String, Named)> {
    let adopt = |action: &Action| match action {
        Action::AdoptMembership { member, version, voters, min_in_sync } => {
            Some((member.clone(), (*version, raw(voters), *min_in_sync)))
        }
        _ => None,
    };
    actions.iter().filter_map(adopt).collect()
}

fn answer(observed: &mut Observed, ordinal: usize) -> &mut Report {
    observed.members[ordinal].report.as_mut().expect("answers")
}

/// A leader that reaches too few to commit.
fn cannot_commit(observed: &mut Observed, leader: usize) {
    let report = answer(observed, leader);
    (report.writable, report.serving) = (false, false);
}

/// The follower's volume is lost, and its pod is back as node 9.
fn pair_without_follower() -> (Observed, Memory) {
    let (mut observed, memory) = converged(ALL_OF_TWO, 2);
    with_a_new_volume(&mut observed, 1, 9);
    cannot_commit(&mut observed, 0);
    (observed, memory)
}

/// Everything that is named in these seconds, while nothing else changes.
fn all_named(observed: &Observed, memory: &mut Memory, seconds: std::ops::Range<u64>) -> Vec<Named> {
    let mut found = Vec::new();
    for fifth in seconds.start * 5..seconds.end * 5 {
        let decision = decide(observed, memory, at(fifth * 200));
        found.extend(named(&decision.actions));
        *memory = decision.memory;
    }
    found
}

#[test]
fn a_membership_is_put_on_record_and_then_told_until_it_is_known() {
    let (mut observed, mut memory) = pair_without_follower();
    let (mut at_last, mut rounds_told, mut heard) = (None, 0, Vec::new());
    for tenth in 0..300 {
        let now = 10_000 + tenth * 200;
        let decision = decide(&observed, &memory, at(now));
        assert_eq!(orders(&decision), [], "a leader that is alone is left in peace");
        let tell = told(&decision.actions);
        match at_last {
            None => assert!(tell.is_empty(), "nobody is told what is not on record: {tell:?}"),
            Some(_) => assert_eq!(tell, [("orders-0-0".to_owned(), (2, vec![1, 9], 2))], "once a round"),
        }
        rounds_told += tell.len();
        for name in named(&decision.actions) {
            assert_eq!((&name, at_last), (&(2, vec![1, 9], 2), None));
            at_last = Some(now - 10_000);
        }
        heard.extend(events(&decision));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
        if rounds_told == 5 {
            break;
        }
    }
    assert_eq!(at_last, Some(PATIENCE.as_millis() as u64));
    assert_eq!(heard.iter().filter(|reason| **reason == "MembershipNamed").count(), 1, "{heard:?}");
    assert_eq!(heard.iter().filter(|reason| **reason == "ElectionBlocked").count(), 1, "{heard:?}");
    // It has adopted it, and the new node takes part.
    let leader = answer(&mut observed, 0);
    (leader.membership_version, leader.voters) = (2, vec![NodeId(1), NodeId(9)]);
    let newcomer = answer(&mut observed, 1);
    (newcomer.membership_version, newcomer.role) = (2, Role::Follower);
    for second in 100..160 {
        let decision = decide(&observed, &memory, at(second * 1000));
        assert_eq!((named(&decision.actions), told(&decision.actions)), (vec![], vec![]));
        memory = decision.memory;
    }
}

#[test]
fn the_survivor_of_a_lost_leader_leads_first() {
    let (mut observed, mut memory) = converged(ALL_OF_TWO, 2);
    with_a_new_volume(&mut observed, 0, 9);
    let lost = answer(&mut observed, 0);
    (lost.serving, lost.writable, lost.voters) = (false, false, Vec::new());
    answer(&mut observed, 1).leader = None;
    let mut elections = Vec::new();
    let mut names = Vec::new();
    for tenth in 0..200 {
        let decision = decide(&observed, &memory, at(10_000 + tenth * 200));
        for (number, member, _) in orders(&decision) {
            elections.push(member);
            let survivor = answer(&mut observed, 1);
            survivor.role = Role::Leader;
            survivor.leader = Some(NodeId(2));
            (survivor.epoch, survivor.granted) = (epoch(number, 2), epoch(number, 2));
            survivor.highest = survivor.granted;
            (survivor.voters, survivor.write_quorum) = (vec![NodeId(1), NodeId(2)], 2);
        }
        names.extend(named(&decision.actions));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
    }
    assert_eq!(elections, ["orders-0-1"], "once");
    assert_eq!(names, [(2, vec![2, 9], 2)]);
}

#[test]
fn every_survivor_is_told_and_nobody_else() {
    let (mut observed, mut memory) = converged(ALL_OF_THREE, 3);
    with_a_new_volume(&mut observed, 2, 9);
    // The other follower hears it: it is a healthy leader that cannot commit.
    cannot_commit(&mut observed, 0);
    for second in 0..=PATIENCE.as_secs() {
        let decision = decide(&observed, &memory, at((10 + second) * 1000));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
    }
    let all = |observed: &Observed| told(&decide(observed, &memory, at(30_000)).actions);
    let is = (2, vec![1, 2, 9], 3);
    let expected = ["orders-0-0", "orders-0-1"].map(|member| (member.to_owned(), is.clone()));
    assert_eq!(all(&observed), expected);
    answer(&mut observed, 0).membership_version = 2;
    assert_eq!(all(&observed), expected[1..]);
}

#[test]
fn nothing_is_named_that_could_leave_somebody_out_or_has_another_way() {
    let cases: [(&str, Change); 7] = [
        ("the leader commits", |observed| answer(observed, 0).writable = true),
        ("a change is under way", |observed| answer(observed, 0).changing = true),
        ("not everybody is needed", |observed| answer(observed, 0).write_quorum = 1),
        ("the voters are not known", |observed| answer(observed, 0).voters.clear()),
        ("nobody leads", |observed| answer(observed, 0).role = Role::Follower),
        ("somebody knows a newer membership", |observed| answer(observed, 1).membership_version = 5),
        ("nobody waits", |observed| answer(observed, 1).role = Role::Fenced),
    ];
    for (what, change) in cases {
        let (mut observed, mut memory) = pair_without_follower();
        change(&mut observed);
        let names = all_named(&observed, &mut memory, 10..70);
        assert!(names.is_empty(), "{what}: {names:?}");
    }
    for mode in [Mode::Raft, Mode::Async] {
        let (mut observed, mut memory) = pair_without_follower();
        observed.mode = mode;
        let names = all_named(&observed, &mut memory, 10..70);
        assert!(names.is_empty(), "{mode:?}: {names:?}");
    }
    // A silent pod may have more to say, even when its node is known to be another than the lost one.
    let (mut observed, mut memory) = converged(ALL_OF_THREE, 3);
    with_a_new_volume(&mut observed, 2, 9);
    cannot_commit(&mut observed, 0);
    silence(&mut observed, 1);
    let names = all_named(&observed, &mut memory, 10..70);
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_version_that_is_on_record_is_not_given_out_again() {
    let (mut observed, mut memory) = pair_without_follower();
    let first = all_named(&observed, &mut memory, 10..21);
    assert_eq!(first, [(2, vec![1, 9], 2)]);
    let name = Action::NameMembership {
        version: 2,
        voters: vec![NodeId(1), NodeId(9)],
        min_in_sync: 2,
        reason: String::new(),
    };
    execute(&mut observed, &[name]);
    // It is lost again before anybody but the record knows of the first: what is on record goes out first.
    with_a_new_volume(&mut observed, 1, 8);
    assert_eq!(all_named(&observed, &mut memory, 21..80), Vec::<Named>::new());
    let leader = answer(&mut observed, 0);
    (leader.membership_version, leader.voters) = (2, vec![NodeId(1), NodeId(9)]);
    assert_eq!(all_named(&observed, &mut memory, 80..82), [(3, vec![1, 8], 2)]);
}

fn any_answer() -> impl Strategy<Value = Report> {
    let role = prop_oneof![
        3 => Just(Role::Leader),
        3 => Just(Role::Learner),
        2 => Just(Role::Follower),
        1 => Just(Role::Candidate),
        1 => Just(Role::Fenced),
    ];
    let voters = proptest::sample::subsequence(vec![1, 2, 3, 4, 5], 2..=3);
    let words = (any::<bool>(), proptest::bool::weighted(0.2), proptest::bool::weighted(0.9));
    (role, 1..6_u64, 0..4_u64, voters, words, 1..3_u64).prop_map(
        |(role, node, version, voters, (serving, writable, all), number)| {
            let mut report = report(node, role);
            report.membership_version = version;
            report.epoch = epoch(number, node);
            (report.granted, report.highest) = (report.epoch, report.epoch);
            if role == Role::Leader {
                (report.serving, report.writable) = (serving && writable, writable);
                report.write_quorum = if all { voters.len() } else { 1 };
                report.voters = voters.into_iter().map(NodeId).collect();
            }
            report
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever brokers say: each version has one content and is above every known one; nobody is left out who answers, or
    /// who may be behind a pod that does not; as many copies as before are needed; and brokers are told what is on record.
    #[test]
    fn memberships_are_named_safely(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(proptest::option::weighted(0.9, any_answer()), 2..=3), 1..8_usize), 1..20,
        ),
        restarts in proptest::collection::vec(any::<bool>(), 20),
    ) {
        let replicas = rounds[0].0.len();
        let mut observed = fresh(Mode::Sync { min_in_sync: replicas as u32 }, replicas as u64);
        let mut memory = Memory::new(at(0));
        let mut now = 0;
        let mut given: BTreeMap<u64, Named> = BTreeMap::new();
        for ((reports, times), restart) in rounds.into_iter().zip(restarts) {
            for (member, report) in observed.members.iter_mut().zip(reports) {
                member.report = report;
            }
            if restart {
                // Another operator takes over.
                memory = Memory::new(at(now));
            }
            for _ in 0..times {
                now += 4000;
                let before = observed.clone();
                let decision = decide(&observed, &memory, at(now));
                for name in named(&decision.actions) {
                    let (version, voters, copies) = name.clone();
                    prop_assert!(version > before.named());
                    for (_, report) in before.reports() {
                        prop_assert!(version > report.membership_version);
                    }
                    prop_assert!(given.insert(version, name).is_none(), "{version} is given out twice");
                    prop_assert!(before.members.iter().all(|member| member.report.is_some()));
                    let leaders = before.reports().map(|(_, r)| r).filter(|r| r.role == Role::Leader);
                    let leader = leaders.max_by_key(|r| r.epoch).expect("somebody leads");
                    prop_assert!(!leader.writable);
                    prop_assert_eq!(copies as usize, leader.write_quorum);
                    prop_assert_eq!(voters.len(), leader.voters.len());
                    for (_, report) in before.reports().filter(|(_, r)| leader.voters.contains(&r.node)) {
                        prop_assert!(voters.contains(&report.node.0), "{} answers and is left out", report.node);
                    }
                }
                for (member, content) in told(&decision.actions) {
                    prop_assert_eq!(given.get(&content.0), Some(&content), "told what is not on record");
                    prop_assert_eq!(content.0, before.named());
                    let report = before.member(&member).and_then(|m| m.report.as_ref()).expect("answers");
                    prop_assert!(report.membership_version < content.0 && content.1.contains(&report.node.0));
                }
                execute(&mut observed, &decision.actions);
                memory = decision.memory;
            }
        }
    }
}
