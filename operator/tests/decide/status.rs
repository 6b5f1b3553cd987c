//! What people are shown: how far the members are, failovers, quarantined tails, readiness.

use mainstay_operator::decide::{
    action::Action,
    decide,
    memory::Memory,
    observed::{Mode, Observed, Tail},
};

use crate::groups::*;

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
