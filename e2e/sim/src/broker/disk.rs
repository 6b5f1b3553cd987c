//! The log of a simulated broker: the real [`LogCore`], with the writer thread's queue in front of it.
//!
//! As with the real writer, everything that waits is written at once and forced at once, readers see a batch as soon as
//! it was appended, and the first failure ends it for good.

use std::collections::BTreeMap;

use mainstay_record::{Batch, BatchKind, EntryId, LogIndex};
use mainstay_storage::{EpochStart, Flush, LogBase, LogCore, QuarantineFile, SegmentInfo, TailFate};

/// What the disk is asked to do, in order.
#[derive(Debug)]
enum Command {
    Append(Vec<Batch>),
    Truncate(LogIndex, TailFate),
    /// Whole segments through here may go.
    Forget(LogIndex),
    /// The log starts over behind this.
    Restart(Box<LogBase>, Option<LogIndex>),
    /// The log has all that was ever acknowledged.
    SetComplete,
}

/// What the disk has done.
#[derive(Debug, Clone)]
pub(crate) enum DiskEvent {
    /// Written, not forced. Only with flush Async.
    Written(EntryId),
    /// Survives a power cut.
    Durable(EntryId),
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// An fdatasync is under way.
    Forcing,
    Failed,
}

/// What the world has to do after a step of the disk.
#[derive(Debug, Default)]
pub(crate) struct DiskStep {
    pub(crate) events: Vec<DiskEvent>,
    /// An fdatasync began, to be ended after the time that this disk takes.
    pub(crate) forcing: bool,
    /// With flush Async: an fdatasync is due after the interval.
    pub(crate) flush_later: bool,
    /// Which entries the log holds now, for the oracle: what was cut, and what was written.
    pub(crate) changes: Vec<Change>,
}

/// A change of what is written.
#[derive(Debug)]
pub(crate) enum Change {
    Written(Vec<EntryId>),
    Cut(LogIndex),
    Forced,
    /// The beginning through here is gone.
    Forgot(LogIndex),
    /// All of it is gone; it begins behind this entry.
    Restarted(EntryId),
}

#[derive(Debug)]
pub(crate) struct Disk {
    core: LogCore,
    flush: Flush,
    queue: Vec<Command>,
    phase: Phase,
    flush_due: bool,
    /// The interval is running: as in the real writer, it begins with the first write that is not forced.
    flush_waits: bool,
    /// The newest batches, at least those that are not written.
    recent: BTreeMap<LogIndex, Batch>,
    /// Through here `recent` is written as it is.
    written: LogIndex,
    /// Truncations and restarts that are still in the queue.
    cuts_waiting: usize,
    /// Of the restarts among them.
    restarts_waiting: usize,
    /// Where the log begins for readers.
    base: LogBase,
    cached: usize,
    /// The last batch, written or not.
    last: LogIndex,
}

impl Disk {
    pub(crate) fn new(core: LogCore, flush: Flush, cached: usize) -> Self {
        let last = core.last().index;
        let base = core.base().clone();
        Self {
            core,
            flush,
            queue: Vec::new(),
            phase: Phase::Idle,
            flush_due: false,
            flush_waits: false,
            recent: BTreeMap::new(),
            written: last,
            cuts_waiting: 0,
            restarts_waiting: 0,
            base,
            cached,
            last,
        }
    }

    pub(crate) fn append(&mut self, batches: Vec<Batch>) {
        for batch in &batches {
            self.last = batch.index();
            self.recent.insert(batch.index(), batch.clone());
        }
        self.queue.push(Command::Append(batches));
    }

    pub(crate) fn truncate(&mut self, keep: LogIndex, fate: TailFate) {
        if keep >= self.last {
            return;
        }
        self.recent.split_off(&keep.next());
        self.last = keep;
        self.written = self.written.min(keep);
        self.cuts_waiting += 1;
        self.queue.push(Command::Truncate(keep, fate));
    }

    /// Empties the log and lets it begin behind `base`: at once for readers, durably before anything appended later.
    pub(crate) fn restart_at(&mut self, base: LogBase, set_aside_after: Option<LogIndex>) {
        self.recent.clear();
        self.last = base.last.index;
        self.written = base.last.index;
        self.cuts_waiting += 1;
        self.restarts_waiting += 1;
        self.base = base.clone();
        self.queue.push(Command::Restart(Box::new(base), set_aside_after));
    }

    pub(crate) fn forget(&mut self, through: LogIndex) {
        self.queue.push(Command::Forget(through));
    }

    /// The oldest batch, or the one that will be.
    pub(crate) fn first(&self) -> LogIndex {
        self.base.last.index.next()
    }

    pub(crate) const fn base(&self) -> &LogBase {
        &self.base
    }

    /// What a log that begins behind the batch `last` has to know, written or not.
    pub(crate) fn base_at(&self, last: LogIndex) -> Result<LogBase, String> {
        if last == self.base.last.index {
            return Ok(self.base.clone());
        }
        let known = self.restarts_waiting == 0 && self.written > self.base.last.index;
        let through = last.min(self.written);
        let mut base = match known {
            true => self.core.base_at(through).map_err(|error| error.to_string())?,
            false => self.base.clone(),
        };
        while base.last.index < last {
            let batch = self.recent.get(&base.last.index.next()).ok_or("the log does not reach that far")?;
            let header = batch.header();
            if base.epochs.last().is_none_or(|start| start.epoch != header.id.epoch) {
                base.epochs.push(EpochStart { epoch: header.id.epoch, first: header.id.index });
            }
            if header.kind == BatchKind::Membership {
                base.membership = Some(batch.clone());
            }
            (base.last, base.position, base.timestamp) = (header.id, header.end_position(), header.timestamp);
        }
        Ok(base)
    }

