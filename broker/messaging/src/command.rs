//! The commands: every change of the messaging state, one per log record.

use bytes::Bytes;
use mainstay_record::{LogIndex, Timestamp};

use crate::delivery::handle::ReceiptHandle;
use crate::delivery::verdicts::Verdicts;
use crate::metadata::changes::MetadataChanges;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::retry::RetryPolicy;
use crate::metadata::{DeliveryOrder, Metadata, QueueCount, QueueId, QueueOffset, StartPosition, TopicKind};
use crate::pending::ticket::{RecallHandle, TransactionId};
use crate::users::{ChangeUser, CreateUser, DeleteUser};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Metadata group only.
    CreateTopic(CreateTopic),
    /// Metadata group only.
    DeleteTopic(DeleteTopic),
    /// Metadata group only.
    CreateGroup(CreateGroup),
    /// Metadata group only.
    DeleteGroup(DeleteGroup),
    /// Metadata group only.
    CreateUser(CreateUser),
    /// Metadata group only.
    ChangeUser(ChangeUser),
    /// Metadata group only.
    DeleteUser(DeleteUser),
    ResetGroup(ResetGroup),
    Publish(Publish),
    Receive(Receive),
    Ack(Ack),
    ChangeInvisible(ChangeInvisible),
    DeadLetter(DeadLetter),
    SetOffset(SetOffset),
    EndTransaction(EndTransaction),
    NoteChecks(NoteChecks),
    Recall(Recall),
    Elapse(Elapse),
    /// Every group but the metadata group.
    SyncMetadata(SyncMetadata),
    /// Every group but the metadata group.
    ChangeMetadata(MetadataChanges),
    /// Metadata group only.
    RaiseVersion(RaiseVersion),
    Trim(Trim),
}

/// Creates a topic; creating an equal one again is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopic {
    pub name: TopicName,
    pub kind: TopicKind,
    pub queues: QueueCount,
}

/// Deletes a topic with its messages and everything that groups know about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTopic {
    pub name: TopicName,
}

/// Creates a consumer group; creating an equal one again is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateGroup {
    pub name: GroupName,
    pub start: StartPosition,
    pub order: DeliveryOrder,
    /// Deliveries of a message before it becomes a dead letter.
    pub max_attempts: u32,
    pub retry: RetryPolicy,
}

/// Deletes a consumer group with its progress and its dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroup {
    pub name: GroupName,
    /// Even where dead letters would go that nobody has consumed.
    pub with_dead_letters: bool,
}

/// Sets a consumer group's place in all queues of a topic in this broker group. What is in flight is forgotten and its
/// handles are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetGroup {
    pub group: GroupName,
    pub topic: TopicName,
    pub to: ResetTo,
}

/// Where a reset puts a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetTo {
    /// At the oldest message kept.
    Earliest,
    /// After the newest message.
    Latest,
    /// At the first message that its queue got at this time or later.
    Time(Timestamp),
}

/// What sort of message it is, with what only that sort has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageKind {
    Normal,
    /// Delivered in order within its message group.
    Fifo {
        message_group: String,
    },
    /// Not delivered before its time.
    Delay {
        deliver_at: Timestamp,
    },
    /// Not delivered before it is committed.
    Transaction {
        /// Until its producer is asked for the first time what became of it, in milliseconds.
        check_after_ms: Option<u64>,
    },
    /// Delivered before those of lower priority.
    Priority {
        priority: u32,
    },
}

impl MessageKind {
    /// The kind of topic made for such messages.
    pub const fn topic_kind(&self) -> TopicKind {
        match self {
            Self::Normal => TopicKind::Normal,
            Self::Fifo { .. } => TopicKind::Fifo,
            Self::Delay { .. } => TopicKind::Delay,
            Self::Transaction { .. } => TopicKind::Transaction,
            Self::Priority { .. } => TopicKind::Priority,
        }
    }
}

