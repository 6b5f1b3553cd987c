//! What the core knows of the own log: where it begins and ends, which epoch each entry is of, how much of it is
//! persisted.
//!
//! What always holds: epochs only grow along the log, and `persisted` speaks of entries that are in it now.

use mainstay_record::{EntryId, Epoch, LogIndex};

use crate::portrait::Portrait;
use crate::{Membership, Standing};

/// Where a log begins: everything through `base` is committed and known by its effects only, the state at `base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBase {
    /// The entry before the first one that is kept; [`EntryId::ZERO`] for a whole log.
    pub base: EntryId,
    /// Each epoch through `base` and its first entry, in log order.
    pub epochs: Vec<(Epoch, LogIndex)>,
    /// In force at `base`.
    pub membership: Membership,
    /// Where in the log it stood; zero while it was not in the log.
    pub membership_at: LogIndex,
}

/// The own log at the start of the process. All of it is persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// The entry before the first one that is kept; [`EntryId::ZERO`] for a whole log. Committed.
    pub base: EntryId,
    pub last: EntryId,
    /// Each epoch of the log, what is not kept included, and its first entry, in log order.
    pub epochs: Vec<(Epoch, LogIndex)>,
    /// Agreed on at first start: in force while there was none in the log.
    pub membership: Membership,
    /// The newest membership of the log through `base`, if there was one, and every later one; where each stands, in log
    /// order.
    pub memberships: Vec<(LogIndex, Membership)>,
    /// Of the newest [`crate::Action::StoreMembership`] there ever was.
    pub adopted: Option<Membership>,
    /// Whether the log may lack something that this node acknowledged.
    pub standing: Standing,
}

/// The ids of all entries, kept as one row per epoch.
#[derive(Debug, Clone)]
pub(crate) struct LogTable {
    base: EntryId,
    /// Also of what is not kept: that many rows cost nothing, and they tell where another log parts from this one.
    epochs: Vec<(Epoch, LogIndex)>,
    last: EntryId,
    persisted: LogIndex,
}

impl LogTable {
    pub(crate) fn new(base: EntryId, last: EntryId, mut epochs: Vec<(Epoch, LogIndex)>) -> Self {
        let rows = epochs.partition_point(|(_, first)| *first <= base.index);
        if base != EntryId::ZERO && rows.checked_sub(1).is_none_or(|row| epochs[row].0 != base.epoch) {
            epochs.insert(rows, (base.epoch, base.index));
        }
        Self { base, epochs, last, persisted: last.index }
    }

    /// A log that holds nothing but knows what came before.
    pub(crate) fn empty(base: EntryId, epochs: Vec<(Epoch, LogIndex)>) -> Self {
        Self::new(base, base, epochs)
    }

    pub(crate) const fn base(&self) -> EntryId {
        self.base
    }

    /// The epochs through `index`.
    pub(crate) fn epochs_through(&self, index: LogIndex) -> &[(Epoch, LogIndex)] {
        &self.epochs[..self.epochs.partition_point(|(_, first)| *first <= index)]
    }

    /// Gives up everything through `base`, which is in the log.
    pub(crate) fn compact(&mut self, base: EntryId) {
        self.base = base;
    }

