//! Why a command or a read was not answered. Every reason says whether the command may still take effect.

use std::sync::Arc;

use mainstay_messaging::Refusal;
use mainstay_record::{NodeId, RecordId};

/// Why a proposal has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was stored. `leader` is whom this node follows, if anybody.
    #[error("this broker does not lead the group")]
    NotLeader { leader: Option<NodeId> },
    /// Nothing was stored: the leader does not hold the lease it needs.
    #[error("the leader holds no lease, so that it may not serve now")]
    NotServing,
    /// The leader's own disk was late: later than the flush timeout or the caller's deadline.
    #[error("not on disk in time; outcome unknown")]
    FlushTimeout,
    /// Enough replicas are in touch but were late: later than the acknowledgement timeout or the caller's deadline.
    #[error("not confirmed by enough replicas in time; outcome unknown")]
    ReplicaTimeout,
    /// The write quorum went out of reach before enough replicas had it.
    #[error("too few replicas are in touch; outcome unknown")]
    TooFewReplicas,
    /// Nothing was stored: the write quorum was out of reach all the time.
    #[error("too few replicas are in touch; nothing was stored")]
    NoQuorum,
    /// Nothing was stored: the leader's own disk was too far behind.
    #[error("the disk is behind, and took nothing in time; nothing was stored")]
    NotTaken,
    /// Committed, but the broker was too slow to say what came of it.
    #[error("committed, but not applied in time; outcome unknown")]
    Deadline,
    /// Another leader may or may not carry it on.
    #[error("leadership was lost before the commit; outcome unknown")]
    LeadershipLost,
    /// The log failed; this broker stops.
    #[error("the log failed: {0}; outcome unknown")]
    Failed(Arc<str>),
    /// Nothing was stored: too many bytes are waiting already.
    #[error("too many bytes are waiting to be stored")]
    Overloaded,
    /// Nothing was stored: there is no space for new messages.
    #[error("the leader's disk has no space for new messages; nothing was stored")]
    NoSpace,
    /// Nothing was stored: more bytes than one batch may hold.
    #[error("the command has more bytes than a batch may hold")]
    TooLarge,
    /// Nothing was stored.
    #[error("this broker is shutting down")]
    ShuttingDown,
}

impl ProposeError {
    /// True when the command may have been stored although no outcome is known.
    pub const fn outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::FlushTimeout
                | Self::ReplicaTimeout
                | Self::TooFewReplicas
                | Self::Deadline
                | Self::LeadershipLost
                | Self::Failed(_)
        )
    }
}

/// Why a long poll was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReceiveError {
    /// The topic or the consumer group does not exist.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Nothing was delivered.
    #[error("the messages could not be looked into")]
    NotJudged,
}

/// Why a message could not be loaded from the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    #[error("record {0:?} is not in the log")]
    Missing(RecordId),
    #[error("record {record:?} is not a message")]
    NotAMessage { record: RecordId },
    #[error("record {record:?} cannot be read: {error}")]
    Unreadable { record: RecordId, error: Arc<str> },
}
