//! Reading batches that are written.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_record::{Batch, EntryId, LogIndex, LogPosition};
use parking_lot::{Mutex, RwLock};

use super::pool::{FileKey, FilePool};
use super::{Entries, Entry, Index, IndexedSegment, SealedIndex};
use crate::chain::EpochStart;
use crate::error::{Damage, IoFailure, ReadError};
use crate::fs::{FileSystem, OpenFile, remove_if_there};
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader};
use crate::window::Window;

/// Bytes read at once at most, unless one batch is larger.
const READ_LIMIT: usize = 8 * 1024 * 1024;

/// Reads batches. Clones share the index.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    index: Arc<RwLock<Index>>,
    pool: Arc<FilePool>,
    /// Held while an index file gets its name, and while the log is cut: an index file that a cut makes wrong must not
    /// appear behind it.
    pub(super) naming: Arc<Mutex<()>>,
}

/// Where some batches of one segment are, as far as the list of segments tells.
#[derive(Debug)]
pub(super) struct Plan {
    path: Arc<Path>,
    file: Option<OpenFile>,
    pub(super) header: SegmentHeader,
    count: u64,
    from: LogIndex,
    epochs: Vec<EpochStart>,
    place: Place,
    changes: u64,
}

#[derive(Debug)]
enum Place {
    Known(Vec<Entry>),
    InFile(Arc<SealedIndex>),
}

/// What limits one read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) at_least: usize,
    pub(super) batches: u64,
    pub(super) bytes: usize,
}

impl Limit {
    /// As many of the entries as may be read at once.
    fn take(
        self,
        entries: impl IntoIterator<Item = Entry>,
        taken: &mut Vec<Entry>,
        bytes: &mut usize,
    ) -> bool {
        for entry in entries {
            *bytes += entry.length as usize;
            if taken.len() as u64 == self.batches || (taken.len() >= self.at_least && *bytes > self.bytes) {
                return false;
            }
            taken.push(entry);
        }
        true
    }
}

impl Index {
    fn plan(&self, from: LogIndex, limit: Limit) -> Option<Plan> {
        let segment = self.find(from)?;
        let place = match &segment.entries {
            Entries::File(file) => Place::InFile(Arc::clone(file)),
            Entries::Memory(entries) => {
                let skip = (from.0 - segment.header.first.0) as usize;
                let mut taken = Vec::new();
                limit.take(entries.get(skip..)?.iter().copied(), &mut taken, &mut 0);
                Place::Known(taken)
            }
        };
        Some(Plan {
            path: Arc::clone(&segment.path),
            file: segment.file.clone(),
            header: segment.header,
            count: segment.count,
            from,
            epochs: self.epochs_of(from, segment.last()),
            place,
            changes: self.changes,
        })
    }
}

impl Reader {
    pub(crate) fn new(fs: Arc<dyn FileSystem>) -> Self {
        let pool = Arc::new(FilePool::new(fs));
        Self { index: Arc::default(), pool, naming: Arc::default() }
    }

    pub(crate) const fn index(&self) -> &Arc<RwLock<Index>> {
        &self.index
    }

    pub(crate) fn pool(&self) -> &FilePool {
        &self.pool
    }

    /// Keeps index files from getting their names while the guard lives.
    pub(crate) fn hold_naming(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.naming.lock()
    }

