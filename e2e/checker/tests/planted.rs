//! Every rule is broken once in an otherwise clean history, and has to be the one that is reported.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_checker::{Filter, History, Moment, Options, Outcome, Promise, Violation, check, check_with};
use support::{
    MILLISECOND, SECOND, Scenario, ack, assert_clean, assert_only, call, consumer, place, report, send,
};

#[test]
fn a_clean_history_passes_and_is_counted() {
    let report = report(|_| ());
    assert_clean(&report);
    assert_eq!((report.sent, report.acknowledged, report.unknown, report.failed), (3, 3, 0, 0));
    let group = &report.groups["orders/readers"];
    assert_eq!((group.deliveries, group.received, group.confirmed), (3, 3, 3));
    assert_eq!((group.redeliveries, group.duplicates), (0, 0));
    assert_eq!(report.lost(), Vec::<&str>::new());
}

#[test]
fn an_acknowledged_message_that_never_came_is_lost() {
    let report = report(|s| {
        s.consumer.deliveries.pop();
        s.consumer.acks.pop();
    });
    assert_eq!(report.lost(), ["c"]);
    assert_only!(&report, Violation::Lost { group, id, .. } if group == "readers" && id == "c");
}

#[test]
fn every_group_must_get_every_message() {
    let histories = {
        let mut histories = Scenario::clean().histories();
        histories.push(consumer("other", "auditors"));
        histories
    };
    let report = check(&histories);
    assert_eq!(report.groups["orders/auditors"].lost, ["a", "b", "c"]);
    assert_eq!(report.groups["orders/readers"].lost, Vec::<String>::new());
}

#[test]
fn a_filter_is_owed_only_what_matches() {
    let with_tags = |tags: &str| {
        report(|s| {
            for (send, tag) in s.producer.sends.iter_mut().zip(["red", "blue", "blue"]) {
                send.tag = Some(tag.to_owned());
            }
            s.consumer.deliveries.remove(0);
            s.consumer.acks.remove(0);
            let filter = Filter::parse(tags);
            s.consumer.client.role = support::reader("readers", filter);
        })
    };
    assert_clean(&with_tags("blue || green"));
    assert_only!(with_tags("blue || red"), Violation::Lost { id, .. } if id == "a");
}

#[test]
fn an_unknown_send_may_come_or_not() {
    let unknown = |s: &mut Scenario| s.producer.sends[2].outcome = Outcome::Unknown("timeout".to_owned());
    let came = report(unknown);
    assert_clean(&came);
    assert_eq!((came.unknown, came.groups["orders/readers"].received_unknown), (1, 1));
    assert_clean(&report(|s| {
        unknown(s);
        s.consumer.deliveries.pop();
        s.consumer.acks.pop();
    }));
}

#[test]
fn a_message_nobody_sent_is_a_phantom() {
    assert_only!(
        report(|s| {
            s.producer.sends.pop();
        }),
        Violation::Phantom { message_id, client, .. } if message_id == "M-c" && client == "consumer"
    );
    let foreign = report(|s| s.consumer.deliveries[2].id = None);
    assert!(
        foreign.violations.iter().any(|violation| matches!(violation, Violation::Phantom { .. })),
        "{foreign}"
    );
}

#[test]
fn a_changed_body_is_seen() {
    assert_only!(
        report(|s| s.consumer.deliveries[1].checksum = "other".to_owned()),
        Violation::BodyChanged { id, .. } if id == "b"
    );
    assert_only!(report(|s| s.consumer.deliveries[1].corrupted = true), Violation::DigestMismatch { .. });
}

#[test]
fn a_failed_send_must_never_come() {
    assert_only!(
        report(|s| s.producer.sends[0].outcome = Outcome::Failed("ILLEGAL_TOPIC".to_owned())),
        Violation::FailedSendDelivered { id, .. } if id == "a"
    );
}

#[test]
fn one_place_holds_one_message() {
    let report = report(|s| {
        s.producer.sends[2].tries = Some(2);
        s.producer.sends[2].outcome = Outcome::Unknown("timeout".to_owned());
        s.again("c", place("q", 0), 1, 3 * SECOND);
    });
    assert!(
        report.violations.iter().any(|violation| matches!(violation,
            Violation::PositionShared { position, first, second }
                if *position == place("q", 0) && first == "a" && second == "c")),
        "{report}"
    );
}

#[test]
fn places_of_other_queues_are_other_places() {
    assert_clean(&report(|s| {
        for (delivery, ack) in s.consumer.deliveries.iter_mut().zip(&mut s.consumer.acks).skip(1) {
            delivery.position.queue = Some("r".to_owned());
            ack.position.queue = Some("r".to_owned());
        }
    }));
}

