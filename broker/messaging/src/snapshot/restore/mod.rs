//! From a snapshot's bytes to the state. Every item is checked against what is there already, and takes room only for
//! what its bytes hold.

mod pending;
mod topic;

use bytes::Bytes;
use mainstay_record::GroupId;

use self::topic::TopicBuilder;
use super::SnapshotError;
use super::frame::Opener;
use super::item::{self, Totals};
use super::pending::{ENDED, HALF, SEEN, TIMER};
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{DeliveryOrder, Revision, queue_share};
use crate::state::State;
use crate::users::{self, UserName};
use crate::wire::{DecodeError, Reader};

/// A state coming out of a snapshot.
#[derive(Debug)]
pub struct Restore {
    opener: Opener,
    builder: Builder,
    failed: Option<SnapshotError>,
}

impl Restore {
    /// Of broker group `group`, one of `groups`; a snapshot of another one is refused.
    pub fn new(group: GroupId, groups: u32) -> Self {
        Self { opener: Opener::default(), builder: Builder::new(group, groups), failed: None }
    }

    /// Takes the next bytes of the snapshot: a part of it, or bytes cut anywhere.
    ///
    /// # Errors
    /// When they are not what was written, or stand for no state. After the first error there is no other answer.
    pub fn feed(&mut self, bytes: &Bytes) -> Result<(), SnapshotError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let fed = self.take(bytes.clone());
        self.failed = fed.as_ref().err().cloned();
        fed
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            if self.builder.at == At::End {
                return Err(SnapshotError::Trailing(bytes.len()));
            }
            if let Some(part) = self.opener.next(&mut bytes)? {
                self.builder.take(&part)?;
            }
        }
        Ok(())
    }

    /// The state, once the whole snapshot was fed.
    ///
    /// # Errors
    /// When the snapshot has not come to its end, or had an error.
    pub fn finish(self) -> Result<State, SnapshotError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.builder.at == At::End && !self.opener.is_within() => Ok(self.builder.state),
            None => Err(SnapshotError::Incomplete),
        }
    }
}

/// Which items may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Start,
    Users,
    Groups,
    Tags,
    Queues,
    Subscriptions,
    Timers,
    Halves,
    Ended,
    Seen,
    End,
}

#[derive(Debug)]
struct Builder {
    state: State,
    at: At,
    orders: foldhash::HashMap<Revision, DeliveryOrder>,
    last_user: Option<UserName>,
    last_group: Option<GroupName>,
    topic: Option<TopicBuilder>,
}

const fn invalid(item: &'static str, field: &'static str) -> SnapshotError {
    SnapshotError::Invalid { item, field }
}

/// Reads one item's fields.
fn read<'a, T>(
    item: &'static str,
    input: &mut Reader<'a>,
    fields: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<T, SnapshotError> {
    fields(input).map_err(|error| SnapshotError::of_item(item, &error))
}

impl Builder {
    fn new(group: GroupId, groups: u32) -> Self {
        Self {
            state: State::new(group, groups),
            at: At::Start,
            orders: foldhash::HashMap::default(),
            last_user: None,
            last_group: None,
            topic: None,
        }
    }

    fn take(&mut self, part: &Bytes) -> Result<(), SnapshotError> {
        let mut input = Reader::new(part);
        while !input.is_empty() {
            if self.at == At::End {
                return Err(SnapshotError::Trailing(input.left()));
            }
            let kind = read("item", &mut input, |input| input.byte("kind"))?;
            self.take_item(kind, &mut input)?;
        }
        Ok(())
    }

    fn take_item(&mut self, kind: u8, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        match (kind, self.at) {
            (item::HEADER, At::Start) => self.header(input),
            (item::USER, At::Users) => self.user(input),
            (item::GROUP, At::Users | At::Groups) => self.group(input),
            (item::TOPIC, At::Users | At::Groups | At::Tags | At::Queues | At::Subscriptions) => {
                self.topic(input)
            }
            (item::TAG, At::Tags) => self.in_topic("tag", |topic| topic.tag(input)),
            (item::FREE_TAG, At::Tags) => self.in_topic("tag", TopicBuilder::free_tag),
            (item::QUEUE, At::Tags | At::Queues) => {
                self.at = At::Queues;
                self.in_topic("queue", |topic| topic.queue(input))
            }
            (item::CHUNK, At::Queues) => self.in_topic("chunk", |topic| topic.chunk(input)),
            (item::SUBSCRIPTION, At::Tags | At::Queues | At::Subscriptions) => {
                self.at = At::Subscriptions;
                self.subscription(input)
            }
            (item::CURSOR, At::Subscriptions) => self.in_topic("cursor", |topic| topic.cursor(input)),
            (TIMER, at) if at > At::Start && at <= At::Timers => self.pending(At::Timers, input),
            (HALF, at) if at > At::Start && at <= At::Halves => self.pending(At::Halves, input),
            (ENDED, at) if at > At::Start && at <= At::Ended => self.pending(At::Ended, input),
            (SEEN, at) if at > At::Start && at <= At::Seen => self.pending(At::Seen, input),
            (item::END, at) if at > At::Start => self.end(input),
            (kind, _) => Err(match name_of(kind) {
                Some(item) => SnapshotError::Misplaced { item },
                None => SnapshotError::UnknownItem(kind),
            }),
        }
    }

