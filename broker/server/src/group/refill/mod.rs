//! Refilling a replica that lacks what its leader's log no longer has: the leader gives its log through a snapshot, and
//! the snapshot; the follower takes both in place of what it had.
//!
//! What always holds on the follower: from the first byte on it counts as having lost what it acknowledged, durably, so
//! that it elects nobody until it has caught up. A marker beside the log says that a refill is under way; whoever
//! restarts with it begins again with an empty log. The marker goes once log and snapshot are durable and in force.

mod give;
pub(super) mod marker;
mod take;

use mainstay_consensus::StepError;
use mainstay_record::{Epoch, NodeId};
use mainstay_storage::{LogBase, Snapshot};
use tokio::sync::oneshot;

pub(super) use give::{Gifts, Given};
pub(super) use marker::{Begun, Marker};
pub(super) use take::Taking;

/// What a leader offers.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) from: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) round: u64,
    /// Where the log begins.
    pub(crate) log_base: LogBase,
    /// Of the snapshot, which is where the log that comes with it ends.
    pub(crate) snapshot_base: LogBase,
}

/// Tells the steps of one refill from those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefillId(u64);

/// What the receiving service asks of the driver, in order. Each is answered when the next may come.
#[derive(Debug)]
pub(crate) enum RefillStep {
    Begin {
        offer: Box<Offer>,
        reply: oneshot::Sender<Result<RefillId, RefillError>>,
    },
    Batches {
        id: RefillId,
        batches: Vec<mainstay_record::Batch>,
        reply: oneshot::Sender<Result<(), RefillError>>,
    },
    End {
        id: RefillId,
        snapshot: Box<Snapshot>,
        reply: oneshot::Sender<Result<(), RefillError>>,
    },
    /// The sender has gone.
    Abandon {
        id: RefillId,
    },
}

/// Why a refill is not taken, or not any more.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RefillError {
    #[error("{from} does not lead this node's group in epoch {epoch}")]
    NotTheLeader { from: NodeId, epoch: Epoch },
    #[error("this node's log reaches the sender's: it takes what comes next")]
    NotNeeded,
    #[error("this node takes no part: {0}")]
    Failed(String),
    #[error("the refill was given up for another")]
    Superseded,
    #[error("malformed refill: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Refused(#[from] StepError),
}
