//! Where each batch lies, and reading it from there.
//!
//! The index is in memory, rebuilt by recovery. Readers hold its lock only to copy a few entries; they read the disk
//! without any lock, and start over when a truncation came in between.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_record::{Batch, EntryId, LogIndex, LogPosition};
use parking_lot::RwLock;

use crate::error::{Damage, ReadError};
use crate::fs::OpenFile;
use crate::segment::{HEADER_BLOCK, SegmentHeader};

/// Bytes read at once at most, unless one batch is larger.
const READ_LIMIT: usize = 8 * 1024 * 1024;

/// A batch in its segment.
#[derive(Debug, Clone, Copy)]
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
}

#[derive(Debug)]
pub(crate) struct IndexedSegment {
    pub(crate) file: OpenFile,
    pub(crate) header: SegmentHeader,
    pub(crate) entries: Vec<Entry>,
}

impl IndexedSegment {
    fn get(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(index.0.checked_sub(self.header.first.0)? as usize)
    }

    /// Log position behind a batch of this segment.
    const fn end_position(&self, entry: &Entry) -> LogPosition {
        LogPosition(self.header.base.0 + entry.position as u64 + entry.length as u64)
    }

    /// Byte behind the last batch.
    pub(crate) fn end_offset(&self) -> u64 {
        self.entries.last().map_or(HEADER_BLOCK, Entry::end_offset)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: Vec<IndexedSegment>,
    /// Truncations so far.
    cuts: u64,
}

/// Where a log is cut: behind the batch that stays last.
#[derive(Debug, Clone)]
pub(crate) struct CutPlace {
    /// The segment that is then the last.
    pub(crate) file: OpenFile,
    pub(crate) header: SegmentHeader,
    /// Byte of it behind the batch.
    pub(crate) offset: u64,
    /// Byte behind the last batch that is written in it.
    pub(crate) written: u64,
    pub(crate) end: LogPosition,
    /// The segments after it, newest first.
    pub(crate) gone: Vec<OpenFile>,
}

impl Index {
    pub(crate) fn begin_segment(&mut self, segment: IndexedSegment) {
        self.segments.push(segment);
    }

    /// Adds batches to the newest segment.
    pub(crate) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        if let Some(segment) = self.segments.last_mut() {
            segment.entries.extend(entries);
        }
    }

    pub(crate) fn first(&self) -> LogIndex {
        self.segments.first().map_or(LogIndex(1), |segment| segment.header.first)
    }

    pub(crate) fn last(&self) -> LogIndex {
        let behind = |segment: &IndexedSegment| segment.header.first.0 + segment.entries.len() as u64;
        self.segments.last().map_or(LogIndex::ZERO, |segment| LogIndex(behind(segment)).prev())
    }

    /// Log position behind the batch at `index`.
    pub(crate) fn end_of(&self, index: LogIndex) -> Option<LogPosition> {
        let segment = self.find(index)?;
        segment.get(index).map(|entry| segment.end_position(entry))
    }

    fn find(&self, index: LogIndex) -> Option<&IndexedSegment> {
        let after = self.segments.partition_point(|segment| segment.header.first <= index);
        self.segments.get(after.checked_sub(1)?)
    }

    pub(crate) fn cut_place(&self, keep: LogIndex) -> Option<CutPlace> {
        let segment = self
            .find(keep)
            .or_else(|| self.segments.first().filter(|segment| segment.header.first == keep.next()))?;
        let (offset, end) = match segment.get(keep) {
            Some(entry) => (entry.end_offset(), segment.end_position(entry)),
            None => (HEADER_BLOCK, segment.header.base),
        };
        let newer = self.segments.iter().rev().take_while(|newer| newer.header.base > segment.header.base);
        Some(CutPlace {
            file: segment.file.clone(),
            header: segment.header,
            offset,
            written: segment.end_offset(),
            end,
            gone: newer.map(|segment| segment.file.clone()).collect(),
        })
    }

    /// Forgets everything behind `keep`; `segment` is then the last.
    pub(crate) fn cut(&mut self, keep: LogIndex, segment: LogPosition) {
        self.cuts += 1;
        self.segments.retain(|other| other.header.base <= segment);
        if let Some(last) = self.segments.last_mut() {
            last.entries.truncate((keep.0 + 1 - last.header.first.0) as usize);
        }
    }

    /// Consecutive batches of one segment.
    fn plan(&self, from: LogIndex, through: LogIndex, max_bytes: usize) -> Option<Plan> {
        let segment = self.find(from)?;
        let skip = (from.0 - segment.header.first.0) as usize;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in segment.entries.get(skip..)?.iter().take((through.0 - from.0 + 1) as usize) {
            bytes += entry.length as usize;
            if !entries.is_empty() && bytes > max_bytes.min(READ_LIMIT) {
                break;
            }
            entries.push(*entry);
        }
        (!entries.is_empty()).then(|| Plan {
            file: segment.file.clone(),
            base: segment.header.base,
            from,
            entries,
            cuts: self.cuts,
        })
    }
}

#[derive(Debug)]
struct Plan {
    file: OpenFile,
    base: LogPosition,
    from: LogIndex,
    entries: Vec<Entry>,
    cuts: u64,
}

impl Plan {
    fn read(&self) -> Result<Vec<Batch>, ReadError> {
        let start = self.entries.first().map_or(0, |entry| u64::from(entry.offset));
        let end = self.entries.last().map_or(0, Entry::end_offset);
        let bytes = Bytes::from(self.file.read(start, (end - start) as usize)?);
        let decode = |(entry, index): (&Entry, u64)| {
            let offset = u64::from(entry.offset);
            let within = (offset - start) as usize;
            let bytes = bytes.slice(within..within + entry.length as usize);
            self.decode(&bytes, entry, LogIndex(index)).map_err(|what| ReadError::Damaged {
                segment: self.file.path().to_owned(),
                offset,
                what,
            })
        };
        let mut batches = Vec::with_capacity(self.entries.len());
        for batch in self.entries.iter().zip(self.from.0..).map(decode) {
            match batch {
                Ok(batch) => batches.push(batch),
                Err(error) if batches.is_empty() => return Err(error),
                // What is before a damaged batch is good; asking for the damaged one itself tells.
                Err(_) => break,
            }
        }
        Ok(batches)
    }

    /// The batch that the index says is here; another valid one is a write that went astray.
    fn decode(&self, bytes: &Bytes, entry: &Entry, index: LogIndex) -> Result<Batch, Damage> {
        let batch = Batch::decode(bytes)?;
        let expected = LogPosition(self.base.0 + u64::from(entry.position));
        if batch.index() != index {
            let previous = EntryId { epoch: batch.id().epoch, index: index.prev() };
            return Err(Damage::Order { found: batch.id(), previous });
        }
        if batch.header().position != expected {
            return Err(Damage::Position { found: batch.header().position, expected });
        }
        Ok(batch)
    }
}

/// Reads batches that are written. Clones share the index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    index: Arc<RwLock<Index>>,
}

impl Reader {
    pub(crate) const fn index(&self) -> &Arc<RwLock<Index>> {
        &self.index
    }

    /// Batches from `from` through `through`, of one segment: at least one, at most about `max_bytes`.
    pub(crate) fn read(
        &self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, ReadError> {
        loop {
            let plan = {
                let index = self.index.read();
                index.plan(from, through, max_bytes).ok_or(ReadError::NotFound {
                    index: from,
                    first: index.first(),
                    last: index.last(),
                })?
            };
            let result = plan.read();
            if self.index.read().cuts == plan.cuts {
                return result;
            }
        }
    }
}
