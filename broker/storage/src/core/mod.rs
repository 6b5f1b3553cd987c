//! The log without threads: append, sync, truncate, forget, close, on one caller's thread.
//!
//! The writer thread drives it, and so does a simulator. What always holds: the disk is at most ahead of what was
//! returned; and after the first failure nothing is written any more, since what an fdatasync that failed has lost
//! cannot be known.

mod forget;
mod open;
mod repair;
mod truncate;

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_planted::{Fault, planted};
use mainstay_record::{Batch, EntryId, GroupId, LogIndex, LogPosition};

use crate::base::LogBase;
use crate::chain::Chain;
use crate::error::{IoFailure, LogError, ReadError, is_full};
use crate::fs::{FileSystem, OpenFile, sync_parent};
use crate::index::{Entry, IndexedSegment, Reader, Scrubbed, SealJob, SegmentInfo};
use crate::mark::{Mark, MarkFile};
use crate::quarantine::QuarantineFile;
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader, segment_path};
use crate::space::Space;
use crate::spare::Housekeeping;
use crate::stopped::Stopped;

pub(crate) use self::forget::{complete_forget, complete_restart};
pub(crate) use self::open::complete_cut;
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
    pub(crate) restarts: u64,
    pub(crate) repairs: u64,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    file: OpenFile,
    header: SegmentHeader,
    /// Byte behind the last batch.
    offset: u64,
}

impl Active {
    fn of_newest(segment: &IndexedSegment, file: OpenFile) -> Self {
        Self { file, header: segment.header, offset: segment.end_offset }
    }
}

/// A log that is driven by its owner.
#[derive(Debug)]
pub struct LogCore {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    quarantine: PathBuf,
    group: GroupId,
    segment_bytes: u64,
    spares: Box<dyn Housekeeping>,
    reader: Reader,
    active: Active,
    mark: MarkFile,
    chain: Chain,
    base: LogBase,
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

    /// The oldest batch, or the one that will be.
    pub const fn first(&self) -> LogIndex {
        self.chain.base().index.next()
    }

    /// Where the log begins.
    pub const fn base(&self) -> &LogBase {
        &self.base
    }

    /// What a log that begins behind `last` has to know; `last` is a batch of this log, or its base.
    pub fn base_at(&self, last: LogIndex) -> Result<LogBase, ReadError> {
        if last == self.base.last.index {
            return Ok(self.base.clone());
        }
        let batch = self.reader.read_one(last)?;
        let header = batch.header();
        Ok(self.chain.base_through(last, header.end_position(), header.timestamp))
    }

