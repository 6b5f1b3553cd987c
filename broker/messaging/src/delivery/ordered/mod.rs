//! A cursor of a group that gets the messages of each lane in order.
//!
//! What always holds: of one lane nothing is delivered while an earlier message of it is unsettled, except together with
//! it in one receive; and while any of it is in flight, nothing of it goes into another receive. A lane that waits
//! holds up no other.
//!
//! A failed message is tried again where it stands. Those of its lane that were delivered with it are delivered with it
//! again, without an attempt being counted: they were not to be tried before it.
//!
//! A lane is known here while messages of it are in flight, or wait below `next`. Each known lane, and each message
//! without a lane that is in flight, stands in `due` once, by when it can be delivered from: when all that is in flight
//! has expired, or [`NOW`] where nothing is.

mod taking;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use mainstay_record::Timestamp;

use crate::delivery::cursor::{Lease, Leases, MAX_UNACKED, is_due};
use crate::queue::index::QueueIndex;
use crate::queue::lane::Lane;
use crate::queue::tags::TagMatch;

/// Before every time there is.
const NOW: Timestamp = Timestamp(0);
/// How many messages a look for something new goes over that all wait for others.
const LOOK_AHEAD: u64 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Lane(Lane),
    /// A message without a lane.
    Single(u64),
}

/// A lane that is held up by what of it is in flight, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    in_flight: BTreeSet<u64>,
    /// The first offset not looked at for this lane; what is in flight lies below.
    from: u64,
    /// As it stands in `due`.
    due: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordered {
    next: u64,
    /// Shared with a frozen state, and copied before the first change while it is.
    leases: Arc<Leases>,
    lanes: BTreeMap<Lane, Held>,
    due: BTreeSet<(Timestamp, Turn)>,
}

impl Ordered {
    pub(crate) fn new(next: u64) -> Self {
        Self { next, leases: Arc::default(), lanes: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// With these leases, all of offsets below `next`, and these lanes, as [`Self::lanes`] gives them. `None` when they
    /// do not go together.
    pub(crate) fn restored(
        next: u64,
        leases: Leases,
        lanes: Vec<(Lane, u64)>,
        index: &QueueIndex,
    ) -> Option<Self> {
        let mut cursor = Self { leases: Arc::new(leases), ..Self::new(next) };
        for (lane, from) in lanes {
            let held = Held { in_flight: BTreeSet::new(), from, due: NOW };
            if from > next || cursor.lanes.insert(lane, held).is_some() {
                return None;
            }
        }
        for (offset, lease) in &*cursor.leases {
            match index.get(*offset)?.lane {
                None => drop(cursor.due.insert((lease.expires_at, Turn::Single(*offset)))),
                Some(lane) => {
                    let held = cursor.lanes.get_mut(&lane).filter(|held| *offset < held.from)?;
                    held.in_flight.insert(*offset);
                }
            }
        }
        let lanes: Vec<Lane> = cursor.lanes.keys().copied().collect();
        lanes.iter().for_each(|lane| cursor.reschedule(*lane, index));
        (cursor.lanes.len() == lanes.len()).then_some(cursor)
    }

    pub(crate) const fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn lanes(&self) -> Vec<(Lane, u64)> {
        self.lanes.iter().map(|(lane, held)| (*lane, held.from)).collect()
    }

    pub(crate) fn waiting(&self, index: &QueueIndex) -> u64 {
        self.lanes.iter().map(|(lane, held)| index.lane_between(*lane, held.from, self.next)).sum()
    }

    pub(crate) fn first_waiting(&self, index: &QueueIndex) -> Option<u64> {
        self.lanes.iter().filter_map(|(lane, held)| self.next_waiting(*lane, held.from, index)).min()
    }

    pub(crate) fn is_waiting(&self, index: &QueueIndex, offset: u64) -> bool {
        let lane = index.get(offset).and_then(|message| message.lane);
        lane.and_then(|lane| self.lanes.get(&lane)).is_some_and(|held| held.from <= offset)
    }

    fn next_waiting(&self, lane: Lane, from: u64, index: &QueueIndex) -> Option<u64> {
        index.next_in_lane(lane, from).filter(|offset| *offset < self.next)
    }

    /// The lowest offset from which a lane is to be looked at.
    pub(crate) fn first_of_lanes(&self) -> Option<u64> {
        self.lanes.values().map(|held| held.from).min()
    }

    pub(crate) fn trim(&mut self, index: &QueueIndex) {
        let start = index.start();
        self.next = self.next.max(start);
        let kept = Arc::make_mut(&mut self.leases).split_off(&start);
        self.leases = Arc::new(kept);
        self.due.retain(|(_, turn)| !matches!(turn, Turn::Single(offset) if *offset < start));
        for held in self.lanes.values_mut() {
            held.in_flight = held.in_flight.split_off(&start);
            held.from = held.from.max(start);
        }
        let lanes: Vec<Lane> = self.lanes.keys().copied().collect();
        lanes.iter().for_each(|lane| self.reschedule(*lane, index));
    }

    fn is_full(&self) -> bool {
        self.leases.len() >= MAX_UNACKED
    }

    /// Those that only wait are passed over while there is no room for more in flight.
    fn first_due(&self) -> Option<(Timestamp, Turn)> {
        if !self.is_full() {
            return self.due.first().copied();
        }
        let in_flight = (Bound::Excluded((NOW, Turn::Single(u64::MAX))), Bound::Unbounded);
        self.due.range(in_flight).next().copied()
    }

    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        self.first_due().is_some_and(|(at, _)| is_due(at, now))
    }

    /// May say so of messages that all wait, when there are very many of them: looking at them is progress.
    pub(crate) fn has_new(&self, index: &QueueIndex, tags: &TagMatch) -> bool {
        if self.is_full() {
            return false;
        }
        let mut from = self.next;
        while from < self.next.saturating_add(LOOK_AHEAD) {
            let Some((offset, message)) = index.next_match(from, tags) else { return false };
            if message.lane.is_none_or(|lane| !self.lanes.contains_key(&lane)) {
                return true;
            }
            from = offset + 1;
        }
        true
    }

    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let after = (Bound::Excluded((now, Turn::Single(u64::MAX))), Bound::Unbounded);
        self.due.range(after).next().map(|(at, _)| *at)
    }

