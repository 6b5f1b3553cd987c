//! Snapshots whose checksums are right and whose content is not.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::frame::Sealer;
use super::item::{Header, Item, Totals};
use super::{Restore, SnapshotError};
use crate::command::{
    Command, CreateGroup, CreateTopic, Encoding, Filter, MessageKind, Publish, QueueSelection, Receive,
};
use crate::delivery::cursor::{Lease, Leases};
use crate::delivery::handle::Token;
use crate::metadata::definitions::{GroupState, Since};
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::retry::RetryPolicy;
use crate::metadata::{
    ConsumerGroup, DeliveryOrder, QueueCount, QueueId, Revision, StartPosition, Topic, TopicKind,
};
use crate::queue::chunk::{Chunk, Indexed};
use crate::queue::tags::TagId;
use crate::state::State;
use crate::users::{Rights, User, UserName, UserSecret};

fn restored(payloads: &[BytesMut]) -> Result<State, SnapshotError> {
    let mut sealer = Sealer::default();
    let mut restore = Restore::new(GroupId(0), 1);
    for payload in payloads {
        let mut part = Sealer::begin();
        part.extend_from_slice(payload);
        restore.feed(&sealer.seal(part))?;
    }
    restore.finish()
}

fn of_items(items: &[Item]) -> Result<State, SnapshotError> {
    let payloads: Vec<BytesMut> = items.iter().map(|item| encoded(std::slice::from_ref(item))).collect();
    let apart = restored(&payloads);
    assert_eq!(apart, restored(&[encoded(items)]), "parts make no difference");
    apart
}

fn encoded(items: &[Item]) -> BytesMut {
    let mut out = BytesMut::new();
    items.iter().for_each(|item| item.encode(&mut out));
    out
}

fn header() -> Item {
    Item::Header(Header { group: GroupId(0), groups: 1, version: Revision(2) })
}

fn group(name: &str) -> Item {
    let group = ConsumerGroup {
        name: GroupName::new(name).unwrap(),
        start: StartPosition::Earliest,
        order: DeliveryOrder::Concurrent,
        max_attempts: 3,
        retry: RetryPolicy::default(),
        revision: Revision(1),
        created_at: Timestamp(5),
    };
    Item::Group(Box::new(GroupState { group, since: Since::Time(Timestamp(5)) }))
}

fn user(name: &str) -> Item {
    Item::User(Box::new(User {
        name: UserName::new(name).unwrap(),
        secret: UserSecret::new("long-enough").unwrap(),
        rights: Rights::granted(vec!["publish:topic:t*".parse().unwrap()]).unwrap(),
        revision: Revision(1),
    }))
}

fn topic(name: &str) -> Item {
    Item::Topic(Box::new(Topic {
        name: TopicName::new(name).unwrap(),
        kind: TopicKind::Normal,
        queues: QueueCount::new(2).unwrap(),
        revision: Revision(2),
    }))
}

/// An empty text stands for a free number.
fn tags(texts: &[&str]) -> Item {
    Item::Tags(Arc::new(texts.iter().map(|text| (!text.is_empty()).then(|| Arc::from(*text))).collect()))
}

fn message(index: u64, tag: u32) -> Indexed {
    let record = RecordId { index: LogIndex(index), slot: 0 };
    Indexed { record, stored_at: Timestamp(index), tag: TagId::from_raw(tag), lane: None, body: record }
}

/// From `offset`, of messages at these indexes.
fn chunk(offset: u64, indexes: &[u64], tag: u32) -> Item {
    let mut chunk = Chunk::new(offset, message(indexes[0], tag));
    indexes[1..].iter().for_each(|index| chunk.push(&message(*index, tag)));
    Item::Chunk(Arc::new(chunk))
}

