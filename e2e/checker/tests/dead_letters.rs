//! The rules about dead letters: each is broken once in an otherwise clean history, and has to be the one that is reported.

mod support;

use mainstay_checker::{Filter, History, Moment, Order, Outcome, Report, Role, Settling, Violation, check};
use support::{SECOND, Scenario, ack, assert_clean, assert_only, consumer, delivery, place, receive};

fn unknown<T>() -> Outcome<T> {
    Outcome::Unknown("timeout".to_owned())
}

fn role(order: Order) -> Role {
    Role::Consumer { group: "readers".to_owned(), filter: Filter::All, order, max_attempts: Some(3) }
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
fn a_grave_is_that_of_any_copy_of_a_message() {
    let twice = |forwards: bool| {
        let mut letters_at = Moment(0);
        let mut report = buried(|s, letters| {
            s.consumer.deliveries.pop();
            s.again("b", place("q", 7), 1, 90 * SECOND);
            if forwards {
                let forward = ack("b", place("q", 1), 2, 91 * SECOND);
                s.consumer.acks.push(mainstay_checker::Ack { how: Settling::Forward, ..forward });
            }
            letters_at = letters.deliveries[0].at;
        });
        report.violations.retain(|violation| matches!(violation, Violation::BuriedEarly { .. }));
        report
    };
    assert_clean(&twice(true));
    assert!(!twice(false).passed());
}
