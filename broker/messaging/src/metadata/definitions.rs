//! Topics and consumer groups come and go: changed by commands in the metadata group, followed in the others.
//!
//! The version grows with every change, and with every epoch where others follow it: one that was lost with a tail of the
//! log is never given again. What a change creates has that version as its revision for ever, in every broker
//! group.

use mainstay_record::{GroupId, RecordId, Timestamp};

use crate::command::{CreateGroup, CreateTopic, DeleteGroup, RaiseVersion};
use crate::delivery::subscription::Subscription;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{
    ConsumerGroup, Metadata, QueueCount, Revision, StartPosition, Topic, TopicKind, queue_share,
};
use crate::outcome::{Outcome, Refusal};
use crate::queue::index::QueueIndex;
use crate::queue::tags::TagTable;
use crate::state::{State, TopicState};

/// Where several broker groups follow it, a version has the number of its epoch above as many bits for its changes.
const EPOCH_SHIFT: u32 = 32;

/// A consumer group and since when it exists here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupState {
    pub(crate) group: ConsumerGroup,
    pub(crate) since: Since,
}

/// The moment a consumer group was created. In the metadata's own log that is exact; in the others, whose logs have no
/// place for it, the clock has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Record(RecordId),
    Time(Timestamp),
}

impl GroupState {
    /// Where the group begins in a queue it has never read.
    pub(crate) fn start(&self, index: &QueueIndex) -> u64 {
        match (self.group.start, self.since) {
            (StartPosition::Earliest, _) => index.start(),
            (StartPosition::Latest, Since::Record(record)) => index.first_after(record),
            (StartPosition::Latest, Since::Time(time)) => index.first_stored_since(time),
        }
    }
}