    pub(crate) fn due(&self, index: &QueueIndex, now: Timestamp, max: usize) -> Vec<u64> {
        let full = self.is_full();
        let due = self.due.iter().filter(|(at, _)| !(full && *at == NOW));
        let due = due.take_while(|(at, _)| is_due(*at, now)).map(|(_, turn)| *turn);
        due.flat_map(|turn| self.offsets_of(turn, index)).take(max).collect()
    }

    /// What is delivered when it is a lane's, or a message's, turn.
    fn offsets_of<'a>(&'a self, turn: Turn, index: &'a QueueIndex) -> Box<dyn Iterator<Item = u64> + 'a> {
        match turn {
            Turn::Single(offset) => Box::new(std::iter::once(offset)),
            Turn::Lane(lane) => Box::new(self.lanes.get(&lane).into_iter().flat_map(move |held| {
                let waiting = move |from| self.next_waiting(lane, from, index);
                let waiting = std::iter::successors(waiting(held.from), move |offset| waiting(offset + 1));
                held.in_flight.iter().copied().chain(waiting)
            })),
        }
    }

    /// Passes over what waits for messages in flight, of which it goes over so many at most.
    pub(crate) fn unseen(&self, index: &QueueIndex, now: Timestamp, max: usize) -> Vec<u64> {
        if self.is_full() {
            return Vec::new();
        }
        let next = self.next.max(index.start());
        let reach = LOOK_AHEAD.saturating_add(max as u64);
        let waits = |lane: Lane| self.lanes.get(&lane).is_some_and(|held| !is_due(held.due, now));
        let unseen = (next..index.end().min(next.saturating_add(reach)))
            .filter(|offset| !index.get(*offset).and_then(|message| message.lane).is_some_and(waits));
        unseen.take(max).collect()
    }

    pub(crate) fn settle(&mut self, index: &QueueIndex, offset: u64, lease: Lease) {
        Arc::make_mut(&mut self.leases).remove(&offset);
        match index.get(offset).and_then(|message| message.lane) {
            None => drop(self.due.remove(&(lease.expires_at, Turn::Single(offset)))),
            Some(lane) => {
                if let Some(held) = self.lanes.get_mut(&lane) {
                    held.in_flight.remove(&offset);
                }
                self.reschedule(lane, index);
            }
        }
    }

    pub(crate) fn change(&mut self, index: &QueueIndex, offset: u64, lease: Lease, changed: Lease) {
        Arc::make_mut(&mut self.leases).insert(offset, changed);
        match index.get(offset).and_then(|message| message.lane) {
            None => {
                self.due.remove(&(lease.expires_at, Turn::Single(offset)));
                self.due.insert((changed.expires_at, Turn::Single(offset)));
            }
            Some(lane) => self.reschedule(lane, index),
        }
    }

    /// Gives the lane its place in `due`, or forgets it when it holds up nothing.
    fn reschedule(&mut self, lane: Lane, index: &QueueIndex) {
        let Some(held) = self.lanes.get(&lane) else { return };
        let before = held.due;
        let expiries = held.in_flight.iter().filter_map(|offset| self.leases.get(offset));
        let due = match expiries.map(|lease| lease.expires_at).max() {
            Some(latest) => Some(latest),
            None => self.next_waiting(lane, held.from, index).map(|_| NOW),
        };
        self.due.remove(&(before, Turn::Lane(lane)));
        match (due, self.lanes.get_mut(&lane)) {
            (Some(due), Some(held)) => {
                held.due = due;
                self.due.insert((due, Turn::Lane(lane)));
            }
            _ => drop(self.lanes.remove(&lane)),
        }
    }
}
