//! What the core knows of the own log: where it ends, which epoch each entry is of, how much of it is persisted.
//!
//! What always holds: epochs only grow along the log, and `persisted` speaks of entries that are in it now.

use mainstay_record::{EntryId, Epoch, LogIndex};

use crate::Membership;

/// The own log at the start of the process. All of it is persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    pub last: EntryId,
    /// Each epoch of the log and its first entry, in log order.
    pub epochs: Vec<(Epoch, LogIndex)>,
    /// The newest membership of the log or, while it has none, the one agreed on at first start.
    pub membership: Membership,
    /// Where in the log the membership stands; zero while it is not in the log.
    pub membership_at: LogIndex,
}