impl State {
    pub(crate) fn create_topic(&mut self, create: &CreateTopic) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        if create.name.is_derived() {
            return Err(Refusal::DerivedTopic(create.name.clone()));
        }
        if let Some(TopicState { topic, .. }) = self.topics.get(&create.name) {
            if topic.kind == create.kind && topic.queues == create.queues {
                return Ok(Outcome::TopicCreated { created: false });
            }
            return Err(Refusal::TopicExistsDifferently { existing: topic.clone() });
        }
        let revision = self.next_version();
        let CreateTopic { name, kind, queues } = create.clone();
        self.insert_topic(Topic { name, kind, queues, revision });
        Ok(Outcome::TopicCreated { created: true })
    }

    pub(crate) fn delete_topic(&mut self, name: &TopicName) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        if name.is_derived() {
            return Err(Refusal::DerivedTopic(name.clone()));
        }
        if !self.remove_topic(name) {
            return Err(Refusal::UnknownTopic(name.to_string()));
        }
        self.next_version();
        Ok(Outcome::TopicDeleted)
    }

    pub(crate) fn create_group(
        &mut self,
        record: RecordId,
        now: Timestamp,
        create: &CreateGroup,
    ) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        if let Some(GroupState { group, .. }) = self.groups.get(&create.name) {
            let CreateGroup { name: _, start, order, max_attempts, retry } = create;
            if (group.start, group.order, group.max_attempts) == (*start, *order, *max_attempts)
                && group.retry == *retry
            {
                return Ok(Outcome::GroupCreated { created: false });
            }
            return Err(Refusal::GroupExistsDifferently { existing: group.clone() });
        }
        let revision = self.next_version();
        let CreateGroup { name, start, order, max_attempts, retry } = create.clone();
        self.insert_topic(self.dead_letter_topic(&name, revision));
        let group = ConsumerGroup {
            name: name.clone(),
            start,
            order,
            max_attempts,
            retry,
            revision,
            created_at: now,
        };
        self.groups.insert(name, GroupState { group, since: Since::Record(record) });
        Ok(Outcome::GroupCreated { created: true })
    }

    pub(crate) fn delete_group(&mut self, delete: &DeleteGroup) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        let name = &delete.name;
        let letters = self.unconsumed_letters(name);
        if letters > 0 && !delete.with_dead_letters {
            return Err(Refusal::DeadLetters { group: name.clone(), letters });
        }
        let Some(GroupState { group, .. }) = self.groups.remove(name) else {
            return Err(Refusal::UnknownGroup(name.to_string()));
        };
        self.forget_subscriptions(group.revision);
        self.remove_topic(&TopicName::dead_letters_of(name));
        self.next_version();
        Ok(Outcome::GroupDeleted)
    }

    /// Dead letters of a group that are here, less those that another group has consumed: the one that is furthest.
    pub fn unconsumed_letters(&self, group: &GroupName) -> u64 {
        let Some(letters) = self.topics.get(&TopicName::dead_letters_of(group)) else { return 0 };
        let all: u64 = letters.queues.iter().map(|index| index.end() - index.start()).sum();
        let left = |subscription: &Subscription| -> u64 {
            let queues = subscription.cursors().iter().zip(&letters.queues);
            let each = queues.map(|(cursor, index)| {
                let unseen = index.end() - cursor.next().clamp(index.start(), index.end());
                unseen + cursor.waiting(index) + cursor.unacked() as u64
            });
            each.sum()
        };
        letters.subscriptions.values().map(left).min().map_or(all, |left| left.min(all))
    }

    pub(crate) fn sync_metadata(&mut self, metadata: &Metadata) -> Result<Outcome, Refusal> {
        if self.broker_group == GroupId::METADATA {
            return Err(Refusal::IsMetadataGroup);
        }
        if metadata.version <= self.version || !metadata.names_revisions_once() {
            return Ok(Outcome::Synced { applied: false });
        }
        self.sync_topics(&metadata.topics);
        self.sync_groups(&metadata.groups);
        self.sync_users(&metadata.users);
        self.version = metadata.version;
        Ok(Outcome::Synced { applied: true })
    }

    fn sync_topics(&mut self, topics: &[Topic]) {
        let kept: foldhash::HashMap<&TopicName, &Topic> =
            topics.iter().map(|topic| (&topic.name, topic)).collect();
        let gone = self.topics.iter().filter(|(name, state)| kept.get(name) != Some(&&state.topic));
        let gone: Vec<TopicName> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.remove_topic(&name);
        }
        for topic in topics {
            if !self.topics.contains_key(&topic.name) {
                self.insert_topic(topic.clone());
            }
        }
    }

    fn sync_groups(&mut self, groups: &[ConsumerGroup]) {
        let kept: foldhash::HashMap<&GroupName, &ConsumerGroup> =
            groups.iter().map(|group| (&group.name, group)).collect();
        let gone: Vec<Revision> = self
            .groups
            .extract_if(|name, state| kept.get(name) != Some(&&state.group))
            .map(|(_, state)| state.group.revision)
            .collect();
        for revision in gone {
            self.forget_subscriptions(revision);
        }
        for group in groups {
            let since = Since::Time(group.created_at);
            self.groups
                .entry(group.name.clone())
                .or_insert_with(|| GroupState { group: group.clone(), since });
        }
    }

    pub(crate) fn raise_version(&mut self, raise: RaiseVersion) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        let first = Revision(u64::from(raise.epoch) << EPOCH_SHIFT);
        let raised = first > self.version;
        if raised {
            self.version = first;
        }
        Ok(Outcome::VersionRaised { raised })
    }

    pub(crate) fn require_metadata_group(&self) -> Result<(), Refusal> {
        if self.broker_group == GroupId::METADATA { Ok(()) } else { Err(Refusal::NotMetadataGroup) }
    }

    pub(crate) fn next_version(&mut self) -> Revision {
        self.version = Revision(self.version.0 + 1);
        self.version
    }

    pub(crate) fn insert_topic(&mut self, topic: Topic) {
        let queues = queue_share(topic.queues, self.broker_group, self.broker_groups);
        let state = TopicState {
            queues: vec![QueueIndex::default(); queues as usize],
            tags: TagTable::default(),
            subscriptions: foldhash::HashMap::default(),
            topic,
        };
        self.names.insert(state.topic.revision, state.topic.name.clone());
        self.topics.insert(state.topic.name.clone(), state);
    }

    /// With all that is not in its queues yet. False when there is no such topic.
    pub(crate) fn remove_topic(&mut self, name: &TopicName) -> bool {
        let Some(removed) = self.topics.remove(name) else { return false };
        let revision = removed.topic.revision;
        self.names.remove(&revision);
        self.timers.forget_topic(revision);
        self.halves.forget_topic(revision);
        true
    }

    /// One queue in each broker group, since each has dead letters of its own. It comes and goes with its group, and
    /// has the same revision.
    fn dead_letter_topic(&self, group: &GroupName, revision: Revision) -> Topic {
        Topic {
            name: TopicName::dead_letters_of(group),
            kind: TopicKind::Normal,
            queues: QueueCount::clamped(self.broker_groups),
            revision,
        }
    }

    pub(crate) fn forget_subscriptions(&mut self, group: Revision) {
        for topic in self.topics.values_mut() {
            topic.subscriptions.remove(&group);
        }
    }
}