/// How a producer encoded the body. Bodies are stored and delivered untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    Identity,
    Gzip,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub topic: TopicName,
    /// Chosen by the caller among the topic's queues in this broker group.
    pub queue: QueueId,
    pub kind: MessageKind,
    pub tag: Option<String>,
    /// Made by the client.
    pub message_id: String,
    pub keys: Vec<String>,
    pub properties: Vec<(String, String)>,
    pub trace_context: Option<String>,
    /// By the client's clock.
    pub born_at: Timestamp,
    pub born_host: String,
    pub encoding: Encoding,
    /// After decoding this shares the batch's memory.
    pub body: Bytes,
}

/// Which queues a receive takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueSelection {
    All,
    Only(Vec<QueueId>),
}

/// Which messages a receive takes. A message that does not match is skipped and counts as consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All,
    /// Those with one of these tags, compared exactly.
    Tags(Vec<String>),
    /// Those that the leader looked into and found to match. A queue is taken from no further than it looked.
    Judged(Verdicts),
}

/// Delivers messages to one consumer of a group and hides them from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receive {
    pub group: GroupName,
    pub topic: TopicName,
    pub queues: QueueSelection,
    /// Messages at most.
    pub max: u32,
    pub filter: Filter,
    /// How long the messages stay hidden.
    pub invisible_ms: u64,
    /// Repeated by the client when it repeats the call: in a group of order FIFO it then gets the same messages again.
    pub attempt_id: Option<String>,
    /// The client, for people who ask who got a message.
    pub by: String,
}

/// Acknowledges deliveries, each on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    pub group: GroupName,
    pub topic: TopicName,
    pub handles: Vec<ReceiptHandle>,
    /// The client.
    pub by: String,
}

/// Hides a delivered message for another while, counted from now. Zero makes it visible at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInvisible {
    pub group: GroupName,
    pub topic: TopicName,
    pub handle: ReceiptHandle,
    pub invisible_ms: u64,
    /// The consumer group's own delay for this attempt is the least.
    pub at_least_retry_delay: bool,
    /// The client.
    pub by: String,
}

/// Makes a delivered message a dead letter of the group at once, which settles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub group: GroupName,
    pub topic: TopicName,
    pub handle: ReceiptHandle,
    /// The client.
    pub by: String,
}

/// Sets a consumer group's place in one queue, as readers do that keep track by themselves. What is in flight there is
/// forgotten. An offset outside of the queue is moved to its nearer end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetOffset {
    pub group: GroupName,
    pub topic: TopicName,
    pub queue: QueueId,
    pub offset: QueueOffset,
}

/// What becomes of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is delivered.
    Commit,
    /// It is dropped.
    Rollback,
}

/// Decides about a half message. Deciding the same again changes nothing and has the same outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndTransaction {
    pub topic: TopicName,
    pub transaction: TransactionId,
    pub decision: Decision,
    /// The client.
    pub by: String,
}

/// Producers were asked about half messages whose check was due, or there was nobody to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteChecks {
    pub topic: TopicName,
    pub checks: Vec<Check>,
}

/// One half message that was looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    pub transaction: TransactionId,
    /// Only a check that a producer was sent counts against the limit.
    pub asked: bool,
}

/// Takes a delayed message back before it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    pub topic: TopicName,
    pub handle: RecallHandle,
    /// The client.
    pub by: String,
}

/// Does what has fallen due by the time of the record: delayed messages come into their queues, half messages that were
/// asked about too often, or are too old, are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapse {
    /// Messages at most.
    pub max: u32,
}

/// Brings a broker group to a version of the metadata. One that is not newer changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncMetadata {
    pub metadata: Metadata,
}

/// Begins the metadata versions of an epoch, above all that earlier epochs gave, also those that were lost with a tail of
/// the log. Whoever followed what was lost learns by it that something else holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaiseVersion {
    /// The number of the epoch.
    pub epoch: u32,
}

/// Forgets the oldest messages of every queue. Whatever still waits for them has its answer: they count as consumed.
/// Doing so again, or not as far as before, changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// The last batch of the log whose messages go: those that it put into a queue.
    pub through: LogIndex,
}
