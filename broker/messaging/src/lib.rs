//! The messaging state machine: topics, queues, consumer groups, deliveries and acknowledgements, over committed
//! records.
//!
//! Pure: [`State::apply`] takes a record's id, its batch's timestamp and its [`Command`], and nothing else decides
//! the outcome: no clock, no randomness, no map order. Two replicas that applied the same log are equal.
//! Message bodies stay in the log; the state points at their records.

mod clock;
mod codec;
mod command;
mod delivery;
mod life;
mod metadata;
mod outcome;
mod pending;
mod publishing;
mod query;
mod queue;
mod retention;
mod salvage;
mod snapshot;
pub mod sql;
mod state;
mod users;
mod window;
mod wire;

pub use clock::{LogClock, Step};
pub use codec::{DecodeError, message_id};
pub use command::{
    Ack, ChangeInvisible, Check, Command, CreateGroup, CreateTopic, DeadLetter, Decision, DeleteGroup,
    DeleteTopic, Elapse, Encoding, EndTransaction, Filter, MessageKind, NoteChecks, Publish, QueueSelection,
    RaiseVersion, Recall, Receive, ResetGroup, ResetTo, SetOffset, SyncMetadata, Trim,
};
pub use delivery::candidates::{Candidate, Candidates};
pub use delivery::cursor::MAX_UNACKED;
pub use delivery::handle::{HandleError, ReceiptHandle};
pub use delivery::verdicts::Verdicts;
pub use life::{Asked, Life, LifeEvent, Sent, SentMessages, What, Why};
pub use metadata::changes::MetadataChanges;
pub use metadata::names::{GroupName, MAX_GROUP_LEN, MAX_TOPIC_LEN, NameError, NameProblem, TopicName};
pub use metadata::retry::{
    DEFAULT_MAX_ATTEMPTS, MAX_RETRY_DELAY_MS, MAX_RETRY_DELAYS, RetryPolicy, RetryPolicyError,
};
pub use metadata::{
    ConsumerGroup, DeliveryOrder, MAX_QUEUES, Metadata, QueueCount, QueueCountError, QueueId, QueueOffset,
    Revision, StartPosition, Topic, TopicKind, queue_share,
};
pub use outcome::{AckError, Delivery, Ended, Outcome, Place, RecallError, Refusal, TransactionError, Wake};
pub use pending::halves::{FIRST_CHECK_MS, MAX_CHECKS, MAX_HALF_AGE_MS};
pub use pending::ticket::{RecallHandle, TicketError, TransactionId};
pub use pending::transactions::HalfMessage;
pub use publishing::REMEMBERED_MS;
pub use query::QueueProgress;
pub use query::whereabouts::{Progress, QueuePlace, Waiting, Whereabouts};
pub use queue::tags::{MAX_TAG_BYTES, MAX_TAGS};
pub use retention::{Retention, SegmentInfo, plan};
pub use salvage::{RecordKind, Salvage};
pub use snapshot::{Frozen, Parts, Restore, SnapshotError};
pub use state::State;
pub use users::{
    Action, Actions, ChangeUser, CreateUser, DeleteUser, Grant, GrantError, MAX_GRANTS, MAX_SECRET_LEN,
    MAX_USER_LEN, MIN_SECRET_LEN, Pattern, Resource, Rights, User, UserName, UserNameError, UserSecret,
    UserSecretError,
};
