//! Taking away the tail of the log.
//!
//! The order makes it one step for whoever reads the disk later: what is to be kept for people is copied out; the mark
//! says durably what is to go; segments are removed and the rest is overwritten with zeros; the mark says that it is
//! done. Interrupted, recovery completes it. Nothing is appended before, and no byte of the old tail is left that could
//! ever be taken for the log again.

use std::path::PathBuf;

use mainstay_record::LogIndex;

use super::{Active, LogCore};
use crate::error::{IoFailure, LogError};
use crate::fs::{FileSystem, OpenFile, remove_if_there, sync_parent};
use crate::mark::{Cut, Mark};
use crate::quarantine::QuarantineFile;

/// What becomes of a tail that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFate {
    Discard,
    /// Kept in a file under `quarantine/`.
    Quarantine,
}

impl LogCore {
    pub(super) fn cut(&mut self, keep: LogIndex, fate: TailFate) -> Result<(), LogError> {
        let last = self.chain.last();
        if keep == last.index {
            return Ok(());
        }
        let place = self.reader.index().read().cut_place(keep).filter(|_| keep < last.index);
        let place = place.ok_or(LogError::TruncateBeyondEnd { keep, last })?;
        if fate == TailFate::Quarantine {
            let file =
                QuarantineFile::write(&*self.fs, &self.quarantine, self.group, &self.reader, keep, last)?;
            self.quarantined.retain(|other| other.path != file.path);
            self.quarantined.push(file);
        }
        let cut = Cut { segment: place.header.base, offset: place.offset };
        let durable = place.end.min(self.mark.mark().durable);
        self.mark.store(Mark { cut: Some(cut), ..self.mark_at(durable) })?;

        self.reader.index().write().cut(keep, place.header.base);
        let gone: Vec<PathBuf> = place.gone.iter().map(|file| file.path().to_owned()).collect();
        remove_tail(&*self.fs, &gone, &place.file, place.offset, place.written)?;

        self.chain.cut(keep, place.end);
        self.active = Active { file: place.file, header: place.header, offset: place.offset };
        // What is kept of this segment was forced together with the zeros, older segments when they were left.
        self.dirty = false;
        self.mark.store(self.mark_at(place.end))?;
        self.work.truncations += 1;
        Ok(())
    }
}

/// Removes the segments `newer`, newest first, and overwrites `file` from `offset` to `end` with zeros; durably.
pub(super) fn remove_tail(
    fs: &dyn FileSystem,
    newer: &[PathBuf],
    file: &OpenFile,
    offset: u64,
    end: u64,
) -> Result<(), IoFailure> {
    for path in newer {
        remove_if_there(fs, path)?;
    }
    sync_parent(fs, file.path())?;
    file.write_zeros(offset, end)
}