fn cursor(next: u64, leased: &[u64]) -> Item {
    let token = Token { record: message(9, 0).record, made_at: Timestamp(9) };
    let lease = Lease { token, expires_at: Timestamp(20), attempt: 1 };
    Item::Cursor(next, Arc::new(leased.iter().map(|offset| (*offset, lease)).collect::<Leases>()), Vec::new())
}

/// One topic with five messages from offset 3 on in its first queue, and one group that has read some.
fn good() -> Vec<Item> {
    vec![
        header(),
        group("g"),
        topic("t"),
        tags(&["a", "", "b"]),
        Item::Queue(8),
        chunk(3, &[10, 11, 15], 3),
        chunk(6, &[16, 30], 1),
        Item::Queue(0),
        Item::Subscription(Revision(1), 1, Vec::new()),
        cursor(7, &[3, 6]),
        cursor(0, &[]),
        Item::End(Totals { groups: 1, topics: 1, subscriptions: 1, messages: 5, pending: 0, remembered: 0 }),
    ]
}

fn with(at: usize, item: Item) -> Result<State, SnapshotError> {
    let mut items = good();
    items[at] = item;
    of_items(&items)
}

fn without(at: usize) -> Result<State, SnapshotError> {
    let mut items = good();
    items.remove(at);
    of_items(&items)
}

fn doubled(at: usize, item: Item) -> Result<State, SnapshotError> {
    let mut items = good();
    items.insert(at, item);
    of_items(&items)
}

#[track_caller]
fn refused(found: Result<State, SnapshotError>, text: &str) {
    assert_eq!(found.map(|_| ()).map_err(|error| error.to_string()), Err(text.to_owned()));
}

#[test]
fn the_good_one_is_good() {
    let state = of_items(&good()).unwrap();
    assert_eq!(state.totals().messages, 5);
    let index = &state.topics.get("t").unwrap().queues[0];
    assert_eq!((index.start(), index.end(), index.get(5).unwrap()), (3, 8, message(15, 3)));
    let wanted = state.topics.get("t").unwrap().tags.resolve(&Filter::Tags(vec!["b".into()]));
    assert_eq!(index.next_match(0, &wanted).unwrap().0, 3);
    assert!(index.has_match(5, &wanted) && !index.has_match(6, &wanted));
}

/// Snapshots that are on disks must stay readable: another form needs another version.
#[test]
fn the_good_one_has_these_bytes() {
    let mut part = Sealer::begin();
    part.extend_from_slice(&encoded(&good()));
    let part = Sealer::default().seal(part);
    assert_eq!(part[..4], *b"MSS\x02");
    assert_eq!(
        (part.len(), crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &part)),
        (464, 2_118_522_760)
    );
}

/// Few states have users, so they have a test of their own.
#[test]
fn users_come_first_and_in_order() {
    let with_users = |users: &[&str], at: usize| {
        let mut items = good();
        items.splice(at..at, users.iter().map(|name| user(name)));
        of_items(&items)
    };
    let state = with_users(&["ann", "ben"], 1).unwrap();
    assert_eq!(state.users.len(), 2);
    assert_eq!(restored(&[payload(&state)]), Ok(state));
    let order = "the snapshot's user has an illegal place in the order of names";
    refused(with_users(&["ben", "ann"], 1), order);
    refused(with_users(&["ann", "ann"], 1), order);
    refused(with_users(&["ann"], 0), "the snapshot has a user where none may stand");
    refused(with_users(&["ann"], 2), "the snapshot has a user where none may stand");
}

#[test]
fn items_stand_where_they_belong() {
    refused(without(0), "the snapshot has a consumer group where none may stand");
    refused(doubled(1, header()), "the snapshot has a header where none may stand");
    refused(doubled(4, group("h")), "the snapshot has a consumer group where none may stand");
    refused(without(2), "the snapshot has a tag where none may stand");
    refused(doubled(5, tags(&["c"])), "the snapshot has a tag where none may stand");
    refused(without(4), "the snapshot has a chunk where none may stand");
    refused(doubled(9, chunk(8, &[31], 0)), "the snapshot has a chunk where none may stand");
    refused(without(8), "the snapshot has a cursor where none may stand");
    refused(doubled(10, cursor(0, &[])), "the snapshot has a cursor where none may stand");
}

