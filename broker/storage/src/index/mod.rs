//! Where each batch lies, and reading it from there.
//!
//! Of the newest segment the places are in memory; of complete segments they are in index files, and nothing per batch
//! is in memory. Readers hold the lock only to look at the list of segments; they read the disk without any lock, and
//! start over when segments were cut or removed in between.

mod pool;
mod reader;
mod scrub;
mod seal;
mod sealed;

use std::path::Path;
use std::sync::Arc;

use mainstay_record::{LogIndex, LogPosition, Timestamp};

use crate::chain::EpochStart;
use crate::fs::OpenFile;
use crate::segment::{HEADER_BLOCK, SegmentHeader};

pub(crate) use reader::Reader;
pub use scrub::Scrubbed;
pub(crate) use seal::SealJob;
pub(crate) use sealed::{SealedIndex, SealedSummary, read as read_sealed};

/// A batch in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Byte of the file.
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// Log position, counted from the segment's base.
    pub(crate) position: u32,
}

impl Entry {
    pub(crate) const fn end_offset(&self) -> u64 {
        self.offset as u64 + self.length as u64
    }

    /// Log position behind the batch.
    pub(crate) const fn end_position(&self, base: LogPosition) -> LogPosition {
        LogPosition(base.0 + self.position as u64 + self.length as u64)
    }
}

/// Where the entries of a segment are.
#[derive(Debug, Clone)]
pub(crate) enum Entries {
    /// Shared with the writer of the index file only.
    Memory(Arc<Vec<Entry>>),
    File(Arc<SealedIndex>),
}

#[derive(Debug)]
pub(crate) struct IndexedSegment {
    pub(crate) path: Arc<Path>,
    /// Kept open for the newest segment only.
    pub(crate) file: Option<OpenFile>,
    pub(crate) header: SegmentHeader,
    pub(crate) entries: Entries,
    pub(crate) count: u64,
    pub(crate) end: LogPosition,
    /// Byte behind the last batch.
    pub(crate) end_offset: u64,
    /// Of the last batch.
    pub(crate) timestamp: Timestamp,
    /// How often the log had been cut when this segment became the newest: what was learnt of it before is void.
    pub(crate) opened: u64,
}

impl IndexedSegment {
    /// A segment without batches.
    pub(crate) fn empty(file: OpenFile, header: SegmentHeader, timestamp: Timestamp) -> Self {
        Self {
            path: file.path().into(),
            file: Some(file),
            header,
            entries: Entries::Memory(Arc::default()),
            count: 0,
            end: header.base,
            end_offset: HEADER_BLOCK,
            timestamp,
            opened: 0,
        }
    }

    /// The last batch, or the one before the segment when there is none.
    pub(crate) const fn last(&self) -> LogIndex {
        LogIndex(self.header.first.0 + self.count - 1)
    }

    pub(crate) const fn info(&self) -> SegmentInfo {
        SegmentInfo {
            first: self.header.first,
            last: self.last(),
            bytes: self.end.0 - self.header.base.0,
            file_bytes: self.header.capacity,
            newest: self.timestamp,
        }
    }

    /// Takes batches behind the last one.
    pub(crate) fn extend(&mut self, added: impl IntoIterator<Item = Entry>, timestamp: Timestamp) {
        let Entries::Memory(entries) = &mut self.entries else { return };
        let entries = Arc::make_mut(entries);
        entries.extend(added);
        self.count = entries.len() as u64;
        self.timestamp = timestamp;
        if let Some(last) = entries.last() {
            self.end = last.end_position(self.header.base);
            self.end_offset = last.end_offset();
        }
    }
}

/// A segment of the log, for deciding what may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    pub first: LogIndex,
    /// Before `first` when the segment has no batch yet.
    pub last: LogIndex,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Bytes of the file, which is as long as it will ever be.
    pub file_bytes: u64,
    /// Of the last batch, or of the one before the segment when there is none yet.
    pub newest: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: Vec<IndexedSegment>,
    /// Of which epoch each batch must be: one of another is a write that was lost, with an older one in its place.
    epochs: Vec<EpochStart>,
    /// How often segments were cut or removed: what a reader planned before may be gone.
    changes: u64,
    cuts: u64,
}

impl Index {
    /// Adds the newest segment; the one before is then complete.
    pub(crate) fn begin_segment(&mut self, mut segment: IndexedSegment) {
        if let Some(complete) = self.segments.last_mut() {
            complete.file = None;
        }
        segment.opened = self.cuts;
        self.segments.push(segment);
    }

    /// Adds batches to the newest segment.
    pub(crate) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>, timestamp: Timestamp) {
        if let Some(segment) = self.segments.last_mut() {
            segment.extend(entries, timestamp);
        }
    }

    pub(crate) fn set_epochs(&mut self, epochs: &[EpochStart]) {
        self.epochs = epochs.to_vec();
    }

    /// Takes the epochs that are new in `epochs`, which continues what is known.
    pub(crate) fn learn_epochs(&mut self, epochs: &[EpochStart]) {
        self.epochs.extend_from_slice(epochs.get(self.epochs.len()..).unwrap_or_default());
    }

    /// The epoch of the batch at `from`, and those that begin behind it through `through`.
    fn epochs_of(&self, from: LogIndex, through: LogIndex) -> Vec<EpochStart> {
        let start = self.epochs.partition_point(|start| start.first <= from).saturating_sub(1);
        self.epochs[start..].iter().take_while(|start| start.first <= through).copied().collect()
    }

    pub(crate) fn segments(&self) -> &[IndexedSegment] {
        &self.segments
    }

    pub(crate) fn first(&self) -> LogIndex {
        self.segments.first().map_or(LogIndex(1), |segment| segment.header.first)
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.segments.last().map_or(LogIndex::ZERO, IndexedSegment::last)
    }

    pub(crate) fn list(&self) -> Vec<SegmentInfo> {
        self.segments.iter().map(IndexedSegment::info).collect()
    }

    /// The segment that holds a batch.
    fn find(&self, index: LogIndex) -> Option<&IndexedSegment> {
        let after = self.segments.partition_point(|segment| segment.header.first <= index);
        self.segments.get(after.checked_sub(1)?).filter(|segment| index <= segment.last())
    }

    /// How many of the oldest segments are complete and hold nothing behind `through`.
    pub(crate) fn forgettable(&self, through: LogIndex) -> usize {
        let complete = self.segments.split_last().map_or(&[][..], |(_, complete)| complete);
        complete.partition_point(|segment| segment.last() <= through)
    }

    /// Drops the oldest `count` segments.
    pub(crate) fn forget(&mut self, count: usize) -> Vec<IndexedSegment> {
        self.changes += 1;
        self.segments.drain(..count).collect()
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) -> Vec<IndexedSegment> {
        self.cuts += 1;
        self.forget(self.segments.len())
    }

    /// Drops the segments behind the one that begins at `base`. That one is then the newest, with `entries`, of which
    /// the last has `timestamp`. Returns what is gone.
    pub(crate) fn cut(
        &mut self,
        base: LogPosition,
        file: &OpenFile,
        entries: Vec<Entry>,
        timestamp: Timestamp,
    ) -> Vec<IndexedSegment> {
        self.changes += 1;
        self.cuts += 1;
        let keep = self.segments.partition_point(|segment| segment.header.base < base);
        let gone = self.segments.split_off(keep);
        if let Some(last) = gone.first() {
            let mut kept = IndexedSegment::empty(file.clone(), last.header, timestamp);
            kept.extend(entries, timestamp);
            kept.opened = self.cuts;
            self.segments.push(kept);
        }
        gone
    }
}
