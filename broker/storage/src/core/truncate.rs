//! Taking away the tail of the log.
//!
//! The order makes it one step for whoever reads the disk later: what is to be kept for people is copied out; the mark
//! says durably what is to go; segments and the index file of the one that is then the newest are removed and the rest
//! is overwritten with zeros; the mark says that it is done. Interrupted, recovery completes it. Nothing is appended
//! before, and no byte of the old tail is left that could ever be taken for the log again.

use std::path::{Path, PathBuf};

use mainstay_planted::{Fault, planted};
use mainstay_record::{LogIndex, LogPosition, Timestamp};

use super::{Active, LogCore};
use crate::error::{IoFailure, LogError, ReadError};
use crate::fs::{FileSystem, OpenFile, remove_if_there, sync_parent};
use crate::index::{Entry, IndexedSegment};
use crate::mark::{Cut, Mark};
use crate::quarantine::QuarantineFile;
use crate::segment::{HEADER_BLOCK, SegmentHeader, index_path};

/// What becomes of a tail that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFate {
    Discard,
    /// Kept in a file under `quarantine/`.
    Quarantine,
}

/// Where the log is cut: behind the batch that stays last.
#[derive(Debug)]
struct CutPlace {
    /// The segment that is then the newest.
    file: OpenFile,
    header: SegmentHeader,
    /// Byte of it behind the batch.
    offset: u64,
    end: LogPosition,
    timestamp: Timestamp,
    /// What stays in the segment.
    entries: Vec<Entry>,
}

impl LogCore {
    pub(super) fn cut(&mut self, keep: LogIndex, fate: TailFate) -> Result<(), LogError> {
        let last = self.chain.last();
        if keep == last.index {
            return Ok(());
        }
        if keep > last.index {
            return Err(LogError::TruncateBeyondEnd { keep, last });
        }
        let base = self.chain.base();
        if keep < base.index {
            return Err(LogError::TruncateBelowBase { keep, base });
        }
        if fate == TailFate::Quarantine {
            self.set_aside(keep)?;
        }
        let place = self.cut_place(keep)?;
        let cut = Cut { segment: place.header.base, offset: place.offset };
        let durable = place.end.min(self.mark.mark().durable);
        if !planted(Fault::ForgetCut) {
            self.mark.store(Mark { cut: Some(cut), ..self.mark_at(durable) })?;
        }

        let written = self.take_from_index(&place);
        remove_tail(&*self.fs, &written.newer, &place.file, place.offset, written.end)?;

        self.chain.cut(keep, place.end);
        self.reader.index().write().set_epochs(self.chain.epochs());
        self.active = Active { file: place.file, header: place.header, offset: place.offset };
        // What is kept of this segment was forced together with the zeros, older segments when they were left.
        self.dirty = false;
        self.mark.store(self.mark_at(place.end))?;
        self.work.truncations += 1;
        Ok(())
    }

    /// Copies everything behind `keep` into a quarantine file, durably.
    pub(super) fn set_aside(&mut self, keep: LogIndex) -> Result<(), LogError> {
        let last = self.chain.last();
        let file = QuarantineFile::write(&*self.fs, &self.quarantine, self.group, &self.reader, keep, last)?;
        self.quarantined.retain(|other| other.path != file.path);
        self.quarantined.push(file);
        Ok(())
    }

    fn cut_place(&self, keep: LogIndex) -> Result<CutPlace, ReadError> {
        if keep == self.chain.base().index {
            return self.cut_at_base();
        }
        let (file, header, entry) = self.reader.entry(keep)?;
        let timestamp = self.reader.read(keep, keep, 0)?.first().map(|batch| batch.header().timestamp);
        Ok(CutPlace {
            file,
            header,
            offset: entry.end_offset(),
            end: entry.end_position(header.base),
            timestamp: timestamp.unwrap_or_default(),
            entries: self.reader.entries_through(keep)?,
        })
    }

    fn cut_at_base(&self) -> Result<CutPlace, ReadError> {
        let oldest = self.reader.index().read().segments().first().map(|oldest| {
            let file = oldest.file.clone();
            (oldest.path.to_path_buf(), file, oldest.header)
        });
        let (path, file, header) = oldest.ok_or(ReadError::NotFound {
            index: self.chain.base().index,
            first: self.chain.base().index.next(),
            last: self.chain.last().index,
        })?;
        let file = file.map_or_else(|| OpenFile::open(&*self.fs, path), Ok)?;
        Ok(CutPlace {
            file,
            header,
            offset: HEADER_BLOCK,
            end: header.base,
            timestamp: self.base.timestamp,
            entries: Vec::new(),
        })
    }

    /// Takes the tail out of the index. From then on no reader finds it, and no index file of it appears.
    fn take_from_index(&self, place: &CutPlace) -> Taken {
        let naming = self.reader.hold_naming();
        let entries = place.entries.clone();
        let mut index = self.reader.index().write();
        let gone = index.cut(place.header.base, &place.file, entries, place.timestamp);
        drop(index);
        drop(naming);
        self.reader.close(&gone);
        Taken {
            newer: gone.iter().skip(1).rev().map(|segment| segment.path.to_path_buf()).collect(),
            end: gone.first().map_or(HEADER_BLOCK, |segment: &IndexedSegment| segment.end_offset),
        }
    }
}

#[derive(Debug)]
struct Taken {
    /// Segments, newest first.
    newer: Vec<PathBuf>,
    /// Byte behind the last batch that was written in the segment that stays.
    end: u64,
}

/// Removes the segments `newer`, newest first, and the index file of `file`, and overwrites `file` from `offset` to
/// `end` with zeros; durably.
pub(super) fn remove_tail(
    fs: &dyn FileSystem,
    newer: &[PathBuf],
    file: &OpenFile,
    offset: u64,
    end: u64,
) -> Result<(), IoFailure> {
    for path in newer {
        remove_segment(fs, path)?;
    }
    remove_if_there(fs, &index_path(file.path()))?;
    sync_parent(fs, file.path())?;
    file.write_zeros(offset, end)
}

/// Removes a segment and its index file. The folder still has to be synced.
pub(crate) fn remove_segment(fs: &dyn FileSystem, path: &Path) -> Result<(), IoFailure> {
    remove_if_there(fs, path)?;
    remove_if_there(fs, &index_path(path))
}
