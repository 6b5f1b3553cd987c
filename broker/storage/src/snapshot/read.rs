//! Reading a snapshot: what was put in, verified, or the bytes of the file for another replica.

use std::path::PathBuf;

use bytes::Bytes;
use mainstay_record::GroupId;

use super::format::{
    CHUNK_HEADER_LEN, END_LEN, FORMAT_VERSION, MAGIC, MAX_CHUNK, MAX_HEAD, PREFIX_LEN, Whole, chunk_length,
    decode_head, payload_bytes,
};
use super::{Snapshot, SnapshotError};
use crate::fields::u32_at;
use crate::fs::{FileSystem, OpenFile};

/// An open snapshot whose beginning and end are intact.
#[derive(Debug)]
pub struct SnapshotReader {
    file: OpenFile,
    head: Bytes,
    snapshot: Snapshot,
}

impl SnapshotReader {
    pub(super) fn open(fs: &dyn FileSystem, path: PathBuf, group: GroupId) -> Result<Self, SnapshotError> {
        Self::of(OpenFile::open(fs, path)?, group)
    }

    pub(super) fn of(file: OpenFile, group: GroupId) -> Result<Self, SnapshotError> {
        let path = file.path().to_owned();
        let damaged = |offset, what| SnapshotError::Damaged { path: path.clone(), offset, what };
        let file_bytes = file.len()?;
        if file_bytes < (PREFIX_LEN + END_LEN) as u64 {
            return Err(damaged(0, "it is too short"));
        }
        let prefix = file.read(0, PREFIX_LEN)?;
        if prefix[..8] != MAGIC {
            return Err(damaged(0, "its head is not intact"));
        }
        let length = u32_at(&prefix, 16) as usize;
        if length > MAX_HEAD || (length + END_LEN) as u64 > file_bytes {
            return Err(damaged(16, "its head is not intact"));
        }
        let found = u32_at(&prefix, 8);
        if found != FORMAT_VERSION {
            return Err(SnapshotError::UnknownFormat { path, found, known: FORMAT_VERSION });
        }
        let head = Bytes::from(file.read(0, length)?);
        let base = decode_head(head.clone()).ok_or_else(|| damaged(0, "its head is not intact"))?;
        let owner = GroupId(u32_at(&prefix, 12));
        if owner != group {
            return Err(SnapshotError::ForeignGroup { path, found: owner, expected: group });
        }
        if !base.is_consistent() {
            return Err(SnapshotError::Inconsistent { path, base: Box::new(base) });
        }
        let end_at = file_bytes - END_LEN as u64;
        let payload = payload_bytes(&file.read(end_at, END_LEN)?);
        let payload_bytes = payload.ok_or_else(|| damaged(end_at, "its end is not intact"))?;
        Ok(Self { file, head, snapshot: Snapshot { path, base, file_bytes, payload_bytes } })
    }

    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Up to `max` bytes of the file from `offset`, as they lie there; none at the end. Whoever receives them verifies.
    pub fn read_raw(&self, offset: u64, max: usize) -> Result<Bytes, SnapshotError> {
        let left = self.snapshot.file_bytes.saturating_sub(offset);
        let length = left.min(max as u64) as usize;
        Ok(self.file.read(offset, length)?.into())
    }

    /// What was put in, in pieces. A piece that was returned is as it was written; the last one is followed by an
    /// error unless all of the snapshot was.
    pub fn chunks(&self) -> SnapshotChunks<'_> {
        let whole = Some(Whole::of_head(&self.head));
        SnapshotChunks { reader: self, at: self.head.len() as u64, whole }
    }

    /// Reads and verifies everything.
    pub(super) fn verify(&self) -> Result<Snapshot, SnapshotError> {
        self.chunks().try_for_each(|chunk| chunk.map(drop))?;
        Ok(self.snapshot.clone())
    }
}

/// Iterator over what a snapshot holds.
#[derive(Debug)]
pub struct SnapshotChunks<'a> {
    reader: &'a SnapshotReader,
    at: u64,
    /// `None` once the end or an error was reached.
    whole: Option<Whole>,
}

impl Iterator for SnapshotChunks<'_> {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = self.whole.take()?;
        self.step(whole).transpose()
    }
}

impl SnapshotChunks<'_> {
    fn step(&mut self, mut whole: Whole) -> Result<Option<Bytes>, SnapshotError> {
        let file = &self.reader.file;
        let end_at = self.reader.snapshot.file_bytes - END_LEN as u64;
        let damaged = |offset, what| {
            Err(SnapshotError::Damaged { path: self.reader.snapshot.path.clone(), offset, what })
        };
        let header = file.read(self.at, CHUNK_HEADER_LEN)?;
        let Some(length) = chunk_length(&header) else {
            if self.at != end_at {
                return damaged(self.at, "it ends before its end");
            }
            let end = file.read(self.at, END_LEN)?;
            return if end == whole.end() {
                Ok(None)
            } else {
                damaged(self.at, "its parts do not belong together")
            };
        };
        let start = self.at + CHUNK_HEADER_LEN as u64;
        if length as usize > MAX_CHUNK || start + u64::from(length) > end_at {
            return damaged(self.at, "the length of a chunk is out of bounds");
        }
        let chunk = Bytes::from(file.read(start, length as usize)?);
        if whole.chunk(&chunk) != header[..] {
            return damaged(self.at, "the checksum of a chunk does not fit");
        }
        self.at = start + u64::from(length);
        self.whole = Some(whole);
        Ok(Some(chunk))
    }
}
