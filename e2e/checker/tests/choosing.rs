//! The rules about which messages a consumer gets: those that it asked for, the most urgent first. Each is broken once in
//! an otherwise clean history, and has to be the one that is reported.

mod support;

use mainstay_checker::{Filter, Kind, Outcome, Report, Violation, check};
use support::{MILLISECOND, SECOND, Scenario, assert_clean, assert_only, call, place, reader};

/// The clean scenario with a and c tagged red, b blue, and a consumer that asks for red ones.
fn red_ones(came: &[&str], plant: impl FnOnce(&mut Scenario)) -> Report {
    let mut scenario = Scenario::clean();
    for (send, tag) in scenario.producer.sends.iter_mut().zip(["red", "blue", "red"]) {
        send.tag = Some(tag.to_owned());
    }
    scenario.consumer.client.role = reader("readers", Filter::parse("red || green"));
    let among = |id: &Option<String>| id.as_deref().is_some_and(|id| came.contains(&id));
    scenario.consumer.deliveries.retain(|delivery| among(&delivery.id));
    scenario.consumer.acks.retain(|ack| among(&ack.id));
    plant(&mut scenario);
    check(&scenario.histories())
}

#[test]
fn exactly_what_was_asked_for_passes() {
    assert_clean(&red_ones(&["a", "c"], |_| {}));
}

#[test]
fn a_message_that_the_filter_refuses_must_not_come() {
    let other_tag = red_ones(&["a", "b", "c"], |_| {});
    assert_only!(other_tag, Violation::Unasked { id, tag: Some(tag), .. } if id == "b" && tag == "blue");
    let no_tag = red_ones(&["a", "b", "c"], |s| s.producer.sends[1].tag = None);
    assert_only!(no_tag, Violation::Unasked { id, tag: None, .. } if id == "b");
}

#[test]
fn a_message_that_the_filter_takes_must_come() {
    assert_only!(red_ones(&["a"], |_| {}), Violation::Lost { id, .. } if id == "c");
}

/// The clean scenario with priorities 7, 5, 3 of a, b, c, each in the queue of its priority; all wait when the first is
/// asked for, and come in that order.
fn urgent(plant: impl FnOnce(&mut Scenario)) -> Report {
    let mut scenario = Scenario::clean();
    for (number, priority) in [7, 5, 3].into_iter().enumerate() {
        let queue = format!("broker/{priority}");
        let send = &mut scenario.producer.sends[number];
        send.kind = Kind::Priority { priority };
        if let Outcome::Ok(receipt) = &mut send.outcome {
            receipt.offset = Some(0);
        }
        scenario.consumer.deliveries[number].position = place(&queue, 0);
        scenario.consumer.acks[number].position = place(&queue, 0);
    }
    plant(&mut scenario);
    check(&scenario.histories())
}

/// The messages of two receives are changed for each other.
fn exchange(s: &mut Scenario, one: usize, other: usize) {
    let [earlier, later] = [s.consumer.deliveries[one].at, s.consumer.deliveries[other].at];
    s.consumer.deliveries[one].at = later;
    s.consumer.deliveries[one].receive = Some(other);
    s.consumer.deliveries[other].at = earlier;
    s.consumer.deliveries[other].receive = Some(one);
    let [earlier, later] = [s.consumer.acks[one].call, s.consumer.acks[other].call];
    s.consumer.acks[one].call = later;
    s.consumer.acks[other].call = earlier;
}

#[test]
fn the_most_urgent_first_passes() {
    assert_clean(&urgent(|_| {}));
}

#[test]
fn nothing_overtakes_what_is_more_urgent_and_waits() {
    let report = urgent(|s| exchange(s, 1, 2));
    assert_only!(report, Violation::LessUrgentFirst { id, urgent, .. } if id == "c" && urgent == "b");
}

#[test]
fn what_did_not_wait_yet_is_not_overtaken() {
    let sent_meanwhile = urgent(|s| {
        let asked = 2 * SECOND + 100 * MILLISECOND;
        s.producer.sends[1].call = call(asked - MILLISECOND, asked + MILLISECOND);
        exchange(s, 1, 2);
    });
    assert_clean(&sent_meanwhile);
    let unknown = urgent(|s| {
        s.producer.sends[1].outcome = Outcome::Unknown("timeout".to_owned());
        exchange(s, 1, 2);
    });
    assert_clean(&unknown);
}

#[test]
fn what_was_taken_before_is_not_overtaken() {
    // Somebody got b and lost it; the receive that did so broke off.
    let report = urgent(|s| {
        exchange(s, 1, 2);
        s.consumer.deliveries[1].attempt = 2;
        s.consumer.acks[1].attempt = 2;
        s.consumer.receives.push(mainstay_checker::Receive {
            call: call(SECOND, 2 * SECOND),
            outcome: Outcome::Unknown("broken off".to_owned()),
        });
    });
    assert_clean(&report);
}
