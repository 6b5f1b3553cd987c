//! What changed from one version of the metadata to another, so that following it costs a log what changed, and not all
//! there is.
//!
//! Applied to the version they begin with, changes give the one they end with, exactly as the whole of it would. Applied to
//! any other they do nothing.

use mainstay_record::GroupId;

use crate::metadata::definitions::{GroupState, Since};
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{Metadata, Revision};
use crate::outcome::{Outcome, Refusal};
use crate::state::State;
use crate::users::UserName;

/// From one version of the metadata to a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataChanges {
    /// The version they begin with.
    pub from: Revision,
    pub gone_topics: Vec<TopicName>,
    pub gone_groups: Vec<GroupName>,
    pub gone_users: Vec<UserName>,
    /// What is new, or took the place of another of its name, at the version they end with.
    pub new: Metadata,
}

impl MetadataChanges {
    pub fn between(old: &Metadata, new: &Metadata) -> Self {
        let gone_topics = old.topics.iter().map(|topic| &topic.name);
        let gone_groups = old.groups.iter().map(|group| &group.name);
        let gone_users = old.users.iter().map(|user| &user.name);
        let new_topics = new.topics.iter().filter(|topic| old.topic(topic.name.as_str()) != Some(topic));
        let new_groups = new.groups.iter().filter(|group| old.group(group.name.as_str()) != Some(group));
        let new_users = new.users.iter().filter(|user| old.user(user.name.as_str()) != Some(user));
        Self {
            from: old.version,
            gone_topics: gone_topics.filter(|name| new.topic(name.as_str()).is_none()).cloned().collect(),
            gone_groups: gone_groups.filter(|name| new.group(name.as_str()).is_none()).cloned().collect(),
            gone_users: gone_users.filter(|name| new.user(name.as_str()).is_none()).cloned().collect(),
            new: Metadata {
                version: new.version,
                topics: new_topics.cloned().collect(),
                groups: new_groups.cloned().collect(),
                users: new_users.cloned().collect(),
            },
        }
    }
}

impl State {
    pub(crate) fn change_metadata(&mut self, changes: &MetadataChanges) -> Result<Outcome, Refusal> {
        if self.broker_group == GroupId::METADATA {
            return Err(Refusal::IsMetadataGroup);
        }
        let follows = changes.from == self.version && changes.new.version > self.version;
        if !follows || !changes.new.names_revisions_once() || self.shares_a_revision(changes) {
            return Ok(Outcome::Synced { applied: false });
        }
        // A new topic may have the revision of one that is replaced: nothing is removed behind what is new.
        let replaced = changes.new.topics.iter().map(|topic| &topic.name);
        for name in changes.gone_topics.iter().chain(replaced) {
            self.remove_topic(name);
        }
        for topic in &changes.new.topics {
            self.insert_topic(topic.clone());
        }
        let replaced = changes.new.groups.iter().map(|group| &group.name);
        for name in changes.gone_groups.iter().chain(replaced) {
            if let Some(GroupState { group, .. }) = self.groups.remove(name) {
                self.forget_subscriptions(group.revision);
            }
        }
        for group in &changes.new.groups {
            let since = Since::Time(group.created_at);
            self.groups.insert(group.name.clone(), GroupState { group: group.clone(), since });
        }
        for name in &changes.gone_users {
            self.users.remove(name);
        }
        self.users.extend(changes.new.users.iter().map(|user| (user.name.clone(), user.clone())));
        self.version = changes.new.version;
        Ok(Outcome::Synced { applied: true })
    }

    /// Whether a new topic has the revision of one that stays, by which they could not be told apart.
    fn shares_a_revision(&self, changes: &MetadataChanges) -> bool {
        changes.new.topics.iter().any(|topic| {
            let other = self.names.get(&topic.revision);
            other.is_some_and(|name| {
                !changes.gone_topics.contains(name) && changes.new.topic(name.as_str()).is_none()
            })
        })
    }
}
