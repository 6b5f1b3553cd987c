//! Forgetting old messages: exactly those of the batches named, in the queues and everywhere else.

use mainstay_messaging::{
    Ack, AckError, Command, CreateTopic, Filter, MAX_TAG_BYTES, Outcome, Publish, QueueCount, QueueId,
    QueueOffset, Receive, Refusal, StartPosition, TopicKind, Trim, Wake,
};
use mainstay_record::{LogIndex, RecordId};

use crate::log::{GROUP, INVISIBLE, Log, TOPIC, create_group, group, message, receive, tags, topic};

fn trim(log: &mut Log, through: u64) -> u64 {
    match log.apply(Command::Trim(Trim { through: LogIndex(through) })) {
        Outcome::Trimmed { messages } => messages,
        other => panic!("{other:?}"),
    }
}

fn place(log: &Log, offset: u64) -> Option<RecordId> {
    log.state.locate(TOPIC, QueueId(0), QueueOffset(offset))
}

/// The batch that holds the message.
fn index(log: &Log, offset: u64) -> u64 {
    place(log, offset).unwrap().index.0
}

fn range(log: &Log, queue: u32) -> (u64, u64) {
    let range = log.state.queue_range(TOPIC, QueueId(queue)).unwrap();
    (range.start.0, range.end.0)
}

#[test]
fn messages_of_the_batches_named_go_and_no_others() {
    // Three messages lie in a batch, and several chunks in a queue.
    let mut log = Log::with_queues(2);
    log.publish_to((0..6000).map(|n| n % 2));
    for through in [index(&log, 0), index(&log, 1023), index(&log, 1024), index(&log, 2500), 2000] {
        let before = range(&log, 0);
        let kept = (before.0..before.1).find(|offset| index(&log, *offset) > through).unwrap();
        assert!(trim(&mut log, through) > 0);
        assert_eq!(range(&log, 0), (kept, 3000));
        assert_eq!(place(&log, kept - 1), None);
        assert_eq!(log.state.first_needed(), Some(LogIndex(through + 1)));
        assert_eq!(log.take(receive(1)), [(0, kept, 1)]);
        log.take(receive(1));
    }
    log.assert_replays(0, 1);
}

#[test]
fn not_as_far_as_before_changes_nothing() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..9).map(|_| 0));
    assert_eq!(trim(&mut log, 2), 4);
    let state = log.state.clone();
    assert_eq!((trim(&mut log, 2), trim(&mut log, 1), trim(&mut log, 0)), (0, 0, 0));
    assert_eq!(log.state, state);
}

#[test]
fn offsets_go_on_when_nothing_is_left() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..5).map(|_| 0));
    assert_eq!(trim(&mut log, u64::MAX), 5);
    assert_eq!((range(&log, 0), log.state.first_needed()), ((5, 5), None));
    assert_eq!(log.take(receive(9)), []);
    assert_eq!(log.publish(0, None), 5, "what comes after a trim is not concerned, whatever it named");
    assert_eq!(log.take(receive(9)), [(0, 5, 1)]);
    assert_eq!(trim(&mut log, u64::MAX), 1);
    let restored = crate::snapshot::copy_of(&log.state);
    assert_eq!(restored, log.state);
    assert_eq!(restored.queue_range(TOPIC, QueueId(0)), Some(QueueOffset(6)..QueueOffset(6)));
}

#[test]
fn deliveries_of_trimmed_messages_are_settled() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..6).map(|_| 0));
    let handles: Vec<_> = log.receive(receive(6)).iter().map(|d| d.handle).collect();
    let through = index(&log, 2);
    let gone = trim(&mut log, through) as usize;
    assert!((3..6).contains(&gone));
    let progress = log.state.progress(GROUP, TOPIC).unwrap()[0];
    assert_eq!((progress.next.0, progress.in_flight, progress.lag), (6, 6 - gone as u64, 0));
    assert_eq!(log.ack(handles[0]), Ok(()), "as if it had been acknowledged");
    assert_eq!(log.change(handles[0], 5), Err(AckError::NotInFlight));
    log.wait(INVISIBLE);
    assert_eq!(log.ack(handles[0]), Ok(()));
    assert_eq!(log.ack(handles[5]), Err(AckError::Expired));
    let left: Vec<_> = (gone as u64..6).map(|offset| (0, offset, 2)).collect();
    assert_eq!(log.take(receive(9)), left);
    trim(&mut log, u64::MAX);
    assert_eq!((log.next_due(), log.is_ready(&Filter::All)), (None, false));
}

#[test]
fn a_group_that_was_full_gets_what_is_new_and_its_waiters_are_woken() {
    let mut log = Log::with_queues(1);
    log.publish_to((0..=mainstay_messaging::MAX_UNACKED).map(|_| 0));
    let all = Receive { max: u32::MAX, ..receive(1) };
    assert_eq!(log.receive(all.clone()).len(), mainstay_messaging::MAX_UNACKED);
    assert!(!log.is_ready(&Filter::All));
    let command = Command::Trim(Trim { through: LogIndex(1) });
    let outcome = log.apply(command.clone());
    assert!(outcome.wakes(&command).eq([Wake::All]));
    assert_eq!(log.take(all), [(0, mainstay_messaging::MAX_UNACKED as u64, 1)]);
    let outcome = log.apply(command.clone());
    assert_eq!(outcome.wakes(&command).next(), None);
}

