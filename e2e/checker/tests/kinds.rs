//! The rules about message groups, delays, transactions and dead letters: each is broken once in an otherwise clean history,
//! and has to be the one that is reported.

mod support;

use std::time::Duration;

use mainstay_checker::{
    Change, Decision, Filter, History, Kind, Moment, Options, Order, Outcome, Promise, Recall, Report, Role,
    Settling, Verdict, Violation, check, check_with,
};
use support::{
    MILLISECOND, SECOND, Scenario, ack, assert_clean, assert_only, call, consumer, delivery, place, receive,
};

fn unknown<T>() -> Outcome<T> {
    Outcome::Unknown("timeout".to_owned())
}

/// The clean scenario as one message group, read in order with three attempts, and changed by `plant`.
fn in_order(plant: impl FnOnce(&mut Scenario)) -> Report {
    check(&ordered(plant).histories())
}

fn ordered(plant: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = Scenario::clean();
    for send in &mut scenario.producer.sends {
        send.kind = Kind::Fifo { message_group: "account-1".to_owned() };
    }
    scenario.consumer.client.role = role(Order::Fifo);
    plant(&mut scenario);
    scenario
}

fn role(order: Order) -> Role {
    Role::Consumer { group: "readers".to_owned(), filter: Filter::All, order, max_attempts: Some(3) }
}

/// All three messages come in one receive at two seconds, and nothing is acknowledged.
fn together(s: &mut Scenario) {
    s.consumer.receives = vec![receive(2 * SECOND, 2 * SECOND + 10 * MILLISECOND)];
    s.consumer.acks.clear();
    for delivery in &mut s.consumer.deliveries {
        delivery.at = Moment(2 * SECOND + 5 * MILLISECOND);
        delivery.receive = Some(0);
    }
}

/// These come once more in one receive, each with its attempt.
fn again_together(s: &mut Scenario, ids: &[(&str, u64, u32)], at: u64) {
    s.consumer.receives.push(receive(at, at + 10 * MILLISECOND));
    let number = s.consumer.receives.len() - 1;
    for (id, offset, attempt) in ids {
        let arrived = at + 5 * MILLISECOND;
        s.consumer.deliveries.push(delivery(id, place("q", *offset), *attempt, arrived, number));
    }
}

#[test]
fn a_message_group_in_order_passes() {
    assert_clean(&in_order(|_| ()));
    // Those that came together come together again, and only the first is counted.
    assert_clean(&in_order(|s| {
        together(s);
        again_together(s, &[("a", 0, 2), ("b", 1, 1), ("c", 2, 1)], 40 * SECOND);
        s.consumer.acks.push(ack("a", place("q", 0), 2, 41 * SECOND));
        again_together(s, &[("b", 1, 2), ("c", 2, 1)], 80 * SECOND);
        s.consumer.acks.push(ack("b", place("q", 1), 2, 81 * SECOND));
        s.consumer.acks.push(ack("c", place("q", 2), 1, 81 * SECOND));
    }));
}

#[test]
fn an_answer_that_was_long_under_way_is_not_a_second_one() {
    // b and c were handed out at two seconds, and again, uncounted, at `again`, which arrived before.
    let late = |again: u64| {
        in_order(|s| {
            together(s);
            again_together(s, &[("a", 0, 2), ("b", 1, 1), ("c", 2, 1)], again);
            s.consumer.receives[0].call = call(2 * SECOND, again + SECOND);
            s.consumer.deliveries[..3].iter_mut().for_each(|delivery| delivery.at = Moment(again + SECOND));
            s.consumer.acks.push(ack("a", place("q", 0), 2, again + 2 * SECOND));
            s.consumer.acks.push(ack("b", place("q", 1), 1, again + 3 * SECOND));
            s.consumer.acks.push(ack("c", place("q", 2), 1, again + 4 * SECOND));
        })
    };
    assert_clean(&late(33 * SECOND));
    let early = late(20 * SECOND);
    let is_early = |violation: &Violation| matches!(violation, Violation::TooEarly { attempt: 1, .. });
    assert_eq!(early.violations.iter().filter(|violation| is_early(violation)).count(), 2, "{early}");
}

#[test]
fn nothing_comes_before_the_one_before_it_is_settled() {
    // The acknowledgement of a begins after b has come.
    assert_only!(
        in_order(|s| s.consumer.acks[0].call = call(2 * SECOND + 150 * MILLISECOND, 3 * SECOND)),
        Violation::Overtaken { earlier, later, .. } if earlier == "a" && later == "b"
    );
    // It had certainly failed.
    let failed = in_order(|s| s.consumer.acks[0].outcome = Outcome::Failed("expired".to_owned()));
    let found = failed.violations.iter().any(|violation| matches!(violation, Violation::Overtaken { .. }));
    assert!(found, "{failed}");
    // Nobody knows.
    assert_clean(&in_order(|s| s.consumer.acks[0].outcome = unknown()));
}

