//! Rules about attempts and acknowledgements are broken once each, and have to be the ones that are reported.

mod support;

use std::time::Duration;

use mainstay_checker::{Moment, Options, Outcome, Violation, check_with};
use support::{MILLISECOND, SECOND, Scenario, ack, assert_clean, assert_only, place, receive, report};

#[test]
fn attempts_count_from_one_without_holes() {
    assert_only!(
        report(|s| {
            s.consumer.deliveries[1].attempt = 2;
            s.consumer.acks[1].attempt = 2;
        }),
        Violation::AttemptSkipped { id, previous: 0, attempt: 2, missing: 1, .. } if id == "b"
    );
    assert_only!(
        report(|s| {
            s.consumer.deliveries[1].attempt = 0;
            s.consumer.acks[1].attempt = 0;
        }),
        Violation::AttemptSkipped { attempt: 0, .. }
    );
}

#[test]
fn a_receive_under_way_when_a_leader_is_lost_explains_one_missing_attempt() {
    let skipped = |lost: u64| {
        let mut scenario = Scenario::clean();
        scenario.consumer.receives.push(receive(SECOND, SECOND + 10 * MILLISECOND));
        scenario.consumer.deliveries[1].attempt = 2;
        scenario.consumer.acks[1].attempt = 2;
        let options = Options { leader_lost: vec![Moment(lost)], ..Options::default() };
        check_with(&scenario.histories(), &options)
    };
    assert_clean(&skipped(SECOND + 5 * MILLISECOND));
    assert_only!(skipped(SECOND + 20 * MILLISECOND), Violation::AttemptSkipped { missing: 1, .. });
}

#[test]
fn a_receive_that_broke_off_before_explains_one_missing_attempt() {
    let skipped = |attempt: u32, broken_at: u64| {
        report(|s| {
            let mut broken = receive(broken_at, broken_at + SECOND);
            broken.outcome = Outcome::Unknown("connection reset".to_owned());
            s.consumer.receives.push(broken);
            s.consumer.deliveries[1].attempt = attempt;
            s.consumer.acks[1].attempt = attempt;
        })
    };
    assert_clean(&skipped(2, SECOND));
    assert_only!(skipped(3, SECOND), Violation::AttemptSkipped { missing: 2, .. });
    assert_only!(skipped(2, 50 * SECOND), Violation::AttemptSkipped { missing: 1, .. });
}

#[test]
fn an_attempt_comes_once() {
    assert_only!(
        report(|s| {
            s.consumer.acks.remove(1);
            s.again("b", place("q", 1), 1, 40 * SECOND);
        }),
        Violation::AttemptRepeated { id, attempt: 1, .. } if id == "b"
    );
}

#[test]
fn attempts_do_not_count_backwards() {
    let report = report(|s| {
        s.consumer.acks.remove(1);
        s.consumer.deliveries[1].attempt = 2;
        s.again("b", place("q", 1), 1, 40 * SECOND);
        s.consumer.deliveries.iter_mut().for_each(|delivery| delivery.invisible = None);
    });
    assert_only!(report, Violation::AttemptBackwards { previous: 2, attempt: 1, .. });
}

#[test]
fn an_unacknowledged_message_comes_again_when_its_time_is_over() {
    let again = |at: u64| {
        report(|s| {
            s.consumer.acks.remove(1);
            s.again("b", place("q", 1), 2, at);
        })
    };
    // The first delivery was asked for at 2.1 s and hides the message for 30 s.
    let in_time = again(32 * SECOND + 100 * MILLISECOND);
    assert_clean(&in_time);
    assert_eq!(in_time.groups["orders/readers"].redeliveries, 1);
    assert_only!(
        again(30 * SECOND),
        Violation::TooEarly { id, early, .. } if id == "b" && *early > Duration::from_secs(2)
    );
    assert_clean(&again(32 * SECOND));
    // What came in a receive that broke off is given back, and comes again soon.
    assert_clean(&report(|s| {
        s.consumer.acks.remove(1);
        s.consumer.receives[1].outcome = Outcome::Unknown("broken stream".to_owned());
        s.again("b", place("q", 1), 2, 3 * SECOND);
    }));
}

#[test]
fn a_confirmed_acknowledgement_is_the_end() {
    let again = |outcome: Outcome<()>| {
        report(|s| {
            s.consumer.acks[1].outcome = outcome;
            s.again("b", place("q", 1), 2, 40 * SECOND);
        })
    };
    assert_only!(
        again(Outcome::Ok(())),
        Violation::RedeliveredAfterAck { id, acked: 1, attempt: 2, .. } if id == "b"
    );
    assert_clean(&again(Outcome::Unknown("timeout".to_owned())));
    assert_clean(&again(Outcome::Failed("INVALID_RECEIPT_HANDLE".to_owned())));
}

#[test]
fn a_long_poll_that_began_before_the_acknowledgement_is_no_excuse() {
    let long_poll = |attempt: u32| {
        report(|s| {
            let began = 2 * SECOND;
            s.consumer.receives.push(receive(began, 50 * SECOND));
            let number = s.consumer.receives.len() - 1;
            s.consumer.deliveries.push(support::delivery("b", place("q", 1), attempt, 40 * SECOND, number));
        })
    };
    assert_only!(long_poll(2), Violation::RedeliveredAfterAck { .. });
}

#[test]
fn a_stale_acknowledgement_that_is_confirmed_after_the_right_one_is_fine() {
    assert_clean(&report(|s| {
        s.consumer.acks.remove(1);
        s.again("b", place("q", 1), 2, 40 * SECOND);
        s.consumer.acks.push(ack("b", place("q", 1), 2, 41 * SECOND));
        s.consumer.acks.push(ack("b", place("q", 1), 1, 42 * SECOND));
    }));
}