#[test]
fn tags_without_messages_match_nothing_and_come_back() {
    let mut log = Log::with_queues(1);
    log.publish(0, Some("old"));
    log.publish(0, Some("both"));
    log.wait(1);
    log.publish_to([0; 4]);
    log.publish(0, Some("both"));
    let through = index(&log, 1);
    trim(&mut log, through);
    assert!(!log.is_ready(&tags(&["old"])) && log.is_ready(&tags(&["both"])));
    assert_eq!(log.take(Receive { filter: tags(&["old", "both"]), ..receive(9) }), [(0, 6, 1)]);
    log.publish(0, Some("old"));
    assert!(log.is_ready(&tags(&["old"])));
    assert_eq!(log.take(Receive { filter: tags(&["old"]), ..receive(9) }), [(0, 7, 1)]);
}

#[test]
fn a_topic_full_of_tags_has_room_again() {
    let mut log = Log::with_queues(2);
    let tag = |n: usize| format!("{n:08}").repeat(1 << 17);
    let full = MAX_TAG_BYTES >> 20;
    for n in 0..full {
        log.publish(n as u32 % 2, Some(&tag(n)));
    }
    let one_more = Command::Publish(message(0, Some("x")));
    assert!(matches!(log.apply(one_more.clone()), Outcome::Refused(Refusal::TooManyTags { .. })));
    let through = index(&log, 4);
    trim(&mut log, through);
    assert!(matches!(log.apply(one_more), Outcome::Published { .. }));
    log.publish(1, Some(&tag(full - 1)));
    let restored = crate::snapshot::copy_of(&log.state);
    assert_eq!(restored, log.state);
    let newest = Receive { filter: tags(&["x", &tag(full - 1)]), ..receive(9) };
    let offset = full as u64 / 2;
    assert_eq!(log.take(newest), [(0, offset, 1), (1, offset - 1, 1), (1, offset, 1)]);
    log.assert_replays(0, 1);
}

#[test]
fn who_starts_at_the_newest_starts_there_after_a_trim() {
    let mut log = Log::with_queues(1);
    log.publish_to([0; 5]);
    log.apply(create_group("late", StartPosition::Latest));
    log.publish_to([0; 3]);
    let late = Receive { group: group("late"), ..receive(9) };
    let through = index(&log, 1);
    trim(&mut log, through);
    assert_eq!(log.state.progress("late", TOPIC).unwrap()[0].next, QueueOffset(5));
    trim(&mut log, u64::MAX);
    assert_eq!(log.take(late.clone()), []);
    log.publish(0, None);
    assert_eq!(log.take(late), [(0, 8, 1)]);
}

#[test]
fn unconsumed_is_what_any_reader_has_not_acknowledged() {
    let mut log = Log::with_queues(2);
    assert_eq!(log.state.unconsumed_from(), None, "there is nothing");
    log.publish_to([0, 1, 0, 1, 0, 1]);
    let first = index(&log, 0);
    assert_eq!(log.state.unconsumed_from(), Some(LogIndex(first)), "nobody has read it");
    let deliveries = log.receive(receive(3));
    let from = |log: &Log| log.state.unconsumed_from().map(|index| index.0);
    assert_eq!(from(&log), Some(first), "in flight");
    deliveries.iter().for_each(|d| log.ack(d.handle).unwrap());
    assert_eq!(from(&log), log.state.locate(TOPIC, QueueId(1), QueueOffset(0)).map(|r| r.index.0));
    let rest: Vec<_> = log.receive(receive(9)).iter().map(|d| d.handle).collect();
    let ack = Ack { group: group(GROUP), topic: topic(TOPIC), handles: rest, by: String::new() };
    log.apply(Command::Ack(ack));
    assert_eq!(from(&log), None);
    log.apply(create_group("audit", StartPosition::Earliest));
    assert_eq!(from(&log), None, "a group that has never read it does not count");
    log.receive(Receive { group: group("audit"), max: 0, ..receive(1) });
    assert_eq!(from(&log), Some(first));
    trim(&mut log, u64::MAX);
    assert_eq!(from(&log), None);
}

#[test]
fn of_several_topics_the_one_furthest_behind_counts() {
    let mut log = Log::with_queues(1);
    let other = Command::CreateTopic(CreateTopic {
        name: topic("other"),
        kind: TopicKind::Normal,
        queues: QueueCount::new(1).unwrap(),
    });
    log.apply(other);
    let mut indexes = Vec::new();
    for name in [TOPIC, "other", TOPIC, "other"] {
        indexes.push(log.next_record().index);
        let message_id = indexes.len().to_string();
        let publish = Publish { topic: topic(name), message_id, ..message(0, None) };
        log.apply(Command::Publish(publish));
        // So that each message has a batch of its own.
        (0..3).for_each(|_| drop(log.apply(create_group(GROUP, StartPosition::Earliest))));
    }
    for index in indexes {
        let from = Some(index);
        assert_eq!((log.state.first_needed(), log.state.unconsumed_from()), (from, from));
        assert_eq!(trim(&mut log, index.0), 1);
    }
    assert_eq!((log.state.first_needed(), log.state.unconsumed_from()), (None, None));
}

#[test]
fn a_topic_deleted_is_not_needed() {
    let mut log = Log::with_queues(1);
    log.publish_to([0; 5]);
    log.apply(Command::DeleteTopic(mainstay_messaging::DeleteTopic { name: topic(TOPIC) }));
    assert_eq!((log.state.first_needed(), log.state.unconsumed_from()), (None, None));
    assert_eq!(log.apply(Command::Trim(Trim { through: LogIndex(9) })), Outcome::Trimmed { messages: 0 });
    let publish = Command::Publish(Publish { ..message(0, None) });
    assert!(matches!(log.apply(publish), Outcome::Refused(_)));
}
