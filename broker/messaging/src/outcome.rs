//! What applying a command came to.

use mainstay_record::{RecordId, Timestamp};

use crate::command::{Command, Decision};
use crate::delivery::handle::ReceiptHandle;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{ConsumerGroup, QueueId, QueueOffset, Topic, TopicKind};
use crate::pending::ticket::{RecallHandle, TransactionId};
use crate::users::UserName;

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
    /// `created` is false when an equal user was there already.
    UserCreated {
        created: bool,
    },
    UserChanged,
    UserDeleted,
    Published {
        place: Place,
        /// The message was stored before, and where is what `place` tells; this record's is dropped.
        duplicate: bool,
    },
    Received {
        /// May be empty.
        deliveries: Vec<Delivery>,
        /// Messages that had had all their attempts, and are dead letters now.
        dead_letters: u32,
    },
    /// One result per handle, in their order.
    Acked(Vec<Result<(), AckError>>),
    /// The new handle; the old one is void.
    Changed(Result<ReceiptHandle, AckError>),
    DeadLettered(Result<(), AckError>),
    OffsetSet,
    TransactionEnded(Result<Ended, TransactionError>),
    ChecksNoted,
    /// Where the message is in the log that is not delivered any more.
    Recalled(Result<RecordId, RecallError>),
    Elapsed {
        /// Delayed messages that came into their queues.
        released: u32,
        /// Half messages that were given up.
        dropped: u32,
        /// Where the released ones are, sorted.
        topics: Vec<TopicName>,
    },
    /// `applied` is false when the state was at that version or a newer one.
    Synced {
        applied: bool,
    },
    /// `raised` is false when the version was of that epoch already.
    VersionRaised {
        raised: bool,
    },
    /// How many messages were forgotten.
    Trimmed {
        messages: u64,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

impl Outcome {
    /// Of a message that was published into its queue.
    pub const fn offset(&self) -> Option<QueueOffset> {
        match self {
            Self::Published { place: Place::Queue { offset, .. }, .. } => Some(*offset),
            _ => None,
        }
    }
}

/// Where a message is that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Queue {
        queue: QueueId,
        offset: QueueOffset,
    },
    /// Not in its queue before its time.
    Timer(RecallHandle),
    /// Not in its queue unless it is committed.
    Half(TransactionId),
}

/// What became of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    Committed { queue: QueueId, offset: QueueOffset },
    RolledBack,
}

/// Why a decision about a half message has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    #[error("transaction_id belongs to another topic or broker group")]
    Foreign,
    #[error("there is no such transaction, or it was ended too long ago to be known")]
    Unknown,
    #[error("the transaction was ended the other way before ({before:?})")]
    Contrary { before: Decision },
    #[error("the transaction was dropped: nobody had ended it in time")]
    Dropped,
}

/// Why a delayed message is not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    #[error("recall_handle belongs to another topic or broker group")]
    Foreign,
    #[error("the message was delivered or recalled before")]
    NotPending,
}

/// A message handed to a consumer. Its content is in the log, at `record`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub queue: QueueId,
    pub offset: QueueOffset,
    /// Of the message as it was published, maybe to another topic or queue.
    pub record: RecordId,
    /// When the message came into this queue.
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
    #[error("user '{0}' does not exist")]
    UnknownUser(UserName),
    #[error("user '{0}' exists with another secret or other rights")]
    UserExistsDifferently(UserName),
    #[error("topic '{topic}' has no queue {} here, only {queues}", .queue.0)]
    UnknownQueue { topic: TopicName, queue: QueueId, queues: u32 },
    #[error(
        "topic '{}' exists with type {} and {} queues",
        .existing.name, .existing.kind.as_str(), .existing.queues.get()
    )]
    TopicExistsDifferently { existing: Topic },
    #[error(
        "consumer group '{}' exists with start {:?}, order {:?}, max attempts {} and {:?}",
        .existing.name, .existing.start, .existing.order, .existing.max_attempts, .existing.retry
    )]
    GroupExistsDifferently { existing: ConsumerGroup },
    #[error("consumer group '{group}' has {letters} dead letters that nobody has consumed")]
    DeadLetters { group: GroupName, letters: u64 },
    #[error("topic '{topic}' takes {} messages, this one is {}", .expected.as_str(), .found.as_str())]
    WrongKind { topic: TopicName, expected: TopicKind, found: TopicKind },
    #[error("topic '{0}' belongs to a consumer group: only the broker makes it and publishes into it")]
    DerivedTopic(TopicName),
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
        let takes = match expected {
            TopicKind::Mixed => found != TopicKind::Priority,
            expected => expected == found,
        };
        if !takes {
            return Some(Self::WrongKind { topic: topic.clone(), expected, found });
        }
        None
    }
}

/// Whose waiting receives should look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake<'a> {
    /// Of every group on this topic.
    Topic(&'a TopicName),
    /// Of every group on these topics.
    Topics(&'a [TopicName]),
    /// Of every group on the topic of this group's dead letters.
    DeadLetters(&'a GroupName),
    /// Of this group on this topic.
    Subscription(&'a GroupName, &'a TopicName),
    /// Of this group, whatever the topic.
    Group(&'a GroupName),
    All,
}

impl Outcome {
    /// Which waiting receives can be answered differently now that `command` had this outcome. Time does the same
    /// without a command: see [`crate::State::next_due`].
    pub fn wakes<'a>(&'a self, command: &'a Command) -> impl Iterator<Item = Wake<'a>> {
        let wakes = match (self, command) {
            (Self::Published { place: Place::Queue { .. }, duplicate: false }, Command::Publish(publish)) => {
                [Some(Wake::Topic(&publish.topic)), None]
            }
            (Self::TransactionEnded(Ok(Ended::Committed { .. })), Command::EndTransaction(end)) => {
                [Some(Wake::Topic(&end.topic)), None]
            }
            (Self::Elapsed { topics, .. }, _) if !topics.is_empty() => [Some(Wake::Topics(topics)), None],
            (Self::TopicDeleted, Command::DeleteTopic(delete)) => [Some(Wake::Topic(&delete.name)), None],
            (Self::GroupDeleted, Command::DeleteGroup(delete)) => [Some(Wake::Group(&delete.name)), None],
            (Self::GroupReset, Command::ResetGroup(reset)) => {
                [Some(Wake::Subscription(&reset.group, &reset.topic)), None]
            }
            (Self::OffsetSet, Command::SetOffset(set)) => {
                [Some(Wake::Subscription(&set.group, &set.topic)), None]
            }
            (Self::Received { dead_letters: 1.., .. }, Command::Receive(receive)) => [
                Some(Wake::DeadLetters(&receive.group)),
                Some(Wake::Subscription(&receive.group, &receive.topic)),
            ],
            (Self::DeadLettered(Ok(())), Command::DeadLetter(dead)) => {
                [Some(Wake::DeadLetters(&dead.group)), Some(Wake::Subscription(&dead.group, &dead.topic))]
            }
            (Self::Acked(results), Command::Ack(ack)) if results.iter().any(Result::is_ok) => {
                [Some(Wake::Subscription(&ack.group, &ack.topic)), None]
            }
            (Self::Changed(Ok(_)), Command::ChangeInvisible(change)) => {
                [Some(Wake::Subscription(&change.group, &change.topic)), None]
            }
            // What a group did not acknowledge may have kept it from new messages.
            (Self::Synced { applied: true } | Self::Trimmed { messages: 1.. }, _) => [Some(Wake::All), None],
            _ => [None, None],
        };
        wakes.into_iter().flatten()
    }
}
