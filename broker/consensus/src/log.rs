//! What the core knows of the own log: where it ends, which epoch each entry is of, how much of it is persisted.
//!
//! What always holds: epochs only grow along the log, and `persisted` speaks of entries that are in it now.

use mainstay_record::{EntryId, Epoch, LogIndex};

use crate::portrait::Portrait;
use crate::{Membership, Standing};

/// The own log at the start of the process. All of it is persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    pub last: EntryId,
    /// Each epoch of the log and its first entry, in log order.
    pub epochs: Vec<(Epoch, LogIndex)>,
    /// The newest membership of the log or, while it has none, the one agreed on at first start.
    pub membership: Membership,
    /// Where in the log the membership stands; zero while it is not in the log.
    pub membership_at: LogIndex,
    /// Whether the log may lack something that this node acknowledged.
    pub standing: Standing,
}

/// The ids of all entries, kept as one row per epoch.
#[derive(Debug, Clone)]
pub(crate) struct LogTable {
    epochs: Vec<(Epoch, LogIndex)>,
    last: EntryId,
    persisted: LogIndex,
}

impl LogTable {
    pub(crate) const fn new(last: EntryId, epochs: Vec<(Epoch, LogIndex)>) -> Self {
        Self { epochs, last, persisted: last.index }
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { epochs, last, persisted } = self;
        portrait.word(epochs.len() as u64).entry(*last).word(persisted.0);
        for (epoch, first) in epochs {
            portrait.epoch(*epoch).word(first.0);
        }
    }

    pub(crate) const fn last(&self) -> EntryId {
        self.last
    }

    pub(crate) const fn persisted(&self) -> LogIndex {
        self.persisted
    }

    /// The entry at `index`: [`EntryId::ZERO`] before the first, `None` where the log has nothing.
    pub(crate) fn entry(&self, index: LogIndex) -> Option<EntryId> {
        if index == LogIndex::ZERO {
            return Some(EntryId::ZERO);
        }
        if index > self.last.index {
            return None;
        }
        let rows = self.epochs.partition_point(|(_, first)| *first <= index);
        let (epoch, _) = self.epochs.get(rows.checked_sub(1)?)?;
        Some(EntryId { epoch: *epoch, index })
    }

    /// The last entry that can equal one of another log that has `epoch` at `index`: not behind `index`, and of no
    /// newer epoch.
    pub(crate) fn agreement(&self, index: LogIndex, epoch: Epoch) -> EntryId {
        let rows = self.epochs.partition_point(|(of, first)| *of <= epoch && *first <= index);
        let Some((of, _)) = rows.checked_sub(1).and_then(|row| self.epochs.get(row)) else {
            return EntryId::ZERO;
        };
        let end = self.epochs.get(rows).map_or(self.last.index, |(_, first)| first.prev());
        EntryId { epoch: *of, index: index.min(end) }
    }

    /// `id` must continue the log.
    pub(crate) fn append(&mut self, id: EntryId) {
        debug_assert!(
            id.index == self.last.index.next() && id.epoch >= self.last.epoch,
            "{id} after {}",
            self.last
        );
        if self.epochs.last().is_none_or(|(epoch, _)| *epoch != id.epoch) {
            self.epochs.push((id.epoch, id.index));
        }
        self.last = id;
    }

    pub(crate) fn truncate(&mut self, keep: LogIndex) {
        let Some(last) = self.entry(keep) else { return };
        self.epochs.truncate(self.epochs.partition_point(|(_, first)| *first <= keep));
        self.last = last;
        self.persisted = self.persisted.min(keep);
    }

    /// Notes that the log is persisted through `last`; tells whether that is news.
    pub(crate) fn persist(&mut self, last: EntryId) -> bool {
        let news = last.index > self.persisted && self.entry(last.index) == Some(last);
        if news {
            self.persisted = last.index;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use mainstay_record::NodeId;

    use super::*;

    fn id(epoch: u64, index: u64) -> EntryId {
        EntryId { epoch: Epoch::new(epoch, NodeId::new(1).unwrap()), index: LogIndex(index) }
    }

    /// A log whose entry i+1 is of epoch `epochs[i]`.
    fn table(epochs: &[u64]) -> LogTable {
        let mut table = LogTable::new(EntryId::ZERO, Vec::new());
        for (at, epoch) in epochs.iter().enumerate() {
            table.append(id(*epoch, at as u64 + 1));
        }
        table
    }

    #[test]
    fn every_entry_is_found_and_none_beyond() {
        let table = table(&[1, 1, 3, 3, 4]);
        assert_eq!(table.entry(LogIndex(0)), Some(EntryId::ZERO));
        for (index, epoch) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 4)] {
            assert_eq!(table.entry(LogIndex(index)), Some(id(epoch, index)));
        }
        assert_eq!(table.entry(LogIndex(6)), None);
    }

    #[test]
    fn agreement_skips_whole_epochs() {
        let table = table(&[1, 1, 3, 3, 4]);
        assert_eq!(table.agreement(LogIndex(9), id(9, 0).epoch), id(4, 5));
        assert_eq!(table.agreement(LogIndex(5), id(3, 0).epoch), id(3, 4));
        assert_eq!(table.agreement(LogIndex(5), id(2, 0).epoch), id(1, 2));
        assert_eq!(table.agreement(LogIndex(1), id(4, 0).epoch), id(1, 1));
        assert_eq!(table.agreement(LogIndex(5), Epoch::ZERO), EntryId::ZERO);
        assert_eq!(table.agreement(LogIndex(0), id(9, 0).epoch), EntryId::ZERO);
    }

    #[test]
    fn persisted_counts_only_what_is_in_the_log() {
        let mut table = table(&[1, 1, 3]);
        assert!(!table.persist(id(2, 3)), "another entry stood there");
        assert!(table.persist(id(1, 2)));
        assert!(!table.persist(id(1, 1)), "old news");
        assert!(table.persist(id(3, 3)));
        table.truncate(LogIndex(1));
        assert_eq!((table.last(), table.persisted()), (id(1, 1), LogIndex(1)));
        table.append(id(4, 2));
        assert_eq!(table.persisted(), LogIndex(1));
        assert_eq!(table.entry(LogIndex(2)), Some(id(4, 2)));
    }
}
