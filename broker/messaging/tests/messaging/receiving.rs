//! What a receive gives, in which order, and what it does not give.

use mainstay_messaging::{
    Command, CreateTopic, Filter, MAX_UNACKED, MessageKind, Outcome, Publish, QueueCount, QueueId,
    QueueOffset, QueueSelection, Receive, Refusal, ResetGroup, ResetTo, StartPosition, TopicKind,
};
use mainstay_record::Timestamp;

use crate::log::{GROUP, INVISIBLE, Log, TOPIC, create_group, group, message, receive, tags, topic};

#[test]
fn a_message_is_delivered_once_while_invisible_and_again_after() {
    let mut log = Log::with_queues(1);
    let stored_at = log.now;
    let record = log.next_record();
    log.publish(0, None);
    let first = log.receive(receive(10));
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].attempt, first[0].record, first[0].stored_at), (1, record, stored_at));
    assert_eq!(first[0].expires_at, log.now.plus_millis(INVISIBLE));
    log.wait(INVISIBLE - 1);
    assert_eq!(log.take(receive(10)), []);
    log.wait(1);
    assert_eq!(log.take(receive(10)), [(0, 0, 2)]);
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(10)), [(0, 0, 3)]);
}

#[test]
fn expired_messages_come_before_new_ones_longest_overdue_first() {
    let mut log = Log::with_queues(2);
    log.publish_to([0, 0, 1]);
    let deliveries = log.receive(receive(3));
    for (delivery, invisible) in deliveries.iter().zip([30, 20, 10]) {
        log.change(delivery.handle, invisible).unwrap();
    }
    log.publish(0, None);
    log.wait(30);
    assert_eq!(log.take(receive(10)), [(0, 1, 2), (0, 0, 2), (1, 0, 2), (0, 2, 1)]);
}

#[test]
fn a_batch_holds_at_most_what_was_asked_for() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..5).map(|_| 0));
    assert_eq!(log.take(receive(0)), []);
    assert_eq!(log.take(receive(2)), [(0, 0, 1), (0, 1, 1)]);
    assert_eq!(log.take(receive(2)), [(0, 2, 1), (0, 3, 1)]);
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(3)), [(0, 0, 2), (0, 1, 2), (0, 2, 2)]);
    assert_eq!(log.take(receive(3)), [(0, 3, 2), (0, 4, 1)]);
}

#[test]
fn without_invisible_time_a_batch_still_holds_a_message_once() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..2).map(|_| 0));
    let at_once = || Receive { invisible_ms: 0, ..receive(10) };
    assert_eq!(log.take(at_once()), [(0, 0, 1), (0, 1, 1)]);
    let twice = QueueSelection::Only(vec![QueueId(0), QueueId(0)]);
    assert_eq!(log.take(Receive { queues: twice, ..at_once() }), [(0, 0, 2), (0, 1, 2)]);
}

#[test]
fn every_queue_has_its_turn() {
    let mut log = Log::with_queues(3);
    log.publish_to([0, 0, 0, 1, 1, 2]);
    let queues: Vec<u32> = (0..6).map(|_| log.take(receive(1))[0].0).collect();
    assert_eq!(queues, [0, 1, 2, 0, 1, 0]);
}

#[test]
fn only_selected_queues_are_read() {
    let mut log = Log::with_queues(3);
    log.publish_to(0..3);
    let only = |queues: &[u32]| Receive {
        queues: QueueSelection::Only(queues.iter().map(|queue| QueueId(*queue)).collect()),
        ..receive(10)
    };
    assert_eq!(log.take(only(&[])), []);
    assert_eq!(log.take(only(&[2, 1, 2])), [(1, 0, 1), (2, 0, 1)]);
    assert_eq!(
        log.apply(Command::Receive(only(&[0, 3]))),
        Outcome::Refused(Refusal::UnknownQueue { topic: topic(TOPIC), queue: QueueId(3), queues: 3 })
    );
    assert_eq!(log.take(receive(10)), [(0, 0, 1)]);
}

#[test]
fn a_filter_takes_its_tags_only_and_the_rest_counts_as_consumed() {
    let mut log = Log::with_queues(1);
    for tag in [Some("a"), None, Some("b"), Some("A"), Some("a"), Some("ab")] {
        log.publish(0, tag);
    }
    let filtered = Receive { filter: tags(&["a", "unseen"]), ..receive(10) };
    assert_eq!(log.take(filtered), [(0, 0, 1), (0, 4, 1)]);
    let progress = log.state.progress(GROUP, TOPIC).unwrap()[0];
    assert_eq!((progress.next, progress.lag, progress.in_flight), (QueueOffset(6), 0, 2));
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(10)), [(0, 0, 2), (0, 4, 2)]);
}

#[test]
fn another_filter_settles_what_it_does_not_take_when_that_comes_back() {
    let mut log = Log::with_queues(1);
    log.publish(0, Some("a"));
    log.publish(0, Some("b"));
    assert_eq!(log.take(receive(10)).len(), 2);
    log.wait(INVISIBLE);
    assert_eq!(log.take(Receive { filter: tags(&["b"]), ..receive(10) }), [(0, 1, 2)]);
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(10)), [(0, 1, 3)]);
}

