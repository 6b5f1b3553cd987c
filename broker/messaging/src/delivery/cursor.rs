//! One consumer group in one queue: how far it has looked, and what it was given and has not acknowledged.
//!
//! What both orders of delivery share. Every offset below `next` was delivered, skipped or, in order, left waiting; the
//! leases are those delivered and not acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_planted::{Fault, planted};
use mainstay_record::{GroupId, Timestamp};

use crate::delivery::concurrent::Concurrent;
use crate::delivery::handle::{ReceiptHandle, Token};
use crate::delivery::ordered::Ordered;
use crate::delivery::verdicts::Verdicts;
use crate::metadata::{DeliveryOrder, QueueId, QueueOffset, Revision};
use crate::outcome::{AckError, Delivery};
use crate::queue::index::{Indexed, QueueIndex};
use crate::queue::lane::Lane;
use crate::queue::tags::TagMatch;

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

/// The lease that `token` still holds.
pub(crate) fn held(leases: &Leases, offset: u64, token: Token, now: Timestamp) -> Result<Lease, AckError> {
    let lease = *leases.get(&offset).ok_or(AckError::NotInFlight)?;
    if lease.token != token && !planted(Fault::AcceptReplacedHandle) {
        return Err(AckError::Replaced);
    }
    if lease.expires_at <= now {
        return Err(AckError::Expired);
    }
    Ok(lease)
}

pub(crate) fn is_due(at: Timestamp, now: Timestamp) -> bool {
    at <= now || planted(Fault::EarlyRedelivery) && at <= now.plus_millis(1)
}

/// A receive at work: what all of its deliveries have in common.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    pub(crate) broker_group: GroupId,
    pub(crate) topic: Revision,
    pub(crate) group: Revision,
    pub(crate) token: Token,
    pub(crate) expires_at: Timestamp,
    pub(crate) tags: TagMatch,
    pub(crate) verdicts: Option<&'a Verdicts>,
    /// Deliveries at most.
    pub(crate) max: usize,
    /// After so many deliveries a message becomes a dead letter.
    pub(crate) max_attempts: u32,
}

/// What a receive took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) deliveries: Vec<Delivery>,
    /// Those that had had all their attempts; they are settled.
    pub(crate) dead: Vec<Indexed>,
}

impl Taking<'_> {
    pub(crate) const fn now(&self) -> Timestamp {
        self.token.made_at
    }

    pub(crate) const fn is_full(&self, taken: &Taken) -> bool {
        taken.deliveries.len() >= self.max
    }

    /// Whether a message is taken; `None` when nobody has looked into it, so that it has to stay for another receive.
    pub(crate) fn takes(&self, queue: QueueId, offset: u64, message: &Indexed) -> Option<bool> {
        match self.verdicts {
            None => Some(self.tags.takes(message.tag)),
            Some(verdicts) if verdicts.topic() == self.topic => verdicts.of(queue, offset),
            Some(_) => None,
        }
    }

    pub(crate) const fn is_exhausted(&self, attempt: u32) -> bool {
        attempt >= self.max_attempts
    }

    pub(crate) const fn lease(&self, attempt: u32) -> Lease {
        Lease { token: self.token, expires_at: self.expires_at, attempt }
    }

    pub(crate) fn deliver(
        &self,
        queue: QueueId,
        offset: u64,
        message: Indexed,
        attempt: u32,
        taken: &mut Taken,
    ) {
        let offset = QueueOffset(offset);
        taken.deliveries.push(Delivery {
            queue,
            offset,
            record: message.body,
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
        });
    }
}

/// What a delivery's lease is changed to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed {
    pub(crate) token: Token,
    pub(crate) expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cursor {
    Concurrent(Concurrent),
    Ordered(Ordered),
}

/// Calls the same on whichever it is.
macro_rules! either {
    ($cursor:expr, $each:ident => $call:expr) => {
        match $cursor {
            Cursor::Concurrent($each) => $call,
            Cursor::Ordered($each) => $call,
        }
    };
}

impl Cursor {
    pub(crate) fn new(order: DeliveryOrder, next: u64) -> Self {
        match order {
            DeliveryOrder::Concurrent => Self::Concurrent(Concurrent::restored(next, Leases::new())),
            DeliveryOrder::Fifo => Self::Ordered(Ordered::new(next)),
        }
    }

    pub(crate) const fn leases(&self) -> &Arc<Leases> {
        either!(self, cursor => cursor.leases())
    }

    /// The lanes that messages are in flight or waiting of, each with its first message not looked at.
    pub(crate) fn lanes(&self) -> Vec<(Lane, u64)> {
        match self {
            Self::Concurrent(_) => Vec::new(),
            Self::Ordered(cursor) => cursor.lanes(),
        }
    }

    /// The next offset not looked at.
    pub(crate) const fn next(&self) -> u64 {
        either!(self, cursor => cursor.next())
    }

