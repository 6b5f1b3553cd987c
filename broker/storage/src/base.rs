//! Where a log begins, and the file that says so.
//!
//! A log whose oldest batches were removed, or that took over from a snapshot, begins behind its base. The file is
//! replaced as a whole, before anything is removed; what it says is then completed by whoever opens the log.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use mainstay_record::{Batch, EntryId, Epoch, FARTHEST, GroupId, LogIndex, LogPosition, Timestamp};

use crate::chain::EpochStart;
use crate::error::{IoFailure, OpenError};
use crate::fields::{seal, unseal};
use crate::fs::{FileSystem, read_file, replace_file};
use crate::segment::FORMAT_VERSION;

const MAGIC: [u8; 8] = *b"MSTBASE\0";
const FILE: &str = "base";

/// What is known of everything before a log's first batch. The default is that of a log that has its whole past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogBase {
    /// The last batch before the log.
    pub last: EntryId,
    /// Where the log's first batch stands.
    pub position: LogPosition,
    /// Of the batch `last`.
    pub timestamp: Timestamp,
    /// The epochs that began up to there.
    pub epochs: Vec<EpochStart>,
    /// The newest membership batch up to there.
    pub membership: Option<Batch>,
}

impl LogBase {
    /// The bytes that another replica is sent.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        self.encode(&mut bytes);
        bytes.into()
    }

    /// `None` when the bytes are not those of a base that a log can begin behind.
    pub fn from_bytes(mut bytes: Bytes) -> Option<Self> {
        Self::decode(&mut bytes).filter(|base| bytes.is_empty() && base.is_consistent())
    }

    /// Whether the last entry is of the last epoch, and a log can get there.
    pub(crate) fn is_consistent(&self) -> bool {
        if !self.last.is_reachable() || self.position.0 > FARTHEST {
            return false;
        }
        match self.epochs.last() {
            Some(start) => start.epoch == self.last.epoch && start.first <= self.last.index,
            None => self.last == EntryId::ZERO && self.position == LogPosition(0),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_entry(out, self.last);
        out.put_u64_le(self.position.0);
        out.put_u64_le(self.timestamp.0);
        put_epochs(out, &self.epochs);
        put_batches(out, self.membership.as_slice());
    }

    /// `None` when the bytes are not what [`LogBase::encode`] makes.
    pub(crate) fn decode(bytes: &mut Bytes) -> Option<Self> {
        Some(Self {
            last: take_entry(bytes)?,
            position: LogPosition(bytes.try_get_u64_le().ok()?),
            timestamp: Timestamp(bytes.try_get_u64_le().ok()?),
            epochs: take_epochs(bytes)?,
            membership: take_batches(bytes)?.pop(),
        })
    }
}

pub(crate) fn put_entry(out: &mut Vec<u8>, id: EntryId) {
    out.put_u64_le(id.epoch.number);
    out.put_u64_le(id.epoch.candidate);
    out.put_u64_le(id.index.0);
}

pub(crate) fn take_entry(bytes: &mut Bytes) -> Option<EntryId> {
    let epoch = Epoch { number: bytes.try_get_u64_le().ok()?, candidate: bytes.try_get_u64_le().ok()? };
    Some(EntryId { epoch, index: LogIndex(bytes.try_get_u64_le().ok()?) })
}

pub(crate) fn put_epochs(out: &mut Vec<u8>, epochs: &[EpochStart]) {
    out.put_u32_le(epochs.len() as u32);
    for start in epochs {
        put_entry(out, EntryId { epoch: start.epoch, index: start.first });
    }
}

pub(crate) fn take_epochs(bytes: &mut Bytes) -> Option<Vec<EpochStart>> {
    let count = bytes.try_get_u32_le().ok()?;
    let mut start = || take_entry(bytes).map(|id| EpochStart { epoch: id.epoch, first: id.index });
    (0..count).map(|_| start()).collect()
}

pub(crate) fn put_batches(out: &mut Vec<u8>, batches: &[Batch]) {
    out.put_u32_le(batches.len() as u32);
    for batch in batches {
        out.put_slice(batch.bytes());
    }
}

pub(crate) fn take_batches(bytes: &mut Bytes) -> Option<Vec<Batch>> {
    let count = bytes.try_get_u32_le().ok()?;
    let mut one = || {
        let batch = Batch::decode(bytes).ok()?;
        bytes.advance(batch.bytes().len());
        Some(batch)
    };
    (0..count).map(|_| one()).collect()
}

/// What the file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct BaseRecord {
    pub(crate) base: LogBase,
    /// All segments are to be removed, those behind the base as well: the log starts over.
    pub(crate) restarting: bool,
}

impl BaseRecord {
    /// `None` when there is no such file: the log has its whole past.
    pub(crate) fn load(
        fs: &dyn FileSystem,
        folder: &Path,
        group: GroupId,
    ) -> Result<Option<Self>, OpenError> {
        let path = folder.join(FILE);
        let Some(bytes) = read_file(fs, &path)? else { return Ok(None) };
        decode(bytes, path, group).map(Some)
    }

    /// Replaces the file, durably.
    pub(crate) fn store(&self, fs: &dyn FileSystem, folder: &Path, group: GroupId) -> Result<(), IoFailure> {
        let mut bytes = Vec::with_capacity(256);
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(FORMAT_VERSION);
        bytes.put_u32_le(group.0);
        bytes.put_u8(u8::from(self.restarting));
        self.base.encode(&mut bytes);
        seal(&mut bytes);
        replace_file(fs, &folder.join(FILE), &[IoSlice::new(&bytes)]).map(drop)
    }
}

fn decode(bytes: Vec<u8>, path: PathBuf, group: GroupId) -> Result<BaseRecord, OpenError> {
    let damaged = || OpenError::DamagedFile { path: path.clone(), what: "its checksum does not fit" };
    let mut bytes = unseal(bytes.into()).filter(|bytes| bytes.starts_with(&MAGIC)).ok_or_else(damaged)?;
    bytes.advance(MAGIC.len());
    let found = bytes.try_get_u32_le().map_err(|_| damaged())?;
    if found != FORMAT_VERSION {
        return Err(OpenError::UnknownFormat { path, found, known: FORMAT_VERSION });
    }
    let owner = GroupId(bytes.try_get_u32_le().map_err(|_| damaged())?);
    if owner != group {
        return Err(OpenError::ForeignGroup { path, found: owner, expected: group });
    }
    let restarting = bytes.try_get_u8().map_err(|_| damaged())? != 0;
    let base = LogBase::decode(&mut bytes).filter(LogBase::is_consistent).ok_or_else(damaged)?;
    Ok(BaseRecord { base, restarting })
}
