//! The chain: where a log ends, and what may follow.
//!
//! Used by recovery, by the writer and by the handle, so that all three agree on what continues a log.

use mainstay_record::{BatchHeader, EntryId, Epoch, GroupId, LogIndex, LogPosition};

use crate::error::Damage;

/// The first batch of an epoch in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: Epoch,
    pub first: LogIndex,
}

#[derive(Debug, Clone)]
pub(crate) struct Chain {
    group: GroupId,
    last: EntryId,
    end: LogPosition,
    epochs: Vec<EpochStart>,
}

impl Chain {
    pub(crate) const fn new(group: GroupId) -> Self {
        Self { group, last: EntryId::ZERO, end: LogPosition(0), epochs: Vec::new() }
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

    /// Takes the next batch, or says why it is not the next.
    pub(crate) fn follow(&mut self, header: &BatchHeader) -> Result<(), Damage> {
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
        self.last = header.id;
        self.end = header.end_position();
        Ok(())
    }

    /// Goes back to `keep`, behind which the log stands at `end`.
    pub(crate) fn cut(&mut self, keep: LogIndex, end: LogPosition) {
        while self.epochs.last().is_some_and(|start| start.first > keep) {
            self.epochs.pop();
        }
        let epoch = self.epochs.last().map_or(Epoch::ZERO, |start| start.epoch);
        self.last = EntryId { epoch, index: keep };
        self.end = end;
    }
}
