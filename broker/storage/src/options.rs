//! How a log is opened.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_record::GroupId;

/// When written batches are forced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before they are reported, with one fdatasync for everything that waits.
    Sync,
    /// At this interval; a power cut may lose what came after the last one.
    Async { interval: Duration },
}

#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The group's folder; the log puts `log/` and `quarantine/` into it.
    pub directory: PathBuf,
    pub group: GroupId,
    /// Bytes of batches in one segment, 64 KiB to 1 GiB. The first ones of a new log are smaller.
    pub segment_bytes: u64,
    pub flush: Flush,
    /// Bytes of recent batches kept in memory for reading.
    pub cache_bytes: usize,
}
