//! The rules about delays, transactions and what is not of one kind of message: each is broken once in an otherwise clean history, and has to be the one that is reported.

mod support;

use std::time::Duration;

use mainstay_checker::{
    Change, Decision, Kind, Moment, Options, Outcome, Promise, Recall, Report, Verdict, Violation, check,
    check_with,
};
use support::{MILLISECOND, SECOND, Scenario, ack, assert_clean, assert_only, call, place, receive};

fn unknown<T>() -> Outcome<T> {
    Outcome::Unknown("timeout".to_owned())
}

#[test]
fn a_message_whose_time_was_changed_comes_when_it_was_asked_for() {
    let changed = |outcome: Outcome<()>, at: u64| {
        let mut scenario = Scenario::clean();
        scenario.consumer.acks.remove(1);
        scenario.consumer.changes.push(Change {
            id: Some("b".to_owned()),
            position: place("q", 1),
            attempt: 1,
            invisible: Duration::from_secs(10),
            call: call(3 * SECOND, 3 * SECOND + MILLISECOND),
            outcome,
        });
        scenario.again("b", place("q", 1), 2, at);
        check(&scenario.histories())
    };
    assert_clean(&changed(Outcome::Ok(()), 14 * SECOND));
    assert_only!(changed(Outcome::Ok(()), 8 * SECOND), Violation::TooEarly { id, .. } if id == "b");
    assert_clean(&changed(unknown(), 8 * SECOND));
    assert_only!(changed(Outcome::Failed("expired".to_owned()), 14 * SECOND), Violation::TooEarly { .. });
}

/// The clean scenario with c to be delivered at that time, changed by `plant`.
fn delayed(until: u64, plant: impl FnOnce(&mut Scenario)) -> Report {
    check(&delayed_scenario(until, plant).histories())
}

fn delayed_scenario(until: u64, plant: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = Scenario::clean();
    let send = &mut scenario.producer.sends[2];
    send.kind = Kind::Delay { deliver_at: Moment(until) };
    send.outcome = Outcome::Ok(mainstay_checker::Receipt { message_id: "M-c".to_owned(), offset: None });
    plant(&mut scenario);
    scenario
}

fn recall(outcome: Outcome<()>) -> Recall {
    Recall { id: "c".to_owned(), call: call(2 * SECOND, 2 * SECOND + MILLISECOND), outcome }
}

#[test]
fn a_delayed_message_never_comes_early() {
    // It comes at 2.205 s.
    let late = delayed(2 * SECOND + 200 * MILLISECOND, |_| ());
    assert_clean(&late);
    assert_eq!(late.groups["orders/readers"].lateness, [Duration::from_millis(5)]);
    assert!(late.to_string().contains("1 delayed messages, late by 5ms (p99)"), "{late}");
    assert_only!(
        delayed(2 * SECOND + 300 * MILLISECOND, |_| ()),
        Violation::BeforeItsTime { id, early, .. } if id == "c" && *early == Duration::from_millis(95)
    );
}

#[test]
fn a_recalled_message_never_comes() {
    let due = 2 * SECOND + 100 * MILLISECOND;
    let came = |outcome: Outcome<()>| delayed(due, |s| s.producer.recalls.push(recall(outcome)));
    assert_only!(came(Outcome::Ok(())), Violation::RecalledDelivered { id, .. } if id == "c");
    assert_clean(&came(unknown()));
    assert_clean(&came(Outcome::Failed("delivered".to_owned())));
    let gone = |outcome: Outcome<()>| {
        delayed(due, |s| {
            s.producer.recalls.push(recall(outcome));
            s.consumer.deliveries.pop();
            s.consumer.acks.pop();
        })
    };
    assert_clean(&gone(Outcome::Ok(())));
    assert_clean(&gone(unknown()));
    assert_eq!(gone(Outcome::Failed("delivered".to_owned())).lost(), ["c"]);
}

