//! Taking away the beginning of the log, and starting over behind a base.
//!
//! The base is durable before anything is removed. What an interruption leaves behind is removed when the log is opened
//! again: segments before the base, or all of them where the log was starting over.

use std::path::{Path, PathBuf};

use mainstay_planted::{Fault, planted};
use mainstay_record::{GroupId, LogIndex};

use super::truncate::remove_segment;
use super::{LogCore, first_segment};
use crate::base::{BaseRecord, LogBase};
use crate::error::{IoContext, IoFailure, LogError, is_full};
use crate::fs::FileSystem;
use crate::mark::{Mark, MarkFile};
use crate::recovery::list_segments;
use crate::segment::segment_path;

impl LogCore {
    pub(super) fn drop_oldest(&mut self, through: LogIndex) -> Result<(), LogError> {
        let found = {
            let index = self.reader.index().read();
            let count = index.forgettable(through);
            let newest = count.checked_sub(1).map(|at| &index.segments()[at]);
            newest.map(|s| (count, self.chain.base_through(s.last(), s.end, s.timestamp)))
        };
        let Some((count, base)) = found else { return Ok(()) };
        let record = BaseRecord { base, restarting: false };
        let stored = match planted(Fault::ForgetBase) {
            true => Ok(()),
            false => record.store(&*self.fs, &self.folder, self.group),
        };
        match stored {
            // Nothing that was written is in doubt, and nothing was removed.
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "no space to note that the beginning of the log may go");
                return Ok(());
            }
            result => result?,
        }
        self.chain.forget(&record.base);
        self.base = record.base;
        let gone = self.reader.index().write().forget(count);
        self.reader.close(&gone);
        self.spares.retire(gone.iter().map(|segment| segment.path.to_path_buf()).collect());
        Ok(())
    }

    pub(super) fn start_over(
        &mut self,
        base: LogBase,
        set_aside_after: Option<LogIndex>,
    ) -> Result<(), LogError> {
        if !base.is_consistent() {
            return Err(LogError::InconsistentBase { last: base.last });
        }
        if let Some(after) = set_aside_after
            && after < self.chain.last().index
        {
            self.set_aside(after.max(self.chain.base().index))?;
        }
        let record = BaseRecord { base, restarting: true };
        record.store(&*self.fs, &self.folder, self.group)?;
        let naming = self.reader.hold_naming();
        let gone = self.reader.index().write().clear();
        drop(naming);
        self.reader.close(&gone);
        let record = complete_restart(&*self.fs, &self.folder, self.group, &mut self.mark, record)?;
        let (segment, active) = first_segment(
            &*self.fs,
            &self.folder,
            self.group,
            self.segment_bytes,
            &mut *self.spares,
            &record.base,
        )?;
        self.chain.restart(&record.base);
        self.base = record.base;
        self.active = active;
        let mut index = self.reader.index().write();
        index.begin_segment(segment);
        index.set_epochs(self.chain.epochs());
        drop(index);
        self.dirty = false;
        self.work.restarts += 1;
        Ok(())
    }
}

/// Removes all segments and lets the log begin behind the base of `record`, which says so durably already.
pub(crate) fn complete_restart(
    fs: &dyn FileSystem,
    folder: &Path,
    group: GroupId,
    mark: &mut MarkFile,
    record: BaseRecord,
) -> Result<BaseRecord, IoFailure> {
    let all: Vec<PathBuf> =
        list_segments(fs, folder)?.into_iter().map(|base| segment_path(folder, base)).collect();
    remove_segments(fs, folder, &all)?;
    let durable = record.base.position;
    mark.store(Mark { durable, clean: false, cut: None, ..*mark.mark() })?;
    let record = BaseRecord { restarting: false, ..record };
    record.store(fs, folder, group)?;
    Ok(record)
}

/// Removes what an interrupted removal left before the base.
pub(crate) fn complete_forget(fs: &dyn FileSystem, folder: &Path, base: &LogBase) -> Result<(), IoFailure> {
    let mut old = list_segments(fs, folder)?;
    old.retain(|found| *found < base.position);
    let old: Vec<PathBuf> = old.into_iter().map(|base| segment_path(folder, base)).collect();
    if old.is_empty() { Ok(()) } else { remove_segments(fs, folder, &old) }
}

fn remove_segments(fs: &dyn FileSystem, folder: &Path, paths: &[PathBuf]) -> Result<(), IoFailure> {
    for path in paths {
        remove_segment(fs, path)?;
    }
    fs.sync_dir(folder).during("fsync folder", folder)
}
