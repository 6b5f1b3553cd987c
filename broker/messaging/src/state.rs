//! The state of one broker group, and which part of it each command changes.
//!
//! What is derived from the log and nothing else: every time is the record's, every id comes from the log's order. Maps
//! are looked up, never walked where order could show.

use bytes::Bytes;
use mainstay_record::{GroupId, RecordId, Timestamp};

use crate::codec::{self, DecodeError};
use crate::command::Command;
use crate::delivery::subscription::Subscription;
use crate::metadata::definitions::GroupState;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{QueueId, Revision, Topic};
use crate::outcome::{Outcome, Refusal};
use crate::pending::halves::Halves;
use crate::pending::ticket::Ticket;
use crate::pending::timers::Timers;
use crate::pending::transactions::{ENDED, End};
use crate::publishing::{MessageKey, SEEN, Went};
use crate::queue::index::QueueIndex;
use crate::queue::tags::TagTable;
use crate::users::{User, UserName};
use crate::window::Window;

/// A topic and what is in its queues here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicState {
    pub(crate) topic: Topic,
    pub(crate) queues: Vec<QueueIndex>,
    pub(crate) tags: TagTable,
    /// By the consumer group's revision; made by the first receive.
    pub(crate) subscriptions: foldhash::HashMap<Revision, Subscription>,
}

/// Everything that the log of one broker group says about messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) broker_group: GroupId,
    pub(crate) broker_groups: u32,
    pub(crate) version: Revision,
    pub(crate) topics: foldhash::HashMap<TopicName, TopicState>,
    /// Of all topics.
    pub(crate) names: foldhash::HashMap<Revision, TopicName>,
    pub(crate) groups: foldhash::HashMap<GroupName, GroupState>,
    pub(crate) timers: Timers,
    pub(crate) halves: Halves,
    /// Transactions that ended lately.
    pub(crate) ended: Window<Ticket, End>,
    /// Messages that were published lately.
    pub(crate) seen: Window<MessageKey, Went>,
    pub(crate) users: foldhash::HashMap<UserName, User>,
}

impl State {
    /// The state before the first record of the log of `group`, one of `groups` broker groups.
    pub fn new(group: GroupId, groups: u32) -> Self {
        Self {
            broker_group: group,
            broker_groups: groups,
            version: Revision(0),
            topics: foldhash::HashMap::default(),
            names: foldhash::HashMap::default(),
            groups: foldhash::HashMap::default(),
            timers: Timers::default(),
            halves: Halves::default(),
            ended: Window::new(ENDED),
            seen: Window::new(SEEN),
            users: foldhash::HashMap::default(),
        }
    }

    /// Applies the command of `record`, whose batch is stamped `now`.
    pub fn apply(&mut self, record: RecordId, now: Timestamp, command: &Command) -> Outcome {
        let outcome = match command {
            Command::CreateTopic(create) => self.create_topic(create),
            Command::DeleteTopic(delete) => self.delete_topic(&delete.name),
            Command::CreateGroup(create) => self.create_group(record, now, create),
            Command::DeleteGroup(delete) => self.delete_group(delete),
            Command::CreateUser(create) => self.create_user(create),
            Command::ChangeUser(change) => self.change_user(change),
            Command::DeleteUser(delete) => self.delete_user(&delete.name),
            Command::ResetGroup(reset) => self.reset_group(reset),
            Command::Publish(publish) => self.publish(record, now, &publish.into()),
            Command::Receive(receive) => self.receive(record, now, receive),
            Command::Ack(ack) => self.ack(now, ack),
            Command::ChangeInvisible(change) => self.change_invisible(record, now, change),
            Command::DeadLetter(dead) => self.dead_letter(record, now, dead),
            Command::SetOffset(set) => self.set_offset(set),
            Command::EndTransaction(end) => self.end_transaction(record, now, end),
            Command::NoteChecks(note) => self.note_checks(now, note),
            Command::Recall(recall) => self.recall(recall),
            Command::Elapse(elapse) => Ok(self.elapse(record, now, elapse)),
            Command::SyncMetadata(sync) => self.sync_metadata(&sync.metadata),
            Command::ChangeMetadata(changes) => self.change_metadata(changes),
            Command::RaiseVersion(raise) => self.raise_version(*raise),
            Command::Trim(trim) => Ok(self.trim(trim.through)),
        };
        outcome.unwrap_or_else(Outcome::Refused)
    }

    /// Applies a record from its bytes. Cheaper than [`Command::decode`] and [`Self::apply`], since of a message it
    /// reads no more than it keeps.
    ///
    /// # Errors
    /// When the bytes are no command that this version knows. The state is unchanged then, and the log must not be
    /// applied any further.
    pub fn apply_encoded(
        &mut self,
        record: RecordId,
        now: Timestamp,
        bytes: &Bytes,
    ) -> Result<Outcome, DecodeError> {
        match codec::publish_route(bytes)? {
            Some(route) => Ok(self.publish(record, now, &route).unwrap_or_else(Outcome::Refused)),
            None => Ok(self.apply(record, now, &Command::decode(bytes)?)),
        }
    }
}

pub(crate) fn find_group<'a>(
    groups: &'a foldhash::HashMap<GroupName, GroupState>,
    name: &GroupName,
) -> Result<&'a GroupState, Refusal> {
    groups.get(name).ok_or_else(|| Refusal::UnknownGroup(name.to_string()))
}

pub(crate) fn find_topic_mut<'a>(
    topics: &'a mut foldhash::HashMap<TopicName, TopicState>,
    name: &str,
) -> Result<&'a mut TopicState, Refusal> {
    topics.get_mut(name).ok_or_else(|| Refusal::UnknownTopic(name.to_owned()))
}

pub(crate) fn unknown_queue(topic: &Topic, queue: QueueId, queues: u32) -> Refusal {
    Refusal::UnknownQueue { topic: topic.name.clone(), queue, queues }
}