#[test]
fn what_comes_again_after_its_followers_was_overtaken() {
    let again = |outcome: Outcome<()>| {
        in_order(|s| {
            s.consumer.acks[0].outcome = outcome;
            s.again("a", place("q", 0), 2, 40 * SECOND);
            s.consumer.acks.push(ack("a", place("q", 0), 2, 41 * SECOND));
        })
    };
    assert_only!(again(unknown()), Violation::Overtaken { earlier, .. } if earlier == "a");
}

#[test]
fn order_holds_within_a_receive_too() {
    assert_only!(
        in_order(|s| {
            together(s);
            s.consumer.deliveries.swap(0, 1);
            for (id, offset) in [("a", 0), ("b", 1), ("c", 2)] {
                s.consumer.acks.push(ack(id, place("q", offset), 1, 3 * SECOND));
            }
        }),
        Violation::Overtaken { earlier, later, .. } if earlier == "a" && later == "b"
    );
}

#[test]
fn what_was_unreadable_may_have_come_before() {
    let lost = |outcome: Outcome<()>| {
        in_order(|s| {
            together(s);
            s.consumer.receives[0].outcome = outcome;
            // a was taken by the same receive, and comes again with the others.
            s.consumer.deliveries.remove(0);
            again_together(s, &[("a", 0, 2), ("b", 1, 1), ("c", 2, 1)], 40 * SECOND);
            for (id, offset, attempt) in [("a", 0, 2), ("b", 1, 1), ("c", 2, 1)] {
                s.consumer.acks.push(ack(id, place("q", offset), attempt, 41 * SECOND));
            }
        })
    };
    assert_clean(&lost(unknown()));
    assert!(!lost(Outcome::Ok(())).passed());
}

#[test]
fn one_holds_a_message_group_at_a_time() {
    let second_holder = |at: u64| {
        in_order(|s| {
            together(s);
            // a is given back at once, while b and c are held for 30 s.
            s.consumer.changes.push(Change {
                id: Some("a".to_owned()),
                position: place("q", 0),
                attempt: 1,
                invisible: Duration::ZERO,
                call: call(3 * SECOND, 3 * SECOND + MILLISECOND),
                outcome: Outcome::Ok(()),
            });
            again_together(s, &[("a", 0, 2)], at);
            s.consumer.acks.push(ack("a", place("q", 0), 2, at + SECOND));
            again_together(s, &[("b", 1, 2), ("c", 2, 1)], 80 * SECOND);
            s.consumer.acks.push(ack("b", place("q", 1), 2, 81 * SECOND));
            s.consumer.acks.push(ack("c", place("q", 2), 1, 81 * SECOND));
        })
    };
    assert_only!(second_holder(10 * SECOND), Violation::HeldTwice { second, .. } if second == "a");
    assert_clean(&second_holder(33 * SECOND));
}

#[test]
fn a_message_group_lies_in_one_queue() {
    assert_only!(
        in_order(|s| {
            s.consumer.deliveries[1].position.queue = Some("r".to_owned());
            s.consumer.acks[1].position.queue = Some("r".to_owned());
            s.consumer.drained = None;
        }),
        Violation::GroupSplit { queues, .. } if queues == &["q", "r"]
    );
}

#[test]
fn the_head_of_a_message_group_is_counted() {
    assert_only!(
        in_order(|s| {
            s.consumer.acks.remove(2);
            s.again("c", place("q", 2), 1, 40 * SECOND);
            s.consumer.acks.push(ack("c", place("q", 2), 1, 41 * SECOND));
        }),
        Violation::AttemptRepeated { id, attempt: 1, .. } if id == "c"
    );
}

/// b has three attempts that are not acknowledged, and is a dead letter by 120 s. Changed by `plant`.
fn buried(plant: impl FnOnce(&mut Scenario, &mut History)) -> Report {
    let mut scenario = Scenario::clean();
    scenario.consumer.client.role = role(Order::Concurrent);
    scenario.consumer.acks.remove(1);
    scenario.again("b", place("q", 1), 2, 40 * SECOND);
    scenario.again("b", place("q", 1), 3, 75 * SECOND);
    scenario.consumer.drained = Some(Moment(200 * SECOND));
    let mut letters = consumer("undertaker", "undertakers");
    letters.client.topic = "%DLQ%readers".to_owned();
    letters.receives.push(receive(119 * SECOND, 121 * SECOND));
    letters.deliveries.push(delivery("b", place("dead", 0), 1, 120 * SECOND, 0));
    letters.acks.push(ack("b", place("dead", 0), 1, 122 * SECOND));
    letters.drained = Some(Moment(300 * SECOND));
    plant(&mut scenario, &mut letters);
    let mut histories = scenario.histories();
    histories.push(letters);
    check(&histories)
}

#[test]
fn a_dead_letter_after_all_attempts_is_right() {
    assert_clean(&buried(|_, _| ()));
    // Two attempts nobody saw, but receives broke off.
    assert_clean(&buried(|s, _| {
        for at in [40 * SECOND, 75 * SECOND] {
            s.consumer.deliveries.pop();
            let mut broken = receive(at, at + SECOND);
            broken.outcome = unknown();
            s.consumer.receives.push(broken);
        }
    }));
}

