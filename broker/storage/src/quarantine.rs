//! Tails that were taken out of the log because another leader's batches took their place.
//!
//! A quarantine file is a header and the very batches. Its name comes from what it holds, so quarantining the same tail
//! again, after a crash in between, replaces the file by itself.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mainstay_record::{Batch, EntryId, Epoch, GroupId, LogIndex};

use crate::error::{IoContext, IoFailure, LogError, OpenError};
use crate::fields::{Fields, is_sealed, u32_at, u64_at};
use crate::fs::{FileSystem, OpenFile, remove_if_there, sync_parent, temporary};
use crate::index::Reader;
use crate::segment::FORMAT_VERSION;

const MAGIC: [u8; 8] = *b"MSTQUARA";
const SEALED_LEN: usize = 72;
const HEADER_LEN: usize = SEALED_LEN + 4;
const SUFFIX: &str = ".batches";
/// Put behind the name of a file whose messages are in the log again.
const REPUBLISHED: &str = ".republished";
const CHUNK: usize = 4 * 1024 * 1024;

/// A divergent tail that was moved out of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineFile {
    pub path: PathBuf,
    pub batches: u64,
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    pub first: LogIndex,
    pub last: LogIndex,
    /// Epoch of the last batch.
    pub epoch: Epoch,
}

impl QuarantineFile {
    /// Copies the batches behind `keep` through `last` out of the log, durably.
    pub(crate) fn write(
        fs: &dyn FileSystem,
        folder: &Path,
        group: GroupId,
        reader: &Reader,
        keep: LogIndex,
        last: EntryId,
    ) -> Result<Self, LogError> {
        let first = keep.next();
        let path = folder.join(file_name(first, last));
        let mut summary =
            Self { path, batches: 0, records: 0, bytes: 0, first, last: last.index, epoch: last.epoch };
        let unfinished = temporary(&summary.path);
        remove_if_there(fs, &unfinished)?;
        let file = OpenFile::create(fs, unfinished)?;
        while first.0 + summary.batches <= last.index.0 {
            let batches = reader.read(LogIndex(first.0 + summary.batches), last.index, CHUNK)?;
            let parts: Vec<_> = batches.iter().map(|batch| IoSlice::new(batch.bytes())).collect();
            file.write(&parts, HEADER_LEN as u64 + summary.bytes)?;
            summary.count(&batches);
        }
        file.write(&[IoSlice::new(&summary.header(group))], 0)?;
        file.sync()?;
        file.rename(fs, summary.path.clone())?;
        sync_parent(fs, &summary.path)?;
        Ok(summary)
    }

    fn count(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.batches += 1;
            self.records += u64::from(batch.header().records);
            self.bytes += u64::from(batch.header().length);
        }
    }

    fn header(&self, group: GroupId) -> [u8; HEADER_LEN] {
        Fields::new()
            .put(&MAGIC)
            .u32(FORMAT_VERSION)
            .u32(group.0)
            .u64(self.batches)
            .u64(self.records)
            .u64(self.bytes)
            .u64(self.first.0)
            .u64(self.last.0)
            .u64(self.epoch.number)
            .u64(self.epoch.candidate)
            .sealed(0)
    }

    fn read_header(fs: &dyn FileSystem, path: PathBuf, group: GroupId) -> Result<Self, OpenError> {
        let file = OpenFile::open(fs, path.clone())?;
        let length = file.len()?;
        let bytes = file.read(0, HEADER_LEN.min(length as usize))?;
        if !bytes.starts_with(&MAGIC) || !is_sealed(&bytes, SEALED_LEN, 0) {
            return Err(OpenError::DamagedFile { path, what: "its header is not intact" });
        }
        let found = u32_at(&bytes, 8);
        if found != FORMAT_VERSION {
            return Err(OpenError::UnknownFormat { path, found, known: FORMAT_VERSION });
        }
        let owner = GroupId(u32_at(&bytes, 12));
        if owner != group {
            return Err(OpenError::ForeignGroup { path, found: owner, expected: group });
        }
        let summary = Self {
            path,
            batches: u64_at(&bytes, 16),
            records: u64_at(&bytes, 24),
            bytes: u64_at(&bytes, 32),
            first: LogIndex(u64_at(&bytes, 40)),
            last: LogIndex(u64_at(&bytes, 48)),
            epoch: Epoch { number: u64_at(&bytes, 56), candidate: u64_at(&bytes, 64) },
        };
        if length.checked_sub(HEADER_LEN as u64) != Some(summary.bytes) {
            return Err(OpenError::DamagedFile {
                path: summary.path,
                what: "its length is not what its header says",
            });
        }
        Ok(summary)
    }

    /// All quarantine files of a folder, by their first index.
    pub(crate) fn list(fs: &dyn FileSystem, folder: &Path, group: GroupId) -> Result<Vec<Self>, OpenError> {
        let names = fs.list(folder).during("list", folder)?;
        let complete = names.iter().filter(|name| name.to_string_lossy().ends_with(SUFFIX));
        complete.map(|name| Self::read_header(fs, folder.join(name), group)).collect()
    }

    /// Notes durably that what is in it was put into the log again. The file stays, under another name that
    /// [`crate::Log::quarantined`] does not list; [`crate::Log::dismiss`] takes it out of the list of this process.
    pub fn mark_republished(&self, fs: &dyn FileSystem) -> Result<(), IoFailure> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(REPUBLISHED);
        fs.rename(&self.path, Path::new(&name)).during("rename", &self.path)?;
        sync_parent(fs, &self.path)
    }

    /// The batches themselves, verified.
    pub fn load(&self, fs: &dyn FileSystem) -> Result<Vec<Batch>, OpenError> {
        let file = OpenFile::open(fs, self.path.clone())?;
        let mut rest = Bytes::from(file.read(HEADER_LEN as u64, self.bytes as usize)?);
        let mut batches = Vec::new();
        while !rest.is_empty() {
            let batch = Batch::decode(&rest).map_err(|_| OpenError::DamagedFile {
                path: self.path.clone(),
                what: "one of its batches is not intact",
            })?;
            rest = rest.slice(batch.bytes().len()..);
            batches.push(batch);
        }
        Ok(batches)
    }
}

fn file_name(first: LogIndex, last: EntryId) -> String {
    format!(
        "{:020}-{:020}-{}-{:016x}{SUFFIX}",
        first.0, last.index.0, last.epoch.number, last.epoch.candidate
    )
}