    /// Batches from `from` through `through`, of one segment: at least one, at most about `max_bytes`.
    pub(crate) fn read(
        &self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, ReadError> {
        let batches = through.0 - from.0 + 1;
        let limit = Limit { at_least: 1, batches, bytes: max_bytes.min(READ_LIMIT) };
        self.look(from, limit, |plan, entries| {
            let file = self.file(plan)?;
            plan.read(&file, entries)
        })
    }

    pub(crate) fn read_one(&self, index: LogIndex) -> Result<Batch, ReadError> {
        let found = self.read(index, index, 0)?.pop();
        found.ok_or_else(|| self.not_found(index))
    }

    /// Where the batch at `index` lies, and the segment that it is in.
    pub(crate) fn entry(&self, index: LogIndex) -> Result<(OpenFile, SegmentHeader, Entry), ReadError> {
        self.look(index, Limit { at_least: 1, batches: 1, bytes: 0 }, |plan, entries| {
            let missing = || self.not_found(index);
            Ok((self.file(plan)?, plan.header, *entries.first().ok_or_else(missing)?))
        })
    }

    /// Log position behind the batch at `index`.
    pub(crate) fn end_of(&self, index: LogIndex) -> Result<LogPosition, ReadError> {
        self.entry(index).map(|(_, header, entry)| entry.end_position(header.base))
    }

    /// The entries of a segment through `last`, which it holds.
    pub(crate) fn entries_through(&self, last: LogIndex) -> Result<Vec<Entry>, ReadError> {
        let first = {
            let index = self.index.read();
            index.find(last).map(|segment| segment.header.first).ok_or_else(|| not_found(&index, last))?
        };
        let limit = Limit { at_least: 1, batches: last.0 - first.0 + 1, bytes: usize::MAX };
        self.look(first, limit, |_, entries| Ok(entries.to_vec()))
    }

    /// Lets go of the files of segments that the log does not have any more.
    pub(crate) fn close(&self, gone: &[IndexedSegment]) {
        for segment in gone {
            self.pool.close(FileKey::Segment(segment.header.salt));
            if let Entries::File(file) = &segment.entries {
                self.pool.close(file.key());
            }
        }
    }

    /// Plans without the disk, acts on it, and starts over when the segments changed in between.
    pub(super) fn look<T>(
        &self,
        from: LogIndex,
        limit: Limit,
        act: impl Fn(&Plan, &[Entry]) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            let plan = {
                let index = self.index.read();
                index.plan(from, limit).ok_or_else(|| not_found(&index, from))?
            };
            let result = match &plan.place {
                Place::Known(entries) => act(&plan, entries),
                Place::InFile(file) => {
                    self.entries(&plan, file, limit).and_then(|entries| act(&plan, &entries))
                }
            };
            if self.index.read().changes == plan.changes {
                return result;
            }
        }
    }

    fn not_found(&self, index: LogIndex) -> ReadError {
        not_found(&self.index.read(), index)
    }

    pub(super) fn file(&self, plan: &Plan) -> Result<OpenFile, IoFailure> {
        match &plan.file {
            Some(file) => Ok(file.clone()),
            None => self.pool.get(FileKey::Segment(plan.header.salt), &plan.path),
        }
    }

    /// Entries from an index file; where that is damaged, from the segment itself.
    fn entries(&self, plan: &Plan, file: &SealedIndex, limit: Limit) -> Result<Vec<Entry>, ReadError> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut next = plan.from.0 - plan.header.first.0;
        while next < plan.count {
            let block = match file.block_from(&self.pool, next) {
                Ok(Some(block)) if plan.fit(taken.last(), &block) => block,
                Ok(_) => return self.restored(plan, file, limit, "is not intact"),
                Err(error) => return self.restored(plan, file, limit, &error.to_string()),
            };
            next += block.len() as u64;
            if !limit.take(block, &mut taken, &mut bytes) {
                break;
            }
        }
        Ok(taken)
    }

    /// Makes the entries anew from the segment, and keeps them in memory. The next start makes a new index file.
    fn restored(
        &self,
        plan: &Plan,
        file: &SealedIndex,
        limit: Limit,
        why: &str,
    ) -> Result<Vec<Entry>, ReadError> {
        let entries = scan_entries(&self.file(plan)?, &plan.header, plan.count)?;
        let skip = (plan.from.0 - plan.header.first.0) as usize;
        let mut taken = Vec::new();
        limit.take(entries[skip..].iter().copied(), &mut taken, &mut 0);
        let mut index = self.index.write();
        if index.changes == plan.changes
            && let Some(segment) = index.segments.iter_mut().find(|s| s.header.salt == plan.header.salt)
        {
            tracing::warn!(index = %file.path().display(), why, "an index file was made again from its segment");
            segment.entries = Entries::Memory(Arc::new(entries));
            drop(index);
            if let Err(error) = remove_if_there(self.pool.fs(), file.path()) {
                tracing::warn!(%error, "a damaged index file stays");
            }
        }
        Ok(taken)
    }
}