#[test]
fn a_dead_letter_too_early_is_seen() {
    let one_less = |s: &mut Scenario| {
        s.consumer.deliveries.pop();
    };
    assert_only!(
        buried(|s, _| one_less(s)),
        Violation::BuriedEarly { id, attempts: 2, most: 3, .. } if id == "b"
    );
    // The last attempt was not over.
    assert_only!(
        buried(|_, letters| letters.deliveries[0].at = Moment(100 * SECOND)),
        Violation::BuriedEarly { attempts: 3, .. }
    );
    // The consumer had asked for it.
    assert_clean(&buried(|s, _| {
        one_less(s);
        let forward = ack("b", place("q", 1), 2, 41 * SECOND);
        s.consumer.acks.push(mainstay_checker::Ack { how: Settling::Forward, ..forward });
    }));
}

#[test]
fn a_dead_letter_nobody_had_an_attempt_of_is_too_early() {
    assert_only!(
        buried(|s, _| {
            s.consumer.deliveries.retain(|delivery| delivery.id.as_deref() != Some("b"));
        }),
        Violation::BuriedEarly { attempts: 0, .. }
    );
}

#[test]
fn a_message_is_buried_once_and_as_it_was() {
    assert_only!(
        buried(|_, letters| {
            letters.receives.push(receive(130 * SECOND, 131 * SECOND));
            letters.deliveries.push(delivery("b", place("dead", 1), 1, 130 * SECOND, 1));
        }),
        Violation::BuriedTwice { id, positions, .. } if id == "b" && positions.len() == 2
    );
    assert_only!(
        buried(|_, letters| letters.deliveries[0].message_id = "other".to_owned()),
        Violation::OriginLost { message_id, .. } if message_id == "M-b"
    );
    assert_only!(
        buried(|_, letters| letters.deliveries[0].checksum = "other".to_owned()),
        Violation::BodyChanged { id, .. } if id == "b"
    );
    assert_only!(
        buried(|s, _| {
            s.producer.sends.remove(1);
            s.consumer.deliveries.retain(|delivery| delivery.id.as_deref() != Some("b"));
            s.consumer.drained = None;
        }),
        Violation::Phantom { group, .. } if group == "undertakers"
    );
}

#[test]
fn what_is_acknowledged_or_buried_is_done_with() {
    assert_only!(
        buried(|s, _| s.consumer.acks.push(ack("b", place("q", 1), 3, 76 * SECOND))),
        Violation::BuriedAfterAck { id, .. } if id == "b"
    );
    let after = buried(|s, _| s.again("b", place("q", 1), 4, 150 * SECOND));
    assert!(
        matches!(
            after.violations.as_slice(),
            [Violation::TooManyAttempts { attempt: 4, most: 3, .. }, Violation::DeliveredAfterBurial { .. }]
        ),
        "{after}"
    );
}

#[test]
fn what_had_all_its_attempts_is_buried() {
    let none = |s: &mut Scenario, letters: &mut History| {
        letters.deliveries.clear();
        letters.acks.clear();
        s.consumer.acks.truncate(2);
    };
    assert_only!(buried(none), Violation::NotBuried { id, .. } if id == "b");
    assert_clean(&buried(|s, letters| {
        none(s, letters);
        letters.drained = None;
    }));
    assert_clean(&buried(|s, letters| {
        none(s, letters);
        let unsure = ack("b", place("q", 1), 3, 76 * SECOND);
        s.consumer.acks.push(mainstay_checker::Ack { outcome: unknown(), ..unsure });
    }));
}

#[test]
fn a_message_is_owed_or_buried() {
    let never_seen = |s: &mut Scenario| {
        s.consumer.deliveries.retain(|delivery| delivery.id.as_deref() != Some("b"));
        for at in [2 * SECOND, 40 * SECOND, 75 * SECOND] {
            let mut broken = receive(at, at + SECOND);
            broken.outcome = unknown();
            s.consumer.receives.push(broken);
        }
    };
    assert_clean(&buried(|s, _| never_seen(s)));
    let lost = buried(|s, letters| {
        never_seen(s);
        letters.deliveries.clear();
    });
    assert_eq!(lost.lost(), ["b"]);
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
    assert_clean(&cut(ordered(|s| {
        s.consumer.acks[0].call = call(3 * SECOND, 3 * SECOND + MILLISECOND);
    })));
    // That nothing comes early holds whatever is cut.
    assert!(!cut(delayed_scenario(9 * SECOND, |_| ())).passed());
    // The message was released twice, and committed messages likewise.
    assert_clean(&cut(delayed_scenario(due, |s| {
        s.again("c", place("q", 4), 1, 9 * SECOND);
        s.consumer.acks.push(ack("c", place("q", 4), 1, 10 * SECOND));
    })));
}
