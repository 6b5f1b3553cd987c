//! The log without threads: append, sync, truncate, close, on one caller's thread.
//!
//! The writer thread drives it, and so does a simulator. What always holds: the disk is at most ahead of what was
//! returned; and after the first failure nothing is written any more, since what an fdatasync that failed has lost
//! cannot be known.

mod open;
mod truncate;

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_record::{Batch, EntryId, GroupId, LogIndex, LogPosition};

use crate::chain::Chain;
use crate::error::{LogError, ReadError};
use crate::fs::{FileSystem, OpenFile, sync_parent};
use crate::index::{Entry, IndexedSegment, Reader};
use crate::mark::{Mark, MarkFile};
use crate::quarantine::QuarantineFile;
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader, segment_path};
use crate::spare::SpareSource;

pub use self::truncate::TailFate;

/// Bytes of batches in the first segment, so that a new log is ready at once; each next one is eight times as large
/// until they have the size that was asked for.
const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;
const SEGMENT_GROWTH: u64 = 8;

/// What the core has done since it was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    pub(crate) rolls: u64,
    pub(crate) truncations: u64,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    file: OpenFile,
    header: SegmentHeader,
    /// Byte behind the last batch.
    offset: u64,
}

/// A log that is driven by its owner.
#[derive(Debug)]
pub struct LogCore {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    quarantine: PathBuf,
    group: GroupId,
    segment_bytes: u64,
    spares: Box<dyn SpareSource>,
    reader: Reader,
    active: Active,
    mark: MarkFile,
    chain: Chain,
    /// Something was written that no fdatasync has covered yet.
    dirty: bool,
    quarantined: Vec<QuarantineFile>,
    work: Work,
    failed: Option<Arc<LogError>>,
}

impl LogCore {
    /// The last batch that is written.
    pub const fn last(&self) -> EntryId {
        self.chain.last()
    }

