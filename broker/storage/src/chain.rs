//! The chain: where a log begins and ends, and what may follow.
//!
//! Used by recovery, by the writer and by the handle, so that all three agree on what continues a log.

use bytes::Bytes;
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, Timestamp};

use crate::base::LogBase;
use crate::error::Damage;
use crate::index::SealedSummary;

/// The first batch of an epoch in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: Epoch,
    pub first: LogIndex,
}

#[derive(Debug, Clone)]
pub(crate) struct Chain {
    group: GroupId,
    /// The last batch before the log's first.
    base: EntryId,
    base_end: LogPosition,
    base_timestamp: Timestamp,
    last: EntryId,
    end: LogPosition,
    epochs: Vec<EpochStart>,
    /// The membership batches of the log, and the newest before it.
    memberships: Vec<Batch>,
}

impl Chain {
    /// An empty log that begins behind `base`.
    pub(crate) fn new(group: GroupId, base: &LogBase) -> Self {
        Self {
            group,
            base: base.last,
            base_end: base.position,
            base_timestamp: base.timestamp,
            last: base.last,
            end: base.position,
            epochs: base.epochs.clone(),
            memberships: base.membership.iter().cloned().collect(),
        }
    }

    /// Starts over behind `base`.
    pub(crate) fn restart(&mut self, base: &LogBase) {
        *self = Self::new(self.group, base);
    }

    pub(crate) const fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) const fn base_end(&self) -> LogPosition {
        self.base_end
    }

    pub(crate) const fn last(&self) -> EntryId {
        self.last
    }

    pub(crate) const fn end(&self) -> LogPosition {
        self.end
    }

    pub(crate) fn epochs(&self) -> &[EpochStart] {
        &self.epochs
    }

    /// The newest before the log, and those in it.
    pub(crate) fn memberships(&self) -> &[Batch] {
        &self.memberships
    }

    /// The epochs that begin, and the membership batches that stand, from `first` on.
    pub(crate) fn news_from(&self, first: LogIndex) -> (&[EpochStart], &[Batch]) {
        let epochs = self.epochs.partition_point(|start| start.first < first);
        let memberships = self.memberships.partition_point(|batch| batch.index() < first);
        (&self.epochs[epochs..], &self.memberships[memberships..])
    }

    /// Takes the next batch, or says why it is not the next.
    pub(crate) fn follow(&mut self, batch: &Batch) -> Result<(), Damage> {
        let header = batch.header();
        let previous = self.last;
        if header.group != self.group {
            return Err(Damage::Group { found: header.group, expected: self.group });
        }
        if header.id.index != previous.index.next() {
            return Err(Damage::Order { found: header.id, previous });
        }
        if header.position != self.end {
            return Err(Damage::Position { found: header.position, expected: self.end });
        }
        if header.id.epoch < previous.epoch {
            return Err(Damage::EpochBackwards { found: header.id.epoch, previous: previous.epoch });
        }
        if self.epochs.last().is_none_or(|start| start.epoch != header.id.epoch) {
            self.epochs.push(EpochStart { epoch: header.id.epoch, first: header.id.index });
        }
        if header.kind == BatchKind::Membership {
            self.memberships.push(own_copy(batch));
        }
        self.last = header.id;
        self.end = header.end_position();
        Ok(())
    }

    /// Takes all batches of a complete segment, as its index file tells of them; false when that cannot be.
    pub(crate) fn follow_sealed(&mut self, sealed: &SealedSummary) -> bool {
        let SealedSummary { header, epochs, memberships, .. } = sealed;
        let continues = header.base == self.end
            && header.first == self.last.index.next()
            && sealed.count > 0
            && sealed.last.index.0 == self.last.index.0 + sealed.count
            && sealed.last.epoch >= self.last.epoch
            && epochs.last().map_or(self.last.epoch, |start| start.epoch) == sealed.last.epoch
            && epochs.is_sorted_by_key(|start| start.epoch)
            && epochs.first().is_none_or(|start| start.epoch > self.last.epoch);
        if continues {
            self.epochs.extend_from_slice(epochs);
            self.memberships.extend_from_slice(memberships);
            self.last = sealed.last;
            self.end = sealed.end;
        }
        continues
    }

    /// Goes back to `keep`, behind which the log stands at `end`.
    pub(crate) fn cut(&mut self, keep: LogIndex, end: LogPosition) {
        while self.epochs.last().is_some_and(|start| start.first > keep) {
            self.epochs.pop();
        }
        while self.memberships.last().is_some_and(|batch| batch.index() > keep) {
            self.memberships.pop();
        }
        let epoch = self.epochs.last().map_or(Epoch::ZERO, |start| start.epoch);
        self.last = EntryId { epoch, index: keep };
        self.end = end;
    }

    /// What is known of the log through `last`, which is not before its base; `position` and `timestamp` are those
    /// behind and of that batch.
    pub(crate) fn base_through(
        &self,
        last: LogIndex,
        position: LogPosition,
        timestamp: Timestamp,
    ) -> LogBase {
        let epochs = &self.epochs[..self.epochs.partition_point(|start| start.first <= last)];
        let memberships = self.memberships.partition_point(|batch| batch.index() <= last);
        let epoch = epochs.last().map_or(Epoch::ZERO, |start| start.epoch);
        LogBase {
            last: EntryId { epoch, index: last },
            position,
            timestamp,
            epochs: epochs.to_vec(),
            membership: memberships.checked_sub(1).map(|newest| self.memberships[newest].clone()),
        }
    }

    /// What is known of everything before the log.
    pub(crate) fn base_record(&self) -> LogBase {
        self.base_through(self.base.index, self.base_end, self.base_timestamp)
    }

    /// Lets the log begin behind `base`, which it reaches.
    pub(crate) fn forget(&mut self, base: &LogBase) {
        self.base = base.last;
        self.base_end = base.position;
        self.base_timestamp = base.timestamp;
        let old = self.memberships.partition_point(|batch| batch.index() <= base.last.index);
        self.memberships.drain(..old.saturating_sub(1));
    }
}

/// A batch that does not hold on to the memory it was read into.
fn own_copy(batch: &Batch) -> Batch {
    Batch::decode(&Bytes::copy_from_slice(batch.bytes())).unwrap_or_else(|_| batch.clone())
}