    fn in_topic(
        &mut self,
        item: &'static str,
        take: impl FnOnce(&mut TopicBuilder) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        take(self.topic.as_mut().ok_or(SnapshotError::Misplaced { item })?)
    }

    fn header(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let header = read("header", input, item::header)?;
        let (expected, expected_groups) = (self.state.broker_group, self.state.broker_groups);
        if (header.group, header.groups) != (expected, expected_groups) {
            let (group, groups) = (header.group, header.groups);
            return Err(SnapshotError::OtherGroup { group, groups, expected, expected_groups });
        }
        self.state.version = header.version;
        self.at = At::Users;
        Ok(())
    }

    fn user(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let user = read("user", input, users::user)?;
        if self.last_user.as_ref().is_some_and(|last| *last >= user.name) {
            return Err(invalid("user", "place in the order of names"));
        }
        self.last_user = Some(user.name.clone());
        self.state.users.insert(user.name.clone(), user);
        Ok(())
    }

    fn group(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let group = read("consumer group", input, item::group)?;
        self.at = At::Groups;
        let name = group.group.name.clone();
        if self.last_group.as_ref().is_some_and(|last| *last >= name) {
            return Err(invalid("consumer group", "place in the order of names"));
        }
        self.last_group = Some(name.clone());
        self.orders.insert(group.group.revision, group.group.order);
        self.state.groups.insert(name, group);
        Ok(())
    }

    fn topic(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let topic = read("topic", input, item::topic)?;
        if self.close_topic()?.is_some_and(|last| last >= topic.name) {
            return Err(invalid("topic", "place in the order of names"));
        }
        let share = queue_share(topic.queues, self.state.broker_group, self.state.broker_groups);
        self.topic = Some(TopicBuilder::new(topic, share as usize));
        self.at = At::Tags;
        Ok(())
    }

    fn subscription(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        const ITEM: &str = "subscription";
        let group = Revision(read(ITEM, input, |input| input.u64_le("consumer group"))?);
        let turn = read(ITEM, input, |input| input.u32_le("turn"))?;
        let attempts = read(ITEM, input, item::attempts)?;
        let order = *self.orders.get(&group).ok_or(invalid(ITEM, "consumer group"))?;
        self.in_topic(ITEM, |topic| topic.subscription(group, order, turn, attempts))
    }

    /// The name of the topic that was built, if one was.
    fn close_topic(&mut self) -> Result<Option<TopicName>, SnapshotError> {
        let Some(topic) = self.topic.take() else { return Ok(None) };
        let state = topic.finish()?;
        let name = state.topic.name.clone();
        if self.state.names.insert(state.topic.revision, name.clone()).is_some() {
            return Err(invalid("topic", "revision"));
        }
        self.state.topics.insert(name.clone(), state);
        Ok(Some(name))
    }

    fn end(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let totals: Totals = read("end", input, item::totals)?;
        self.close_topic()?;
        if !self.state.topics.values().all(|topic| topic.tags.is_complete()) {
            return Err(invalid("topic", "tag without a message"));
        }
        if totals != self.state.totals() {
            return Err(invalid("end", "total"));
        }
        self.at = At::End;
        Ok(())
    }
}

const fn name_of(kind: u8) -> Option<&'static str> {
    match kind {
        item::HEADER => Some("header"),
        item::USER => Some("user"),
        item::GROUP => Some("consumer group"),
        item::TOPIC => Some("topic"),
        item::TAG | item::FREE_TAG => Some("tag"),
        item::QUEUE => Some("queue"),
        item::CHUNK => Some("chunk"),
        item::SUBSCRIPTION => Some("subscription"),
        item::CURSOR => Some("cursor"),
        TIMER => Some("delayed message"),
        HALF => Some("half message"),
        ENDED => Some("ended transaction"),
        SEEN => Some("remembered message"),
        item::END => Some("end"),
        _ => None,
    }
}
