//! Skeleton.

use std::path::PathBuf;

use mainstay_record::LogIndex;

/// A divergent tail that was moved out of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineFile {
    pub path: PathBuf,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
    pub first: LogIndex,
    pub last: LogIndex,
}