    /// Whether there is something written that is not durable.
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub fn quarantined(&self) -> &[QuarantineFile] {
        &self.quarantined
    }

    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(crate) const fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) const fn work(&self) -> Work {
        self.work
    }

    /// Batches from `from` through `through`: at least one if there is one, at most about `max_bytes`.
    pub fn read(&self, from: LogIndex, through: LogIndex, max_bytes: usize) -> Result<Vec<Batch>, ReadError> {
        if from > through.min(self.last().index) {
            return Ok(Vec::new());
        }
        self.reader.read(from, through, max_bytes)
    }

    /// Writes batches that continue the log. They are not durable before [`LogCore::sync`].
    pub fn append(&mut self, batches: &[Batch]) -> Result<(), Arc<LogError>> {
        self.step(|core| core.write(batches))
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) -> Result<(), Arc<LogError>> {
        self.step(Self::force)
    }

    /// Takes away everything behind `keep`, durably.
    pub fn truncate(&mut self, keep: LogIndex, fate: TailFate) -> Result<(), Arc<LogError>> {
        self.step(|core| core.cut(keep, fate))
    }

    /// Makes everything durable and marks the log as closed in order.
    pub fn close(mut self) -> Result<(), Arc<LogError>> {
        self.step(|core| {
            core.force()?;
            let mark = Mark { clean: true, ..core.mark_at(core.chain.end()) };
            Ok(core.mark.store(mark)?)
        })
    }

    /// Does something that is final when it fails.
    fn step<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, Arc<LogError>> {
        if let Some(failed) = &self.failed {
            return Err(Arc::clone(failed));
        }
        act(self).map_err(|error| {
            let error = Arc::new(error);
            self.failed = Some(Arc::clone(&error));
            error
        })
    }

    fn write(&mut self, mut batches: &[Batch]) -> Result<(), LogError> {
        while let Some(first) = batches.first() {
            let fitting = self.fitting(batches);
            if fitting == 0 {
                self.roll(HEADER_BLOCK + (RunHeader::LEN + first.bytes().len()) as u64)?;
                continue;
            }
            let (run, rest) = batches.split_at(fitting);
            self.write_run(run)?;
            batches = rest;
        }
        Ok(())
    }

    /// How many of the batches fit into the active segment as one run.
    fn fitting(&self, batches: &[Batch]) -> usize {
        let mut end = self.active.offset + RunHeader::LEN as u64;
        let fits = |batch: &&Batch| {
            end += batch.bytes().len() as u64;
            end <= self.active.header.capacity
        };
        batches.iter().take_while(fits).count()
    }

    fn write_run(&mut self, run: &[Batch]) -> Result<(), LogError> {
        let header = RunHeader { position: self.chain.end(), durable: self.mark.mark().durable };
        let header = header.encode(self.active.header.salt);
        let mut parts = Vec::with_capacity(run.len() + 1);
        let mut entries = Vec::with_capacity(run.len());
        let mut offset = self.active.offset + RunHeader::LEN as u64;
        parts.push(IoSlice::new(&header));
        for batch in run {
            let header = batch.header();
            self.chain.follow(header).map_err(|what| LogError::NotNext { found: header.id, what })?;
            let position = header.position.0 - self.active.header.base.0;
            entries.push(Entry { offset: offset as u32, length: header.length, position: position as u32 });
            parts.push(IoSlice::new(batch.bytes()));
            offset += u64::from(header.length);
        }
        self.dirty = true;
        self.active.file.write(&parts, self.active.offset)?;
        self.work.writes += 1;
        self.work.batches += run.len() as u64;
        self.work.bytes += offset - self.active.offset - RunHeader::LEN as u64;
        self.active.offset = offset;
        self.reader.index().write().extend(entries);
        Ok(())
    }

    fn force(&mut self) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        self.active.file.sync()?;
        self.dirty = false;
        self.work.syncs += 1;
        self.mark.note(self.mark_at(self.chain.end()))?;
        Ok(())
    }

    /// The mark of a log that is open and durable through `durable`.
    fn mark_at(&self, durable: LogPosition) -> Mark {
        Mark { durable, clean: false, boot: self.mark.mark().boot, cut: None }
    }

    /// Ends the active segment and begins one of at least `needed` bytes.
    fn roll(&mut self, needed: u64) -> Result<(), LogError> {
        // A segment that has one after it is complete: recovery relies on it.
        self.force()?;
        let planned = next_capacity(Some(self.active.header.capacity), self.segment_bytes);
        let (first, end) = (self.chain.last().index.next(), self.chain.end());
        let (file, capacity) = self.spares.take(planned.max(needed), needed)?;
        let header = SegmentHeader { group: self.group, base: end, first, capacity, salt: self.fs.entropy() };
        let file = begin_segment(&*self.fs, &self.folder, file, &header)?;
        self.mark.advance(self.mark_at(end))?;
        self.spares.prepare(next_capacity(Some(capacity), self.segment_bytes));
        let segment = IndexedSegment { file: file.clone(), header, entries: Vec::new() };
        self.reader.index().write().begin_segment(segment);
        self.active = Active { file, header, offset: HEADER_BLOCK };
        self.work.rolls += 1;
        Ok(())
    }
}

/// Bytes of the file of the segment after one of `before` bytes.
fn next_capacity(before: Option<u64>, segment_bytes: u64) -> u64 {
    let grown =
        before.map_or(FIRST_SEGMENT_BYTES, |bytes| (bytes - HEADER_BLOCK).saturating_mul(SEGMENT_GROWTH));
    grown.min(segment_bytes) + HEADER_BLOCK
}

/// Turns a spare file into a segment. Its name appears only once its header is durable.
fn begin_segment(
    fs: &dyn FileSystem,
    folder: &std::path::Path,
    spare: OpenFile,
    header: &SegmentHeader,
) -> Result<OpenFile, crate::error::IoFailure> {
    spare.write(&[IoSlice::new(&header.encode())], 0)?;
    spare.sync()?;
    let path = segment_path(folder, header.base);
    let file = spare.rename(fs, path.clone())?;
    sync_parent(fs, &path)?;
    Ok(file)
}