    /// The last index, at or below `through`, at which a log with these epochs has the same entry as this one.
    pub(crate) fn shared_with(&self, epochs: &[(Epoch, LogIndex)], through: LogIndex) -> LogIndex {
        let end = |rows: &[(Epoch, LogIndex)], row: usize, last: LogIndex| {
            rows.get(row + 1).map_or(last, |(_, first)| first.prev().min(last))
        };
        let mut shared = LogIndex::ZERO;
        for (row, (epoch, first)) in epochs.iter().enumerate() {
            let Some(own) = self.epochs.iter().position(|(of, _)| of == epoch) else { continue };
            let last = end(epochs, row, through).min(end(&self.epochs, own, self.last.index));
            if last >= (*first).max(self.epochs[own].1) {
                shared = shared.max(last);
            }
        }
        shared
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { base, epochs, last, persisted } = self;
        portrait.entry(*base).word(epochs.len() as u64).entry(*last).word(persisted.0);
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

    /// The entry at `index`, from the base on ([`EntryId::ZERO`] before the first of a whole log); `None` where the log
    /// has nothing.
    pub(crate) fn entry(&self, index: LogIndex) -> Option<EntryId> {
        if index == self.base.index {
            return Some(self.base);
        }
        if index > self.last.index || index < self.base.index {
            return None;
        }
        let rows = self.epochs.partition_point(|(_, first)| *first <= index);
        let (epoch, _) = self.epochs.get(rows.checked_sub(1)?)?;
        Some(EntryId { epoch: *epoch, index })
    }

    /// The last entry that can equal one of another log that has `epoch` at `index`: not behind `index`, and of no
    /// newer epoch. `None` where that is before the base.
    pub(crate) fn agreement(&self, index: LogIndex, epoch: Epoch) -> Option<EntryId> {
        let rows = self.epochs.partition_point(|(of, first)| *of <= epoch && *first <= index);
        let Some((of, _)) = rows.checked_sub(1).and_then(|row| self.epochs.get(row)) else {
            return (self.base == EntryId::ZERO).then_some(EntryId::ZERO);
        };
        let end = self.epochs.get(rows).map_or(self.last.index, |(_, first)| first.prev());
        let index = index.min(end);
        (index >= self.base.index).then_some(EntryId { epoch: *of, index })
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
        let mut table = LogTable::empty(EntryId::ZERO, Vec::new());
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
        assert_eq!(table.agreement(LogIndex(9), id(9, 0).epoch), Some(id(4, 5)));
        assert_eq!(table.agreement(LogIndex(5), id(3, 0).epoch), Some(id(3, 4)));
        assert_eq!(table.agreement(LogIndex(5), id(2, 0).epoch), Some(id(1, 2)));
        assert_eq!(table.agreement(LogIndex(1), id(4, 0).epoch), Some(id(1, 1)));
        assert_eq!(table.agreement(LogIndex(5), Epoch::ZERO), Some(EntryId::ZERO));
        assert_eq!(table.agreement(LogIndex(0), id(9, 0).epoch), Some(EntryId::ZERO));
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

    #[test]
    fn below_the_base_nothing_is_known_but_epochs() {
        let mut table = table(&[1, 1, 3, 3, 4]);
        table.compact(id(3, 3));
        assert_eq!(table.entry(LogIndex(3)), Some(id(3, 3)));
        assert_eq!((table.entry(LogIndex(2)), table.entry(LogIndex(0))), (None, None));
        assert_eq!(table.agreement(LogIndex(9), id(3, 0).epoch), Some(id(3, 4)));
        assert_eq!(table.agreement(LogIndex(9), id(2, 0).epoch), None);
        assert_eq!(table.agreement(LogIndex(2), id(9, 0).epoch), None);
        assert_eq!(
            table.epochs_through(LogIndex(3)),
            [(id(1, 0).epoch, LogIndex(1)), (id(3, 0).epoch, LogIndex(3))]
        );
        let empty = LogTable::empty(id(3, 3), table.epochs_through(LogIndex(3)).to_vec());
        assert_eq!((empty.last(), empty.persisted()), (id(3, 3), LogIndex(3)));
        let unknown = LogTable::empty(id(3, 3), Vec::new());
        assert_eq!(unknown.entry(LogIndex(3)), Some(id(3, 3)));
    }

    #[test]
    fn what_two_logs_share_is_told_by_their_epochs() {
        let table = table(&[1, 1, 3, 3, 4]);
        let rows = |of: &[(u64, u64)]| -> Vec<_> {
            of.iter().map(|(epoch, first)| (id(*epoch, 0).epoch, LogIndex(*first))).collect()
        };
        let shared = |of: &[(u64, u64)], through| table.shared_with(&rows(of), LogIndex(through)).0;
        assert_eq!(shared(&[(1, 1), (3, 3), (4, 5)], 9), 5);
        assert_eq!(shared(&[(1, 1), (3, 3), (5, 4)], 9), 3);
        assert_eq!(shared(&[(1, 1), (2, 3)], 9), 2);
        assert_eq!(shared(&[(1, 1), (3, 3)], 1), 1);
        assert_eq!(shared(&[(2, 1)], 9), 0);
    }
}