#[test]
fn numbers_of_things_are_right() {
    refused(without(7), "the snapshot's topic has an illegal number of queues");
    refused(doubled(8, Item::Queue(0)), "the snapshot has a queue where none may stand");
    refused(without(10), "the snapshot's subscription has an illegal number of cursors");
    refused(without(1), "the snapshot's subscription has an illegal consumer group");
    let totals = Totals { groups: 1, topics: 1, subscriptions: 1, messages: 6, pending: 0, remembered: 0 };
    refused(with(11, Item::End(totals)), "the snapshot's end has an illegal total");
    refused(without(11), "the snapshot has no end");
    let mut more = good();
    more.push(header());
    refused(restored(&[encoded(&more)]), "17 bytes follow the end of the snapshot");
}

#[test]
fn things_are_sorted_and_there_once() {
    refused(
        doubled(2, group("g")),
        "the snapshot's consumer group has an illegal place in the order of names",
    );
    refused(
        doubled(2, group("a")),
        "the snapshot's consumer group has an illegal place in the order of names",
    );
    let end = |name| {
        let mut items = good();
        items.splice(11..11, [topic(name), Item::Queue(0), Item::Queue(0)]);
        of_items(&items)
    };
    refused(end("t"), "the snapshot's topic has an illegal place in the order of names");
    refused(end("s"), "the snapshot's topic has an illegal place in the order of names");
    refused(end("u"), "the snapshot's topic has an illegal revision");
    refused(with(3, tags(&["a", "a"])), "the snapshot's tag has an illegal text");
    let mut items = good();
    items.splice(11..11, [Item::Subscription(Revision(1), 0, Vec::new()), cursor(7, &[]), cursor(0, &[])]);
    refused(of_items(&items), "the snapshot's subscription has an illegal place in the order of revisions");
}

#[test]
fn queues_are_without_gaps_and_records_ascend() {
    let misplaced = "the snapshot's chunk has an illegal place in its queue";
    refused(with(6, chunk(7, &[16], 1)), misplaced);
    refused(with(6, chunk(5, &[16], 1)), misplaced);
    refused(with(6, chunk(6, &[14, 16], 1)), misplaced);
    refused(with(5, chunk(u64::MAX - 9, &[10], 1)), misplaced);
    refused(with(5, chunk(3, &[10, 15, 11], 3)), "the snapshot's chunk has an illegal order of records");
    refused(with(6, chunk(6, &[16, 30], 4)), "the snapshot's chunk has an illegal tag");
    refused(with(6, chunk(6, &[16, 30], 2)), "the snapshot's chunk has an illegal tag");
    refused(with(4, Item::Queue(9)), "the snapshot's queue has an illegal end");
    refused(with(7, Item::Queue(1 << 63)), "the snapshot's queue has an illegal end");
}

#[test]
fn tags_are_those_of_the_messages() {
    let idle = "the snapshot's topic has an illegal tag without a message";
    refused(with(3, tags(&["a", "c", "b"])), idle);
    refused(with(3, tags(&["a", "", "b", "c"])), idle);
    refused(with(3, tags(&["a", "", "b", ""])), idle);
    refused(with(3, tags(&["a", "", "a"])), "the snapshot's tag has an illegal text");
}

