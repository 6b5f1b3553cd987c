//! Messages that are in no queue yet: delayed ones and half messages.

use mainstay_messaging::{
    Check, Command, CreateTopic, Decision, DeleteTopic, Elapse, EndTransaction, Ended, MAX_CHECKS,
    MAX_HALF_AGE_MS, MessageKind, NoteChecks, Outcome, Place, Publish, QueueCount, QueueId, QueueOffset,
    Recall, RecallError, RecallHandle, StartPosition, TopicKind, TransactionError, TransactionId, Trim,
};
use mainstay_record::{LogIndex, RecordId};

use crate::log::{GROUP, Log, TOPIC, create_group, message, receive, tags, topic};

fn mixed_log() -> Log {
    let mut log = Log::empty(0, 1);
    log.apply(mixed_topic(TOPIC));
    log.apply(create_group(GROUP, StartPosition::Earliest));
    log
}

fn mixed_topic(name: &str) -> Command {
    let queues = QueueCount::new(1).unwrap();
    Command::CreateTopic(CreateTopic { name: topic(name), kind: TopicKind::Mixed, queues })
}

fn publish(log: &mut Log, kind: MessageKind, tag: Option<&str>) -> (RecordId, Place) {
    let record = log.next_record();
    let message_id = format!("{record:?}");
    match log.apply(Command::Publish(Publish { kind, message_id, ..message(0, tag) })) {
        Outcome::Published { place, duplicate: false } => (record, place),
        other => panic!("{other:?}"),
    }
}

fn many(log: &mut Log, messages: usize) {
    for _ in 0..messages {
        publish(log, MessageKind::Normal, None);
    }
}

fn delayed(log: &mut Log, millis: u64, tag: Option<&str>) -> (RecordId, RecallHandle) {
    let deliver_at = log.now.plus_millis(millis);
    let (record, place) = publish(log, MessageKind::Delay { deliver_at }, tag);
    let Place::Timer(handle) = place else { panic!("{place:?}") };
    (record, handle)
}

fn half(log: &mut Log, check_after_ms: Option<u64>) -> (RecordId, TransactionId) {
    let (record, place) = publish(log, MessageKind::Transaction { check_after_ms }, None);
    let Place::Half(transaction) = place else { panic!("{place:?}") };
    (record, transaction)
}

fn elapse(log: &mut Log) -> (u32, u32) {
    match log.apply(Command::Elapse(Elapse { max: 1000 })) {
        Outcome::Elapsed { released, dropped, .. } => (released, dropped),
        other => panic!("{other:?}"),
    }
}

fn end(log: &mut Log, transaction: TransactionId, decision: Decision) -> Result<Ended, TransactionError> {
    let (topic, by) = (topic(TOPIC), String::new());
    match log.apply(Command::EndTransaction(EndTransaction { topic, transaction, decision, by })) {
        Outcome::TransactionEnded(result) => result,
        other => panic!("{other:?}"),
    }
}

