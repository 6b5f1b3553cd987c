//! Layout of a segment file.
//!
//! A segment is as long as it will ever be from the start, filled with zeros, so that an fdatasync has no metadata to
//! write. Its first block holds the header; batches follow, in runs. A run is what one write put there: a
//! [`RunHeader`] and the batches. The run header says how far the log was durable when the run was written, which is
//! how recovery knows that what lies before a run cannot be a torn write.
//!
//! Run headers are sealed with the segment's salt, which no client knows: bytes of a message never pass for one.

use std::path::{Path, PathBuf};

use mainstay_record::{GroupId, LogIndex, LogPosition};

use crate::error::{IoFailure, OpenError};
use crate::fields::{Fields, is_sealed, u32_at, u64_at};
use crate::fs::OpenFile;

/// Bytes before the first run: a block of its own.
pub(crate) const HEADER_BLOCK: u64 = 4096;
/// Version of segments, marks and quarantine files.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"MSTSEGMT";
const SEALED_LEN: usize = 48;
const SUFFIX: &str = ".seg";

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) group: GroupId,
    /// Where the log stands at the first batch.
    pub(crate) base: LogPosition,
    pub(crate) first: LogIndex,
    /// Bytes of the whole file.
    pub(crate) capacity: u64,
    pub(crate) salt: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEALED_LEN + 4] {
        Fields::new()
            .put(&MAGIC)
            .u32(FORMAT_VERSION)
            .u32(self.group.0)
            .u64(self.base.0)
            .u64(self.first.0)
            .u64(self.capacity)
            .u64(self.salt)
            .sealed(0)
    }

    /// The header, of whatever group; `None` when it is not intact, or of another format.
    pub(crate) fn read_any(file: &OpenFile) -> Result<Option<Self>, IoFailure> {
        if file.len()? < HEADER_BLOCK {
            return Ok(None);
        }
        let bytes = file.read(0, SEALED_LEN + 4)?;
        let intact = bytes[..8] == MAGIC && is_sealed(&bytes, SEALED_LEN, 0);
        Ok((intact && u32_at(&bytes, 8) == FORMAT_VERSION).then(|| Self::decode(&bytes)))
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            group: GroupId(u32_at(bytes, 12)),
            base: LogPosition(u64_at(bytes, 16)),
            first: LogIndex(u64_at(bytes, 24)),
            capacity: u64_at(bytes, 32),
            salt: u64_at(bytes, 40),
        }
    }

    /// `None` when the header is not intact.
    pub(crate) fn read(file: &OpenFile, group: GroupId) -> Result<Option<Self>, OpenError> {
        let length = file.len()?;
        if length < HEADER_BLOCK {
            return Ok(None);
        }
        let bytes = file.read(0, SEALED_LEN + 4)?;
        if bytes[..8] != MAGIC || !is_sealed(&bytes, SEALED_LEN, 0) {
            return Ok(None);
        }
        let path = file.path().to_owned();
        let found = u32_at(&bytes, 8);
        if found != FORMAT_VERSION {
            return Err(OpenError::UnknownFormat { path, found, known: FORMAT_VERSION });
        }
        let header = Self::decode(&bytes);
        if header.group != group {
            return Err(OpenError::ForeignGroup { path, found: header.group, expected: group });
        }
        Ok(Some(header))
    }
}

/// Stands before the batches of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunHeader {
    /// Where the log stands at the first batch of the run.
    pub(crate) position: LogPosition,
    /// Everything before this was durable when the run was written.
    pub(crate) durable: LogPosition,
}

impl RunHeader {
    pub(crate) const MAGIC: [u8; 4] = *b"MSR1";
    pub(crate) const LEN: usize = 24;

    pub(crate) fn encode(&self, salt: u64) -> [u8; Self::LEN] {
        Fields::new().put(&Self::MAGIC).u64(self.position.0).u64(self.durable.0).sealed(salt)
    }

    /// The run header at the start of `bytes`, if there is an intact one of this segment.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let intact = bytes.starts_with(&Self::MAGIC) && is_sealed(bytes, Self::LEN - 4, salt);
        intact.then(|| Self {
            position: LogPosition(u64_at(bytes, 4)),
            durable: LogPosition(u64_at(bytes, 12)),
        })
    }
}

pub(crate) fn segment_path(folder: &Path, base: LogPosition) -> PathBuf {
    folder.join(format!("{:020}{SUFFIX}", base.0))
}

/// The index file beside a segment.
pub(crate) fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// The base position that a file name stands for.
pub(crate) fn parse_segment_name(name: &str) -> Option<LogPosition> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok().map(LogPosition)).flatten()
}
