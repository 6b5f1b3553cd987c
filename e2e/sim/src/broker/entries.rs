//! The ids of all entries of a log, in memory: the oracle is told of them, and must not use the disk.

use mainstay_record::{EntryId, Epoch, LogIndex};
use mainstay_storage::Recovered;

/// What a log holds behind its base.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    base: EntryId,
    behind: Vec<EntryId>,
}

impl Default for Entries {
    fn default() -> Self {
        Self::empty(EntryId::ZERO)
    }
}

impl Entries {
    /// Of a log that begins behind `base` and holds nothing yet.
    pub(crate) const fn empty(base: EntryId) -> Self {
        Self { base, behind: Vec::new() }
    }

    /// Of a log that was just opened.
    pub(crate) fn recovered(recovered: &Recovered) -> Self {
        let base = recovered.base.last;
        let mut epochs = recovered.epochs.iter().peekable();
        let mut epoch = Epoch::ZERO;
        let mut behind = Vec::new();
        for index in base.index.0 + 1..=recovered.last.index.0 {
            while let Some(start) = epochs.next_if(|start| start.first.0 <= index) {
                epoch = start.epoch;
            }
            behind.push(EntryId { epoch, index: LogIndex(index) });
        }
        Self { base, behind }
    }

    pub(crate) const fn base(&self) -> LogIndex {
        self.base.index
    }

    /// The last entry, or the base where there is none.
    pub(crate) fn newest(&self) -> EntryId {
        self.behind.last().copied().unwrap_or(self.base)
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.newest().index
    }

    /// The entry at an index, the base included.
    pub(crate) fn get(&self, index: LogIndex) -> Option<EntryId> {
        if index == self.base.index {
            return Some(self.base);
        }
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        self.behind.get(at as usize).copied()
    }

    pub(crate) fn push(&mut self, id: EntryId) {
        self.behind.push(id);
    }

    /// Takes away everything behind `keep`, and returns it.
    pub(crate) fn cut(&mut self, keep: LogIndex) -> Vec<EntryId> {
        let kept = keep.0.saturating_sub(self.base.index.0) as usize;
        self.behind.split_off(kept.min(self.behind.len()))
    }

    /// The log begins behind `base` from now on; what was before is returned.
    pub(crate) fn forget(&mut self, base: LogIndex) -> Vec<EntryId> {
        let gone = base.0.saturating_sub(self.base.index.0) as usize;
        let gone: Vec<EntryId> = self.behind.drain(..gone.min(self.behind.len())).collect();
        self.base = gone.last().copied().unwrap_or(self.base);
        gone
    }

    /// Those behind `after` through `through`.
    pub(crate) fn range(&self, after: LogIndex, through: LogIndex) -> &[EntryId] {
        let from = after.0.saturating_sub(self.base.index.0) as usize;
        let to = through.0.saturating_sub(self.base.index.0) as usize;
        self.behind.get(from..to.min(self.behind.len())).unwrap_or_default()
    }
}
