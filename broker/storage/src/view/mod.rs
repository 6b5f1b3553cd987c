//! What callers see of the log, and what waits for the writer.
//!
//! The view is ahead of the disk: it shows a batch as soon as it was appended, and hides a tail as soon as its
//! truncation was asked for. Batches that are not written yet are always in memory; older ones as far as they fit.
//! The lock is held for memory operations only.

mod state;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use mainstay_record::{Batch, LogIndex, LogPosition};
use parking_lot::{Condvar, Mutex, MutexGuard};

use self::state::State;
use crate::base::LogBase;
use crate::chain::Chain;
use crate::core::TailFate;
use crate::error::{LogError, ReadError, RepairError};
use crate::index::{Reader, SegmentInfo};
use crate::quarantine::QuarantineFile;

/// How often the writer looks up when there is nothing to do.
const LOOK: Duration = Duration::from_secs(1);
/// How often it tries again when there is no space.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What the writer is to do, in order.
#[derive(Debug)]
pub(crate) enum Command {
    Append(Vec<Batch>),
    Truncate(LogIndex, TailFate),
    Forget(LogIndex),
    /// Start over behind a base, after what is behind the index was set aside.
    Restart(Box<LogBase>, Option<LogIndex>),
    SetComplete(Sender<()>),
    Repair(Batch, Sender<Result<(), RepairError>>),
}

/// How the log is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Do all that was asked for, then mark the log as closed.
    Close,
    /// Nobody uses it any more: stop as if killed.
    Abandon,
}

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// The commands were handed over; batches among them belong to the generations from this one on.
    Commands(Generation),
    FlushDue,
    /// Nothing, for a while.
    Idle,
    End(Ending),
    Failed(Arc<LogError>),
}

/// What to do while there is no space.
#[derive(Debug)]
pub(crate) enum WhileFull {
    TryAgain,
    Forget(LogIndex),
    Ended,
    Failed(Arc<LogError>),
}

/// Takes the first wish to forget out of some commands, unless the log is to start over before.
pub(crate) fn take_forget(commands: &mut Vec<Command>) -> Option<LogIndex> {
    let decides = |command: &Command| matches!(command, Command::Forget(_) | Command::Restart(..));
    let at = commands.iter().position(decides)?;
    let Command::Forget(through) = commands[at] else { return None };
    commands.remove(at);
    Some(through)
}

/// Counts truncations, so that news of a batch that is cut meanwhile is not taken for news of its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

impl Generation {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What was appended and is not written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backlog {
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct View {
    state: Mutex<State>,
    work: Condvar,
    reader: Reader,
    cache_bytes: usize,
}

impl View {
    pub(crate) fn new(
        chain: Chain,
        quarantined: Vec<QuarantineFile>,
        reader: Reader,
        cache_bytes: usize,
    ) -> Self {
        let state = State {
            written: chain.last().index,
            chain,
            recent: VecDeque::new(),
            recent_bytes: 0,
            generation: Generation(0),
            queue: Vec::new(),
            queue_from: Generation(0),
            queued: Backlog::default(),
            quarantined,
            dismissed: Vec::new(),
            ending: None,
            failed: None,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), reader, cache_bytes }
    }

    pub(crate) fn append(&self, batches: Vec<Batch>) {
        let mut state = self.state.lock();
        if !state.is_open() || batches.is_empty() {
            return;
        }
        for batch in &batches {
            let header = batch.header();
            if let Err(what) = state.chain.follow(batch) {
                state.fail(LogError::NotNext { found: header.id, what });
                break;
            }
            state.queued.batches += 1;
            state.queued.bytes += u64::from(header.length);
            state.recent_bytes += batch.bytes().len();
            state.recent.push_back(batch.clone());
        }
        state.queue.push(Command::Append(batches));
        state.evict(self.cache_bytes);
        self.wake(state);
    }

    pub(crate) fn truncate(&self, keep: LogIndex, fate: TailFate) {
        let mut state = self.state.lock();
        let last = state.chain.last();
        if !state.is_open() || keep == last.index {
            return;
        }
        match self.end_of(&state, keep) {
            Ok(end) => {
                state.cut(keep, end);
                state.queue.push(Command::Truncate(keep, fate));
            }
            Err(error) => state.fail(error),
        }
        self.wake(state);
    }

    /// Touches the disk where the batch is in a complete segment, which a truncation hardly ever reaches.
    fn end_of(&self, state: &State, index: LogIndex) -> Result<LogPosition, LogError> {
        let (base, last) = (state.chain.base(), state.chain.last());
        if index > last.index {
            return Err(LogError::TruncateBeyondEnd { keep: index, last });
        }
        if index < base.index {
            return Err(LogError::TruncateBelowBase { keep: index, base });
        }
        match state.cached(index) {
            Some(batch) => Ok(batch.header().end_position()),
            None if index == base.index => Ok(state.chain.base_end()),
            None => Ok(self.reader.end_of(index)?),
        }
    }

    /// Asks the writer for something that changes nothing of what callers see. False once the log has ended.
    pub(crate) fn ask(&self, command: Command) -> bool {
        let mut state = self.state.lock();
        let open = state.is_open();
        if open {
            state.queue.push(command);
            self.wake(state);
        }
        open
    }

    /// Notes that the log now begins behind `base`.
    pub(crate) fn forgot(&self, base: &LogBase) {
        let mut state = self.state.lock();
        // A log that is to start over already shows its new beginning.
        if state.chain.base().index < base.last.index && base.last.index <= state.chain.last().index {
            state.chain.forget(base);
            state.drop_cached_through(base.last.index);
        }
    }

