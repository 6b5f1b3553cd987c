//! Refilling a replica that lacks what its leader's log no longer has, with the real driver's protocol over simulated
//! streams: the leader gives its log through a snapshot, part by part, and then the snapshot.
//!
//! What always holds on the follower: from the first part on it counts as having lost what it acknowledged, durably. A
//! marker beside the log says that a refill is under way; whoever restarts with it begins again with an empty log.

mod give;
mod marker;
mod take;

use std::time::Duration;

use bytes::Bytes;
use mainstay_record::{Batch, Epoch};
use mainstay_storage::LogBase;

pub(super) use self::give::Gift;
pub(super) use self::marker::{Begun, Marker};
pub(super) use self::take::Taking;

/// A stream on which nothing was heard for so long is broken.
const BROKEN: Duration = Duration::from_secs(4);

/// What a leader offers.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    epoch: Epoch,
    round: u64,
    /// Where the log begins.
    log_base: LogBase,
    /// Of the snapshot, which is where the log that comes with it ends.
    snapshot_base: LogBase,
}

/// What the leader sends, one after the answer to the other.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Begin(Box<Offer>),
    Batches(Vec<Batch>),
    Snapshot(Bytes),
    End,
}

/// Travels on the stream of one refill, which `gift` names for ever.
#[derive(Debug, Clone)]
pub(crate) enum Refill {
    Part {
        gift: u64,
        part: Part,
    },
    Answer {
        gift: u64,
        answer: Result<(), String>,
    },
    /// The sender has given it up.
    Gone {
        gift: u64,
    },
}

impl Refill {
    /// Whether one begins with this.
    pub(crate) const fn begins(&self) -> bool {
        matches!(self, Self::Part { part: Part::Begin(_), .. })
    }
}
