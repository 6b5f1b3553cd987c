//! Giving a complete segment its index file, beside the write path.
//!
//! Nothing depends on it being done: without the file the segment is read whole at the next start.

use std::sync::Arc;

use super::{Entries, Entry, IndexedSegment, Reader, SealedSummary, sealed};
use crate::chain::Chain;
use crate::error::IoFailure;
use crate::fs::{remove_if_there, sync_parent};

/// A segment whose index file is to be written.
#[derive(Debug)]
pub(crate) struct SealJob {
    summary: SealedSummary,
    path: Arc<std::path::Path>,
    entries: Arc<Vec<Entry>>,
    opened: u64,
    reader: Reader,
}

impl SealJob {
    /// `None` when there is nothing to write: the segment is empty, or has its file. `chain` reaches at least to the
    /// segment's end.
    pub(crate) fn new(segment: &IndexedSegment, chain: &Chain, reader: &Reader) -> Option<Self> {
        let Entries::Memory(entries) = &segment.entries else { return None };
        if segment.count == 0 {
            return None;
        }
        let past = chain.base_through(segment.last(), segment.end, segment.timestamp);
        let (epochs, memberships) = chain.news_from(segment.header.first);
        let last = segment.last();
        let summary = SealedSummary {
            header: segment.header,
            count: segment.count,
            last: past.last,
            timestamp: segment.timestamp,
            end: segment.end,
            end_offset: segment.end_offset,
            epochs: epochs.iter().take_while(|start| start.first <= last).copied().collect(),
            memberships: memberships.iter().take_while(|batch| batch.index() <= last).cloned().collect(),
        };
        Some(Self {
            summary,
            path: Arc::clone(&segment.path),
            entries: Arc::clone(entries),
            opened: segment.opened,
            reader: reader.clone(),
        })
    }

    /// Writes the file. A failure costs time at the next start, nothing else.
    pub(crate) fn run(self) {
        let path = Arc::clone(&self.path);
        if let Err(error) = self.write() {
            tracing::warn!(segment = %path.display(), %error, "a complete segment stays without its index file");
        }
    }

    fn write(self) -> Result<(), IoFailure> {
        let fs = self.reader.pool().fs();
        if !self.is_true(&self.reader.index().read()) {
            return Ok(());
        }
        let (file, sealed) = sealed::write(self.reader.pool(), &self.path, &self.summary, &self.entries)?;
        let naming = self.reader.hold_naming();
        if !self.is_true(&self.reader.index().read()) {
            return remove_if_there(fs, file.path());
        }
        file.rename(fs, sealed.path().to_owned())?;
        sync_parent(fs, sealed.path())?;
        let mut index = self.reader.index().write();
        let own = |segment: &&mut IndexedSegment| segment.header.salt == self.summary.header.salt;
        if let Some(segment) = index.segments.iter_mut().find(own) {
            segment.entries = Entries::File(Arc::new(sealed));
        }
        drop(index);
        drop(naming);
        Ok(())
    }

    /// Whether the segment is still as it was: there, complete, and never cut since.
    fn is_true(&self, index: &super::Index) -> bool {
        let complete = index.segments.split_last().map_or(&[][..], |(_, complete)| complete);
        complete
            .iter()
            .any(|segment| segment.header.salt == self.summary.header.salt && segment.opened == self.opened)
    }
}
