//! Messages that had all their attempts, the waits between these, and messages that are sent twice.

use mainstay_messaging::{
    Ack, ChangeInvisible, Command, CreateGroup, CreateTopic, DeadLetter, DeleteGroup, DeleteTopic,
    MessageKind, Outcome, Place, Publish, QueueCount, QueueId, QueueOffset, Receive, Refusal, RetryPolicy,
    StartPosition, TopicKind, TopicName, Trim,
};
use mainstay_record::LogIndex;

use crate::log::{
    GROUP, INVISIBLE, Log, TOPIC, create_group, create_topic, defined_group, group, message, receive, tags,
    topic,
};

fn letters() -> TopicName {
    TopicName::dead_letters_of(&group(GROUP))
}

fn log_with(max_attempts: u32, retry: RetryPolicy) -> Log {
    let mut log = Log::empty(0, 1);
    log.apply(create_topic(1));
    log.apply(Command::CreateGroup(CreateGroup { max_attempts, retry, ..defined_group(GROUP) }));
    log
}

fn receive_from(log: &mut Log, name: &str, from: &TopicName) -> Vec<mainstay_messaging::Delivery> {
    log.receive(Receive { group: group(name), topic: from.clone(), ..receive(10) })
}

#[test]
fn after_its_last_attempt_a_message_is_a_dead_letter_once_with_tag_and_body() {
    let mut log = log_with(3, RetryPolicy::default());
    log.publish(0, Some("red"));
    let body = log.state.locate(TOPIC, QueueId(0), QueueOffset(0)).unwrap();
    for attempt in 1..=3 {
        assert_eq!(log.take(receive(1)), [(0, 0, attempt)]);
        log.wait(INVISIBLE);
    }
    let outcome = log.apply(Command::Receive(receive(1)));
    assert_eq!(outcome, Outcome::Received { deliveries: vec![], dead_letters: 1 });
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(1)), []);
    log.apply(create_group("mourners", StartPosition::Earliest));
    let filter = tags(&["red"]);
    assert!(log.state.ready(
        "mourners",
        letters().as_str(),
        &mainstay_messaging::QueueSelection::All,
        &filter,
        log.now
    ));
    let dead = receive_from(&mut log, "mourners", &letters());
    assert_eq!((dead.len(), dead[0].record, dead[0].attempt), (1, body, 1));
    assert_eq!(crate::snapshot::copy_of(&log.state), log.state);
    log.assert_replays(0, 1);
}

#[test]
fn a_consumer_gives_a_message_up_once_and_may_say_so_again() {
    let mut log = log_with(17, RetryPolicy::default());
    log.publish(0, None);
    let handle = log.receive(receive(1))[0].handle;
    let give_up = |handle| {
        let (group, topic, by) = (group(GROUP), topic(TOPIC), String::new());
        Command::DeadLetter(DeadLetter { group, topic, handle, by })
    };
    for _ in 0..2 {
        assert_eq!(log.apply(give_up(handle)), Outcome::DeadLettered(Ok(())));
        assert_eq!(log.state.queue_range(letters().as_str(), QueueId(0)).unwrap().end, QueueOffset(1));
    }
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(1)), []);
    log.publish(0, None);
    let acked = log.receive(receive(1))[0].handle;
    log.ack(acked).unwrap();
    assert_eq!(log.apply(give_up(acked)), Outcome::DeadLettered(Ok(())));
    assert_eq!(log.state.queue_range(letters().as_str(), QueueId(0)).unwrap().end, QueueOffset(1));
}

#[test]
fn dead_letters_of_dead_letters_are_the_other_groups() {
    let mut log = log_with(1, RetryPolicy::default());
    log.publish(0, None);
    log.apply(Command::CreateGroup(CreateGroup { max_attempts: 1, ..defined_group("second") }));
    log.receive(receive(1));
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(1)), []);
    assert_eq!(receive_from(&mut log, "second", &letters()).len(), 1);
    log.wait(INVISIBLE);
    assert_eq!(receive_from(&mut log, "second", &letters()), []);
    let second = TopicName::dead_letters_of(&group("second"));
    assert_eq!(log.state.queue_range(second.as_str(), QueueId(0)).unwrap().end, QueueOffset(1));
}

