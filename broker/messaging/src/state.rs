//! The state of one broker group and how each command changes it.
//!
//! What is derived from the log and nothing else: every time is the record's, every id comes from the log's order. Maps
//! are looked up, never walked where order could show.

use bytes::Bytes;
use mainstay_record::{GroupId, RecordId, Timestamp};

use crate::codec::{self, DecodeError, PublishRoute};
use crate::command::{Ack, ChangeInvisible, Command, Publish, QueueSelection, Receive, ResetGroup};
use crate::cursor::{Cursor, Taking};
use crate::definitions::GroupState;
use crate::handle::{ReceiptHandle, Token};
use crate::index::QueueIndex;
use crate::metadata::{QueueId, Revision, StartPosition, Topic};
use crate::names::{GroupName, TopicName};
use crate::outcome::{AckError, Outcome, Refusal};
use crate::subscription::Subscription;
use crate::tags::{TagId, TagTable};

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
    pub(crate) groups: foldhash::HashMap<GroupName, GroupState>,
}

impl State {
    /// The state before the first record of the log of `group`, one of `groups` broker groups.
    pub fn new(group: GroupId, groups: u32) -> Self {
        Self {
            broker_group: group,
            broker_groups: groups,
            version: Revision(0),
            topics: foldhash::HashMap::default(),
            groups: foldhash::HashMap::default(),
        }
    }

    /// Applies the command of `record`, whose batch is stamped `now`.
    pub fn apply(&mut self, record: RecordId, now: Timestamp, command: &Command) -> Outcome {
        let outcome = match command {
            Command::CreateTopic(create) => self.create_topic(create),
            Command::DeleteTopic(delete) => self.delete_topic(&delete.name),
            Command::CreateGroup(create) => self.create_group(record, now, create),
            Command::DeleteGroup(delete) => self.delete_group(&delete.name),
            Command::ResetGroup(reset) => self.reset_group(reset),
            Command::Publish(publish) => self.publish(record, now, &route(publish)),
            Command::Receive(receive) => self.receive(record, now, receive),
            Command::Ack(ack) => self.ack(now, ack),
            Command::ChangeInvisible(change) => self.change_invisible(record, now, change),
            Command::SyncMetadata(sync) => self.sync_metadata(&sync.metadata),
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

    fn reset_group(&mut self, reset: &ResetGroup) -> Result<Outcome, Refusal> {
        let group = find_group(&self.groups, &reset.group)?;
        let topic = find_topic_mut(&mut self.topics, reset.topic.as_str())?;
        let subscription = match reset.to {
            StartPosition::Earliest => Subscription::new(&topic.queues, QueueIndex::start),
            StartPosition::Latest => Subscription::new(&topic.queues, QueueIndex::end),
        };
        topic.subscriptions.insert(group.group.revision, subscription);
        Ok(Outcome::GroupReset)
    }

    fn publish(
        &mut self,
        record: RecordId,
        now: Timestamp,
        route: &PublishRoute<'_>,
    ) -> Result<Outcome, Refusal> {
        let TopicState { topic, queues, tags, .. } = find_topic_mut(&mut self.topics, route.topic)?;
        if let Some(refusal) = Refusal::of_kind(&topic.name, topic.kind, route.kind) {
            return Err(refusal);
        }
        let count = queues.len() as u32;
        let Some(index) = queues.get_mut(route.queue.0 as usize) else {
            return Err(unknown_queue(topic, route.queue, count));
        };
        let tag = match route.tag {
            None => TagId::NONE,
            Some(tag) => {
                tags.intern(tag).ok_or_else(|| Refusal::TooManyTags { topic: topic.name.clone() })?
            }
        };
        Ok(Outcome::Published { offset: index.push(record, now, tag, tags) })
    }

    fn receive(&mut self, record: RecordId, now: Timestamp, receive: &Receive) -> Result<Outcome, Refusal> {
        let group = find_group(&self.groups, &receive.group)?;
        let TopicState { topic, queues, tags, subscriptions } =
            find_topic_mut(&mut self.topics, receive.topic.as_str())?;
        if let QueueSelection::Only(selected) = &receive.queues {
            let count = queues.len() as u32;
            if let Some(queue) = selected.iter().find(|queue| queue.0 >= count) {
                return Err(unknown_queue(topic, *queue, count));
            }
        }
        let taking = Taking {
            broker_group: self.broker_group,
            topic: topic.revision,
            group: group.group.revision,
            token: Token { record, made_at: now },
            expires_at: now.plus_millis(receive.invisible_ms),
            tags: tags.resolve(&receive.filter),
            max: receive.max as usize,
        };
        let subscription = subscriptions
            .entry(group.group.revision)
            .or_insert_with(|| Subscription::new(queues, |index| group.start(index)));
        Ok(Outcome::Received(subscription.receive(queues, &receive.queues, &taking)))
    }

    fn ack(&mut self, now: Timestamp, ack: &Ack) -> Result<Outcome, Refusal> {
        let mut subscription = self.held(&ack.group, &ack.topic)?;
        let results = ack.handles.iter().map(|handle| {
            let cursor = subscription.cursor(handle)?;
            cursor.acknowledge(handle.offset.0, handle.token, now)
        });
        Ok(Outcome::Acked(results.collect()))
    }

    fn change_invisible(
        &mut self,
        record: RecordId,
        now: Timestamp,
        change: &ChangeInvisible,
    ) -> Result<Outcome, Refusal> {
        let mut subscription = self.held(&change.group, &change.topic)?;
        let handle = &change.handle;
        let token = Token { record, made_at: now };
        let expires_at = now.plus_millis(change.invisible_ms);
        let changed = subscription
            .cursor(handle)
            .and_then(|cursor| cursor.change(handle.offset.0, handle.token, now, token, expires_at))
            .map(|()| ReceiptHandle { token, ..*handle });
        Ok(Outcome::Changed(changed))
    }

    fn held(&mut self, group: &GroupName, topic: &TopicName) -> Result<Held<'_>, Refusal> {
        let group = find_group(&self.groups, group)?.group.revision;
        let topic = find_topic_mut(&mut self.topics, topic.as_str())?;
        Ok(Held {
            broker_group: self.broker_group,
            topic: topic.topic.revision,
            group,
            subscription: topic.subscriptions.get_mut(&group),
        })
    }
}

/// What a consumer group holds of a topic, looked up by receipt handles.
struct Held<'a> {
    broker_group: GroupId,
    topic: Revision,
    group: Revision,
    subscription: Option<&'a mut Subscription>,
}

