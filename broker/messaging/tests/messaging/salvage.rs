//! Of a tail that was taken out of the log every message comes back whole, and everything else is counted.

use bytes::{Bytes, BytesMut};
use mainstay_messaging::{
    Ack, ChangeInvisible, Command, DeleteGroup, DeleteTopic, MessageKind, Metadata, MetadataChanges, Outcome,
    Publish, QueueOffset, RaiseVersion, RecordKind, ResetGroup, ResetTo, Salvage, StartPosition,
    SyncMetadata, Trim,
};
use mainstay_record::{BatchBuilder, BatchKind, EntryId, GroupId, LogIndex, LogPosition, Timestamp};

use crate::log::{GROUP, Log, TOPIC, create_group, create_topic, group, message, receive, topic};

fn encoded(command: &Command) -> Bytes {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes.freeze()
}

fn numbered(n: u32) -> Publish {
    Publish {
        message_id: format!("id-{n}"),
        body: Bytes::from(format!("body {n}")),
        kind: if n == 3 { MessageKind::Fifo { message_group: "m".into() } } else { MessageKind::Normal },
        ..message(n % 2, Some("a"))
    }
}

/// One of each kind, as a leader that was cut off would have written them, and three messages between.
fn tail() -> Vec<Command> {
    let mut log = Log::with_queues(2);
    log.publish(0, None);
    let handle = log.receive(receive(1))[0].handle;
    let (name, billing) = (topic(TOPIC), group(GROUP));
    vec![
        Command::Publish(numbered(1)),
        create_topic(3),
        Command::DeleteTopic(DeleteTopic { name: name.clone() }),
        create_group("new", StartPosition::Latest),
        Command::DeleteGroup(DeleteGroup { name: billing.clone(), with_dead_letters: false }),
        Command::Publish(numbered(2)),
        Command::ResetGroup(ResetGroup { group: billing.clone(), topic: name.clone(), to: ResetTo::Latest }),
        Command::Receive(receive(4)),
        Command::Ack(Ack {
            group: billing.clone(),
            topic: name.clone(),
            handles: vec![handle],
            by: String::new(),
        }),
        Command::ChangeInvisible(ChangeInvisible {
            group: billing,
            topic: name,
            handle,
            invisible_ms: 5,
            at_least_retry_delay: false,
            by: String::new(),
        }),
        Command::SyncMetadata(SyncMetadata { metadata: Metadata::default() }),
        Command::ChangeMetadata(MetadataChanges::between(&Metadata::default(), &Metadata::default())),
        Command::RaiseVersion(RaiseVersion { epoch: 2 }),
        Command::Trim(Trim { through: LogIndex(4) }),
        Command::Publish(numbered(3)),
    ]
}

/// Through a batch, as quarantine files hold it.
fn records(commands: &[Command]) -> Vec<Bytes> {
    let mut builder = BatchBuilder::with_capacity(0);
    for command in commands {
        builder.push(&encoded(command));
    }
    let batch = builder.seal(BatchKind::Data, GroupId(0), EntryId::ZERO, LogPosition(0), Timestamp(1));
    batch.records().collect()
}

#[test]
fn messages_come_back_whole_and_in_order() {
    let mut salvage = Salvage::new();
    let records = records(&tail());
    let messages: Vec<Publish> = records.iter().filter_map(|record| salvage.take(record)).collect();
    assert_eq!(messages, [numbered(1), numbered(2), numbered(3)]);
    assert_eq!(salvage.messages(), 3);
    let within = |body: &Bytes, record: &Bytes| record.as_ptr_range().contains(&body.as_ptr());
    assert!(within(&messages[0].body, &records[0]), "the body is not copied");
}

#[test]
fn everything_else_is_counted_by_kind() {
    let mut salvage = Salvage::new();
    for record in records(&tail()) {
        salvage.take(&record);
    }
    salvage.take(&Bytes::from_static(b"nonsense"));
    salvage.take(&Bytes::new());
    salvage.take(&encoded(&Command::Receive(receive(1))));
    let left: Vec<(RecordKind, u64)> = salvage.left().collect();
    use RecordKind::{
        Ack, ChangeInvisible, ConsumerGroup, RaiseVersion, Receive, ResetGroup, SyncMetadata, Topic, Trim,
        Unreadable,
    };
    let expected = [
        (Receive, 2),
        (Ack, 1),
        (ChangeInvisible, 1),
        (ResetGroup, 1),
        (Topic, 2),
        (ConsumerGroup, 2),
        (SyncMetadata, 2),
        (RaiseVersion, 1),
        (Trim, 1),
        (Unreadable, 2),
    ];
    assert_eq!(left, expected);
    assert_eq!(salvage.messages() + left.iter().map(|(_, count)| count).sum::<u64>(), 18);
}

#[test]
fn what_comes_back_can_be_published_where_the_other_log_won() {
    let mut log = Log::with_queues(2);
    log.publish_to([0, 0, 1]);
    let mut salvage = Salvage::new();
    let messages = records(&tail()).iter().filter_map(|record| salvage.take(record)).collect::<Vec<_>>();
    let outcomes: Vec<Outcome> = messages.into_iter().map(|m| log.apply(Command::Publish(m))).collect();
    assert!(outcomes[0].offset() == Some(QueueOffset(1)), "{:?}", outcomes[0]);
    assert!(outcomes[1].offset() == Some(QueueOffset(2)), "{:?}", outcomes[1]);
    assert!(
        matches!(outcomes[2], Outcome::Refused(_)),
        "the topic takes no such messages: {:?}",
        outcomes[2]
    );
    log.assert_replays(0, 1);
}

#[test]
fn an_empty_tail_has_nothing() {
    let salvage = Salvage::new();
    assert_eq!((salvage.messages(), salvage.left().count()), (0, 0));
}
