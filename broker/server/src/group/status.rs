//! Everything a node can tell about itself and its group; made on request, for operators and tests.

use mainstay_consensus::{Moment, View};
use mainstay_record::LogIndex;

/// A snapshot; [`super::GroupView`] is the part of it that can be watched.
#[derive(Debug, Clone)]
pub struct Status {
    /// When it was made, by the broker's monotonic clock.
    pub at: Moment,
    /// `None` until the node has a membership.
    pub consensus: Option<View>,
    pub applied: LogIndex,
    /// Batches applied since the process started: what a restart replays, and what came after.
    pub replayed: u64,
    /// The newest batch that a snapshot stands for.
    pub snapshot: Option<LogIndex>,
    /// The oldest batch of the log.
    pub first: LogIndex,
}