fn not_found(index: &Index, wanted: LogIndex) -> ReadError {
    ReadError::NotFound { index: wanted, first: index.first(), last: index.last() }
}

/// Finds the batches of a complete segment, each verified.
fn scan_entries(file: &OpenFile, header: &SegmentHeader, count: u64) -> Result<Vec<Entry>, ReadError> {
    let mut window = Window::new(file, header.capacity);
    let mut entries = Vec::with_capacity(count as usize);
    let (mut offset, mut index, mut position) = (HEADER_BLOCK, header.first, header.base);
    while (entries.len() as u64) < count {
        let start = window.bytes(offset, RunHeader::LEN)?;
        if RunHeader::decode(&start, header.salt).is_some() {
            offset += RunHeader::LEN as u64;
        }
        let batch = window.batch(offset)?.map_err(Damage::from);
        let batch = batch.and_then(|batch| check(&batch, index, position).map(|()| batch));
        let batch = batch.map_err(|what| damaged(file, offset, what))?;
        let length = batch.header().length;
        entries.push(Entry { offset: offset as u32, length, position: (position.0 - header.base.0) as u32 });
        offset += u64::from(length);
        index = index.next();
        position = batch.header().end_position();
    }
    Ok(entries)
}

pub(super) fn damaged(file: &OpenFile, offset: u64, what: Damage) -> ReadError {
    ReadError::Damaged { segment: file.path().to_owned(), offset, what }
}

/// Whether a valid batch is the one that belongs there; another one is a write that went astray.
fn check(batch: &Batch, index: LogIndex, expected: LogPosition) -> Result<(), Damage> {
    if batch.index() != index {
        let previous = EntryId { epoch: batch.id().epoch, index: index.prev() };
        return Err(Damage::Order { found: batch.id(), previous });
    }
    if batch.header().position != expected {
        return Err(Damage::Position { found: batch.header().position, expected });
    }
    Ok(())
}

impl Plan {
    /// The batch that belongs at an entry, from the bytes that are there.
    pub(super) fn decode(&self, bytes: &Bytes, entry: &Entry, index: LogIndex) -> Result<Batch, Damage> {
        let batch = Batch::decode(bytes)?;
        check(&batch, index, LogPosition(self.header.base.0 + u64::from(entry.position)))?;
        let started = self.epochs.partition_point(|start| start.first <= index);
        let expected = started.checked_sub(1).map(|at| self.epochs[at].epoch);
        match expected {
            Some(expected) if expected != batch.id().epoch => {
                Err(Damage::Epoch { found: batch.id().epoch, expected })
            }
            _ => Ok(batch),
        }
    }

    /// Whether entries lie in the segment one behind the other, with no more between them than the header of a run.
    /// No others are acted upon, whatever their checksum says.
    fn fit(&self, before: Option<&Entry>, entries: &[Entry]) -> bool {
        let mut before = before.copied();
        entries.iter().all(|entry| {
            let start = u64::from(entry.offset);
            let gap = match before.replace(*entry) {
                Some(before) => start.checked_sub(before.end_offset()),
                None => start.checked_sub(HEADER_BLOCK).map(|_| 0),
            };
            gap.is_some_and(|gap| gap <= RunHeader::LEN as u64) && entry.end_offset() <= self.header.capacity
        })
    }

    fn read(&self, file: &OpenFile, entries: &[Entry]) -> Result<Vec<Batch>, ReadError> {
        let start = entries.first().map_or(0, |entry| u64::from(entry.offset));
        let end = entries.last().map_or(0, Entry::end_offset);
        let bytes = Bytes::from(file.read(start, (end - start) as usize)?);
        let mut batches = Vec::with_capacity(entries.len());
        for (entry, index) in entries.iter().zip(self.from.0..) {
            let within = (u64::from(entry.offset) - start) as usize;
            let bytes = bytes.slice(within..within + entry.length as usize);
            match self.decode(&bytes, entry, LogIndex(index)) {
                Ok(batch) => batches.push(batch),
                Err(what) if batches.is_empty() => return Err(damaged(file, entry.offset.into(), what)),
                // What is before a damaged batch is good; asking for the damaged one itself tells.
                Err(_) => break,
            }
        }
        Ok(batches)
    }
}