#[test]
fn only_the_broker_makes_and_fills_such_topics() {
    let mut log = log_with(17, RetryPolicy::default());
    let refused = Outcome::Refused(Refusal::DerivedTopic(letters()));
    let kind = TopicKind::Normal;
    let create = CreateTopic { name: letters(), kind, queues: QueueCount::new(1).unwrap() };
    assert_eq!(log.apply(Command::CreateTopic(create)), refused);
    assert_eq!(log.apply(Command::Publish(Publish { topic: letters(), ..message(0, None) })), refused);
    assert_eq!(log.apply(Command::DeleteTopic(DeleteTopic { name: letters() })), refused);
    assert!(log.state.topic(letters().as_str()).is_some());
    log.apply(Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters: false }));
    assert!(log.state.topic(letters().as_str()).is_none());
    assert_eq!(letters().dead_letter_group(), Some(group(GROUP)));
    assert_eq!(topic(TOPIC).dead_letter_group(), None);
}

#[test]
fn old_letters_do_not_keep_the_log_for_those_that_came_later() {
    let mut log = log_with(1, RetryPolicy::default());
    let mut buried = Vec::new();
    for n in 0..4 {
        log.publish(0, None);
        let handle = log.receive(receive(1))[0];
        log.wait(INVISIBLE);
        let at = log.next_record();
        assert_eq!(log.take(receive(1)), []);
        buried.push((handle.record.index.0, at.index.0));
        (0..9).for_each(|_| drop(log.apply(create_topic(1))));
        assert_eq!(log.state.queue_range(letters().as_str(), QueueId(0)).unwrap().end.0, n + 1);
    }
    log.apply(Command::Trim(Trim { through: LogIndex(buried[1].1) }));
    assert_eq!(log.state.queue_range(letters().as_str(), QueueId(0)).unwrap().start, QueueOffset(2));
    assert_eq!(log.state.first_needed(), Some(LogIndex(buried[2].0)));
}

#[test]
fn a_groups_own_wait_is_the_least_where_that_is_asked_for() {
    let mut log = log_with(17, RetryPolicy::Customized(vec![100, 2000]));
    log.publish(0, None);
    let put_off = |log: &mut Log, invisible_ms| {
        let handle = log.receive(receive(1))[0].handle;
        let (group, topic, by) = (group(GROUP), topic(TOPIC), String::new());
        let change = ChangeInvisible { group, topic, handle, invisible_ms, at_least_retry_delay: true, by };
        assert!(matches!(log.apply(Command::ChangeInvisible(change)), Outcome::Changed(Ok(_))));
        let due = log.next_due().unwrap();
        log.wait(due);
        due
    };
    let waits = [0, 0, 5000].map(|invisible_ms| put_off(&mut log, invisible_ms));
    assert_eq!(waits, [100, 2000, 5000]);
}

