//! The rules about message groups: each is broken once in an otherwise clean history, and has to be the one that is reported.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_checker::{
    Change, Filter, Kind, Moment, Options, Order, Outcome, Promise, Receipt, Report, Role, Violation, check,
    check_with,
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

#[test]
fn what_retention_took_need_not_have_come() {
    let taken = |id: &str, outcome: Outcome<Receipt>| {
        let scenario = ordered(|s| {
            s.producer.sends[0].outcome = outcome;
            s.consumer.deliveries.remove(0);
            s.consumer.acks.remove(0);
            s.consumer.drained = None;
        });
        let mut painter = consumer("painter", "painters");
        painter.receives.push(receive(3 * SECOND, 4 * SECOND));
        for (offset, id) in (0..).zip(["a", "b", "c"]) {
            painter.deliveries.push(delivery(id, place("q", offset), 1, 3 * SECOND + MILLISECOND, 0));
        }
        let mut histories = scenario.histories();
        histories.push(painter);
        let expired = BTreeSet::from([id.to_owned()]);
        check_with(&histories, &Options { expired, ..Options::default() })
    };
    let receipt = || Scenario::clean().producer.sends[0].outcome.clone();
    assert_clean(&taken("M-a", receipt()));
    // Nobody was told the message id.
    assert_clean(&taken("M-a", unknown()));
    let overtaken =
        |found: &Violation| matches!(found, Violation::Overtaken { earlier, .. } if earlier == "a");
    assert!(taken("M-x", receipt()).violations.iter().any(overtaken));
}

#[test]
fn a_cut_tail_excuses_what_progress_it_held() {
    let scenario = ordered(|s| s.consumer.acks[0].call = call(3 * SECOND, 3 * SECOND + MILLISECOND));
    let promise = Promise::TailMayBeCut { quarantined: BTreeSet::new() };
    assert_clean(&check_with(&scenario.histories(), &Options { promise, ..Options::default() }));
}
