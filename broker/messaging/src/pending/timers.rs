//! Delayed messages that are not due yet, 40 bytes each and little besides.
//!
//! One that is taken out holds its tag no more, so its topic has to be told.

use std::sync::Arc;

use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::metadata::{QueueId, Revision};
use crate::pending::runs::{Item, Runs};
use crate::queue::tags::TagId;

/// A delayed message. In order of delivery, then as they were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) at: Timestamp,
    pub(crate) record: RecordId,
    pub(crate) topic: Revision,
    pub(crate) queue: QueueId,
    pub(crate) tag: TagId,
}

const _: () = assert!(size_of::<Timer>() == 40);

/// Marked with the batch of the log that has its body.
impl Item for Timer {
    type Mark = LogIndex;

    fn mark(&self) -> LogIndex {
        self.record.index
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    timers: Runs<Timer>,
}

impl Timers {
    pub(crate) const fn len(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Timer> + '_ {
        self.timers.iter()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Arc<Vec<Timer>>> {
        self.timers.runs()
    }

    /// False when it is there already.
    pub(crate) fn insert(&mut self, timer: Timer) -> bool {
        self.timers.insert(timer)
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.timers.first().map(|timer| timer.at)
    }

    /// Takes out those that are due, at most `max`.
    pub(crate) fn take_due(&mut self, now: Timestamp, max: usize) -> Vec<Timer> {
        self.timers.take_first(max, |timer| timer.at <= now)
    }

    /// Takes out one.
    pub(crate) fn take(&mut self, at: Timestamp, record: RecordId, topic: Revision) -> Option<Timer> {
        let least = Timer { at, record, topic: Revision(0), queue: QueueId(0), tag: TagId::NONE };
        let timer = self.timers.at_or_after(&least)?;
        if (timer.at, timer.record, timer.topic) != (at, record, topic) {
            return None;
        }
        self.timers.remove(&timer);
        Some(timer)
    }

    pub(crate) fn forget_topic(&mut self, topic: Revision) {
        if self.timers.iter().any(|timer| timer.topic == topic) {
            self.timers.retain(|timer| timer.topic != topic);
        }
    }

    /// The lowest batch of the log that has one of them.
    pub(crate) fn lowest(&self) -> Option<LogIndex> {
        self.timers.least_mark()
    }
}