    /// The segments that are written.
    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        if self.restarts_waiting > 0 { Vec::new() } else { self.core.segments() }
    }

    pub(crate) fn set_complete(&mut self) {
        self.queue.push(Command::SetComplete);
    }

    /// Batches from memory, or from the disk as far as they are not in memory.
    pub(crate) fn read(
        &self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, String> {
        let through = through.min(self.last);
        if from > through {
            return Ok(Vec::new());
        }
        if from < self.first() {
            return Err(format!("batch {from} is not kept any more"));
        }
        if !self.recent.contains_key(&from) {
            let first = self.recent.keys().next().copied().unwrap_or(LogIndex(u64::MAX));
            return self
                .core
                .read(from, through.min(first.prev()), max_bytes)
                .map_err(|error| error.to_string());
        }
        let mut bytes = 0;
        let mut batches = Vec::new();
        for (_, batch) in self.recent.range(from..=through) {
            bytes += batch.bytes().len();
            if bytes > max_bytes && !batches.is_empty() {
                break;
            }
            batches.push(batch.clone());
        }
        Ok(batches)
    }

    pub(crate) fn quarantined(&self) -> &[QuarantineFile] {
        self.core.quarantined()
    }

    /// Begins what waits, if the disk is free.
    pub(crate) fn begin(&mut self) -> DiskStep {
        let mut step = DiskStep::default();
        if self.phase != Phase::Idle || (self.queue.is_empty() && !self.flush_due) {
            return step;
        }
        let wrote = !self.queue.is_empty();
        if let Err(error) = self.write_all(&mut step) {
            self.failed(error, &mut step);
            return step;
        }
        let lazy = self.flush != Flush::Sync && self.core.is_dirty();
        if lazy && wrote {
            step.events.push(DiskEvent::Written(self.core.last()));
            step.flush_later = !self.flush_waits;
            self.flush_waits = true;
        }
        if !lazy || self.flush_due {
            self.phase = Phase::Forcing;
            step.forcing = true;
        }
        step
    }

    /// The last batch that is written.
    pub(crate) fn written_through(&self) -> EntryId {
        self.core.last()
    }

    /// The fdatasync ends. `ignoring_failure` is for a planted mistake: its failure is taken for success.
    pub(crate) fn forced(&mut self, ignoring_failure: bool) -> DiskStep {
        let mut step = DiskStep::default();
        if self.phase != Phase::Forcing {
            return step;
        }
        self.phase = Phase::Idle;
        self.flush_due = false;
        match self.core.sync() {
            Ok(()) => {
                step.changes.push(Change::Forced);
                step.events.push(DiskEvent::Durable(self.core.last()));
            }
            Err(_) if ignoring_failure => step.events.push(DiskEvent::Durable(self.core.last())),
            Err(error) => self.failed(error.to_string(), &mut step),
        }
        step
    }

    pub(crate) fn flush_is_due(&mut self) {
        self.flush_waits = false;
        self.flush_due = self.core.is_dirty();
    }

    /// Closes the log in order, with everything that waits.
    pub(crate) fn close(mut self) -> (DiskStep, Result<(), String>) {
        let mut step = DiskStep::default();
        if self.phase == Phase::Failed {
            return (step, Err("the log has failed before".to_owned()));
        }
        let result = self.write_all(&mut step);
        let result = result.and_then(|()| self.core.close().map_err(|error| error.to_string()));
        if result.is_ok() {
            step.changes.push(Change::Forced);
        }
        (step, result)
    }

    fn failed(&mut self, error: String, step: &mut DiskStep) {
        self.phase = Phase::Failed;
        self.queue.clear();
        step.events.push(DiskEvent::Failed(error));
    }

    fn write_all(&mut self, step: &mut DiskStep) -> Result<(), String> {
        for command in std::mem::take(&mut self.queue) {
            match command {
                Command::Append(batches) => {
                    self.core.append(&batches).map_err(|error| error.to_string())?;
                    step.changes.push(Change::Written(batches.iter().map(Batch::id).collect()));
                    if self.cuts_waiting == 0 {
                        self.written = self.core.last().index;
                    }
                }
                Command::Forget(through) => {
                    let before = self.core.first();
                    let first = self.core.forget(through).map_err(|error| error.to_string())?;
                    if first > before {
                        step.changes.push(Change::Forgot(first.prev()));
                        // A log that is to start over already shows its new beginning.
                        if self.restarts_waiting == 0 {
                            self.base = self.core.base().clone();
                            self.recent = self.recent.split_off(&first);
                        }
                    }
                }
                Command::Restart(base, set_aside_after) => {
                    let last = base.last;
                    let restarted = self.core.restart_at(*base, set_aside_after);
                    restarted.map_err(|error| error.to_string())?;
                    self.cuts_waiting -= 1;
                    self.restarts_waiting -= 1;
                    step.changes.push(Change::Restarted(last));
                }
                Command::SetComplete => self.core.set_complete().map_err(|error| error.to_string())?,
                Command::Truncate(keep, fate) => {
                    self.core.truncate(keep, fate).map_err(|error| error.to_string())?;
                    self.cuts_waiting -= 1;
                    step.changes.push(Change::Cut(keep));
                }
            }
        }
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.recent.len() > self.cached
            && let Some(entry) = self.recent.first_entry()
            && *entry.key() <= self.written
        {
            entry.remove();
        }
    }
}
