//! Topics and consumer groups: made and unmade in the metadata group, followed by the others.

use mainstay_messaging::{
    Command, CreateTopic, DeleteGroup, DeleteTopic, Metadata, Outcome, QueueCount, QueueId, QueueOffset,
    RaiseVersion, Receive, Refusal, Revision, StartPosition, SyncMetadata, TopicKind,
};

use crate::log::{GROUP, Log, TOPIC, create_group, create_topic, group, receive, topic};

fn delete_topic() -> Command {
    Command::DeleteTopic(DeleteTopic { name: topic(TOPIC) })
}

fn sync(metadata: Metadata) -> Command {
    Command::SyncMetadata(SyncMetadata { metadata })
}

#[test]
fn creating_again_is_fine_when_equal_and_refused_when_not() {
    let mut log = Log::empty(0, 1);
    assert_eq!(log.apply(create_topic(4)), Outcome::TopicCreated { created: true });
    let version = log.state.metadata_version();
    assert_eq!(log.apply(create_topic(4)), Outcome::TopicCreated { created: false });
    let Outcome::Refused(refusal) = log.apply(create_topic(5)) else { panic!() };
    assert_eq!(refusal.to_string(), "topic 'orders' exists with type NORMAL and 4 queues");
    let earliest = create_group(GROUP, StartPosition::Earliest);
    assert_eq!(log.apply(earliest.clone()), Outcome::GroupCreated { created: true });
    assert_eq!(log.apply(earliest), Outcome::GroupCreated { created: false });
    let other = log.apply(create_group(GROUP, StartPosition::Latest));
    assert!(matches!(other, Outcome::Refused(Refusal::GroupExistsDifferently { .. })));
    assert_eq!(log.state.metadata_version(), Revision(version.0 + 1), "one group more, nothing else");
}

#[test]
fn an_epoch_begins_versions_above_all_before_it_and_never_below() {
    let raise = |epoch| Command::RaiseVersion(RaiseVersion { epoch });
    let mut log = Log::empty(0, 2);
    log.apply(create_topic(4));
    let lost = log.state.clone();
    log.apply(create_group(GROUP, StartPosition::Earliest));
    let given = log.state.metadata_version();
    log.state = lost;
    assert_eq!(log.apply(raise(2)), Outcome::VersionRaised { raised: true });
    let first = log.state.metadata_version();
    assert!(first > given);
    log.apply(create_group(GROUP, StartPosition::Earliest));
    assert_eq!(log.state.metadata_version(), Revision(first.0 + 1));
    for epoch in [0, 1, 2] {
        assert_eq!(log.apply(raise(epoch)), Outcome::VersionRaised { raised: false });
        assert_eq!(log.state.metadata_version(), Revision(first.0 + 1));
    }
    assert_eq!(log.apply(raise(u32::MAX)), Outcome::VersionRaised { raised: true });
    let expected = Outcome::GroupCreated { created: true };
    assert_eq!(log.apply(create_group("last", StartPosition::Earliest)), expected);
    assert_eq!(Log::empty(1, 2).apply(raise(2)), Outcome::Refused(Refusal::NotMetadataGroup));
}

#[test]
fn metadata_is_sorted_and_found_by_name() {
    let mut log = Log::empty(0, 1);
    for name in ["b", "c", "a"] {
        let queues = QueueCount::new(1).unwrap();
        log.apply(Command::CreateTopic(CreateTopic { name: topic(name), kind: TopicKind::Normal, queues }));
        log.apply(create_group(name, StartPosition::Latest));
    }
    let metadata = log.state.metadata();
    assert!(metadata.topics.is_sorted_by_key(|topic| topic.name.as_str().to_owned()));
    for name in ["a", "b", "c"] {
        assert_eq!(metadata.topic(name), log.state.topic(name));
        assert_eq!(metadata.group(name), log.state.group(name));
        assert!(metadata.topic(name).is_some() && metadata.group(name).is_some());
    }
    assert!(metadata.topic("d").is_none());
}

#[test]
fn a_deleted_topic_takes_its_messages_and_progress_along() {
    let mut log = Log::with_queues(1);
    log.publish(0, None);
    log.receive(receive(1));
    assert_eq!(log.apply(delete_topic()), Outcome::TopicDeleted);
    assert!(log.state.topic(TOPIC).is_none() && log.state.progress(GROUP, TOPIC).is_none());
    assert!(log.state.subscribed_topics(GROUP).is_empty());
    assert!(matches!(log.apply(delete_topic()), Outcome::Refused(Refusal::UnknownTopic(_))));
    log.apply(create_topic(1));
    assert_eq!(log.take(receive(1)), []);
    assert_eq!(log.publish(0, None), 0);
    assert_eq!(log.take(receive(1)), [(0, 0, 1)]);
}

#[test]
fn a_deleted_group_forgets_its_progress() {
    let mut log = Log::with_queues(1);
    log.publish(0, None);
    let delivery = log.receive(receive(1))[0];
    log.ack(delivery.handle).unwrap();
    assert_eq!(log.state.subscribed_topics(GROUP), [topic(TOPIC)]);
    assert_eq!(
        log.apply(Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters: false })),
        Outcome::GroupDeleted
    );
    log.apply(create_group(GROUP, StartPosition::Earliest));
    assert!(log.state.subscribed_topics(GROUP).is_empty());
    assert_eq!(log.take(receive(1)), [(0, 0, 1)]);
}