    /// Messages before [`Self::next`] that wait for others of their lane.
    pub(crate) fn waiting(&self, index: &QueueIndex) -> u64 {
        match self {
            Self::Concurrent(_) => 0,
            Self::Ordered(cursor) => cursor.waiting(index),
        }
    }

    /// Whether the message has not been looked at, or waits for others of its lane.
    pub(crate) fn is_unseen(&self, index: &QueueIndex, offset: u64) -> bool {
        match self {
            _ if offset >= self.next() => true,
            Self::Concurrent(_) => false,
            Self::Ordered(cursor) => cursor.is_waiting(index, offset),
        }
    }

    /// The lowest offset that is not consumed: in flight, or not looked at yet.
    pub(crate) fn unconsumed(&self, index: &QueueIndex) -> u64 {
        let first = self.first_unsettled();
        match self {
            Self::Concurrent(_) => first,
            Self::Ordered(cursor) => cursor.first_waiting(index).map_or(first, |waiting| waiting.min(first)),
        }
    }

    /// The lowest offset that is in flight or not looked at at all.
    fn first_unsettled(&self) -> u64 {
        let first_lease = self.leases().first_key_value().map(|(offset, _)| *offset);
        first_lease.map_or(self.next(), |lease| lease.min(self.next()))
    }

    /// The lowest offset that anything is known of here, whether the message is still kept or not.
    fn first_known(&self) -> u64 {
        let first = self.first_unsettled();
        match self {
            Self::Concurrent(_) => first,
            Self::Ordered(cursor) => cursor.first_of_lanes().map_or(first, |lane| lane.min(first)),
        }
    }

    /// Settles everything below the oldest offset still kept.
    pub(crate) fn trim(&mut self, index: &QueueIndex) {
        if self.first_known() < index.start() {
            either!(self, cursor => cursor.trim(index));
        }
    }

    pub(crate) fn unacked(&self) -> usize {
        self.leases().len()
    }

    /// Whether something that was in flight, or waited for it, can be delivered at `now`.
    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        either!(self, cursor => cursor.has_due(now))
    }

    /// Whether there is something new that the filter takes, and room for it.
    pub(crate) fn has_new(&self, index: &QueueIndex, tags: &TagMatch) -> bool {
        either!(self, cursor => cursor.has_new(index, tags))
    }

    /// The earliest expiry after `now`.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        either!(self, cursor => cursor.next_due(now))
    }

    /// The offsets that a receive without a filter comes to of what was in flight, or waited for it: `max` at most.
    pub(crate) fn due(&self, index: &QueueIndex, now: Timestamp, max: usize) -> Vec<u64> {
        match self {
            Self::Concurrent(cursor) => cursor.due(now, max),
            Self::Ordered(cursor) => cursor.due(index, now, max),
        }
    }

    /// The offsets that a receive without a filter comes to of the messages not looked at yet: `max` at most, and
    /// all it would deliver as far as they reach.
    pub(crate) fn unseen(&self, index: &QueueIndex, now: Timestamp, max: usize) -> Vec<u64> {
        match self {
            Self::Concurrent(cursor) => cursor.unseen(index, max),
            Self::Ordered(cursor) => cursor.unseen(index, now, max),
        }
    }

    /// Delivers what has expired again, longest overdue first. What the filter does not take is settled.
    pub(crate) fn take_due(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        if self.has_due(taking.now()) {
            either!(self, cursor => cursor.take_due(queue, index, taking, taken));
        }
    }

    /// Delivers messages not looked at yet, in order. Those that the filter does not take are skipped for good.
    pub(crate) fn take_new(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        either!(self, cursor => cursor.take_new(queue, index, taking, taken));
    }

    /// Gives what was delivered under `before`, and is in flight, to the same client once more.
    pub(crate) fn take_again(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        before: Token,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        if let Self::Ordered(cursor) = self {
            cursor.take_again(queue, index, before, taking, taken);
        }
    }

    /// Settles a delivery. Doing so again is fine: a client that missed the answer asks again. True when it was in
    /// flight until now.
    pub(crate) fn acknowledge(
        &mut self,
        index: &QueueIndex,
        offset: u64,
        token: Token,
        now: Timestamp,
    ) -> Result<bool, AckError> {
        match held(self.leases(), offset, token, now) {
            Ok(lease) => {
                if !planted(Fault::DeliverAcknowledged) {
                    either!(self, cursor => cursor.settle(index, offset, lease));
                }
                Ok(true)
            }
            Err(AckError::NotInFlight) if offset < self.next() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a delivery that is in flight another expiry and another token.
    pub(crate) fn change(&mut self, index: &QueueIndex, offset: u64, lease: Lease, changed: Changed) {
        let changed = Lease { token: changed.token, expires_at: changed.expires_at, attempt: lease.attempt };
        either!(self, cursor => cursor.change(index, offset, lease, changed));
    }
}