    pub(crate) fn restart_at(&self, base: LogBase, set_aside_after: Option<LogIndex>) {
        let mut state = self.state.lock();
        if !state.is_open() {
            return;
        }
        if base.is_consistent() {
            state.restart(&base);
            state.queue.push(Command::Restart(Box::new(base), set_aside_after));
        } else {
            state.fail(LogError::InconsistentBase { last: base.last });
        }
        self.wake(state);
    }

    pub(crate) fn first(&self) -> LogIndex {
        self.state.lock().chain.base().index.next()
    }

    /// What a log that begins behind `last` has to know.
    pub(crate) fn base_at(&self, last: LogIndex) -> Result<LogBase, ReadError> {
        {
            let state = self.state.lock();
            if last == state.chain.base().index {
                return Ok(state.chain.base_record());
            }
        }
        let batch = self.batch(last)?;
        let header = batch.header();
        let state = self.state.lock();
        let whole = state.chain.base().index <= last && last <= state.chain.last().index;
        if !whole {
            return Err(state.not_found(last));
        }
        Ok(state.chain.base_through(last, header.end_position(), header.timestamp))
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.work.notify_one();
    }

    /// Batches from `from` through `through`: from memory, or from the disk as far as they are not in memory.
    pub(crate) fn read(
        &self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Batch>, ReadError> {
        loop {
            let (generation, through) = {
                let state = self.state.lock();
                let through = through.min(state.chain.last().index);
                if from <= state.chain.base().index {
                    return Err(state.not_found(from));
                }
                if from > through {
                    return Ok(Vec::new());
                }
                if let Some(batches) = state.cached_range(from, through, max_bytes) {
                    return Ok(batches);
                }
                (state.generation, through.min(state.first_cached().prev()))
            };
            match self.reader.read(from, through, max_bytes) {
                Err(ReadError::NotFound { .. }) if self.state.lock().generation != generation => {}
                result => return result,
            }
        }
    }

    pub(crate) fn batch(&self, index: LogIndex) -> Result<Batch, ReadError> {
        let found = self.read(index, index, 0)?.pop();
        found.ok_or_else(|| self.state.lock().not_found(index))
    }

    pub(crate) fn cached(&self, index: LogIndex) -> Option<Batch> {
        self.state.lock().cached(index).cloned()
    }

    pub(crate) const fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        self.reader.index().read().list()
    }

    pub(crate) fn quarantined(&self) -> Vec<QuarantineFile> {
        let state = self.state.lock();
        let listed = |file: &&QuarantineFile| !state.dismissed.contains(&file.path);
        state.quarantined.iter().filter(listed).cloned().collect()
    }

    pub(crate) fn dismiss(&self, file: &QuarantineFile) {
        self.state.lock().dismissed.push(file.path.clone());
    }

    pub(crate) fn set_quarantined(&self, files: &[QuarantineFile]) {
        self.state.lock().quarantined = files.to_vec();
    }

    pub(crate) fn backlog(&self) -> Backlog {
        self.state.lock().queued
    }

    /// Asks for the end. Only the first one counts.
    pub(crate) fn end(&self, ending: Ending) {
        let mut state = self.state.lock();
        state.ending.get_or_insert(ending);
        self.wake(state);
    }

    /// Stops the log for good, unless it has stopped already. Returns the reason.
    pub(crate) fn fail(&self, error: &Arc<LogError>) -> Arc<LogError> {
        Arc::clone(self.state.lock().failed.get_or_insert_with(|| Arc::clone(error)))
    }

    pub(crate) fn failed(&self) -> Option<Arc<LogError>> {
        self.state.lock().failed.clone()
    }

    /// Waits for something to do and moves all commands into `commands`, which is empty.
    pub(crate) fn next(&self, commands: &mut Vec<Command>, flush_due: Option<Instant>) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(failed) = &state.failed {
                return Next::Failed(Arc::clone(failed));
            }
            if state.ending == Some(Ending::Abandon) {
                return Next::End(Ending::Abandon);
            }
            if flush_due.is_some_and(|due| due <= Instant::now()) {
                return Next::FlushDue;
            }
            if !state.queue.is_empty() {
                std::mem::swap(&mut state.queue, commands);
                let from = state.queue_from;
                state.queue_from = state.generation;
                return Next::Commands(from);
            }
            if let Some(ending) = state.ending {
                return Next::End(ending);
            }
            let look = Instant::now() + LOOK;
            let until = flush_due.map_or(look, |due| due.min(look));
            let waited = self.work.wait_until(&mut state, until).timed_out();
            if waited && flush_due.is_none_or(|due| due > Instant::now()) {
                return Next::Idle;
            }
        }
    }

    /// Waits a moment for space, or for a command that may make some; that one is then taken out of turn.
    pub(crate) fn wait_for_space(&self, may_forget: bool) -> WhileFull {
        let mut state = self.state.lock();
        for last in [false, true] {
            if let Some(failed) = &state.failed {
                return WhileFull::Failed(Arc::clone(failed));
            }
            if may_forget && let Some(through) = take_forget(&mut state.queue) {
                return WhileFull::Forget(through);
            }
            if state.ending.is_some() {
                return WhileFull::Ended;
            }
            if !last {
                let _ = self.work.wait_for(&mut state, FULL_PAUSE);
            }
        }
        WhileFull::TryAgain
    }

    /// Notes that the batches of a run are on the disk.
    pub(crate) fn written(&self, run: &[Batch], generation: Generation) {
        let mut state = self.state.lock();
        state.queued.batches -= run.len() as u64;
        state.queued.bytes -= run.iter().map(|batch| u64::from(batch.header().length)).sum::<u64>();
        if state.generation == generation
            && let Some(last) = run.last()
        {
            state.written = last.index();
            state.evict(self.cache_bytes);
        }
    }
}