    /// The segments of the log, in order.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.reader.index().read().list()
    }

    /// Bytes of all segments together, on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.file_bytes).sum()
    }

    /// Whether there is space for more, as of now.
    pub fn space(&self) -> Space {
        let free = self.fs.free_space(&self.folder).ok().flatten();
        Space::judge(Space::Plenty, free, HEADER_BLOCK + self.segment_bytes, false, false)
    }

    /// Leaves the reason why the log stopped in the group's folder.
    pub(crate) fn leave_reason(&self, error: &LogError) {
        if let Some(directory) = self.folder.parent() {
            Stopped::leave(&*self.fs, directory, error);
        }
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
    ///
    /// [`LogError::NoSpace`] is not final: the batches behind [`LogCore::last`] are not written, and may be tried again.
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

    /// Removes whole segments that hold nothing behind `through`, oldest first, and returns the first index that is
    /// left. Never removes the newest segment. Removes nothing when there is no space to note it.
    ///
    /// Only batches that are committed, and that nobody needs any more, may be given up.
    pub fn forget(&mut self, through: LogIndex) -> Result<LogIndex, Arc<LogError>> {
        self.step(|core| core.drop_oldest(through))?;
        Ok(self.first())
    }

    /// Empties the log and lets it begin behind `base`, durably. Before that, what is behind `set_aside_after` is
    /// copied into a quarantine file.
    pub fn restart_at(
        &mut self,
        base: LogBase,
        set_aside_after: Option<LogIndex>,
    ) -> Result<(), Arc<LogError>> {
        self.step(|core| core.start_over(base, set_aside_after))
    }

    /// Looks whether batches from `from` on, about `max_bytes` of them, are still on the disk as they were written.
    pub fn scrub(&self, from: LogIndex, max_bytes: usize) -> Result<Scrubbed, ReadError> {
        self.reader.scrub(from.max(self.first()), max_bytes)
    }

    /// Notes durably that the log has all that was ever acknowledged: see [`crate::Recovered::incomplete`].
    pub fn set_complete(&mut self) -> Result<(), Arc<LogError>> {
        self.step(|core| Ok(core.mark.store(Mark { incomplete: false, ..*core.mark.mark() })?))
    }

    /// Makes everything durable and marks the log as closed in order.
    pub fn close(mut self) -> Result<(), Arc<LogError>> {
        self.finish()
    }

    pub(crate) fn finish(&mut self) -> Result<(), Arc<LogError>> {
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
            if !matches!(*error, LogError::NoSpace(_)) {
                self.failed = Some(Arc::clone(&error));
            }
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
            self.chain.follow(batch).map_err(|what| LogError::NotNext { found: header.id, what })?;
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
        if let Some(last) = run.last() {
            let mut index = self.reader.index().write();
            index.extend(entries, last.header().timestamp);
            index.learn_epochs(self.chain.epochs());
        }
        Ok(())
    }

    fn force(&mut self) -> Result<(), LogError> {
        if !self.dirty {
            return Ok(());
        }
        if planted(Fault::EarlyMark) {
            self.mark.note(self.mark_at(self.chain.end()))?;
        }
        if !planted(Fault::SkipFsync) {
            self.active.file.sync()?;
        }
        self.dirty = false;
        self.work.syncs += 1;
        self.mark.note(self.mark_at(self.chain.end()))?;
        Ok(())
    }

    /// The mark of a log that is open and durable through `durable`.
    fn mark_at(&self, durable: LogPosition) -> Mark {
        Mark { durable, clean: false, cut: None, ..*self.mark.mark() }
    }

    /// Ends the active segment and begins one of at least `needed` bytes.
    fn roll(&mut self, needed: u64) -> Result<(), LogError> {
        // A segment that has one after it is complete: recovery relies on it.
        self.force()?;
        let planned = next_capacity(Some(self.active.header.capacity), self.segment_bytes);
        let (first, end) = (self.chain.last().index.next(), self.chain.end());
        let (file, capacity) = self.spares.take(planned.max(needed), needed).map_err(no_space)?;
        let header = SegmentHeader { group: self.group, base: end, first, capacity, salt: self.fs.entropy() };
        let file = begin_segment(&*self.fs, &self.folder, file, &header)?;
        self.mark.advance(self.mark_at(end))?;
        self.spares.prepare(next_capacity(Some(capacity), self.segment_bytes));
        let newest = self.reader.index().read().segments().last().map(|segment| segment.timestamp);
        let segment = IndexedSegment::empty(file.clone(), header, newest.unwrap_or_default());
        self.active = Active::of_newest(&segment, file);
        self.reader.index().write().begin_segment(segment);
        self.seal_complete();
        self.work.rolls += 1;
        Ok(())
    }
}

impl LogCore {
    /// Asks for the index file of the segment that has just become complete.
    fn seal_complete(&mut self) {
        let job = {
            let index = self.reader.index().read();
            let complete = index.segments().iter().rev().nth(1);
            complete.and_then(|segment| SealJob::new(segment, &self.chain, &self.reader))
        };
        if let Some(job) = job {
            self.spares.seal(job);
        }
    }
}

/// For want of space nothing that was written is in doubt.
fn no_space(error: IoFailure) -> LogError {
    if is_full(&error) { LogError::NoSpace(error) } else { error.into() }
}

/// Makes the first segment of a log that begins behind `base`.
fn first_segment(
    fs: &dyn FileSystem,
    folder: &Path,
    group: GroupId,
    segment_bytes: u64,
    spares: &mut dyn Housekeeping,
    base: &LogBase,
) -> Result<(IndexedSegment, Active), IoFailure> {
    let planned = next_capacity(None, segment_bytes);
    let (file, capacity) = spares.take(planned, planned)?;
    let (first, base, timestamp) = (base.last.index.next(), base.position, base.timestamp);
    let header = SegmentHeader { group, base, first, capacity, salt: fs.entropy() };
    let file = begin_segment(fs, folder, file, &header)?;
    let segment = IndexedSegment::empty(file.clone(), header, timestamp);
    let active = Active::of_newest(&segment, file);
    Ok((segment, active))
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
    folder: &Path,
    spare: OpenFile,
    header: &SegmentHeader,
) -> Result<OpenFile, IoFailure> {
    spare.write(&[IoSlice::new(&header.encode())], 0)?;
    spare.sync()?;
    let path = segment_path(folder, header.base);
    let file = spare.rename(fs, path.clone())?;
    sync_parent(fs, &path)?;
    Ok(file)
}
