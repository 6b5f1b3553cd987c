//! What becomes of messages of every kind, in the simplest form: lists that are walked from end to end.
//!
//! A message is known by its number. It is in no queue (waiting for its time or a decision, or gone), or in one at some
//! place; for each consumer group every place has one word.

use std::collections::BTreeMap;

use mainstay_messaging::{AckError, Delivery, ReceiptHandle};
use mainstay_record::{RecordId, Timestamp};

pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// One that is in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) number: usize,
    pub(crate) lane: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    New,
    InFlight { handle: ReceiptHandle, expires_at: Timestamp, attempt: u32 },
    Settled,
}

/// One consumer group.
#[derive(Debug)]
pub(crate) struct Group {
    in_order: bool,
    status: Vec<Vec<Status>>,
    /// Numbers of the dead letters, as they came.
    pub(crate) dead: Vec<usize>,
}

impl Group {
    pub(crate) fn new(in_order: bool, queues: usize) -> Self {
        Self { in_order, status: vec![Vec::new(); queues], dead: Vec::new() }
    }

    pub(crate) fn grew(&mut self, queue: usize) {
        self.status[queue].push(Status::New);
    }

    /// The places of each run that goes together: those of a lane for a group in order, else each by itself.
    fn runs(&self, queue: usize, entries: &[Entry]) -> Vec<Vec<usize>> {
        let mut lanes: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        let mut runs = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            if self.status[queue][place] == Status::Settled {
                continue;
            }
            match entry.lane.filter(|_| self.in_order) {
                Some(lane) => lanes.entry(lane).or_default().push(place),
                None => runs.push(vec![place]),
            }
        }
        runs.extend(lanes.into_values());
        runs
    }

    fn is_blocked(&self, queue: usize, run: &[usize], now: Timestamp) -> bool {
        let in_flight = |place: &usize| matches!(self.status[queue][*place], Status::InFlight { expires_at, .. } if expires_at > now);
        run.iter().any(in_flight)
    }

    /// Holds a receive of all queues against the rules, and notes what it did. `buried` are the numbers of the messages
    /// that it made dead letters.
    pub(crate) fn received(
        &mut self,
        queues: &[Vec<Entry>],
        records: &[RecordId],
        max: usize,
        now: Timestamp,
        deliveries: &[Delivery],
        buried: &[usize],
    ) {
        assert!(deliveries.len() <= max);
        let given: Vec<(usize, usize)> =
            deliveries.iter().map(|d| (d.queue.0 as usize, d.offset.0 as usize)).collect();
        let attempts: BTreeMap<(usize, usize), u32> =
            given.iter().copied().zip(deliveries.iter().map(|d| d.attempt)).collect();
        assert_eq!(attempts.len(), given.len(), "one twice in a batch: {deliveries:?}");
        let (mut seen, mut dead) = (0, Vec::new());
        for (queue, entries) in queues.iter().enumerate() {
            for run in self.runs(queue, entries) {
                let taken: Vec<usize> =
                    run.iter().copied().filter(|place| given.contains(&(queue, *place))).collect();
                seen += taken.len();
                if self.is_blocked(queue, &run, now) {
                    assert_eq!(taken, [], "of a run of which some is in flight");
                    continue;
                }
                let is_buried = buried.contains(&entries[run[0]].number);
                self.check_run(queue, &run, &taken, &attempts, deliveries.len() < max, is_buried);
                if is_buried {
                    dead.push((queue, run[0]));
                }
                let positions = taken.iter().map(|place| given.iter().position(|at| *at == (queue, *place)));
                assert!(positions.is_sorted(), "out of order in the batch: {given:?}");
            }
        }
        assert_eq!(seen, given.len(), "something settled was delivered: {deliveries:?}");
        assert_eq!(dead.len(), buried.len(), "one that should not be a dead letter is one: {buried:?}");
        self.dead.extend(buried);
        for (queue, place) in dead {
            self.status[queue][place] = Status::Settled;
        }
        for delivery in deliveries {
            let (queue, place) = (delivery.queue.0 as usize, delivery.offset.0 as usize);
            assert_eq!(delivery.record, records[queues[queue][place].number], "the body of another message");
            let (handle, expires_at, attempt) = (delivery.handle, delivery.expires_at, delivery.attempt);
            self.status[queue][place] = Status::InFlight { handle, expires_at, attempt };
        }
    }

    /// Of a run of which nothing is in flight: from its first on without a gap, all of it where there was room, each with
    /// the attempt it should have.
    fn check_run(
        &self,
        queue: usize,
        run: &[usize],
        taken: &[usize],
        attempts: &BTreeMap<(usize, usize), u32>,
        had_room: bool,
        is_buried: bool,
    ) {
        let mut left = run;
        let exhausted = |place: usize| matches!(self.status[queue][place], Status::InFlight { attempt, .. } if attempt >= MAX_ATTEMPTS);
        if is_buried {
            assert!(exhausted(run[0]), "a dead letter too early");
            left = &run[1..];
        } else if exhausted(run[0]) {
            assert!(!had_room && taken.is_empty(), "it should be a dead letter");
            return;
        }
        assert!(!had_room || taken.len() == left.len(), "left behind: {taken:?} of {left:?}");
        assert_eq!(taken, &left[..taken.len()], "one was passed over");
        for place in taken {
            let expected = match self.status[queue][*place] {
                Status::InFlight { attempt, .. } => attempt + u32::from(*place == run[0]),
                _ => 1,
            };
            assert_eq!(attempts[&(queue, *place)], expected);
        }
    }

    pub(crate) fn acked(&mut self, handle: ReceiptHandle, now: Timestamp, result: Result<(), AckError>) {
        self.settled(handle, now, result);
    }

    pub(crate) fn dead_lettered(
        &mut self,
        queues: &[Vec<Entry>],
        handle: ReceiptHandle,
        now: Timestamp,
        result: Result<(), AckError>,
    ) {
        if self.settled(handle, now, result) {
            self.dead.push(queues[handle.queue().0 as usize][handle.offset().0 as usize].number);
        }
    }

    /// Whether it was in flight under this handle.
    fn settled(&mut self, handle: ReceiptHandle, now: Timestamp, result: Result<(), AckError>) -> bool {
        let status = &mut self.status[handle.queue().0 as usize][handle.offset().0 as usize];
        match *status {
            Status::InFlight { handle: current, expires_at, .. } if current == handle && now < expires_at => {
                assert_eq!(result, Ok(()));
                *status = Status::Settled;
                return true;
            }
            Status::Settled => assert_eq!(result, Ok(())),
            _ => assert!(result.is_err(), "a void handle settled {status:?}"),
        }
        false
    }

    pub(crate) fn changed(
        &mut self,
        old: ReceiptHandle,
        now: Timestamp,
        invisible_ms: u64,
        result: Result<ReceiptHandle, AckError>,
    ) {
        let status = &mut self.status[old.queue().0 as usize][old.offset().0 as usize];
        match *status {
            Status::InFlight { handle, expires_at, attempt } if handle == old && now < expires_at => {
                let handle = result.expect("the handle is good");
                *status = Status::InFlight { handle, expires_at: now.plus_millis(invisible_ms), attempt };
            }
            _ => assert!(result.is_err(), "a void handle changed {status:?}"),
        }
    }

    /// Whether a receive of all queues would find anything.
    pub(crate) fn is_ready(&self, queues: &[Vec<Entry>], now: Timestamp) -> bool {
        queues.iter().enumerate().any(|(queue, entries)| {
            self.runs(queue, entries).iter().any(|run| !self.is_blocked(queue, run, now))
        })
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.status.iter().flatten().all(|status| *status == Status::Settled)
    }

    /// In flight, and not looked at or waiting.
    pub(crate) fn progress(&self, queue: usize) -> (u64, u64) {
        let count = |wanted: fn(&Status) -> bool| {
            self.status[queue].iter().filter(|status| wanted(status)).count() as u64
        };
        (count(|s| matches!(s, Status::InFlight { .. })), count(|s| *s == Status::New))
    }
}
