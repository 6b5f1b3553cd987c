//! What applying a command came to.

use mainstay_record::{RecordId, Timestamp};

use crate::command::Command;
use crate::handle::ReceiptHandle;
use crate::metadata::{ConsumerGroup, QueueId, QueueOffset, Topic, TopicKind};
use crate::names::{GroupName, TopicName};

/// Answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `created` is false when an equal topic was there already.
    TopicCreated {
        created: bool,
    },
    TopicDeleted,
    /// `created` is false when an equal group was there already.
    GroupCreated {
        created: bool,
    },
    GroupDeleted,
    GroupReset,
    Published {
        offset: QueueOffset,
    },
    /// May be empty.
    Received(Vec<Delivery>),
    /// One result per handle, in their order.
    Acked(Vec<Result<(), AckError>>),
    /// The new handle; the old one is void.
    Changed(Result<ReceiptHandle, AckError>),
    /// `applied` is false when the state was at that version or a newer one.
    Synced {
        applied: bool,
    },
    /// How many messages were forgotten.
    Trimmed {
        messages: u64,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// A message handed to a consumer. Its content is in the log, at `record`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub queue: QueueId,
    pub offset: QueueOffset,
    pub record: RecordId,
    /// When the message was stored.
    pub stored_at: Timestamp,
    /// 1 for the first delivery.
    pub attempt: u32,
    pub handle: ReceiptHandle,
    /// Unless acknowledged, the message is delivered again from then on.
    pub expires_at: Timestamp,
}

/// Why a handle does not acknowledge or change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    #[error("receipt handle belongs to another topic, consumer group or broker group")]
    Foreign,
    #[error("receipt handle has expired")]
    Expired,
    #[error("receipt handle was replaced by a later delivery or change")]
    Replaced,
    #[error("the message is not in flight")]
    NotInFlight,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("topic '{0}' does not exist")]
    UnknownTopic(String),
    #[error("consumer group '{0}' does not exist")]
    UnknownGroup(String),
    #[error("topic '{topic}' has no queue {} here, only {queues}", .queue.0)]
    UnknownQueue { topic: TopicName, queue: QueueId, queues: u32 },
    #[error(
        "topic '{}' exists with type {} and {} queues",
        .existing.name, .existing.kind.as_str(), .existing.queues.get()
    )]
    TopicExistsDifferently { existing: Topic },
    #[error(
        "consumer group '{}' exists with start {:?} and max attempts {}",
        .existing.name, .existing.start, .existing.max_attempts
    )]
    GroupExistsDifferently { existing: ConsumerGroup },
    #[error("topic '{topic}' takes {} messages, this one is {}", .expected.as_str(), .found.as_str())]
    WrongKind { topic: TopicName, expected: TopicKind, found: TopicKind },
    #[error("messages of type {} are not implemented yet", .0.as_str())]
    KindNotImplemented(TopicKind),
    #[error("topic '{topic}' has too many different tags")]
    TooManyTags { topic: TopicName },
    #[error("metadata is changed in the metadata group's log only")]
    NotMetadataGroup,
    #[error("the metadata group follows no other group")]
    IsMetadataGroup,
}

impl Refusal {
    /// Of a message made for topics of kind `found`.
    pub(crate) fn of_kind(topic: &TopicName, expected: TopicKind, found: TopicKind) -> Option<Self> {
        if expected != found && expected != TopicKind::Mixed {
            return Some(Self::WrongKind { topic: topic.clone(), expected, found });
        }
        (found != TopicKind::Normal).then_some(Self::KindNotImplemented(found))
    }
}

/// Whose waiting receives should look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake<'a> {
    /// Of every group on this topic.
    Topic(&'a TopicName),
    /// Of this group on this topic.
    Subscription(&'a GroupName, &'a TopicName),
    /// Of this group, whatever the topic.
    Group(&'a GroupName),
    All,
}

impl Outcome {
    /// Which waiting receives can be answered differently now that `command` had this outcome. Time does the same
    /// without a command: see [`crate::State::next_due`].
    pub fn wakes<'a>(&self, command: &'a Command) -> Option<Wake<'a>> {
        match (self, command) {
            (Self::Published { .. }, Command::Publish(publish)) => Some(Wake::Topic(&publish.topic)),
            (Self::TopicDeleted, Command::DeleteTopic(delete)) => Some(Wake::Topic(&delete.name)),
            (Self::GroupDeleted, Command::DeleteGroup(delete)) => Some(Wake::Group(&delete.name)),
            (Self::GroupReset, Command::ResetGroup(reset)) => {
                Some(Wake::Subscription(&reset.group, &reset.topic))
            }
            (Self::Acked(results), Command::Ack(ack)) if results.iter().any(Result::is_ok) => {
                Some(Wake::Subscription(&ack.group, &ack.topic))
            }
            (Self::Changed(Ok(_)), Command::ChangeInvisible(change)) => {
                Some(Wake::Subscription(&change.group, &change.topic))
            }
            // What a group did not acknowledge may have kept it from new messages.
            (Self::Synced { applied: true } | Self::Trimmed { messages: 1.. }, _) => Some(Wake::All),
            _ => None,
        }
    }
}
