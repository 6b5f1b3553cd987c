//! What a receive gets of an ordered cursor: what is due again first, then what is new, never past what holds its lane up.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstay_planted::{Fault, planted};

use super::{Held, NOW, Ordered, Turn};
use crate::delivery::cursor::{Lease, Taken, Taking, is_due};
use crate::delivery::handle::Token;
use crate::metadata::QueueId;
use crate::queue::index::QueueIndex;
use crate::queue::lane::Lane;

/// What became of an expired message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Delivered,
    Settled,
    /// Nobody has looked into it: it stays as it is.
    Unjudged,
}

impl Ordered {
    pub(crate) fn take_due(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        let mut served = Vec::new();
        let mut unjudged = Vec::new();
        while !taking.is_full(taken)
            && let Some((at, turn)) = self.first_due().filter(|(at, _)| is_due(*at, taking.now()))
        {
            self.due.remove(&(at, turn));
            match turn {
                Turn::Single(offset) => match self.deliver_again(queue, index, offset, true, taking, taken) {
                    Again::Delivered => served.push(turn),
                    Again::Settled => {}
                    Again::Unjudged => unjudged.push((at, turn)),
                },
                Turn::Lane(lane) => {
                    self.serve(queue, index, lane, taking, taken);
                    served.push(turn);
                }
            }
        }
        self.due.extend(unjudged);
        // Only now, since with no invisible time at all they are due again at once.
        for turn in served {
            match turn {
                Turn::Single(_) => drop(self.due.insert((taking.expires_at, turn))),
                Turn::Lane(lane) => self.reschedule(lane, index),
            }
        }
    }

    /// Delivers from a lane of which nothing is in flight: what was and is not settled, then what waits.
    fn serve(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        lane: Lane,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        let Some(held) = self.lanes.get(&lane) else { return };
        let (before, mut from) = (held.in_flight.clone(), held.from);
        let mut is_head = true;
        for offset in before {
            if taking.is_full(taken) {
                return;
            }
            if self.deliver_again(queue, index, offset, is_head, taking, taken) == Again::Unjudged {
                return;
            }
            is_head = false;
        }
        while !taking.is_full(taken)
            && !self.is_full()
            && let Some(offset) = self.next_waiting(lane, from, index)
            && self.look_at(queue, index, offset, taking, taken)
        {
            from = offset + 1;
        }
        if let Some(held) = self.lanes.get_mut(&lane) {
            held.from = from;
        }
    }

    /// Delivers an expired message, or settles it instead: the filter does not take it, or it has had all its attempts.
    /// Its place in `due` is the caller's.
    fn deliver_again(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        offset: u64,
        counts: bool,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) -> Again {
        let found = index.get(offset).map(|message| (message, taking.takes(queue, offset, &message)));
        if matches!(found, Some((_, None))) {
            return Again::Unjudged;
        }
        let message = found.and_then(|(message, takes)| takes.unwrap_or(false).then_some(message));
        let leases = Arc::make_mut(&mut self.leases);
        if let (Some(message), Some(lease)) = (message, leases.get_mut(&offset)) {
            if !(counts && taking.is_exhausted(lease.attempt)) {
                let counted = counts && !planted(Fault::AttemptNotCounted);
                let attempt = lease.attempt.saturating_add(counted.into());
                *lease = taking.lease(attempt);
                taking.deliver(queue, offset, message, attempt, taken);
                return Again::Delivered;
            }
            taken.dead.push(message);
        }
        leases.remove(&offset);
        if let Some(held) = index.get(offset).and_then(|message| self.lanes.get_mut(&message.lane?)) {
            held.in_flight.remove(&offset);
        }
        Again::Settled
    }

    /// Delivers a message for the first time, if the filter takes it. False when nobody has looked into it.
    fn look_at(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        offset: u64,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) -> bool {
        let Some(message) = index.get(offset) else { return true };
        match taking.takes(queue, offset, &message) {
            Some(true) => {}
            Some(false) => return true,
            None => return false,
        }
        Arc::make_mut(&mut self.leases).insert(offset, taking.lease(1));
        if let Some(lane) = message.lane {
            let held = || Held { in_flight: BTreeSet::new(), from: 0, due: NOW };
            let held = self.lanes.entry(lane).or_insert_with(held);
            held.in_flight.insert(offset);
            held.from = held.from.max(offset + 1);
        }
        taking.deliver(queue, offset, message, 1, taken);
        true
    }

    pub(crate) fn take_new(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        self.next = self.next.max(index.start());
        let mut served = BTreeSet::new();
        while !taking.is_full(taken) && !self.is_full() {
            let Some((offset, message)) = index.next_match(self.next, &taking.tags) else {
                self.next = index.end();
                break;
            };
            let waits = message.lane.is_some_and(|lane| !self.may_follow(lane, offset, index, taking));
            if waits || self.look_at(queue, index, offset, taking, taken) {
                self.next = offset + 1;
            } else {
                self.next = offset;
                break;
            }
            match message.lane {
                Some(lane) if !waits => drop(served.insert(lane)),
                None if self.leases.contains_key(&offset) => {
                    self.due.insert((taking.expires_at, Turn::Single(offset)));
                }
                _ => {}
            }
        }
        served.into_iter().for_each(|lane| self.reschedule(lane, index));
    }

    /// Whether a new message of the lane may go into this receive: nothing of it is in flight elsewhere, or waits.
    fn may_follow(&self, lane: Lane, offset: u64, index: &QueueIndex, taking: &Taking<'_>) -> bool {
        let Some(held) = self.lanes.get(&lane) else { return true };
        if planted(Fault::FifoOvertakes) {
            return true;
        }
        let ours = |offset: &u64| self.leases.get(offset).is_some_and(|lease| lease.token == taking.token);
        held.in_flight.iter().all(ours) && index.next_in_lane(lane, held.from) == Some(offset)
    }

    pub(crate) fn take_again(
        &mut self,
        queue: QueueId,
        index: &QueueIndex,
        before: Token,
        taking: &Taking<'_>,
        taken: &mut Taken,
    ) {
        let live = |lease: &Lease| lease.token == before && !is_due(lease.expires_at, taking.now());
        let leases = self.leases.iter().filter(|(_, lease)| live(lease));
        let again: Vec<(u64, Lease)> = leases.map(|(offset, lease)| (*offset, *lease)).collect();
        for (offset, lease) in again {
            if taking.is_full(taken) {
                return;
            }
            if let Some(message) = index.get(offset) {
                self.change(index, offset, lease, taking.lease(lease.attempt));
                taking.deliver(queue, offset, message, lease.attempt, taken);
            }
        }
    }
}
