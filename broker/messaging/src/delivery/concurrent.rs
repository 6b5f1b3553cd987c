//! A cursor of a group that gets messages in any order: each is delivered, fails and comes back by itself.
//!
//! `due` holds each lease once, by its expiry.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use mainstay_planted::{Fault, planted};
use mainstay_record::Timestamp;

use crate::delivery::cursor::{Lease, Leases, MAX_UNACKED, Taken, Taking, is_due};
use crate::metadata::QueueId;
use crate::queue::index::QueueIndex;
use crate::queue::tags::TagMatch;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Concurrent {
    next: u64,
    /// Shared with a frozen state, and copied before the first change while it is.
    leases: Arc<Leases>,
    due: BTreeSet<(Timestamp, u64)>,
}

impl Concurrent {
    /// With these leases, all of offsets below `next`.
    pub(crate) fn restored(next: u64, leases: Leases) -> Self {
        let due = leases.iter().map(|(offset, lease)| (lease.expires_at, *offset)).collect();
        Self { next, leases: Arc::new(leases), due }
    }

    pub(crate) const fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn trim(&mut self, index: &QueueIndex) {
        let start = index.start();
        self.next = self.next.max(start);
        let kept = Arc::make_mut(&mut self.leases).split_off(&start);
        self.leases = Arc::new(kept);
        self.due.retain(|(_, offset)| *offset >= start);
    }

    fn is_full(&self) -> bool {
        self.leases.len() >= MAX_UNACKED
    }

    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        self.due.first().is_some_and(|(at, _)| is_due(*at, now))
    }

    pub(crate) fn has_new(&self, index: &QueueIndex, tags: &TagMatch) -> bool {
        !self.is_full() && index.has_match(self.next, tags)
    }

    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let after = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
        self.due.range(after).next().map(|(at, _)| *at)
    }

    pub(crate) fn due(&self, now: Timestamp, max: usize) -> Vec<u64> {
        let due = self.due.iter().take_while(|(at, _)| is_due(*at, now));
        due.take(max).map(|(_, offset)| *offset).collect()
    }

    pub(crate) fn unseen(&self, index: &QueueIndex, max: usize) -> Vec<u64> {
        if self.is_full() {
            return Vec::new();
        }
        (self.next.max(index.start())..index.end()).take(max).collect()
    }

    pub(crate) fn take_due(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        let leases = Arc::make_mut(&mut self.leases);
        let first = taken.deliveries.len();
        while !taking.is_full(taken)
            && let Some((_, offset)) = self.due.first().copied().filter(|(at, _)| is_due(*at, taking.now()))
        {
            let found = index.get(offset).map(|message| (message, taking.takes(queue, offset, &message)));
            if matches!(found, Some((_, None))) {
                break;
            }
            self.due.pop_first();
            let message = found.and_then(|(message, takes)| takes.unwrap_or(false).then_some(message));
            let (Some(message), Some(lease)) = (message, leases.get_mut(&offset)) else {
                leases.remove(&offset);
                continue;
            };
            if taking.is_exhausted(lease.attempt) {
                leases.remove(&offset);
                taken.dead.push(message);
                continue;
            }
            let attempt = lease.attempt.saturating_add(u32::from(!planted(Fault::AttemptNotCounted)));
            *lease = taking.lease(attempt);
            taking.deliver(queue, offset, message, attempt, taken);
        }
        // Only now, since with no invisible time at all they are due again at once.
        let delivered = taken.deliveries[first..].iter();
        self.due.extend(delivered.map(|delivery| (taking.expires_at, delivery.offset.0)));
    }

    pub(crate) fn take_new(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        self.next = self.next.max(index.start());
        while !taking.is_full(taken) && !self.is_full() {
            let Some((offset, message)) = index.next_match(self.next, &taking.tags) else {
                self.next = index.end();
                return;
            };
            let takes = taking.takes(queue, offset, &message);
            self.next = if takes.is_some() { offset + 1 } else { offset };
            match takes {
                Some(true) => {}
                Some(false) => continue,
                None => return,
            }
            if planted(Fault::SkipMessage) && taken.deliveries.len() + 1 == taking.max {
                self.next = (offset + 2).min(index.end());
            }
            Arc::make_mut(&mut self.leases).insert(offset, taking.lease(1));
            self.due.insert((taking.expires_at, offset));
            taking.deliver(queue, offset, message, 1, taken);
        }
    }

    pub(crate) fn settle(&mut self, _index: &QueueIndex, offset: u64, lease: Lease) {
        self.due.remove(&(lease.expires_at, offset));
        Arc::make_mut(&mut self.leases).remove(&offset);
    }

    pub(crate) fn change(&mut self, _index: &QueueIndex, offset: u64, lease: Lease, changed: Lease) {
        self.due.remove(&(lease.expires_at, offset));
        self.due.insert((changed.expires_at, offset));
        Arc::make_mut(&mut self.leases).insert(offset, changed);
    }
}
