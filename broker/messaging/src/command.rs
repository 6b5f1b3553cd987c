//! The commands: every change of the messaging state, one per log record.

use bytes::Bytes;
use mainstay_record::{LogIndex, Timestamp};

use crate::handle::ReceiptHandle;
use crate::metadata::{Metadata, QueueCount, QueueId, StartPosition, TopicKind};
use crate::names::{GroupName, TopicName};

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
    ResetGroup(ResetGroup),
    Publish(Publish),
    Receive(Receive),
    Ack(Ack),
    ChangeInvisible(ChangeInvisible),
    /// Every group but the metadata group.
    SyncMetadata(SyncMetadata),
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
    pub max_attempts: u32,
}

/// Deletes a consumer group with its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroup {
    pub name: GroupName,
}

/// Sets a consumer group's place in all queues of a topic in this broker group. What is in flight is forgotten and its
/// handles are void. [`StartPosition::Latest`] means after the newest message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetGroup {
    pub group: GroupName,
    pub topic: TopicName,
    pub to: StartPosition,
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
    Transaction,
}

impl MessageKind {
    /// The kind of topic made for such messages.
    pub const fn topic_kind(&self) -> TopicKind {
        match self {
            Self::Normal => TopicKind::Normal,
            Self::Fifo { .. } => TopicKind::Fifo,
            Self::Delay { .. } => TopicKind::Delay,
            Self::Transaction => TopicKind::Transaction,
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
    /// Repeated by the client when it repeats the call; has a meaning for FIFO only.
    pub attempt_id: Option<String>,
}

/// Acknowledges deliveries, each on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    pub group: GroupName,
    pub topic: TopicName,
    pub handles: Vec<ReceiptHandle>,
}

/// Hides a delivered message for another while, counted from now. Zero makes it visible at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInvisible {
    pub group: GroupName,
    pub topic: TopicName,
    pub handle: ReceiptHandle,
    pub invisible_ms: u64,
}

/// Brings a broker group to a version of the metadata. One that is not newer changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncMetadata {
    pub metadata: Metadata,
}

/// Forgets the oldest messages of every queue. Whatever still waits for them has its answer: they count as consumed.
/// Doing so again, or not as far as before, changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// The last batch of the log whose messages go.
    pub through: LogIndex,
}