fn trim(log: &mut Log, through: u64) -> u64 {
    match log.apply(Command::Trim(Trim { through: LogIndex(through) })) {
        Outcome::Trimmed { messages } => messages,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delayed_message_comes_at_its_time_with_its_tag_and_body_and_not_before() {
    let mut log = mixed_log();
    let (record, _) = delayed(&mut log, 500, Some("late"));
    assert_eq!(log.state.next_elapse(), Some(log.now.plus_millis(500)));
    log.wait(499);
    assert_eq!(elapse(&mut log), (0, 0));
    assert!(!log.is_ready(&tags(&["late"])));
    let restored = crate::snapshot::copy_of(&log.state);
    assert_eq!(restored, log.state);
    log.state = restored;
    log.wait(1);
    assert_eq!(elapse(&mut log), (1, 0));
    assert!(log.is_ready(&tags(&["late"])) && !log.is_ready(&tags(&["other"])));
    let got = log.receive(receive(10))[0];
    assert_eq!((got.record, got.stored_at, got.attempt), (record, log.now, 1));
    assert_eq!((log.state.next_elapse(), elapse(&mut log)), (None, (0, 0)));
}

#[test]
fn due_messages_come_in_order_of_their_time_and_no_more_at_once_than_asked() {
    let mut log = mixed_log();
    let records: Vec<RecordId> = [30, 10, 20, 10].map(|millis| delayed(&mut log, millis, None).0).into();
    log.wait(100);
    let some = log.apply(Command::Elapse(Elapse { max: 3 }));
    assert_eq!(some, Outcome::Elapsed { released: 3, dropped: 0, topics: vec![topic(TOPIC)] });
    assert_eq!(elapse(&mut log), (1, 0));
    let got: Vec<RecordId> = log.receive(receive(10)).iter().map(|delivery| delivery.record).collect();
    assert_eq!(got, [records[1], records[3], records[2], records[0]]);
}

#[test]
fn a_time_that_has_come_is_at_once() {
    let mut log = mixed_log();
    let deliver_at = log.now;
    let (_, place) = publish(&mut log, MessageKind::Delay { deliver_at }, None);
    assert_eq!(place, Place::Queue { queue: QueueId(0), offset: QueueOffset(0) });
}

#[test]
fn a_recall_ends_it_once() {
    let mut log = mixed_log();
    let (record, handle) = delayed(&mut log, 10, Some("t"));
    let (_, other) = delayed(&mut log, 10, None);
    let recall = |name, handle| Command::Recall(Recall { topic: topic(name), handle, by: String::new() });
    log.apply(mixed_topic("elsewhere"));
    assert_eq!(log.apply(recall("elsewhere", handle)), Outcome::Recalled(Err(RecallError::Foreign)));
    assert_eq!(log.apply(recall(TOPIC, handle)), Outcome::Recalled(Ok(record)));
    assert_eq!(log.apply(recall(TOPIC, handle)), Outcome::Recalled(Err(RecallError::NotPending)));
    log.wait(10);
    assert_eq!(elapse(&mut log), (1, 0));
    assert_eq!(log.apply(recall(TOPIC, other)), Outcome::Recalled(Err(RecallError::NotPending)));
}

#[test]
fn what_is_pending_keeps_the_log_and_goes_with_its_topic() {
    let mut log = mixed_log();
    let (timer, _) = delayed(&mut log, 1000, Some("t"));
    many(&mut log, 20);
    let (half, _) = half(&mut log, None);
    many(&mut log, 20);
    assert_eq!(
        (log.state.first_needed(), log.state.unconsumed_from()),
        (Some(timer.index), Some(timer.index))
    );
    let end = log.next_record().index.0;
    assert_eq!(trim(&mut log, end), 40);
    assert!(!log.state.trims(LogIndex(end)));
    assert_eq!(
        log.state.first_needed(),
        Some(timer.index),
        "trimmed as far as there is something in a queue"
    );
    log.wait(1000);
    elapse(&mut log);
    assert_eq!(trim(&mut log, end), 0);
    assert_eq!(log.state.first_needed(), Some(timer.index), "it is in the queue, and its body where it was");
    log.apply(Command::DeleteTopic(DeleteTopic { name: topic(TOPIC) }));
    assert_eq!(
        (log.state.first_needed(), log.state.next_elapse(), log.state.next_check()),
        (None, None, None)
    );
    assert!(half.index > timer.index);
    assert_eq!(crate::snapshot::copy_of(&log.state), log.state);
}

#[test]
fn a_body_is_kept_as_long_as_its_place_in_the_queue_and_no_longer() {
    let mut log = mixed_log();
    let mut places = Vec::new();
    for _ in 0..3 {
        let (body, _) = delayed(&mut log, 5, None);
        many(&mut log, 10);
        log.wait(5);
        let place = log.next_record();
        elapse(&mut log);
        places.push((body.index.0, place.index.0));
    }
    for (n, (body, place)) in places.iter().enumerate() {
        // Between body and place: the body is still needed.
        trim(&mut log, place - 1);
        assert_eq!(log.state.first_needed().map(|index| index.0), Some(*body), "{n}");
        assert!(log.state.trims(LogIndex(*place)) && !log.state.trims(LogIndex(place - 1)));
        trim(&mut log, *place);
        let next = places.get(n + 1).map(|(body, _)| *body);
        assert_eq!(log.state.first_needed().map(|index| index.0), next, "{n}: gone with its body");
    }
}

#[test]
fn a_half_message_is_seen_by_nobody_until_it_is_committed() {
    let mut log = mixed_log();
    let (record, transaction) = half(&mut log, None);
    let (_, other) = half(&mut log, None);
    assert_eq!(log.take(receive(10)), []);
    assert_eq!(end(&mut log, other, Decision::Rollback), Ok(Ended::RolledBack));
    let committed = Ok(Ended::Committed { queue: QueueId(0), offset: QueueOffset(0) });
    assert_eq!(end(&mut log, transaction, Decision::Commit), committed);
    assert_eq!(end(&mut log, transaction, Decision::Commit), committed, "the same answer again");
    let before = Decision::Commit;
    assert_eq!(end(&mut log, transaction, Decision::Rollback), Err(TransactionError::Contrary { before }));
    assert_eq!(log.receive(receive(10)).iter().map(|d| d.record).collect::<Vec<_>>(), [record]);
    log.apply(mixed_topic("elsewhere"));
    let (name, by) = (topic("elsewhere"), String::new());
    let foreign = EndTransaction { topic: name, transaction, decision: Decision::Commit, by };
    let outcome = log.apply(Command::EndTransaction(foreign));
    assert_eq!(outcome, Outcome::TransactionEnded(Err(TransactionError::Foreign)));
    // The end is remembered for an hour, and forgotten when another ends.
    log.wait(3_600_000);
    let (_, later) = half(&mut log, None);
    assert_eq!(end(&mut log, later, Decision::Rollback), Ok(Ended::RolledBack));
    assert_eq!(end(&mut log, transaction, Decision::Commit), Err(TransactionError::Unknown));
    log.assert_replays(0, 1);
}

#[test]
fn producers_are_asked_in_growing_intervals_and_then_it_is_dropped() {
    let mut log = mixed_log();
    let (_, transaction) = half(&mut log, None);
    let mut waits = Vec::new();
    for _ in 0..MAX_CHECKS {
        let at = log.state.next_check().unwrap();
        waits.push(at.millis_since(log.now) / 1000);
        log.now = at;
        assert_eq!(log.state.due_checks(log.now, 10).len(), 1);
        // Nobody there: asked again soon, and it does not count.
        let nobody = NoteChecks { topic: topic(TOPIC), checks: vec![Check { transaction, asked: false }] };
        log.apply(Command::NoteChecks(nobody));
        assert_eq!(log.state.due_checks(log.now, 10), []);
        log.now = log.state.next_check().unwrap();
        let asked = NoteChecks { topic: topic(TOPIC), checks: vec![Check { transaction, asked: true }] };
        log.apply(Command::NoteChecks(asked));
    }
    assert_eq!(waits[..7], [6, 30, 60, 120, 240, 480, 600]);
    assert!(waits[7..].iter().all(|wait| *wait == 600), "{waits:?}");
    assert_eq!(log.state.next_check(), None);
    assert_eq!(elapse(&mut log), (0, 0), "the last one asked has time to answer");
    log.now = log.state.next_elapse().unwrap();
    assert_eq!(elapse(&mut log), (0, 1));
    assert_eq!(log.state.half_messages(TOPIC), []);
    assert_eq!(log.state.dropped_transactions(TOPIC), [(transaction, log.now)]);
    assert_eq!(end(&mut log, transaction, Decision::Commit), Err(TransactionError::Dropped));
    assert_eq!(end(&mut log, transaction, Decision::Rollback), Ok(Ended::RolledBack));
}

#[test]
fn one_whose_producers_are_gone_is_dropped_after_days() {
    let mut log = mixed_log();
    half(&mut log, Some(1));
    assert_eq!(log.state.next_check(), Some(log.now.plus_millis(1)), "as its message says");
    log.wait(MAX_HALF_AGE_MS - 1);
    assert_eq!(elapse(&mut log), (0, 0));
    log.wait(1);
    assert_eq!(elapse(&mut log), (0, 1));
}