/// The clean scenario with c as a half message about which was decided so, and that came or did not.
fn half(decisions: &[(Verdict, u64, Outcome<()>)], comes: bool) -> Report {
    let mut scenario = delayed_scenario(0, |_| ());
    scenario.producer.sends[2].kind = Kind::Transaction;
    for (verdict, at, outcome) in decisions {
        scenario.producer.decisions.push(Decision {
            id: "c".to_owned(),
            verdict: *verdict,
            call: call(*at, at + MILLISECOND),
            outcome: outcome.clone(),
        });
    }
    if !comes {
        scenario.consumer.deliveries.pop();
        scenario.consumer.acks.pop();
    }
    check(&scenario.histories())
}

#[test]
fn a_half_message_is_seen_when_it_is_committed() {
    use Verdict::{Commit, Rollback};
    let (soon, late) = (SECOND + 50 * MILLISECOND, 5 * SECOND);
    assert_clean(&half(&[(Commit, soon, Outcome::Ok(()))], true));
    assert_clean(&half(&[(Commit, soon, unknown())], true));
    assert_clean(&half(&[(Commit, soon, unknown())], false));
    assert_eq!(half(&[(Commit, soon, Outcome::Ok(()))], false).lost(), ["c"]);
    assert_clean(&half(&[], false));
    assert_clean(&half(&[(Rollback, soon, Outcome::Ok(()))], false));
    for decisions in [
        vec![],
        vec![(Commit, late, Outcome::Ok(()))],
        vec![(Commit, soon, Outcome::Failed("refused".to_owned()))],
        vec![(Rollback, soon, unknown())],
    ] {
        assert_only!(half(&decisions, true), Violation::HalfDelivered { id, rolled_back: false, .. } if id == "c");
    }
    let (commit, rollback) = ((Commit, soon, unknown()), (Rollback, soon, Outcome::Ok(())));
    assert_only!(half(&[commit, rollback], true), Violation::HalfDelivered { rolled_back: true, .. });
}

#[test]
fn of_two_contrary_decisions_one_is_refused() {
    let both = [Verdict::Commit, Verdict::Rollback].map(|verdict| (verdict, SECOND, Outcome::Ok(())));
    let report = half(&both, false);
    let found = report.violations.iter().any(|violation| matches!(violation, Violation::DecidedTwice { .. }));
    assert!(found, "{report}");
}

#[test]
fn a_group_does_not_go_back_in_a_queue() {
    let mut scenario = Scenario::clean();
    // c was received and acknowledged before b was received for the first time.
    scenario.consumer.deliveries[1].at = Moment(5 * SECOND + 5 * MILLISECOND);
    scenario.consumer.receives[1] = receive(5 * SECOND, 5 * SECOND + 10 * MILLISECOND);
    scenario.consumer.acks[1] = ack("b", place("q", 1), 1, 6 * SECOND);
    assert_only!(
        check(&scenario.histories()),
        Violation::StepBack { queue, before: 2, offset: 1, .. } if queue == "q"
    );
}

#[test]
fn a_cut_tail_excuses_what_progress_it_held() {
    let cut = |scenario: Scenario| {
        let promise = Promise::TailMayBeCut { quarantined: std::collections::BTreeSet::new() };
        check_with(&scenario.histories(), &Options { promise, ..Options::default() })
    };
    let due = 2 * SECOND + 100 * MILLISECOND;
    assert_clean(&cut(delayed_scenario(due, |s| s.producer.recalls.push(recall(Outcome::Ok(()))))));
    // That nothing comes early holds whatever is cut.
    assert!(!cut(delayed_scenario(9 * SECOND, |_| ())).passed());
    // The message was released twice, and committed messages likewise.
    assert_clean(&cut(delayed_scenario(due, |s| {
        s.again("c", place("q", 4), 1, 9 * SECOND);
        s.consumer.acks.push(ack("c", place("q", 4), 1, 10 * SECOND));
    })));
}