impl Held<'_> {
    fn cursor(&mut self, handle: &ReceiptHandle) -> Result<&mut Cursor, AckError> {
        let ours = (self.broker_group, self.topic, self.group);
        if ours != (handle.broker_group, handle.topic, handle.group) {
            return Err(AckError::Foreign);
        }
        let subscription = self.subscription.as_deref_mut().ok_or(AckError::NotInFlight)?;
        subscription.cursor_mut(handle.queue.0).ok_or(AckError::NotInFlight)
    }
}

fn route(publish: &Publish) -> PublishRoute<'_> {
    PublishRoute {
        topic: publish.topic.as_str(),
        queue: publish.queue,
        kind: publish.kind.topic_kind(),
        tag: publish.tag.as_deref(),
    }
}

fn find_group<'a>(
    groups: &'a foldhash::HashMap<GroupName, GroupState>,
    name: &GroupName,
) -> Result<&'a GroupState, Refusal> {
    groups.get(name).ok_or_else(|| Refusal::UnknownGroup(name.to_string()))
}

fn find_topic_mut<'a>(
    topics: &'a mut foldhash::HashMap<TopicName, TopicState>,
    name: &str,
) -> Result<&'a mut TopicState, Refusal> {
    topics.get_mut(name).ok_or_else(|| Refusal::UnknownTopic(name.to_owned()))
}

fn unknown_queue(topic: &Topic, queue: QueueId, queues: u32) -> Refusal {
    Refusal::UnknownQueue { topic: topic.name.clone(), queue, queues }
}
