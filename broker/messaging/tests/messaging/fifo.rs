//! Message groups in order: what a stuck one costs, how a failed head is tried again, and receives that are repeated.

use mainstay_messaging::{
    AckError, Command, CreateGroup, CreateTopic, Delivery, DeliveryOrder, Filter, MAX_UNACKED, MessageKind,
    Outcome, Publish, QueueCount, QueueId, QueueOffset, Receive, TopicKind, TopicName, Trim,
};
use mainstay_record::LogIndex;

use crate::log::{GROUP, INVISIBLE, Log, TOPIC, defined_group, group, message, receive, topic};

const MAX_ATTEMPTS: u32 = 2;

fn fifo_log() -> Log {
    let mut log = Log::empty(0, 1);
    let queues = QueueCount::new(1).unwrap();
    log.apply(Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind: TopicKind::Fifo, queues }));
    let create =
        CreateGroup { order: DeliveryOrder::Fifo, max_attempts: MAX_ATTEMPTS, ..defined_group(GROUP) };
    log.apply(Command::CreateGroup(create));
    log
}

fn publish(log: &mut Log, message_group: &str) {
    let message_id = format!("{:?}", log.next_record());
    let kind = MessageKind::Fifo { message_group: message_group.to_owned() };
    let outcome = log.apply(Command::Publish(Publish { kind, message_id, ..message(0, None) }));
    assert!(matches!(outcome, Outcome::Published { duplicate: false, .. }), "{outcome:?}");
}

fn offsets(deliveries: &[Delivery]) -> Vec<(u64, u32)> {
    deliveries.iter().map(|d| (d.offset.0, d.attempt)).collect()
}

fn dead_letters(log: &Log) -> u64 {
    let letters = TopicName::dead_letters_of(&group(GROUP));
    log.state.queue_range(letters.as_str(), QueueId(0)).unwrap().end.0
}

#[test]
fn a_stuck_message_group_holds_up_no_other_however_much_waits_behind_it() {
    let mut log = fifo_log();
    let behind = MAX_UNACKED as u64 + 2000;
    publish(&mut log, "stuck");
    let stuck = log.receive(Receive { invisible_ms: 1_000_000, ..receive(1) })[0];
    (0..behind).for_each(|_| publish(&mut log, "stuck"));
    publish(&mut log, "other");
    assert!(log.is_ready(&Filter::All));
    // Very many that all wait are gone over first.
    let mut got = Vec::new();
    while log.is_ready(&Filter::All) {
        got.extend(log.receive(receive(10)));
    }
    assert_eq!(offsets(&got), [(behind + 1, 1)]);
    let progress = log.state.progress(GROUP, TOPIC).unwrap()[0];
    assert_eq!((progress.in_flight, progress.lag), (2, behind));
    publish(&mut log, "stuck");
    assert!(!log.is_ready(&Filter::All), "it waits for its own");
    log.ack(got[0].handle).unwrap();
    log.ack(stuck.handle).unwrap();
    assert_eq!(offsets(&log.receive(receive(3))), [(1, 1), (2, 1), (3, 1)]);
    log.assert_replays(0, 1);
}

#[test]
fn a_failed_head_is_tried_again_with_those_behind_it_and_then_buried_alone() {
    let mut log = fifo_log();
    (0..3).for_each(|_| publish(&mut log, "a"));
    assert_eq!(offsets(&log.receive(receive(10))), [(0, 1), (1, 1), (2, 1)]);
    log.wait(INVISIBLE);
    assert_eq!(offsets(&log.receive(receive(10))), [(0, 2), (1, 1), (2, 1)], "only the head was tried");
    log.wait(INVISIBLE);
    let third = log.receive(receive(10));
    assert_eq!(offsets(&third), [(1, 1), (2, 1)], "the head is a dead letter");
    assert_eq!(dead_letters(&log), 1);
    log.ack(third[0].handle).unwrap();
    log.wait(INVISIBLE);
    assert_eq!(offsets(&log.receive(receive(10))), [(2, 2)], "it is the head now");
}

