//! The messaging state machine: topics, queues, consumer groups, deliveries and acknowledgements, over committed
//! records.
//!
//! Pure: [`State::apply`] takes a record's id, its batch's timestamp and its [`Command`], and nothing else decides
//! the outcome: no clock, no randomness, no map order. Two replicas that applied the same log are equal.
//! Message bodies stay in the log; the state points at their records.

mod candidates;
mod chunk;
mod clock;
mod codec;
mod command;
mod concurrent;
mod consuming;
mod cursor;
mod definitions;
mod elapse;
mod halves;
mod handle;
mod index;
mod lane;
mod life;
mod metadata;
mod metadata_changes;
mod names;
mod ordered;
mod outcome;
mod publishing;
mod query;
mod retention;
mod retry;
mod runs;
mod salvage;
mod snapshot;
pub mod sql;
mod state;
mod subscription;
mod tags;
mod ticket;
mod timers;
mod transactions;
mod trim;
mod users;
mod verdicts;
mod whereabouts;
mod window;
mod wire;

pub use candidates::{Candidate, Candidates};
pub use clock::{LogClock, Step};
pub use codec::{DecodeError, message_id};
pub use command::{
    Ack, ChangeInvisible, Check, Command, CreateGroup, CreateTopic, DeadLetter, Decision, DeleteGroup,
    DeleteTopic, Elapse, Encoding, EndTransaction, Filter, MessageKind, NoteChecks, Publish, QueueSelection,
    RaiseVersion, Recall, Receive, ResetGroup, ResetTo, SetOffset, SyncMetadata, Trim,
};
pub use cursor::MAX_UNACKED;
pub use halves::{FIRST_CHECK_MS, MAX_CHECKS, MAX_HALF_AGE_MS};
pub use handle::{HandleError, ReceiptHandle};
pub use life::{Asked, Life, LifeEvent, Sent, SentMessages, What, Why};
pub use metadata::{
    ConsumerGroup, DeliveryOrder, MAX_QUEUES, Metadata, QueueCount, QueueCountError, QueueId, QueueOffset,
    Revision, StartPosition, Topic, TopicKind, queue_share,
};
pub use metadata_changes::MetadataChanges;
pub use names::{GroupName, MAX_GROUP_LEN, MAX_TOPIC_LEN, NameError, NameProblem, TopicName};
pub use outcome::{AckError, Delivery, Ended, Outcome, Place, RecallError, Refusal, TransactionError, Wake};
pub use publishing::REMEMBERED_MS;
pub use query::QueueProgress;
pub use retention::{Retention, SegmentInfo, plan};
pub use retry::{DEFAULT_MAX_ATTEMPTS, MAX_RETRY_DELAY_MS, MAX_RETRY_DELAYS, RetryPolicy, RetryPolicyError};
pub use salvage::{RecordKind, Salvage};
pub use snapshot::{Frozen, Parts, Restore, SnapshotError};
pub use state::State;
pub use tags::{MAX_TAG_BYTES, MAX_TAGS};
pub use ticket::{RecallHandle, TicketError, TransactionId};
pub use transactions::HalfMessage;
pub use users::{
    Action, Actions, ChangeUser, CreateUser, DeleteUser, Grant, GrantError, MAX_GRANTS, MAX_SECRET_LEN,
    MAX_USER_LEN, MIN_SECRET_LEN, Pattern, Resource, Rights, User, UserName, UserNameError, UserSecret,
    UserSecretError,
};
pub use verdicts::Verdicts;
pub use whereabouts::{Progress, QueuePlace, Waiting, Whereabouts};
