//! Figures of a log.

use std::time::Duration;

use crate::space::Space;

/// A snapshot of the log's counters, all since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogMetrics {
    /// Batches written.
    pub batches: u64,
    /// Bytes of batches written.
    pub bytes: u64,
    /// Group commits: vectored writes, each of all batches that waited.
    pub writes: u64,
    /// Successful fdatasync calls for batches.
    pub syncs: u64,
    /// Time spent in them, and the longest.
    pub sync_time: Duration,
    pub sync_max: Duration,
    /// Segments begun.
    pub rolls: u64,
    pub truncations: u64,
    /// Batches and bytes appended, not yet written.
    pub queued_batches: u64,
    pub queued_bytes: u64,
    /// How long the writer has been busy with what it is doing now; `None` while it waits for work. A value that keeps
    /// growing is a disk that does not answer, or one that is full (see `space`).
    pub busy_for: Option<Duration>,
    /// Looked at about once a second.
    pub space: Space,
}
