//! Half messages: stored and not to be delivered unless their producer commits them.
//!
//! A producer that does not decide is asked, in growing intervals. One that was asked often enough, or that nobody has
//! ended for very long, is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::metadata::{QueueId, Revision};
use crate::queue::tags::TagId;

/// Until a producer is asked for the first time, where the message does not say, in milliseconds.
pub const FIRST_CHECK_MS: u64 = 6_000;
/// How often a producer is asked.
pub const MAX_CHECKS: u32 = 15;
/// After this time a half message is dropped, whoever could be asked or not, in milliseconds.
pub const MAX_HALF_AGE_MS: u64 = 72 * 3_600_000;

/// Until the second check; each further one takes twice as long.
const CHECK_INTERVAL_MS: u64 = 30_000;
const LONGEST_CHECK_INTERVAL_MS: u64 = 600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) topic: Revision,
    pub(crate) queue: QueueId,
    pub(crate) tag: TagId,
    pub(crate) stored_at: Timestamp,
    pub(crate) check_at: Timestamp,
    /// How often a producer was asked.
    pub(crate) checks: u32,
}

impl Half {
    pub(crate) fn new(
        topic: Revision,
        queue: QueueId,
        tag: TagId,
        now: Timestamp,
        check_after_ms: Option<u64>,
    ) -> Self {
        let check_at = now.plus_millis(check_after_ms.unwrap_or(FIRST_CHECK_MS));
        Self { topic, queue, tag, stored_at: now, check_at, checks: 0 }
    }

    const fn is_exhausted(&self) -> bool {
        self.checks >= MAX_CHECKS
    }

    /// When it is dropped, as far as is known.
    pub(crate) fn drop_at(&self) -> Timestamp {
        let at_last = self.stored_at.plus_millis(MAX_HALF_AGE_MS);
        if self.is_exhausted() { at_last.min(self.check_at) } else { at_last }
    }

    pub(crate) fn noted(self, now: Timestamp, asked: bool) -> Self {
        let doublings = self.checks.min(16);
        let interval = (CHECK_INTERVAL_MS << doublings).min(LONGEST_CHECK_INTERVAL_MS);
        if asked {
            Self { check_at: now.plus_millis(interval), checks: self.checks + 1, ..self }
        } else {
            Self { check_at: now.plus_millis(CHECK_INTERVAL_MS), ..self }
        }
    }
}

pub(crate) type ByRecord = BTreeMap<RecordId, Half>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Halves {
    /// Shared with a frozen state, and copied before the first change while it is.
    by_record: Arc<ByRecord>,
    /// Those to ask about, by when.
    checks: BTreeSet<(Timestamp, RecordId)>,
    /// All, by when they are dropped.
    drops: BTreeSet<(Timestamp, RecordId)>,
}

impl Halves {
    pub(crate) const fn by_record(&self) -> &Arc<ByRecord> {
        &self.by_record
    }

    pub(crate) fn get(&self, record: RecordId) -> Option<Half> {
        self.by_record.get(&record).copied()
    }

    /// In the place of the one that may be there.
    pub(crate) fn insert(&mut self, record: RecordId, half: Half) {
        self.remove(record);
        if !half.is_exhausted() {
            self.checks.insert((half.check_at, record));
        }
        self.drops.insert((half.drop_at(), record));
        Arc::make_mut(&mut self.by_record).insert(record, half);
    }

    pub(crate) fn remove(&mut self, record: RecordId) -> Option<Half> {
        let half = self.get(record)?;
        Arc::make_mut(&mut self.by_record).remove(&record);
        self.checks.remove(&(half.check_at, record));
        self.drops.remove(&(half.drop_at(), record));
        Some(half)
    }

    /// Its producer was asked, or there was none to ask.
    pub(crate) fn note(&mut self, record: RecordId, now: Timestamp, asked: bool) {
        if let Some(half) = self.get(record) {
            self.insert(record, half.noted(now, asked));
        }
    }

    pub(crate) fn next_check(&self) -> Option<Timestamp> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Those to ask about, longest overdue first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = RecordId> + '_ {
        self.checks.iter().take_while(move |(at, _)| *at <= now).map(|(_, record)| *record)
    }

    pub(crate) fn next_drop(&self) -> Option<Timestamp> {
        self.drops.first().map(|(at, _)| *at)
    }

    /// Takes out those that are given up, at most `max`.
    pub(crate) fn take_dropped(&mut self, now: Timestamp, max: usize) -> Vec<(RecordId, Half)> {
        let due = self.drops.iter().take_while(|(at, _)| *at <= now).take(max);
        let due: Vec<RecordId> = due.map(|(_, record)| *record).collect();
        due.into_iter().filter_map(|record| Some((record, self.remove(record)?))).collect()
    }

    pub(crate) fn forget_topic(&mut self, topic: Revision) {
        let gone = self.by_record.iter().filter(|(_, half)| half.topic == topic);
        let gone: Vec<RecordId> = gone.map(|(record, _)| *record).collect();
        for record in gone {
            self.remove(record);
        }
    }

    /// The lowest batch of the log that has one of them.
    pub(crate) fn lowest(&self) -> Option<LogIndex> {
        self.by_record.first_key_value().map(|(record, _)| record.index)
    }
}
