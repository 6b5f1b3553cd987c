//! Between the replicas of one group: one stream per direction, each opened by the sender, after both said who they are.
//!
//! Batches pass as the bytes they are. Nothing here decides anything: messages may be lost, the core repeats what
//! matters.

mod directory;
mod link;
mod outbox;
mod refill;
mod service;
mod wire;

use mainstay_consensus::Membership;
use mainstay_record::NodeId;
use tokio::sync::watch;

pub(crate) use directory::{Directory, Met};
pub(crate) use link::Links;
pub(crate) use outbox::Outbox;
pub(crate) use refill::{GiveError, RefillSender};
pub(crate) use service::ReplicationService;
#[cfg(feature = "fuzzing")]
pub(crate) use wire::{decode, decode_batches, decode_offer, encode, encode_offer};

/// Bytes of one message between replicas at most: a batch of the largest size and some more.
const MAX_MESSAGE_BYTES: usize = 160 << 20;

/// What this node tells the others about its part in the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// The newest membership it knows; `None` before it knows one.
    pub(crate) membership: Option<Membership>,
    /// It takes messages.
    pub(crate) takes_part: bool,
}

/// The newest of it.
pub(crate) type Adopted = watch::Receiver<Adoption>;

/// Who says Hello.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) cluster: String,
    pub(crate) group: u32,
    pub(crate) member: String,
    pub(crate) node: NodeId,
}