#[test]
fn a_message_put_off_keeps_its_message_group_waiting() {
    let mut log = fifo_log();
    (0..2).for_each(|_| publish(&mut log, "a"));
    publish(&mut log, "b");
    let first = log.receive(receive(1))[0];
    assert_eq!(offsets(&log.receive(receive(10))), [(2, 1)], "the other message group");
    log.change(first.handle, 5 * INVISIBLE).unwrap();
    log.wait(4 * INVISIBLE);
    assert_eq!(offsets(&log.receive(receive(10))), [(2, 2)]);
    log.wait(INVISIBLE);
    assert_eq!(offsets(&log.receive(receive(1))), [(0, 2)]);
}

#[test]
fn a_repeated_receive_gets_the_same_messages_again_and_no_attempt_is_counted() {
    let mut log = fifo_log();
    ["a", "a", "b"].into_iter().for_each(|name| publish(&mut log, name));
    let with_id = |id: &str| Receive { attempt_id: Some(id.to_owned()), ..receive(10) };
    let first = log.receive(with_id("one"));
    assert_eq!(offsets(&first), [(0, 1), (1, 1), (2, 1)]);
    log.ack(first[2].handle).unwrap();
    log.wait(INVISIBLE / 2);
    let again = log.receive(with_id("one"));
    assert_eq!(offsets(&again), [(0, 1), (1, 1)]);
    assert_eq!(again[0].expires_at, log.now.plus_millis(INVISIBLE));
    assert_eq!(log.ack(first[0].handle), Err(AckError::Replaced));
    assert_eq!(log.receive(with_id("two")), []);
    let restored = crate::snapshot::copy_of(&log.state);
    assert_eq!(restored, log.state);
    log.state = restored;
    let third = log.receive(with_id("one"));
    assert_eq!(offsets(&third), [(0, 1), (1, 1)], "after a restart as well");
    log.wait(INVISIBLE);
    assert_eq!(offsets(&log.receive(with_id("one"))), [(0, 2), (1, 1)], "too late: this is another attempt");
}

#[test]
fn trimming_settles_what_waits_and_what_is_in_flight() {
    let mut log = fifo_log();
    (0..6).for_each(|n| publish(&mut log, if n % 2 == 0 { "a" } else { "b" }));
    assert_eq!(offsets(&log.receive(receive(1))), [(0, 1)]);
    assert_eq!(offsets(&log.receive(receive(1))), [(1, 1)]);
    let kept = log.state.locate(TOPIC, QueueId(0), QueueOffset(4)).unwrap().index;
    let through = LogIndex(kept.0 - 1);
    assert!(matches!(log.apply(Command::Trim(Trim { through })), Outcome::Trimmed { messages: 3.. }));
    let start = log.state.queue_range(TOPIC, QueueId(0)).unwrap().start.0;
    let left: Vec<(u64, u32)> = (start..6).map(|offset| (offset, 1)).collect();
    let mut got = offsets(&log.receive(receive(10)));
    got.sort_unstable();
    assert_eq!(got, left);
    assert_eq!(crate::snapshot::copy_of(&log.state), log.state);
}

#[test]
fn a_lane_whose_waiting_messages_are_trimmed_is_forgotten() {
    let mut log = fifo_log();
    ["a", "a", "b"].into_iter().for_each(|name| publish(&mut log, name));
    let head = log.receive(receive(1))[0];
    let other = log.receive(receive(10));
    assert_eq!(offsets(&other), [(2, 1)], "the second of a waits for the first");
    log.ack(other[0].handle).unwrap();
    log.ack(head.handle).unwrap();
    let through = log.state.locate(TOPIC, QueueId(0), QueueOffset(2)).unwrap().index;
    assert_eq!(log.apply(Command::Trim(Trim { through })), Outcome::Trimmed { messages: 3 });
    assert!(!log.is_ready(&Filter::All));
    assert_eq!(crate::snapshot::copy_of(&log.state), log.state);
}
