//! Pods that run something old are replaced one at a time, the leader last.

use std::{collections::BTreeMap, time::Duration};

use mainstay_operator::decide::{
    action::Action,
    decide,
    observed::{Mode, Observed},
    restart,
};

use crate::groups::*;

#[test]
fn a_rolling_restart_goes_followers_first_and_the_leader_hands_over() {
    let (mut observed, mut memory) = converged(Mode::Raft, 3);
    for member in &mut observed.members {
        member.pod.as_mut().expect("has a pod").outdated = true;
    }
    let mut steps = Vec::new();
    let mut handed_over = None;
    let ready = |observed: &Observed| {
        let ready = observed.recorded.conditions.iter().find(|condition| condition.type_ == "Ready");
        ready.map(|ready| (ready.status.clone(), ready.reason.clone())).expect("always there")
    };
    for second in 10..120 {
        let decision = decide(&observed, &memory, at(second * 1000));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
        let old = observed.members.iter().any(|m| m.pod.as_ref().is_some_and(|pod| pod.outdated));
        let expected = if old { ("False", "RollingOut") } else { ("True", "AsExpected") };
        assert_eq!(ready(&observed), (expected.0.to_owned(), expected.1.to_owned()), "{second}");
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
    assert_eq!(ready(&observed).0, "True");
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
