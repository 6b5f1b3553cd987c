//! Every command survives the log, and no bytes whatever make the decoder or the state panic.

use bytes::{Bytes, BytesMut};
use mainstay_messaging::{
    Ack, ChangeInvisible, ChangeUser, Check, Command, ConsumerGroup, CreateGroup, CreateTopic, CreateUser,
    DeadLetter, Decision, DecodeError, DeleteGroup, DeleteTopic, DeleteUser, DeliveryOrder, Elapse, Encoding,
    EndTransaction, Filter, GroupName, MAX_RETRY_DELAY_MS, MAX_RETRY_DELAYS, MessageKind, Metadata,
    MetadataChanges, NoteChecks, Outcome, Place, Publish, QueueCount, QueueId, QueueOffset, QueueSelection,
    RaiseVersion, Recall, RecallHandle, ReceiptHandle, Receive, ResetGroup, ResetTo, RetryPolicy, Revision,
    Rights, SetOffset, StartPosition, SyncMetadata, Topic, TopicKind, TopicName, TransactionId, Trim, User,
    UserName, UserSecret, Verdicts,
};
use mainstay_record::{LogIndex, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::log::{Log, TOPIC, message, receive, topic};

fn encoded(command: &Command) -> Bytes {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes.freeze()
}

fn topic_name() -> impl Strategy<Value = TopicName> {
    "[a-zA-Z0-9%|_-]{1,20}".prop_map(|name| TopicName::new(&name).unwrap())
}

fn group_name() -> impl Strategy<Value = GroupName> {
    "[a-zA-Z0-9%|_-]{1,20}".prop_map(|name| GroupName::new(&name).unwrap())
}

fn user_name() -> impl Strategy<Value = UserName> {
    "[a-zA-Z0-9._@-]{1,64}".prop_map(|name| UserName::new(&name).unwrap())
}

fn secret() -> impl Strategy<Value = UserSecret> {
    "[!-~]{8,256}".prop_map(|text| UserSecret::new(&text).unwrap())
}

fn rights() -> impl Strategy<Value = Rights> {
    let actions = prop::sample::select(vec!["publish", "subscribe,manage", "publish,subscribe,manage"]);
    let grant = (actions, "(topic|group):[a-zA-Z0-9%|_-]{1,100}[*]?")
        .prop_map(|(actions, on)| format!("{actions}:{on}").parse().unwrap());
    prop_oneof![Just(Rights::Admin), vec(grant, 0..5).prop_map(|grants| Rights::granted(grants).unwrap())]
}

fn queue_count() -> impl Strategy<Value = QueueCount> {
    (1u32..=1024).prop_map(|queues| QueueCount::new(queues).unwrap())
}

fn topic_kind() -> impl Strategy<Value = TopicKind> {
    use TopicKind::{Delay, Fifo, Mixed, Normal, Priority, Transaction};
    prop::sample::select(vec![Normal, Fifo, Delay, Transaction, Priority, Mixed])
}

fn start() -> impl Strategy<Value = StartPosition> {
    prop::sample::select(vec![StartPosition::Earliest, StartPosition::Latest])
}

/// Handles come from states only, so these were all given out by one.
fn handle() -> impl Strategy<Value = ReceiptHandle> {
    (0u32..3, 0u32..5, 0..u64::from(u32::MAX)).prop_map(|(queue, messages, wait)| {
        let mut log = Log::with_queues(3);
        log.wait(wait);
        log.publish_to((0..=messages).map(|_| queue));
        log.receive(receive(100)).last().unwrap().handle
    })
}

fn message_kind() -> impl Strategy<Value = MessageKind> {
    prop_oneof![
        Just(MessageKind::Normal),
        option::of(any::<u64>()).prop_map(|check_after_ms| MessageKind::Transaction { check_after_ms }),
        any::<u32>().prop_map(|priority| MessageKind::Priority { priority }),
        ".{0,9}".prop_map(|message_group| MessageKind::Fifo { message_group }),
        any::<u64>().prop_map(|at| MessageKind::Delay { deliver_at: Timestamp(at) }),
    ]
}

fn publish() -> impl Strategy<Value = Command> {
    let encoding = prop::sample::select(vec![Encoding::Identity, Encoding::Gzip]);
    let place = (topic_name(), any::<u32>(), message_kind(), option::of(".{0,9}"));
    let texts = (".{0,40}", vec(".{0,9}", 0..4), vec((".{0,9}", ".{0,200}"), 0..4), option::of(".{0,9}"));
    let rest = (any::<u64>(), ".{0,9}", encoding, vec(any::<u8>(), 0..300));
    (place, texts, rest).prop_map(
        |(
            (topic, queue, kind, tag),
            (message_id, keys, properties, trace_context),
            (born_at, born_host, encoding, body),
        )| {
            Command::Publish(Publish {
                topic,
                queue: QueueId(queue),
                kind,
                tag,
                message_id,
                keys,
                properties,
                trace_context,
                born_at: Timestamp(born_at),
                born_host,
                encoding,
                body: Bytes::from(body),
            })
        },
    )
}

/// Some in a row, some apart.
fn verdicts() -> impl Strategy<Value = Verdicts> {
    let runs = vec((0..3u32, prop_oneof![0..100u64, any::<u64>()], vec(any::<bool>(), 1..30)), 0..4);
    (any::<u64>(), runs).prop_map(|(topic, runs)| {
        let judged = runs.into_iter().flat_map(|(queue, first, taken)| {
            let offsets = (0..).map(move |n| first.min(u64::MAX / 2) + n);
            offsets.zip(taken).map(move |(offset, taken)| (QueueId(queue), QueueOffset(offset), taken))
        });
        Verdicts::new(Revision(topic), judged)
    })
}

fn receive_command() -> impl Strategy<Value = Command> {
    let queues = prop_oneof![
        Just(QueueSelection::All),
        vec(any::<u32>().prop_map(QueueId), 0..5).prop_map(QueueSelection::Only)
    ];
    let filter = prop_oneof![
        Just(Filter::All),
        vec(".{0,9}", 0..4).prop_map(Filter::Tags),
        verdicts().prop_map(Filter::Judged),
    ];
    let names = (group_name(), topic_name());
    let rest = (any::<u64>(), option::of(".{0,9}"), ".{0,9}");
    (names, queues, any::<u32>(), filter, rest).prop_map(
        |((group, topic), queues, max, filter, (invisible_ms, attempt_id, by))| {
            Command::Receive(Receive { group, topic, queues, max, filter, invisible_ms, attempt_id, by })
        },
    )
}

fn create_group() -> impl Strategy<Value = CreateGroup> {
    let order = prop::sample::select(vec![DeliveryOrder::Concurrent, DeliveryOrder::Fifo]);
    let retry = prop_oneof![
        vec(0..=MAX_RETRY_DELAY_MS, 1..=MAX_RETRY_DELAYS).prop_map(RetryPolicy::Customized),
        (0..1000u64, 1000..=MAX_RETRY_DELAY_MS, 1..=100u32)
            .prop_map(|(initial, max, multiplier)| RetryPolicy::Exponential { initial, max, multiplier }),
    ];
    (group_name(), start(), order, any::<u32>(), retry).prop_map(
        |(name, start, order, max_attempts, retry)| CreateGroup { name, start, order, max_attempts, retry },
    )
}

/// Made by one state, like handles.
fn tickets() -> impl Strategy<Value = (TransactionId, RecallHandle)> {
    (0..u64::from(u32::MAX), 1..1000u64).prop_map(|(wait, delay)| {
        let mut log = Log::empty(0, 1);
        log.apply(Command::CreateTopic(CreateTopic {
            name: topic(TOPIC),
            kind: TopicKind::Mixed,
            queues: QueueCount::new(1).unwrap(),
        }));
        log.wait(wait);
        let kinds = [
            MessageKind::Transaction { check_after_ms: None },
            MessageKind::Delay { deliver_at: log.now.plus_millis(delay) },
        ];
        let places = kinds.map(|kind| {
            let message_id = String::new();
            let publish = Publish { kind, message_id, ..message(0, None) };
            match log.apply(Command::Publish(publish)) {
                Outcome::Published { place, .. } => place,
                other => panic!("{other:?}"),
            }
        });
        let [Place::Half(transaction), Place::Timer(recall)] = places else { panic!("{places:?}") };
        (transaction, recall)
    })
}

fn pending_command() -> impl Strategy<Value = Command> {
    let decision = prop::sample::select(vec![Decision::Commit, Decision::Rollback]);
    let checks = vec((tickets(), any::<bool>()), 0..4);
    prop_oneof![
        (topic_name(), tickets(), decision, ".{0,9}").prop_map(|(topic, (transaction, _), decision, by)| {
            Command::EndTransaction(EndTransaction { topic, transaction, decision, by })
        }),
        (topic_name(), checks).prop_map(|(topic, checks)| {
            let check = |((transaction, _), asked)| Check { transaction, asked };
            Command::NoteChecks(NoteChecks { topic, checks: checks.into_iter().map(check).collect() })
        }),
        (topic_name(), tickets(), ".{0,9}").prop_map(|(topic, (_, handle), by)| Command::Recall(Recall {
            topic,
            handle,
            by
        })),
        any::<u32>().prop_map(|max| Command::Elapse(Elapse { max })),
    ]
}

fn sync() -> impl Strategy<Value = Command> {
    let topic = (topic_name(), topic_kind(), queue_count(), any::<u64>()).prop_map(
        |(name, kind, queues, revision)| Topic { name, kind, queues, revision: Revision(revision) },
    );
    let group = (create_group(), any::<u64>(), any::<u64>()).prop_map(|(create, revision, created_at)| {
        let CreateGroup { name, start, order, max_attempts, retry } = create;
        let (revision, created_at) = (Revision(revision), Timestamp(created_at));
        ConsumerGroup { name, start, order, max_attempts, retry, revision, created_at }
    });
    let user =
        (user_name(), secret(), rights(), any::<u64>()).prop_map(|(name, secret, rights, revision)| User {
            name,
            secret,
            rights,
            revision: Revision(revision),
        });
    let all = (any::<u64>(), vec(topic, 0..4), vec(group, 0..4), vec(user, 0..4));
    let all = all.prop_map(|(version, topics, groups, users)| Metadata {
        version: Revision(version),
        topics,
        groups,
        users,
    });
    let gone = (vec(topic_name(), 0..4), vec(group_name(), 0..4), vec(user_name(), 0..4));
    (all, proptest::option::of((any::<u64>(), gone))).prop_map(|(metadata, changes)| match changes {
        None => Command::SyncMetadata(SyncMetadata { metadata }),
        Some((from, (gone_topics, gone_groups, gone_users))) => Command::ChangeMetadata(MetadataChanges {
            from: Revision(from),
            gone_topics,
            gone_groups,
            gone_users,
            new: metadata,
        }),
    })
}

fn command() -> impl Strategy<Value = Command> {
    let create_topic = (topic_name(), topic_kind(), queue_count())
        .prop_map(|(name, kind, queues)| Command::CreateTopic(CreateTopic { name, kind, queues }));
    let create_group = create_group().prop_map(Command::CreateGroup);
    let to = prop_oneof![
        Just(ResetTo::Earliest),
        Just(ResetTo::Latest),
        any::<u64>().prop_map(|time| ResetTo::Time(Timestamp(time))),
    ];
    let reset = (group_name(), topic_name(), to)
        .prop_map(|(group, topic, to)| Command::ResetGroup(ResetGroup { group, topic, to }));
    let ack = (group_name(), topic_name(), vec(handle(), 0..4), ".{0,9}")
        .prop_map(|(group, topic, handles, by)| Command::Ack(Ack { group, topic, handles, by }));
    let change = (group_name(), topic_name(), handle(), any::<u64>(), any::<bool>(), ".{0,9}").prop_map(
        |(group, topic, handle, invisible_ms, at_least_retry_delay, by)| {
            let change = ChangeInvisible { group, topic, handle, invisible_ms, at_least_retry_delay, by };
            Command::ChangeInvisible(change)
        },
    );
    let dead = (group_name(), topic_name(), handle(), ".{0,9}")
        .prop_map(|(group, topic, handle, by)| Command::DeadLetter(DeadLetter { group, topic, handle, by }));
    let set =
        (group_name(), topic_name(), any::<u32>(), any::<u64>()).prop_map(|(group, topic, queue, offset)| {
            let (queue, offset) = (QueueId(queue), QueueOffset(offset));
            Command::SetOffset(SetOffset { group, topic, queue, offset })
        });
    let create_user = (user_name(), secret(), rights())
        .prop_map(|(name, secret, rights)| Command::CreateUser(CreateUser { name, secret, rights }));
    let change_user = (user_name(), option::of(secret()), option::of(rights()))
        .prop_map(|(name, secret, rights)| Command::ChangeUser(ChangeUser { name, secret, rights }));
    prop_oneof![
        1 => create_user,
        1 => change_user,
        1 => user_name().prop_map(|name| Command::DeleteUser(DeleteUser { name })),
        1 => create_topic,
        1 => topic_name().prop_map(|name| Command::DeleteTopic(DeleteTopic { name })),
        1 => create_group,
        1 => (group_name(), any::<bool>()).prop_map(|(name, with_dead_letters)| {
            Command::DeleteGroup(DeleteGroup { name, with_dead_letters })
        }),
        1 => reset,
        4 => publish(),
        2 => receive_command(),
        1 => ack,
        1 => change,
        1 => dead,
        1 => set,
        2 => pending_command(),
        1 => sync(),
        1 => any::<u32>().prop_map(|epoch| Command::RaiseVersion(RaiseVersion { epoch })),
        1 => any::<u64>().prop_map(|index| Command::Trim(Trim { through: LogIndex(index) })),
    ]
}

/// Decodes and applies; any answer will do.
fn survive(bytes: Bytes) {
    let mut log = Log::with_queues(2);
    let record = log.next_record();
    if let Ok(command) = Command::decode(&bytes) {
        assert_eq!(Command::decode(&encoded(&command)), Ok(command));
    }
    let _ = log.state.apply_encoded(record, log.now, &bytes);
}

proptest! {
    #[test]
    fn commands_round_trip(command in command()) {
        let bytes = encoded(&command);
        prop_assert_eq!(Command::decode(&bytes), Ok(command.clone()));
        prop_assert!(bytes.len() <= command.encoded_len_hint(), "{} > {}", bytes.len(), command.encoded_len_hint());
    }

    #[test]
    fn a_part_of_a_command_is_none(command in command(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&command);
        prop_assert!(Command::decode(&bytes.slice(..cut.index(bytes.len()))).is_err());
        let mut longer = BytesMut::from(&bytes[..]);
        longer.extend_from_slice(b"x");
        prop_assert_eq!(Command::decode(&longer.freeze()), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn damaged_commands_do_not_panic(
        command in command(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&command).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survive(Bytes::from(bytes));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(code in 0u8..23, bytes in vec(any::<u8>(), 0..200)) {
        let version = encoded(&Command::Trim(Trim { through: LogIndex(1) }))[0];
        let mut plausible = vec![version, code];
        plausible.extend_from_slice(&bytes);
        let plausible = Bytes::from(plausible);
        let is_read = !matches!(Command::decode(&plausible), Err(DecodeError::UnknownVersion(_)));
        prop_assert!(is_read, "it does not get past the version");
        survive(Bytes::from(bytes));
        survive(plausible);
    }

    /// A command whose numbers, lengths and counts are as large as they can be: none makes room for what is not there.
    #[test]
    fn absurd_lengths_do_not_panic_or_fill_the_memory(command in command(), at in any::<prop::sample::Index>()) {
        let bytes = encoded(&command);
        let at = 2 + at.index(bytes.len() - 1);
        let largest = [&[0xff; 9][..], &[0x01]].concat();
        for absurd in [&largest[..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0xff, 0xff, 0x7f]] {
            let rest = bytes.get(at + 1..).unwrap_or_default();
            survive(Bytes::from([&bytes[..at], absurd, rest].concat()));
        }
    }
}

#[test]
fn a_trim_has_these_bytes() {
    let bytes = encoded(&Command::Trim(Trim { through: LogIndex(300) }));
    assert_eq!(bytes, [2, 11, 0xac, 0x02][..]);
    let largest = encoded(&Command::Trim(Trim { through: LogIndex(u64::MAX) }));
    assert_eq!(largest, [&[2, 11][..], &[0xff; 9], &[0x01]].concat()[..]);
}

#[test]
fn a_body_is_not_copied() {
    let bytes = encoded(&Command::Publish(message(0, None)));
    let Ok(Command::Publish(publish)) = Command::decode(&bytes) else { panic!() };
    let body = bytes.slice(bytes.len() - publish.body.len()..);
    assert_eq!(publish.body, body);
    assert_eq!(publish.body.as_ptr(), body.as_ptr());
}

#[test]
fn errors_name_the_command_or_the_field() {
    let error = |bytes: &'static [u8]| Command::decode(&Bytes::from_static(bytes)).unwrap_err().to_string();
    assert_eq!(error(b""), "the record ends within its version");
    assert_eq!(error(&[9]), "command format 9 is unknown");
    assert_eq!(error(&[2, 99]), "command 99 is unknown");
    assert_eq!(error(&[2, 2, 3, b'a', b' ', b'b']), "the record's topic is not legal");
    assert_eq!(error(&[2, 1, 1, b'a', 1, 0]), "the record's queues is not legal");
    assert_eq!(error(&[2, 8, 1, b'g', 1, b't', 0xff, 0x7f]), "the record ends within its receipt handle");
    assert_eq!(error(&[2, 2, 0xff, 0xff, 0xff, 0xff, 0x0f]), "the record ends within its topic");
    let overflow = &[2, 9, 1, b'g', 1, b't'];
    let overflow = [&overflow[..], &[0; 52], &[0xff; 9], &[0x02]].concat();
    assert_eq!(Command::decode(&Bytes::from(overflow)), Err(DecodeError::Invalid("invisible time")));
    assert_eq!(error(&[2, 6, 1, b'a', 0xff, 0xff, 0xff, 0xff, 0x1f]), "the record's queue is not legal");
}
