//! Topics and consumer groups as they are defined, without what happens in them, and how a topic's queues are
//! spread over the broker groups.

pub(crate) mod changes;
pub(crate) mod definitions;
pub(crate) mod names;
pub(crate) mod retry;

use std::collections::BTreeSet;

use mainstay_record::{GroupId, Timestamp};

use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::retry::RetryPolicy;
use crate::queue::lane;
use crate::users::User;

/// Queues that one topic may have over all broker groups.
pub const MAX_QUEUES: u32 = 1024;

/// Number of a queue within its topic and broker group, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// Place of a message in its queue, from 0, no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(pub u64);

/// Metadata version that a change made. One that created a topic or group names it for ever, so that one deleted and
/// created anew is not mistaken for the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// What a topic's messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicKind {
    Normal,
    Fifo,
    Delay,
    Transaction,
    Priority,
    /// All of them but those with a priority.
    Mixed,
}

impl TopicKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Fifo => "FIFO",
            Self::Delay => "DELAY",
            Self::Transaction => "TRANSACTION",
            Self::Priority => "PRIORITY",
            Self::Mixed => "MIXED",
        }
    }
}

/// Number of queues of a topic over all broker groups: 1 to [`MAX_QUEUES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueCount(u32);

/// A number of queues out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("queues is {0}, allowed are 1 to {MAX_QUEUES}")]
pub struct QueueCountError(pub u32);

impl QueueCount {
    /// # Errors
    /// When the number is zero or above [`MAX_QUEUES`].
    pub const fn new(queues: u32) -> Result<Self, QueueCountError> {
        if queues == 0 || queues > MAX_QUEUES { Err(QueueCountError(queues)) } else { Ok(Self(queues)) }
    }

    /// The nearest that is in bounds.
    pub(crate) fn clamped(queues: u32) -> Self {
        Self(queues.clamp(1, MAX_QUEUES))
    }

    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub name: TopicName,
    pub kind: TopicKind,
    pub queues: QueueCount,
    pub revision: Revision,
}

impl Topic {
    /// Where the messages of a message group are, of `groups` broker groups: the same whoever asks, for ever.
    pub fn home_of(&self, message_group: &str, groups: u32) -> (GroupId, QueueId) {
        let queue = (lane::hash(message_group) % u64::from(self.queues.get())) as u32;
        let groups = groups.max(1);
        (GroupId(queue % groups), QueueId(queue / groups))
    }
}

/// Where a consumer group begins in a queue it has not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartPosition {
    /// At the oldest message kept.
    Earliest,
    /// At the first message stored after the group was created.
    Latest,
}

/// In which order a consumer group gets messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOrder {
    /// In about the order they were stored; what failed comes back later.
    Concurrent,
    /// Messages of one message group one after the other: the next ones wait until those before are settled. Messages
    /// without a message group wait for nothing.
    Fifo,
}

impl DeliveryOrder {
    pub(crate) const fn is_fifo(self) -> bool {
        matches!(self, Self::Fifo)
    }
}

/// A consumer group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroup {
    pub name: GroupName,
    pub start: StartPosition,
    pub order: DeliveryOrder,
    /// Deliveries of a message before it becomes a dead letter.
    pub max_attempts: u32,
    pub retry: RetryPolicy,
    pub revision: Revision,
    /// When it was created, by the clock of the metadata's log.
    pub created_at: Timestamp,
}

/// All topics, consumer groups and users at one version, each sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    pub version: Revision,
    pub topics: Vec<Topic>,
    pub groups: Vec<ConsumerGroup>,
    pub users: Vec<User>,
}

impl Metadata {
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        let at = self.topics.binary_search_by(|topic| topic.name.as_str().cmp(name)).ok()?;
        self.topics.get(at)
    }

    pub fn group(&self, name: &str) -> Option<&ConsumerGroup> {
        let at = self.groups.binary_search_by(|group| group.name.as_str().cmp(name)).ok()?;
        self.groups.get(at)
    }

    /// Whether topics can be told apart by their revisions.
    pub(crate) fn names_revisions_once(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.topics.iter().all(|topic| seen.insert(topic.revision))
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        let at = self.users.binary_search_by(|user| user.name.as_str().cmp(name)).ok()?;
        self.users.get(at)
    }
}

/// How many of a topic's queues lie in `group` when there are `groups` of them: evenly spread, low groups first.
/// Within the group their ids are 0 to that number.
pub const fn queue_share(queues: QueueCount, group: GroupId, groups: u32) -> u32 {
    if group.0 >= groups {
        return 0;
    }
    queues.0 / groups + if group.0 < queues.0 % groups { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_lies_in_exactly_one_group_and_shares_differ_by_one_at_most() {
        for queues in 1..=40 {
            for groups in 1..=9 {
                let count = QueueCount::new(queues).unwrap();
                let shares: Vec<u32> = (0..groups).map(|g| queue_share(count, GroupId(g), groups)).collect();
                assert_eq!(shares.iter().sum::<u32>(), queues);
                assert!(shares.is_sorted_by(|a, b| a >= b), "low groups first: {shares:?}");
                assert!(shares[0] - shares[groups as usize - 1] <= 1, "{shares:?}");
            }
        }
        assert_eq!(queue_share(QueueCount(8), GroupId(3), 2), 0);
    }

    #[test]
    fn every_message_group_has_its_home_in_a_queue_that_exists() {
        for queues in [1, 2, 7, 8, 1024] {
            for groups in 1..=9 {
                let queues = QueueCount::new(queues).unwrap();
                let topic = Topic {
                    name: TopicName::new("t").unwrap(),
                    kind: TopicKind::Fifo,
                    queues,
                    revision: Revision(1),
                };
                for n in 0..100 {
                    let (group, queue) = topic.home_of(&n.to_string(), groups);
                    assert!(queue.0 < queue_share(queues, group, groups), "{group:?} {queue:?}");
                }
            }
        }
    }

    #[test]
    fn queue_counts_have_bounds() {
        assert!(QueueCount::new(1).is_ok() && QueueCount::new(MAX_QUEUES).is_ok());
        assert_eq!(QueueCount::new(0), Err(QueueCountError(0)));
        assert_eq!(QueueCount::new(1025).unwrap_err().to_string(), "queues is 1025, allowed are 1 to 1024");
    }
}