#[test]
fn groups_do_not_see_each_other() {
    let mut log = Log::with_queues(1);
    log.apply(create_group("audit", StartPosition::Earliest));
    log.publish(0, None);
    let delivery = log.receive(receive(10))[0];
    log.ack(delivery.handle).unwrap();
    assert_eq!(log.take(Receive { group: group("audit"), ..receive(10) }), [(0, 0, 1)]);
}

#[test]
fn too_many_unacknowledged_stop_new_deliveries_from_that_queue_alone() {
    let mut log = Log::with_queues(2);
    log.publish_to((0..=MAX_UNACKED).map(|_| 0));
    let taken = log.receive(receive(u32::MAX));
    assert_eq!(taken.len(), MAX_UNACKED);
    assert_eq!(log.take(receive(10)), []);
    assert!(!log.is_ready(&Filter::All));
    log.publish(1, None);
    assert!(log.is_ready(&Filter::All));
    assert_eq!(log.take(receive(10)), [(1, 0, 1)]);
    log.ack(taken[7].handle).unwrap();
    assert!(log.is_ready(&Filter::All));
    assert_eq!(log.take(receive(10)), [(0, MAX_UNACKED as u64, 1)]);
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(u32::MAX)).len(), MAX_UNACKED + 1, "expired ones come back all the same");
}

#[test]
fn the_latest_start_is_the_moment_of_creation() {
    let mut log = Log::with_queues(1);
    log.publish(0, None);
    log.apply(create_group("late", StartPosition::Latest));
    log.publish(0, None);
    let late = Receive { group: group("late"), ..receive(10) };
    let progress = log.state.progress("late", TOPIC).unwrap()[0];
    assert_eq!((progress.next, progress.lag), (QueueOffset(1), 1));
    assert_eq!(log.take(late), [(0, 1, 1)], "sent after the creation, before the first receive");
}

#[test]
fn a_reset_moves_the_group_and_voids_what_was_in_flight() {
    let mut log = Log::with_queues(2);
    log.publish_to(0..2);
    let reset = |to| Command::ResetGroup(ResetGroup { group: group(GROUP), topic: topic(TOPIC), to });
    let before = log.receive(receive(10))[0];
    assert_eq!(log.apply(reset(ResetTo::Earliest)), Outcome::GroupReset);
    assert!(log.ack(before.handle).is_err());
    assert_eq!(log.take(receive(10)), [(0, 0, 1), (1, 0, 1)]);
    assert_eq!(log.apply(reset(ResetTo::Latest)), Outcome::GroupReset);
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(10)), []);
    log.publish(1, None);
    assert_eq!(log.take(receive(10)), [(1, 1, 1)]);
}

#[test]
fn messages_go_to_topics_of_their_kind() {
    let mut log = Log::with_queues(1);
    let fifo = MessageKind::Fifo { message_group: "g".to_owned() };
    let kinds = [
        (fifo, TopicKind::Fifo),
        (MessageKind::Delay { deliver_at: Timestamp(9) }, TopicKind::Delay),
        (MessageKind::Transaction { check_after_ms: None }, TopicKind::Transaction),
        (MessageKind::Priority { priority: 1 }, TopicKind::Priority),
    ];
    for (kind, found) in kinds {
        let own = topic(found.as_str());
        log.apply(Command::CreateTopic(CreateTopic {
            name: own.clone(),
            kind: found,
            queues: QueueCount::new(1).unwrap(),
        }));
        let mut publish = Publish { kind, ..message(0, None) };
        let wrong = Refusal::WrongKind { topic: topic(TOPIC), expected: TopicKind::Normal, found };
        assert_eq!(log.apply(Command::Publish(publish.clone())), Outcome::Refused(wrong));
        publish.topic = own.clone();
        assert!(matches!(log.apply(Command::Publish(publish)), Outcome::Published { .. }));
        let normal = Publish { topic: own.clone(), ..message(0, None) };
        let wrong = Refusal::WrongKind { topic: own, expected: found, found: TopicKind::Normal };
        assert_eq!(log.apply(Command::Publish(normal)), Outcome::Refused(wrong));
    }
    assert_eq!(log.take(receive(10)), [], "what was refused is not stored");
}

#[test]
fn unknown_places_are_named() {
    let mut log = Log::with_queues(2);
    let refused = |log: &mut Log, command| match log.apply(command) {
        Outcome::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    let lost = Publish { topic: topic("lost"), ..message(0, None) };
    assert_eq!(refused(&mut log, Command::Publish(lost)), "topic 'lost' does not exist");
    assert_eq!(
        refused(&mut log, Command::Publish(message(2, None))),
        "topic 'orders' has no queue 2 here, only 2"
    );
    let stranger = Receive { group: group("stranger"), ..receive(1) };
    assert_eq!(refused(&mut log, Command::Receive(stranger)), "consumer group 'stranger' does not exist");
    let nowhere = Receive { topic: topic("lost"), ..receive(1) };
    assert_eq!(refused(&mut log, Command::Receive(nowhere)), "topic 'lost' does not exist");
    log.assert_replays(0, 1);
}
