//! The state behind the view's lock: what is asked for, what is in memory, and what waits.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_record::{Batch, LogIndex, LogPosition};

use super::{Backlog, Command, Ending, Generation};
use crate::base::LogBase;
use crate::chain::Chain;
use crate::error::{LogError, ReadError};
use crate::quarantine::QuarantineFile;

#[derive(Debug)]
pub(super) struct State {
    pub(super) chain: Chain,
    /// The newest batches, up to the last.
    pub(super) recent: VecDeque<Batch>,
    pub(super) recent_bytes: usize,
    /// The last batch that is on the disk as it is here.
    pub(super) written: LogIndex,
    pub(super) generation: Generation,
    pub(super) queue: Vec<Command>,
    /// Generation of the first command in the queue.
    pub(super) queue_from: Generation,
    pub(super) queued: Backlog,
    pub(super) quarantined: Vec<QuarantineFile>,
    /// Paths of those that are not told of any more.
    pub(super) dismissed: Vec<PathBuf>,
    pub(super) ending: Option<Ending>,
    pub(super) failed: Option<Arc<LogError>>,
}

impl State {
    pub(super) const fn is_open(&self) -> bool {
        self.ending.is_none() && self.failed.is_none()
    }

    pub(super) fn fail(&mut self, error: LogError) {
        self.failed.get_or_insert_with(|| Arc::new(error));
    }

    pub(super) fn not_found(&self, index: LogIndex) -> ReadError {
        let (first, last) = (self.chain.base().index.next(), self.chain.last().index);
        ReadError::NotFound { index, first, last }
    }

    pub(super) fn first_cached(&self) -> LogIndex {
        LogIndex(self.chain.last().index.0 + 1 - self.recent.len() as u64)
    }

    pub(super) fn cached(&self, index: LogIndex) -> Option<&Batch> {
        let at = index.0.checked_sub(self.first_cached().0)?;
        self.recent.get(at as usize)
    }

    /// `None` when `from` is not in memory.
    pub(super) fn cached_range(
        &self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Option<Vec<Batch>> {
        let at = from.0.checked_sub(self.first_cached().0)? as usize;
        let count = (through.0 - from.0 + 1) as usize;
        let mut bytes = 0;
        let mut batches = Vec::new();
        for batch in self.recent.range(at..).take(count) {
            bytes += batch.bytes().len();
            if bytes > max_bytes && !batches.is_empty() {
                break;
            }
            batches.push(batch.clone());
        }
        Some(batches)
    }

    pub(super) fn cut(&mut self, keep: LogIndex, end: LogPosition) {
        while self.recent.back().is_some_and(|batch| batch.index() > keep) {
            self.recent_bytes -= self.recent.pop_back().map_or(0, |batch| batch.bytes().len());
        }
        self.chain.cut(keep, end);
        self.written = self.written.min(keep);
        self.generation = self.generation.next();
    }

    pub(super) fn restart(&mut self, base: &LogBase) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.chain.restart(base);
        self.written = base.last.index;
        self.generation = self.generation.next();
    }

    pub(super) fn drop_cached_through(&mut self, last: LogIndex) {
        while self.recent.front().is_some_and(|batch| batch.index() <= last) {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |batch| batch.bytes().len());
        }
    }

    /// Drops the oldest batches that are on the disk until the rest fits.
    pub(super) fn evict(&mut self, cache_bytes: usize) {
        while self.recent_bytes > cache_bytes
            && self.recent.front().is_some_and(|batch| batch.index() <= self.written)
        {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |batch| batch.bytes().len());
        }
    }
}
