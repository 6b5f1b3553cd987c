//! What can go wrong, one type per boundary. Every message names the file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_record::{BatchError, EntryId, Epoch, GroupId, LogIndex, LogPosition};

/// An operation of the file system that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct IoFailure {
    pub operation: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// Attaches operation and path to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn during(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T, IoFailure>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T, IoFailure> {
        self.map_err(|source| IoFailure { operation, path: path.into(), source })
    }
}

/// Whether something failed only for want of space.
pub(crate) fn is_full(error: &IoFailure) -> bool {
    matches!(error.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a log stopped for good.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// Not final: the log goes on once there is space.
    #[error("no space: {0}")]
    NoSpace(IoFailure),
    #[error("batch {found} does not continue the log: {what}")]
    NotNext { found: EntryId, what: Damage },
    #[error("cannot truncate after {keep}: the log ends with {last}")]
    TruncateBeyondEnd { keep: LogIndex, last: EntryId },
    #[error("cannot truncate after {keep}: the log begins behind {base}")]
    TruncateBelowBase { keep: LogIndex, base: EntryId },
    #[error("cannot begin behind {last}: its epochs do not lead there")]
    InconsistentBase { last: EntryId },
    #[error("the tail to be cut cannot be read: {0}")]
    Tail(#[from] ReadError),
    #[error("the log's writer ended without a reason")]
    WriterGone,
}

/// What is wrong at a place of a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("{0}")]
    Batch(#[from] BatchError),
    #[error("the segment's header is not intact")]
    SegmentHeader,
    #[error("the segment has {found} bytes instead of {expected}")]
    SegmentLength { found: u64, expected: u64 },
    #[error("the segment begins at position {found}, the one before ends at {expected}")]
    SegmentGap { found: LogPosition, expected: LogPosition },
    #[error("batch {found} does not follow {previous}")]
    Order { found: EntryId, previous: EntryId },
    #[error("batch is of group {found} instead of {expected}")]
    Group { found: GroupId, expected: GroupId },
    #[error("batch says position {found}, it stands at {expected}")]
    Position { found: LogPosition, expected: LogPosition },
    #[error("batch is of epoch {found} instead of {expected}")]
    Epoch { found: Epoch, expected: Epoch },
    #[error("the header of a write is not intact")]
    RunHeader,
    #[error("epoch {found} comes after {previous}")]
    EpochBackwards { found: Epoch, previous: Epoch },
    #[error("a write is said to begin at position {found}, it stands at {expected}")]
    RunPosition { found: LogPosition, expected: LogPosition },
    #[error("nothing is here, though the log was durable through position {durable}")]
    Missing { durable: LogPosition },
}

/// Why a log could not be opened. Nothing was changed on the disk, except that an interrupted truncation may have been
/// completed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Io(#[from] IoFailure),
    #[error("{} is damaged at byte {offset}: {what}; it was durable through position {durable}, so this is no torn tail", segment.display())]
    Damaged { segment: PathBuf, offset: u64, what: Damage, durable: LogPosition },
    #[error("{} is damaged: {what}", path.display())]
    DamagedFile { path: PathBuf, what: &'static str },
    #[error("{} has format version {found}, this program knows {known}", path.display())]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{} belongs to group {found}, not to group {expected}", path.display())]
    ForeignGroup { path: PathBuf, found: GroupId, expected: GroupId },
    #[error("{option} is {value}: {rule}")]
    InvalidOption { option: &'static str, value: u64, rule: &'static str },
    #[error("cannot start the log's thread: {0}")]
    Thread(io::Error),
}

/// Why batches could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("batch {index} is not in the log, which holds {first} to {last}")]
    NotFound { index: LogIndex, first: LogIndex, last: LogIndex },
    #[error(transparent)]
    Io(#[from] IoFailure),
    #[error("{} is damaged at byte {offset}: {what}", segment.display())]
    Damaged { segment: PathBuf, offset: u64, what: Damage },
}

/// Why a batch was not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("batch {index} is not in the log, which holds {first} to {last}")]
    NotInLog { index: LogIndex, first: LogIndex, last: LogIndex },
    #[error(
        "batch {found} is not the one that the log has there, which is {expected}, or not of its position and length"
    )]
    Another { found: EntryId, expected: EntryId },
    #[error("its place cannot be found or read back: {0}")]
    Read(#[from] ReadError),
    #[error("the log has stopped: {0}")]
    Stopped(#[from] Arc<LogError>),
    #[error("the place still holds another batch, {found}")]
    StillDamaged { found: EntryId },
}

/// Why a small state file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Io(#[from] IoFailure),
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{} has format version {found}, this program knows {known}", path.display())]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{} bytes of state for {} are too many", bytes, path.display())]
    TooLarge { path: PathBuf, bytes: usize },
}

/// Why a data folder could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("data folder {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error(transparent)]
    Io(#[from] IoFailure),
    #[error("data folder {} has a format marker that cannot be understood", path.display())]
    DamagedFormat { path: PathBuf },
    #[error("data folder {} has format version {found}, this program knows {known}", path.display())]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{} is not a data folder of this program: it holds files, but no format marker", path.display())]
    NotADataFolder { path: PathBuf },
}
