//! Read-only questions to the state: what a long poll waits for, what people look at.

pub(crate) mod whereabouts;

use std::ops::Range;

use mainstay_record::{RecordId, Timestamp};

use crate::command::{Filter, QueueSelection};
use crate::delivery::cursor::{Cursor, MAX_UNACKED};
use crate::metadata::definitions::GroupState;
use crate::metadata::names::TopicName;
use crate::metadata::{ConsumerGroup, Metadata, QueueId, QueueOffset, Revision, Topic};
use crate::state::{State, TopicState};

/// How far a consumer group is in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueProgress {
    pub queue: QueueId,
    /// The next offset not looked at.
    pub next: QueueOffset,
    /// After the newest message.
    pub end: QueueOffset,
    /// Delivered, not acknowledged.
    pub in_flight: u64,
    /// Messages not looked at yet, or that wait for others of their message group. A filter may still skip some of them.
    pub lag: u64,
}

impl State {
    /// All topics, consumer groups and users; walks all of them.
    pub fn metadata(&self) -> Metadata {
        let mut topics: Vec<Topic> = self.topics.values().map(|state| state.topic.clone()).collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut groups: Vec<ConsumerGroup> = self.groups.values().map(|state| state.group.clone()).collect();
        groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Metadata { version: self.version, topics, groups, users: self.users() }
    }

    /// Changes with every change of [`Self::metadata`].
    pub const fn metadata_version(&self) -> Revision {
        self.version
    }

    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name).map(|state| &state.topic)
    }

    pub fn group(&self, name: &str) -> Option<&ConsumerGroup> {
        self.groups.get(name).map(|state| &state.group)
    }

    /// How many queues the topic has in this broker group; their ids are 0 to that number.
    pub fn local_queues(&self, topic: &str) -> Option<u32> {
        self.topics.get(topic).map(|state| state.queues.len() as u32)
    }

    /// From the oldest message kept to after the newest.
    pub fn queue_range(&self, topic: &str, queue: QueueId) -> Option<Range<QueueOffset>> {
        let index = self.topics.get(topic)?.queues.get(queue.0 as usize)?;
        Some(QueueOffset(index.start())..QueueOffset(index.end()))
    }

    /// Where the message at `offset` lies in the log.
    pub fn locate(&self, topic: &str, queue: QueueId, offset: QueueOffset) -> Option<RecordId> {
        let index = self.topics.get(topic)?.queues.get(queue.0 as usize)?;
        index.get(offset.0).map(|message| message.body)
    }

    /// The first message that the queue got at this time or later, or where the next one comes.
    pub fn offset_since(&self, topic: &str, queue: QueueId, time: Timestamp) -> Option<QueueOffset> {
        let index = self.topics.get(topic)?.queues.get(queue.0 as usize)?;
        Some(QueueOffset(index.first_stored_since(time)))
    }

    /// The topics that the group has received from or was reset on, sorted.
    pub fn subscribed_topics(&self, group: &str) -> Vec<TopicName> {
        let Some(GroupState { group, .. }) = self.groups.get(group) else { return Vec::new() };
        let topics = self.topics.values().filter(|state| state.subscriptions.contains_key(&group.revision));
        let mut names: Vec<TopicName> = topics.map(|state| state.topic.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Whether the group has received from the topic or was reset on it.
    pub fn has_read(&self, group: &str, topic: &str) -> bool {
        self.view(group, topic)
            .is_some_and(|view| view.topic.subscriptions.contains_key(&view.group.group.revision))
    }

    /// The group's progress in every local queue of the topic, whether it has received from it yet or not. `None` when
    /// there is no such group or topic.
    pub fn progress(&self, group: &str, topic: &str) -> Option<Vec<QueueProgress>> {
        let view = self.view(group, topic)?;
        let progress = |queue: u32| {
            let index = view.topic.queues.get(queue as usize)?;
            let (next, in_flight, waiting) = match view.cursor(queue) {
                Some(cursor) => (cursor.next().max(index.start()), cursor.unacked(), cursor.waiting(index)),
                None => (view.group.start(index), 0, 0),
            };
            Some(QueueProgress {
                queue: QueueId(queue),
                next: QueueOffset(next),
                end: QueueOffset(index.end()),
                in_flight: in_flight as u64,
                lag: index.end() - next + waiting,
            })
        };
        Some((0..view.topic.queues.len() as u32).filter_map(progress).collect())
    }

    /// Whether a receive now would find something. Never false when it would deliver. True without a delivery only
    /// where the filter differs from an earlier one of the group and settles what that one left.
    pub fn ready(
        &self,
        group: &str,
        topic: &str,
        queues: &QueueSelection,
        filter: &Filter,
        now: Timestamp,
    ) -> bool {
        let Some(view) = self.view(group, topic) else { return false };
        let tags = view.topic.tags.resolve(filter);
        let ready = |queue: u32| {
            let Some(index) = view.topic.queues.get(queue as usize) else { return false };
            match view.cursor(queue) {
                Some(cursor) => cursor.has_due(now) || cursor.has_new(index, &tags),
                None => index.has_match(view.group.start(index), &tags),
            }
        };
        match queues {
            QueueSelection::All => (0..view.topic.queues.len() as u32).any(ready),
            QueueSelection::Only(queues) => queues.iter().any(|queue| ready(queue.0)),
        }
    }

    /// How many new messages a receive now would settle because `filter` refuses them by their tags, where it would
    /// deliver none of the same queue. What a filter on properties refuses is the leader's to find out.
    pub fn refused(&self, group: &str, topic: &str, queues: &QueueSelection, filter: &Filter) -> u64 {
        let (Some(view), Filter::Tags(_)) = (self.view(group, topic), filter) else { return 0 };
        let tags = view.topic.tags.resolve(filter);
        let refused = |queue: u32| {
            let Some(index) = view.topic.queues.get(queue as usize) else { return 0 };
            let (next, takes_more) = match view.cursor(queue) {
                Some(cursor) => (cursor.next().max(index.start()), cursor.unacked() < MAX_UNACKED),
                None => (view.group.start(index), true),
            };
            if takes_more && !index.has_match(next, &tags) { index.end() - next } else { 0 }
        };
        match queues {
            QueueSelection::All => (0..view.topic.queues.len() as u32).map(refused).sum(),
            QueueSelection::Only(queues) => queues.iter().map(|queue| refused(queue.0)).sum(),
        }
    }

    /// Whether a receive now that repeats `attempt_id` would get again what it got before.
    pub fn repeats(&self, group: &str, topic: &str, attempt_id: &str, now: Timestamp) -> bool {
        let Some(view) = self.view(group, topic) else { return false };
        let subscription = view.topic.subscriptions.get(&view.group.group.revision);
        subscription.is_some_and(|subscription| subscription.holds(attempt_id, now))
    }

    /// When the next message that is invisible at `now` comes back, if there is one.
    pub fn next_due(&self, group: &str, topic: &str, now: Timestamp) -> Option<Timestamp> {
        let view = self.view(group, topic)?;
        view.topic.subscriptions.get(&view.group.group.revision)?.next_due(now)
    }

    fn view<'a>(&'a self, group: &str, topic: &str) -> Option<View<'a>> {
        Some(View { group: self.groups.get(group)?, topic: self.topics.get(topic)? })
    }
}

/// A consumer group and a topic.
struct View<'a> {
    group: &'a GroupState,
    topic: &'a TopicState,
}

impl View<'_> {
    /// `None` before the group's first receive.
    fn cursor(&self, queue: u32) -> Option<&Cursor> {
        self.topic.subscriptions.get(&self.group.group.revision)?.cursor(queue)
    }
}