#[test]
fn a_receipt_names_the_place_of_the_message() {
    assert_only!(
        report(|s| s.producer.sends[2] = send("c", SECOND + 20 * MILLISECOND, 7)),
        Violation::ReceiptElsewhere { id, offset: 7, .. } if id == "c"
    );
}

#[test]
fn what_was_cut_off_had_another_place_though_nobody_was_told_its_message_id() {
    let cut_off = |id: &str| {
        let mut scenario = Scenario::clean();
        scenario.producer.sends[0] = send("a", SECOND + 2 * MILLISECOND, 0);
        scenario.producer.sends[0].outcome = Outcome::Unknown("timeout".to_owned());
        scenario.producer.sends[1] = send("b", SECOND, 1);
        let promise = Promise::TailMayBeCut { quarantined: BTreeSet::from([id.to_owned()]) };
        check_with(&scenario.histories(), &Options { promise, ..Options::default() })
    };
    assert_clean(&cut_off("M-a"));
    assert_only!(cut_off("M-x"), Violation::OffsetBackwards { later, .. } if later == "a");
}

#[test]
fn what_is_sent_later_comes_behind() {
    let swapped = |later: u64| {
        report(|s| {
            s.producer.sends[0] = send("a", later, 0);
            s.producer.sends[1] = send("b", SECOND, 1);
        })
    };
    // b was acknowledged with offset 1 before a, with offset 0, was sent.
    assert_only!(
        swapped(SECOND + 2 * MILLISECOND),
        Violation::OffsetBackwards { earlier, later, .. } if earlier == "b" && later == "a"
    );
    // Sends that overlap may get their places in any order.
    assert_clean(&swapped(SECOND));
}

#[test]
fn a_drained_group_has_seen_every_place() {
    let hole = |s: &mut Scenario| {
        s.producer.sends[1].outcome = Outcome::Unknown("timeout".to_owned());
        s.consumer.deliveries.remove(1);
        s.consumer.acks.remove(1);
    };
    assert_only!(report(hole), Violation::Gap { queue, offsets, .. } if queue == "q" && *offsets == (1..=1));
    // Retention has taken a message whose id nobody was told: it may be this one.
    let expired = Options { expired: BTreeSet::from(["M-b".to_owned()]), ..Options::default() };
    let mut with_a_hole = Scenario::clean();
    hole(&mut with_a_hole);
    assert_clean(&check_with(&with_a_hole.histories(), &expired));
    assert_clean(&report(|s| {
        hole(s);
        s.consumer.drained = None;
    }));
    // Finding nothing while something is still being sent says nothing.
    assert_clean(&report(|s| {
        hole(s);
        s.consumer.drained = Some(Moment(SECOND));
    }));
}

#[test]
fn what_is_sent_again_with_its_message_id_is_stored_once() {
    let twice = |tries: Option<u32>, options: &Options, plant: fn(&mut Scenario)| {
        let mut scenario = Scenario::clean();
        scenario.producer.sends[2].tries = tries;
        scenario.again("c", place("q", 3), 1, 3 * SECOND);
        scenario.consumer.acks.push(ack("c", place("q", 3), 1, 4 * SECOND));
        plant(&mut scenario);
        check_with(&scenario.histories(), options)
    };
    let (strict, forgetful) = (Options::default(), Options { stored_once: false, ..Options::default() });
    let nothing: fn(&mut Scenario) = |_| ();
    assert_only!(twice(Some(2), &strict, nothing), Violation::Duplicate { id, allowed: 1, .. } if id == "c");
    assert_only!(twice(Some(1), &forgetful, nothing), Violation::Duplicate { allowed: 1, .. });
    let repeated = twice(Some(2), &forgetful, nothing);
    assert_clean(&repeated);
    assert_eq!(repeated.groups["orders/readers"].duplicates, 1);
    // A library that does not tell may have tried three times.
    assert_clean(&twice(None, &forgetful, nothing));
    // One that makes a new id each time is not understood.
    let other_id: fn(&mut Scenario) = |s| s.consumer.deliveries[3].message_id = "M-c2".to_owned();
    assert_clean(&twice(Some(2), &strict, other_id));
    // Nor is one that tries for longer than ids are remembered.
    let long: fn(&mut Scenario) = |s| {
        let began = 1;
        s.producer.sends[2].call = call(began, began + 61 * SECOND);
    };
    assert_clean(&twice(Some(2), &strict, long));
}

