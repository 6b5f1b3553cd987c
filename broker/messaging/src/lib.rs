//! The messaging state machine: topics, queues, consumer groups, deliveries and acknowledgements, over committed
//! records.
//!
//! Pure: [`State::apply`] takes a record's id, its batch's timestamp and its [`Command`], and nothing else decides
//! the outcome: no clock, no randomness, no map order. Two replicas that applied the same log are equal.
//! Message bodies stay in the log; the state points at their records.

mod chunk;
mod codec;
mod command;
mod cursor;
mod definitions;
mod handle;
mod index;
mod log_clock;
mod metadata;
mod names;
mod outcome;
mod query;
mod retention;
mod salvage;
mod snapshot;
pub mod sql;
mod state;
mod subscription;
mod tags;
mod trim;
mod wire;

pub use codec::DecodeError;
pub use command::{
    Ack, ChangeInvisible, Command, CreateGroup, CreateTopic, DeleteGroup, DeleteTopic, Encoding, Filter,
    MessageKind, Publish, QueueSelection, Receive, ResetGroup, SyncMetadata, Trim,
};
pub use cursor::MAX_UNACKED;
pub use handle::{HandleError, ReceiptHandle};
pub use log_clock::LogClock;
pub use metadata::{
    ConsumerGroup, MAX_QUEUES, Metadata, QueueCount, QueueCountError, QueueId, QueueOffset, Revision,
    StartPosition, Topic, TopicKind, queue_share,
};
pub use names::{GroupName, MAX_GROUP_LEN, MAX_TOPIC_LEN, NameError, NameProblem, TopicName};
pub use outcome::{AckError, Delivery, Outcome, Refusal, Wake};
pub use query::QueueProgress;
pub use retention::{Retention, SegmentInfo, plan};
pub use salvage::{RecordKind, Salvage};
pub use snapshot::{Frozen, Parts, Restore, SnapshotError};
pub use state::State;
pub use tags::{MAX_TAG_BYTES, MAX_TAGS};
