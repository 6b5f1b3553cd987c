//! What a long poll is told: whether to look now, when to look again, and whom an outcome concerns.

use mainstay_messaging::{
    Ack, Command, DeleteTopic, Filter, MAX_UNACKED, Outcome, QueueId, QueueSelection, Receive, Wake,
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
fn what_a_tag_filter_refuses_is_counted_until_a_receive_has_settled_it() {
    let mut log = Log::with_queues(2);
    let refused = |log: &Log, filter: &Filter| log.state.refused(GROUP, TOPIC, &QueueSelection::All, filter);
    let (rare, common) = (tags(&["rare"]), tags(&["common"]));
    for queue in [0, 0, 1] {
        log.publish(queue, Some("common"));
    }
    assert_eq!((refused(&log, &rare), refused(&log, &common), refused(&log, &Filter::All)), (3, 0, 0));
    let only = QueueSelection::Only(vec![QueueId(1)]);
    assert_eq!(log.state.refused(GROUP, TOPIC, &only, &rare), 1);
    assert_eq!(log.state.refused("nobody", TOPIC, &only, &rare), 0);
    let unconsumed = log.state.unconsumed_from();
    assert!(!log.is_ready(&rare) && log.is_ready(&common));
    assert_eq!(log.take(Receive { filter: rare.clone(), ..receive(9) }), []);
    assert_eq!((refused(&log, &rare), refused(&log, &tags(&[]))), (0, 0));
    assert!(!log.is_ready(&common), "settled for all of the group");
    assert!(log.state.progress(GROUP, TOPIC).unwrap().iter().all(|queue| queue.lag == 0));
    assert!(unconsumed.is_some() && log.state.unconsumed_from().is_none());
    log.publish(1, Some("common"));
    assert_eq!(refused(&log, &rare), 1);
    log.publish(1, Some("rare"));
    assert_eq!((refused(&log, &rare), log.is_ready(&rare)), (0, true), "passed over on the way to it");
}

#[test]
fn what_is_refused_counts_only_while_more_is_delivered() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..MAX_UNACKED).map(|_| 0));
    let held = log.receive(receive(MAX_UNACKED as u32));
    log.publish(0, Some("common"));
    let refused = |log: &Log| log.state.refused(GROUP, TOPIC, &QueueSelection::All, &tags(&["rare"]));
    assert_eq!(refused(&log), 0);
    log.ack(held[0].handle).unwrap();
    assert_eq!(refused(&log), 1);
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
