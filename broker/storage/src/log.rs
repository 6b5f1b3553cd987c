//! Skeleton.

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_record::{Batch, EntryId, Epoch, LogIndex, LogPosition, Timestamp};

use crate::error::{Damage, LogError, OpenError, ReadError};
use crate::fs::FileSystem;
use crate::metrics::LogMetrics;
use crate::options::LogOptions;
use crate::quarantine::QuarantineFile;

/// The first batch of an epoch in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: Epoch,
    pub first: LogIndex,
}

/// What was cut at the end of the log, since it never became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub segment: PathBuf,
    /// Byte of the segment where the cut was made.
    pub offset: u64,
    /// Bytes from there to the last one that was not zero.
    pub bytes: u64,
    pub what: Damage,
}

/// What a log held when it was opened. All of it is durable.
#[derive(Debug, Clone)]
pub struct Recovered {
    pub last: EntryId,
    pub end: LogPosition,
    pub last_timestamp: Timestamp,
    pub epochs: Vec<EpochStart>,
    /// The newest membership batch.
    pub membership: Option<Batch>,
    pub torn_tail: Option<TornTail>,
    /// The log was closed in order: nothing that was written can have been lost.
    pub clean: bool,
    /// The operating system has not been restarted since the log was written: nothing that was written can have been
    /// lost, even if it was not flushed.
    pub same_boot: bool,
}

/// Reported on the writer thread, in the order of the log. An event may name a batch that a truncation, asked for
/// meanwhile, takes away: compare the epoch.
#[derive(Debug, Clone)]
pub enum LogEvent {
    /// Everything through `last` is written, not forced. Only with [`crate::Flush::Async`].
    Written { last: EntryId },
    /// Everything through `last` survives a power cut.
    Durable { last: EntryId },
    /// The log has stopped for good.
    Failed(Arc<LogError>),
}

/// What becomes of a tail that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFate {
    Discard,
    /// Kept in a file under `quarantine/`.
    Quarantine,
}

/// Handle of a log; clones share it.
#[derive(Debug, Clone)]
pub struct Log {}

impl Log {
    /// Recovers the log and starts its writer thread. `events` is called on that thread and must not block.
    pub fn open(
        _fs: Arc<dyn FileSystem>,
        _options: LogOptions,
        _events: Box<dyn Fn(LogEvent) + Send>,
    ) -> Result<(Self, Recovered), OpenError> {
        unimplemented!()
    }

    /// Enqueues batches that continue the log and makes them visible to [`Log::read`]; never waits for the disk.
    pub fn append(&self, _batches: Vec<Batch>) {
        unimplemented!()
    }

    /// Takes away everything above `keep`, at once for readers, durably before anything appended later.
    pub fn truncate(&self, _keep: LogIndex, _fate: TailFate) {
        unimplemented!()
    }

    /// Batches from `from` through `through` in order: at least one if there is one, at most about `max_bytes`.
    pub fn read(
        &self,
        _from: LogIndex,
        _through: LogIndex,
        _max_bytes: usize,
    ) -> Result<Vec<Batch>, ReadError> {
        unimplemented!()
    }

    pub fn batch(&self, _index: LogIndex) -> Result<Batch, ReadError> {
        unimplemented!()
    }

    /// The batch if it is in memory: never touches the disk.
    pub fn cached(&self, _index: LogIndex) -> Option<Batch> {
        unimplemented!()
    }

    pub fn quarantined(&self) -> Vec<QuarantineFile> {
        unimplemented!()
    }

    pub fn metrics(&self) -> LogMetrics {
        unimplemented!()
    }

    /// Flushes, writes the mark of an orderly end and joins the writer. Every clone is closed with it.
    pub fn close(self) -> Result<(), Arc<LogError>> {
        unimplemented!()
    }
}
