//! What a long poll is told: whether to look now, when to look again, and whom an outcome concerns.

use mainstay_messaging::{
    Ack, Command, DeleteTopic, Filter, Outcome, QueueId, QueueSelection, Receive, Wake,
};

use crate::log::{GROUP, INVISIBLE, Log, TOPIC, group, message, receive, tags, topic};

#[test]
fn ready_when_something_new_matches() {
    let mut log = Log::with_queues(2);
    assert!(!log.is_ready(&Filter::All));
    log.publish(1, Some("a"));
    assert!(log.is_ready(&Filter::All) && log.is_ready(&tags(&["x", "a"])));
    assert!(!log.is_ready(&tags(&["b"])) && !log.is_ready(&tags(&[])));
    let ready = |queues: &[u32]| {
        let only = QueueSelection::Only(queues.iter().map(|queue| QueueId(*queue)).collect());
        log.state.ready(GROUP, TOPIC, &only, &Filter::All, log.now)
    };
    assert!(ready(&[1]) && !ready(&[0]) && !ready(&[7]));
    assert!(!log.state.ready("nobody", TOPIC, &QueueSelection::All, &Filter::All, log.now));
}

#[test]
fn ready_again_when_the_invisible_time_is_over_and_not_before() {
    let mut log = Log::with_queues(1);
    log.publish(0, None);
    log.receive(receive(1));
    assert!(!log.is_ready(&Filter::All));
    assert_eq!(log.next_due(), Some(INVISIBLE));
    log.wait(INVISIBLE - 1);
    assert!(!log.is_ready(&Filter::All));
    assert_eq!(log.next_due(), Some(1));
    log.wait(1);
    assert!(log.is_ready(&Filter::All));
    assert_eq!(log.next_due(), None, "what is due already is not waited for");
}

#[test]
fn the_next_due_is_the_earliest_of_all_queues() {
    let mut log = Log::with_queues(2);
    log.publish_to(0..2);
    let first = log.receive(receive(1))[0];
    log.receive(Receive { invisible_ms: 300, ..receive(1) });
    assert_eq!(log.next_due(), Some(300));
    let first = log.change(first.handle, 200).unwrap();
    assert_eq!(log.next_due(), Some(200));
    log.ack(first).unwrap();
    assert_eq!(log.next_due(), Some(300));
}

#[test]
fn outcomes_say_whom_they_concern() {
    let mut log = Log::with_queues(1);
    let (name, billing) = (topic(TOPIC), group(GROUP));
    let wakes = |log: &mut Log, command: Command| {
        let outcome = log.apply(command.clone());
        outcome.wakes(&command).next().map(|wake| format!("{wake:?}"))
    };
    let topic_wake = Some(format!("{:?}", Wake::Topic(&name)));
    let subscription_wake = Some(format!("{:?}", Wake::Subscription(&billing, &name)));
    assert_eq!(wakes(&mut log, Command::Publish(message(0, None))), topic_wake);
    assert_eq!(wakes(&mut log, Command::Publish(message(9, None))), None, "refused");
    let receive_all = Command::Receive(receive(9));
    let Outcome::Received { deliveries, .. } = log.apply(receive_all.clone()) else { panic!() };
    let handles = deliveries.iter().map(|d| d.handle).collect();
    let ack = Ack { group: billing, topic: name.clone(), handles, by: String::new() };
    assert_eq!(wakes(&mut log, Command::Ack(ack)), subscription_wake);
    assert_eq!(wakes(&mut log, receive_all), None);
    assert_eq!(wakes(&mut log, Command::DeleteTopic(DeleteTopic { name })), topic_wake);
}
