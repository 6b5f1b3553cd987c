//! The mark: how far the log is known to be durable, how it was closed, and a truncation that is under way.
//!
//! A file with two slots in two blocks, written in turn; the newer intact one counts, so a torn write leaves the other.
//! After each fdatasync of the log the mark is written but not forced: what it says is true whenever it reaches the
//! disk, and a mark that is behind only makes recovery know less. Where an older mark would be wrong (truncation,
//! clean end) both slots are forced.

use std::io::IoSlice;
use std::path::Path;

use mainstay_record::{GroupId, LogPosition};

use crate::error::{IoFailure, OpenError};
use crate::fields::{Fields, is_sealed, u32_at, u64_at};
use crate::fs::{FileSystem, OpenFile, replace_file};
use crate::segment::FORMAT_VERSION;

const MAGIC: [u8; 8] = *b"MSTMARK\0";
const SLOT: u64 = 4096;
const SEALED_LEN: usize = 64;
const NO_CUT: u64 = u64::MAX;
const CLEAN: u64 = 1;
const INCOMPLETE: u64 = 2;
const LAZY: u64 = 4;

/// A cut of the log's tail that must be completed before anything else is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The segment that stays last, by its base position.
    pub(crate) segment: LogPosition,
    /// From this byte of it on there are to be zeros.
    pub(crate) offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything before this survived an fdatasync.
    pub(crate) durable: LogPosition,
    pub(crate) clean: bool,
    /// Acknowledged batches may be missing at the end, until the log has caught up with other replicas.
    pub(crate) incomplete: bool,
    /// Batches were acknowledged before they were forced.
    pub(crate) lazy: bool,
    /// The boot of the operating system that wrote this.
    pub(crate) boot: u64,
    pub(crate) cut: Option<Cut>,
}

#[derive(Debug)]
pub(crate) struct MarkFile {
    file: OpenFile,
    group: GroupId,
    sequence: u64,
    mark: Mark,
    whole: bool,
}

impl Mark {
    /// Of a log that is new on this machine.
    pub(crate) fn new(fs: &dyn FileSystem) -> Self {
        let durable = LogPosition(0);
        Self { durable, clean: false, incomplete: false, lazy: false, boot: fs.boot_id(), cut: None }
    }
}

impl MarkFile {
    pub(crate) fn create(
        fs: &dyn FileSystem,
        path: &Path,
        group: GroupId,
        mark: Mark,
    ) -> Result<Self, IoFailure> {
        let mut bytes = vec![0; 2 * SLOT as usize];
        for sequence in [2, 1] {
            let slot = encode(&mark, group, sequence);
            let at = slot_offset(sequence) as usize;
            bytes[at..at + slot.len()].copy_from_slice(&slot);
        }
        let file = replace_file(fs, path, &[IoSlice::new(&bytes)])?;
        Ok(Self { file, group, sequence: 2, mark, whole: true })
    }

    /// `None` when there is no such file.
    pub(crate) fn open(fs: &dyn FileSystem, path: &Path, group: GroupId) -> Result<Option<Self>, OpenError> {
        if !fs.exists(path).map_err(|source| IoFailure {
            operation: "look at",
            path: path.to_owned(),
            source,
        })? {
            return Ok(None);
        }
        let file = OpenFile::open(fs, path.to_owned())?;
        let damaged = |what| OpenError::DamagedFile { path: path.to_owned(), what };
        if file.len()? != 2 * SLOT {
            return Err(damaged("it is not two blocks long"));
        }
        let (mut newest, mut whole) = (None, true);
        for slot in [0, SLOT] {
            let bytes = file.read(slot, SEALED_LEN + 4)?;
            let Some((sequence, owner, mark)) = decode(&bytes, path)? else {
                whole = false;
                continue;
            };
            if owner != group {
                return Err(OpenError::ForeignGroup { path: path.to_owned(), found: owner, expected: group });
            }
            if newest.is_none_or(|(newest, _)| newest < sequence) {
                newest = Some((sequence, mark));
            }
        }
        let (sequence, mark) = newest.ok_or_else(|| damaged("neither of its two marks is intact"))?;
        Ok(Some(Self { file, group, sequence, mark, whole }))
    }

    pub(crate) const fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether both slots were intact when the file was opened. A slot lies in one sector, so a torn write leaves it
    /// whole: where one is not, the newest mark may be gone.
    pub(crate) const fn was_whole(&self) -> bool {
        self.whole
    }

    /// Replaces the mark without forcing it. Only for a mark that the one before may stand in for.
    pub(crate) fn note(&mut self, mark: Mark) -> Result<(), IoFailure> {
        self.sequence += 1;
        self.mark = mark;
        let slot = encode(&mark, self.group, self.sequence);
        self.file.write(&[IoSlice::new(&slot)], slot_offset(self.sequence))
    }

    /// Replaces the mark durably, where the one before may stand in for it.
    pub(crate) fn advance(&mut self, mark: Mark) -> Result<(), IoFailure> {
        self.note(mark)?;
        self.file.sync()
    }

    /// Replaces the mark durably, in both slots: no later torn write brings an older one back.
    pub(crate) fn store(&mut self, mark: Mark) -> Result<(), IoFailure> {
        for _ in 0..2 {
            self.advance(mark)?;
        }
        Ok(())
    }
}

const fn slot_offset(sequence: u64) -> u64 {
    sequence % 2 * SLOT
}

fn flags(mark: &Mark) -> u64 {
    let bits = [(mark.clean, CLEAN), (mark.incomplete, INCOMPLETE), (mark.lazy, LAZY)];
    bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum()
}

fn encode(mark: &Mark, group: GroupId, sequence: u64) -> [u8; SEALED_LEN + 4] {
    let (segment, offset) = mark.cut.map_or((NO_CUT, 0), |cut| (cut.segment.0, cut.offset));
    Fields::new()
        .put(&MAGIC)
        .u32(FORMAT_VERSION)
        .u32(group.0)
        .u64(sequence)
        .u64(mark.durable.0)
        .u64(flags(mark))
        .u64(mark.boot)
        .u64(segment)
        .u64(offset)
        .sealed(0)
}

fn decode(bytes: &[u8], path: &Path) -> Result<Option<(u64, GroupId, Mark)>, OpenError> {
    if bytes[..8] != MAGIC || !is_sealed(bytes, SEALED_LEN, 0) {
        return Ok(None);
    }
    let found = u32_at(bytes, 8);
    if found != FORMAT_VERSION {
        return Err(OpenError::UnknownFormat { path: path.to_owned(), found, known: FORMAT_VERSION });
    }
    let (flags, segment) = (u64_at(bytes, 32), u64_at(bytes, 48));
    let cut = Cut { segment: LogPosition(segment), offset: u64_at(bytes, 56) };
    let mark = Mark {
        durable: LogPosition(u64_at(bytes, 24)),
        clean: flags & CLEAN != 0,
        incomplete: flags & INCOMPLETE != 0,
        lazy: flags & LAZY != 0,
        boot: u64_at(bytes, 40),
        cut: (segment != NO_CUT).then_some(cut),
    };
    Ok(Some((u64_at(bytes, 16), GroupId(u32_at(bytes, 12)), mark)))
}