#[test]
fn a_deleted_group_leaves_nothing_behind() {
    let forgotten = |received: bool| {
        let mut log = Log::with_queues(1);
        log.publish(0, None);
        if received {
            log.receive(receive(1));
        }
        log.apply(Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters: false }));
        log.state
    };
    assert_eq!(forgotten(true), forgotten(false));
}

#[test]
fn queues_are_looked_up_by_place() {
    let mut log = Log::with_queues(2);
    let record = log.next_record();
    log.publish(1, None);
    let range = log.state.queue_range(TOPIC, QueueId(1)).unwrap();
    assert_eq!(range, QueueOffset(0)..QueueOffset(1));
    assert_eq!(log.state.locate(TOPIC, QueueId(1), QueueOffset(0)), Some(record));
    assert_eq!(log.state.locate(TOPIC, QueueId(1), QueueOffset(1)), None);
    assert_eq!(log.state.locate(TOPIC, QueueId(2), QueueOffset(0)), None);
    assert_eq!(log.state.local_queues(TOPIC), Some(2));
}

#[test]
fn each_broker_group_has_its_share_of_the_queues() {
    let mut first = Log::empty(0, 2);
    first.apply(create_topic(5));
    let mut second = Log::empty(1, 2);
    second.apply(sync(first.state.metadata()));
    assert_eq!((first.state.local_queues(TOPIC), second.state.local_queues(TOPIC)), (Some(3), Some(2)));
    second.assert_replays(1, 2);
}

#[test]
fn metadata_is_changed_in_its_own_group_and_followed_in_the_others() {
    let mut first = Log::with_queues(2);
    let metadata = first.state.metadata();
    assert_eq!(first.apply(sync(metadata.clone())), Outcome::Refused(Refusal::IsMetadataGroup));
    let mut second = Log::empty(1, 2);
    assert_eq!(second.apply(create_topic(2)), Outcome::Refused(Refusal::NotMetadataGroup));
    let billing = create_group(GROUP, StartPosition::Earliest);
    assert_eq!(second.apply(billing), Outcome::Refused(Refusal::NotMetadataGroup));
    assert_eq!(second.apply(delete_topic()), Outcome::Refused(Refusal::NotMetadataGroup));
    assert_eq!(second.apply(sync(metadata.clone())), Outcome::Synced { applied: true });
    assert_eq!(second.state.metadata(), metadata);
}

#[test]
fn a_sync_that_is_not_newer_changes_nothing() {
    let mut first = Log::with_queues(2);
    let old = first.state.metadata();
    first.apply(delete_topic());
    let new = first.state.metadata();
    let mut second = Log::empty(1, 2);
    second.apply(sync(new.clone()));
    for metadata in [old, new.clone()] {
        assert_eq!(second.apply(sync(metadata)), Outcome::Synced { applied: false });
        assert_eq!(second.state.metadata(), new);
    }
}

#[test]
fn a_sync_keeps_what_is_the_same_and_drops_what_was_made_anew() {
    let mut first = Log::empty(0, 2);
    first.apply(create_topic(4));
    first.apply(create_group(GROUP, StartPosition::Earliest));
    let mut second = Log::empty(1, 2);
    second.apply(sync(first.state.metadata()));
    second.publish(0, None);
    let delivery = second.receive(receive(1))[0];

    first.apply(create_group("other", StartPosition::Earliest));
    second.apply(sync(first.state.metadata()));
    assert_eq!(second.ack(delivery.handle), Ok(()));
    assert_eq!(second.publish(0, None), 1);

    first.apply(Command::DeleteGroup(DeleteGroup { name: group(GROUP), with_dead_letters: false }));
    first.apply(create_group(GROUP, StartPosition::Earliest));
    second.apply(sync(first.state.metadata()));
    assert_eq!(second.take(receive(9)), [(0, 0, 1), (0, 1, 1)], "a new group of the same name");

    first.apply(delete_topic());
    first.apply(create_topic(4));
    second.apply(sync(first.state.metadata()));
    assert_eq!(second.take(receive(9)), [], "a new topic of the same name");
    assert_eq!(second.publish(0, None), 0);
    second.assert_replays(1, 2);
}

#[test]
fn a_followed_group_that_starts_at_the_latest_misses_nothing_sent_since_its_creation() {
    let mut first = Log::empty(0, 2);
    first.apply(create_topic(2));
    let mut second = Log::empty(1, 2);
    second.apply(sync(first.state.metadata()));
    second.publish(0, None);
    first.wait(10);
    first.apply(create_group("late", StartPosition::Latest));
    second.wait(20);
    second.publish(0, None);
    second.wait(20);
    second.apply(sync(first.state.metadata()));
    assert_eq!(second.take(Receive { group: group("late"), ..receive(9) }), [(0, 1, 1)]);
}
