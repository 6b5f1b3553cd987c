//! One consumer group in one queue: how far it has looked, and what it was given and has not acknowledged.
//!
//! Every offset below `next` was delivered or skipped; the leases are those delivered and not acknowledged, and
//! `due` holds each lease once, by its expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use mainstay_planted::{Fault, planted};
use mainstay_record::{GroupId, Timestamp};

use crate::handle::{ReceiptHandle, Token};
use crate::index::{Indexed, QueueIndex};
use crate::metadata::{QueueId, QueueOffset, Revision};
use crate::outcome::{AckError, Delivery};
use crate::tags::TagMatch;

/// Unacknowledged messages of one consumer group in one queue, after which nothing new is delivered from it.
pub const MAX_UNACKED: usize = 10_000;

/// A delivery that is neither acknowledged nor replaced by a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) token: Token,
    pub(crate) expires_at: Timestamp,
    pub(crate) attempt: u32,
}

/// By offset.
pub(crate) type Leases = BTreeMap<u64, Lease>;

/// A receive at work: what all of its deliveries have in common.
#[derive(Debug)]
pub(crate) struct Taking {
    pub(crate) broker_group: GroupId,
    pub(crate) topic: Revision,
    pub(crate) group: Revision,
    pub(crate) token: Token,
    pub(crate) expires_at: Timestamp,
    pub(crate) tags: TagMatch,
    /// Deliveries at most.
    pub(crate) max: usize,
}

impl Taking {
    const fn now(&self) -> Timestamp {
        self.token.made_at
    }

    fn delivery(&self, queue: QueueId, offset: u64, message: Indexed, attempt: u32) -> Delivery {
        let offset = QueueOffset(offset);
        Delivery {
            queue,
            offset,
            record: message.record,
            stored_at: message.stored_at,
            attempt,
            handle: ReceiptHandle {
                broker_group: self.broker_group,
                queue,
                topic: self.topic,
                group: self.group,
                offset,
                token: self.token,
            },
            expires_at: self.expires_at,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    next: u64,
    /// Shared with a frozen state, and copied before the first change while it is.
    leases: Arc<Leases>,
    due: BTreeSet<(Timestamp, u64)>,
}

impl Cursor {
    pub(crate) fn new(next: u64) -> Self {
        Self::with_leases(next, Leases::new())
    }

    /// With these leases, all of offsets below `next`.
    pub(crate) fn with_leases(next: u64, leases: Leases) -> Self {
        let due = leases.iter().map(|(offset, lease)| (lease.expires_at, *offset)).collect();
        Self { next, leases: Arc::new(leases), due }
    }

    pub(crate) const fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// The next offset not looked at.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The lowest offset that is not consumed: in flight, or not looked at yet.
    pub(crate) fn unconsumed(&self) -> u64 {
        self.leases.first_key_value().map_or(self.next, |(offset, _)| *offset)
    }

    /// Settles everything below `start`, the oldest offset still kept.
    pub(crate) fn trim(&mut self, start: u64) {
        if self.unconsumed() >= start {
            return;
        }
        self.next = self.next.max(start);
        let kept = Arc::make_mut(&mut self.leases).split_off(&start);
        self.leases = Arc::new(kept);
        self.due.retain(|(_, offset)| *offset >= start);
    }

    pub(crate) fn unacked(&self) -> usize {
        self.leases.len()
    }

    fn is_full(&self) -> bool {
        self.leases.len() >= MAX_UNACKED
    }

    /// Whether a lease has expired at `now`.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.due.first().is_some_and(|(at, _)| is_due(*at, now))
    }

    /// Whether there is something new that the filter takes, and room for it.
    pub(crate) fn has_new(&self, index: &QueueIndex, tags: &TagMatch) -> bool {
        !self.is_full() && index.has_match(self.next, tags)
    }

    /// The earliest expiry after `now`.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let after = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
        self.due.range(after).next().map(|(at, _)| *at)
    }

    /// Delivers expired messages again, longest overdue first. Those that the filter does not take are settled.
    pub(crate) fn take_expired(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking,
        out: &mut Vec<Delivery>,
    ) {
        if !self.has_expired(taking.now()) {
            return;
        }
        let leases = Arc::make_mut(&mut self.leases);
        let first = out.len();
        while out.len() < taking.max
            && let Some((_, offset)) = self.due.first().copied().filter(|(at, _)| is_due(*at, taking.now()))
        {
            self.due.pop_first();
            let message = index.get(offset).filter(|message| taking.tags.takes(message.tag));
            let (Some(message), Some(lease)) = (message, leases.get_mut(&offset)) else {
                leases.remove(&offset);
                continue;
            };
            let attempt = lease.attempt.saturating_add(u32::from(!planted(Fault::AttemptNotCounted)));
            *lease = Lease { token: taking.token, expires_at: taking.expires_at, attempt };
            out.push(taking.delivery(queue, offset, message, attempt));
        }
        // Only now, since with no invisible time at all they are due again at once.
        self.due.extend(out[first..].iter().map(|delivery| (taking.expires_at, delivery.offset.0)));
    }

    /// Delivers messages not looked at yet, in order. Those that the filter does not take are skipped for good.
    pub(crate) fn take_new(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking,
        out: &mut Vec<Delivery>,
    ) {
        self.next = self.next.max(index.start());
        while out.len() < taking.max && !self.is_full() {
            let Some((offset, message)) = index.next_match(self.next, &taking.tags) else {
                self.next = index.end();
                return;
            };
            self.next = offset + 1;
            if planted(Fault::SkipMessage) && out.len() + 1 == taking.max {
                self.next = (offset + 2).min(index.end());
            }
            let lease = Lease { token: taking.token, expires_at: taking.expires_at, attempt: 1 };
            Arc::make_mut(&mut self.leases).insert(offset, lease);
            self.due.insert((taking.expires_at, offset));
            out.push(taking.delivery(queue, offset, message, 1));
        }
    }

    /// Settles a delivery. Doing so again is fine: a client that missed the answer asks again.
    pub(crate) fn acknowledge(&mut self, offset: u64, token: Token, now: Timestamp) -> Result<(), AckError> {
        match self.lease(offset, token, now) {
            Ok(lease) => {
                if planted(Fault::DeliverAcknowledged) {
                    return Ok(());
                }
                self.due.remove(&(lease.expires_at, offset));
                Arc::make_mut(&mut self.leases).remove(&offset);
                Ok(())
            }
            Err(AckError::NotInFlight) if offset < self.next => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a delivery another expiry and another token.
    pub(crate) fn change(
        &mut self,
        offset: u64,
        token: Token,
        now: Timestamp,
        changed: Token,
        expires_at: Timestamp,
    ) -> Result<(), AckError> {
        let lease = self.lease(offset, token, now)?;
        self.due.remove(&(lease.expires_at, offset));
        self.due.insert((expires_at, offset));
        Arc::make_mut(&mut self.leases)
            .insert(offset, Lease { token: changed, expires_at, attempt: lease.attempt });
        Ok(())
    }

    /// The lease that `token` still holds.
    fn lease(&self, offset: u64, token: Token, now: Timestamp) -> Result<Lease, AckError> {
        let lease = *self.leases.get(&offset).ok_or(AckError::NotInFlight)?;
        if lease.token != token && !planted(Fault::AcceptReplacedHandle) {
            return Err(AckError::Replaced);
        }
        if lease.expires_at <= now {
            return Err(AckError::Expired);
        }
        Ok(lease)
    }
}

fn is_due(at: Timestamp, now: Timestamp) -> bool {
    at <= now || planted(Fault::EarlyRedelivery) && at <= now.plus_millis(1)
}