#[test]
fn a_message_sent_again_is_stored_once_for_a_minute() {
    let mut log = Log::with_queues(2);
    let send = |log: &mut Log, queue, id: &str| {
        let publish = Publish { message_id: id.to_owned(), ..message(queue, None) };
        match log.apply(Command::Publish(publish)) {
            Outcome::Published { place: Place::Queue { queue, offset }, duplicate } => {
                (queue.0, offset.0, duplicate)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(send(&mut log, 0, "A"), (0, 0, false));
    log.wait(59_999);
    assert_eq!(send(&mut log, 1, "A"), (0, 0, true), "also where another queue was chosen");
    assert_eq!(send(&mut log, 1, "a"), (1, 0, false), "ids are compared as they are");
    log.state = crate::snapshot::copy_of(&log.state);
    assert_eq!(send(&mut log, 1, "A"), (0, 0, true));
    log.wait(1);
    assert_eq!(send(&mut log, 1, "B"), (1, 1, false));
    assert_eq!(send(&mut log, 0, "A"), (0, 1, false), "too long ago");
    assert_eq!(send(&mut log, 0, ""), (0, 2, false));
    assert_eq!(send(&mut log, 0, ""), (0, 3, false), "none is no id");
    let create = |name| {
        let queues = QueueCount::new(2).unwrap();
        Command::CreateTopic(CreateTopic { name: topic(name), kind: TopicKind::Normal, queues })
    };
    log.apply(create("other"));
    let elsewhere = Publish { topic: topic("other"), message_id: "A".to_owned(), ..message(0, None) };
    assert!(matches!(log.apply(Command::Publish(elsewhere)), Outcome::Published { duplicate: false, .. }));
}

#[test]
fn a_higher_priority_comes_first() {
    let mut log = Log::empty(0, 1);
    let queues = QueueCount::new(3).unwrap();
    log.apply(Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind: TopicKind::Priority, queues }));
    log.apply(create_group(GROUP, StartPosition::Earliest));
    for (n, priority) in [0u32, 2, 1, 2, 0].into_iter().enumerate() {
        let kind = MessageKind::Priority { priority };
        let publish = Publish { kind, message_id: n.to_string(), ..message(priority, None) };
        assert!(matches!(log.apply(Command::Publish(publish)), Outcome::Published { .. }));
    }
    assert_eq!(log.take(receive(2)), [(2, 0, 1), (2, 1, 1)]);
    log.wait(INVISIBLE);
    assert_eq!(log.take(receive(3)), [(2, 0, 2), (2, 1, 2), (1, 0, 1)], "what comes back keeps its place");
    assert_eq!(log.take(receive(3)), [(0, 0, 1), (0, 1, 1)]);
}

#[test]
fn a_group_is_not_deleted_with_letters_that_nobody_has_consumed_unless_it_is_said() {
    let delete =
        |with_dead_letters| Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters });
    let buried = || {
        let mut log = log_with(1, RetryPolicy::default());
        log.publish_to([0, 0]);
        log.receive(receive(2));
        log.wait(INVISIBLE);
        assert_eq!(log.take(receive(2)), []);
        log
    };
    let kept = |letters| Outcome::Refused(Refusal::DeadLetters { group: group(GROUP), letters });
    let mut log = buried();
    assert_eq!(log.apply(delete(false)), kept(2));
    log.apply(create_group("mourners", StartPosition::Latest));
    assert_eq!(log.apply(delete(false)), kept(2));
    log.apply(create_group("heirs", StartPosition::Earliest));
    let mut taken = receive_from(&mut log, "heirs", &letters()).into_iter().map(|letter| letter.handle);
    assert_eq!(log.apply(delete(false)), kept(2));
    let mut ack = |log: &mut Log| {
        let handles = taken.by_ref().take(1).collect();
        log.apply(Command::Ack(Ack { group: group("heirs"), topic: letters(), handles, by: String::new() }))
    };
    ack(&mut log);
    assert_eq!(log.apply(delete(false)), kept(1));
    ack(&mut log);
    assert_eq!(log.apply(delete(false)), Outcome::GroupDeleted);
    log.assert_replays(0, 1);
    assert_eq!(buried().apply(delete(true)), Outcome::GroupDeleted);
}

#[test]
fn a_record_as_there_was_before_deletes_dead_letters() {
    let said = |with_dead_letters| {
        let mut bytes = bytes::BytesMut::new();
        Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters }).encode(&mut bytes);
        bytes.freeze()
    };
    let before = [&[2, 4, GROUP.len() as u8][..], GROUP.as_bytes()].concat();
    assert_eq!(said(true), before);
    assert_eq!(said(false), [&[2, 22], &before[2..]].concat());
}