#[test]
fn cursors_and_leases_stay_within_their_queue() {
    let next = "the snapshot's cursor has an illegal next offset";
    refused(with(9, cursor(2, &[])), next);
    refused(with(9, cursor(9, &[])), next);
    refused(with(10, cursor(1, &[])), next);
    let leased = "the snapshot's cursor has an illegal leased offset";
    refused(with(9, cursor(7, &[2])), leased);
    refused(with(9, cursor(7, &[7])), leased);
    refused(
        with(8, Item::Subscription(Revision(1), 3, Vec::new())),
        "the snapshot's subscription has an illegal turn",
    );
    refused(
        with(8, Item::Subscription(Revision(2), 1, Vec::new())),
        "the snapshot's subscription has an illegal consumer group",
    );
}

/// A state that commands have made.
fn lived() -> State {
    let mut state = State::new(GroupId(0), 1);
    let (topic, group) = (TopicName::new("t").unwrap(), GroupName::new("g").unwrap());
    let queues = QueueCount::new(2).unwrap();
    let mut at = 0;
    let mut apply = |command: Command| {
        at += 1;
        state.apply(RecordId { index: LogIndex(at), slot: 0 }, Timestamp(at), &command)
    };
    apply(Command::CreateTopic(CreateTopic { name: topic.clone(), kind: TopicKind::Mixed, queues }));
    apply(Command::CreateGroup(CreateGroup {
        name: group.clone(),
        start: StartPosition::Latest,
        order: DeliveryOrder::Fifo,
        max_attempts: 1,
        retry: RetryPolicy::default(),
    }));
    let mut publish = |queue, tag: Option<&str>, kind| {
        apply(Command::Publish(Publish {
            topic: topic.clone(),
            queue: QueueId(queue),
            kind,
            tag: tag.map(str::to_owned),
            message_id: format!("{queue}{tag:?}"),
            keys: Vec::new(),
            properties: Vec::new(),
            trace_context: None,
            born_at: Timestamp(0),
            born_host: String::new(),
            encoding: Encoding::Identity,
            body: Bytes::new(),
        }));
    };
    let fifo = || MessageKind::Fifo { message_group: "lane".to_owned() };
    (0..5).for_each(|n| publish(n % 2, Some(if n > 2 { "a" } else { "b" }), fifo()));
    publish(0, None, MessageKind::Normal);
    publish(0, Some("late"), MessageKind::Delay { deliver_at: Timestamp(500) });
    publish(1, Some("half"), MessageKind::Transaction { check_after_ms: None });
    let (queues, filter) = (QueueSelection::All, Filter::All);
    apply(Command::Receive(Receive {
        group,
        topic,
        queues,
        max: 2,
        filter,
        invisible_ms: 9,
        attempt_id: Some("first".to_owned()),
        by: String::new(),
    }));
    state
}

fn payload(state: &State) -> BytesMut {
    let parts: Vec<Bytes> = state.freeze().into_parts().collect();
    BytesMut::from(&parts[0][16..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// What comes out is none or is a state: it makes a snapshot of its own and can be used.
    #[test]
    fn damaged_content_does_not_panic(damage in vec((any::<Index>(), any::<u8>()), 1..4)) {
        let mut bytes = payload(&lived());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut state) = restored(&[bytes]) {
            let again = restored(&[payload(&state)]);
            prop_assert_eq!(again.as_ref(), Ok(&state));
            let names: Vec<TopicName> = state.topics.keys().cloned().collect();
            let groups: Vec<GroupName> = state.groups.keys().cloned().collect();
            for (topic, group) in names.into_iter().zip(groups) {
                let (queues, filter) = (QueueSelection::All, Filter::All);
                let receive = Receive { group, topic, queues, max: 9, filter, invisible_ms: 9, attempt_id: None, by: String::new() };
                state.apply(RecordId { index: LogIndex(99), slot: 0 }, Timestamp(99), &Command::Receive(receive));
            }
        }
    }

    #[test]
    fn arbitrary_content_does_not_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut with_header = encoded(&[header()]);
        with_header.extend_from_slice(&bytes);
        prop_assert!(restored(&[BytesMut::from(&bytes[..])]).is_err());
        prop_assert!(restored(&[with_header]).is_err());
    }
}