#[test]
fn a_cut_tail_excuses_what_was_reported_and_nothing_else() {
    let lost = |reported: &[&str]| {
        let mut scenario = Scenario::clean();
        scenario.consumer.deliveries.truncate(1);
        scenario.consumer.acks.truncate(1);
        let quarantined: BTreeSet<String> = reported.iter().map(|id| (*id).to_owned()).collect();
        let options = Options { promise: Promise::TailMayBeCut { quarantined }, ..Options::default() };
        check_with(&scenario.histories(), &options)
    };
    let reported = lost(&["M-b", "c"]);
    assert_clean(&reported);
    assert_eq!(reported.groups["orders/readers"].quarantined, ["b", "c"]);
    assert_eq!(lost(&["b"]).lost(), ["c"]);
    assert_only!(lost(&["b"]), Violation::Lost { id, .. } if id == "c");
}

#[test]
fn a_cut_tail_may_hold_acknowledgements_and_places() {
    let mut scenario = Scenario::clean();
    // c was delivered at place 2, then cut off; d got its place, and b, whose acknowledgement was cut off, came again.
    scenario.producer.sends.push(send("d", 10 * SECOND, 2));
    scenario.again("d", place("q", 2), 1, 20 * SECOND);
    scenario.again("b", place("q", 1), 2, 40 * SECOND);
    let cut = |ids: &[&str]| Options {
        promise: Promise::TailMayBeCut { quarantined: ids.iter().map(|id| (*id).to_owned()).collect() },
        ..Options::default()
    };
    let histories = scenario.histories();
    assert_clean(&check_with(&histories, &cut(&["c"])));
    assert_only!(check_with(&histories, &cut(&[])), Violation::PositionShared { .. });
    assert_eq!(check(&histories).violations.len(), 2);
}

#[test]
fn nothing_is_not_a_success() {
    assert_only!(check(&[]), Violation::NothingToCheck { .. });
    let no_sends = [Scenario::clean().producer, consumer("consumer", "readers")].map(|mut history| {
        history.sends.clear();
        history
    });
    assert_only!(check(&no_sends), Violation::NothingToCheck { what } if what.contains("acknowledged"));
    let producer_only = [Scenario::clean().producer];
    assert_only!(check(&producer_only), Violation::NothingToCheck { .. });
}

#[test]
fn reused_ids_cannot_be_judged() {
    let mut histories = Scenario::clean().histories();
    let mut twin = histories[0].clone();
    twin.client.name = "twin".to_owned();
    twin.sends.truncate(1);
    histories.push(twin);
    assert_only!(check(&histories), Violation::IdReused { id } if id == "a");
}

#[test]
fn times_of_different_clocks_are_not_compared() {
    let sent_on_clock = |clock: &str| {
        report(|s| {
            s.producer.client.clock = clock.to_owned();
            for (number, send) in s.producer.sends.iter_mut().enumerate() {
                let at = 90 * SECOND + number as u64 * 10 * MILLISECOND;
                send.call = call(at, at + MILLISECOND);
            }
            s.consumer.acks.remove(1);
            s.again("b", place("q", 1), 2, 33 * SECOND);
        })
    };
    assert_clean(&sent_on_clock("other machine"));
    assert_only!(sent_on_clock("boot"), Violation::TooEarly { .. });
}

#[test]
fn consumers_that_do_not_tell_queues_are_judged_by_the_rest() {
    let without_queues = |s: &mut Scenario| {
        s.consumer.deliveries.iter_mut().for_each(|delivery| delivery.position.queue = None);
        s.consumer.acks.iter_mut().for_each(|ack| ack.position.queue = None);
    };
    assert_clean(&report(without_queues));
    assert_only!(
        report(|s| {
            without_queues(s);
            let mut position = place("q", 1);
            position.queue = None;
            s.again("b", position, 2, 40 * SECOND);
        }),
        Violation::RedeliveredAfterAck { .. }
    );
}

#[test]
fn the_report_names_the_messages() {
    let text = report(|s| {
        s.consumer.deliveries.pop();
        s.consumer.acks.pop();
    })
    .to_string();
    assert!(text.contains("sent 3, acknowledged 3, outcome unknown 0, failed 0"), "{text}");
    assert!(
        text.contains("lost: c (message id M-c) was acknowledged but never came to group readers"),
        "{text}"
    );
    assert!(text.ends_with("FAILED with 1 violation(s)"), "{text}");
}

#[test]
fn pauses_are_measured() {
    let histories: Vec<History> = Scenario::clean().histories();
    let pause = mainstay_checker::longest_pause(&histories).expect("three acknowledgements");
    assert_eq!(pause.length(), Duration::from_millis(10));
    let first = mainstay_checker::first_acknowledged_after(&histories, Moment(SECOND + 5 * MILLISECOND));
    assert_eq!(first, Some(Moment(SECOND + 11 * MILLISECOND)));
    assert_eq!(mainstay_checker::first_acknowledged_after(&histories, Moment(5 * SECOND)), None);
}
