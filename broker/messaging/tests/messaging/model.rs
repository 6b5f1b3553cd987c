//! The rules of delivery in the simplest form: for each consumer group a list with one word per message.
//!
//! Every answer of the state is first held against the rules that a consumer relies on, then compared with what
//! this model would answer itself.

use mainstay_messaging::{AckError, Delivery, Filter, ReceiptHandle, StartPosition};
use mainstay_record::{RecordId, Timestamp};

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) tag: Option<String>,
    pub(crate) record: RecordId,
    pub(crate) stored_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    New,
    InFlight { handle: ReceiptHandle, expires_at: Timestamp, attempt: u32 },
    Settled,
}

/// One consumer group on all queues.
#[derive(Debug)]
pub(crate) struct Model {
    status: Vec<Vec<Status>>,
    turn: usize,
    /// Whether the group has received or was reset.
    has_read: bool,
}

fn matches(filter: &Filter, message: &Message) -> bool {
    match filter {
        Filter::All => true,
        Filter::Tags(tags) => message.tag.as_ref().is_some_and(|tag| tags.contains(tag)),
        Filter::Judged(_) => panic!("judged receives have tests of their own"),
    }
}

impl Model {
    pub(crate) fn new(queues: &[Vec<Message>], start: StartPosition) -> Self {
        let mut model = Self { status: Vec::new(), turn: 0, has_read: false };
        model.reset(queues, start);
        model.has_read = false;
        model
    }

    pub(crate) fn reset(&mut self, queues: &[Vec<Message>], to: StartPosition) {
        let status = if to == StartPosition::Earliest { Status::New } else { Status::Settled };
        self.status = queues.iter().map(|messages| vec![status; messages.len()]).collect();
        self.turn = 0;
        self.has_read = true;
    }

    /// Forgets the messages before these offsets.
    pub(crate) fn trimmed(&mut self, starts: &[usize]) {
        for (status, start) in self.status.iter_mut().zip(starts) {
            status[..*start].fill(Status::Settled);
        }
    }

    pub(crate) const fn has_read(&self) -> bool {
        self.has_read
    }

    pub(crate) fn is_consumed(&self, queue: usize, offset: usize) -> bool {
        self.status[queue][offset] == Status::Settled
    }

    pub(crate) fn published(&mut self, queue: usize) {
        self.status[queue].push(Status::New);
    }

    /// Holds the deliveries against the rules and the model's own choice, and notes them.
    pub(crate) fn received(
        &mut self,
        queues: &[Vec<Message>],
        selected: &[usize],
        filter: &Filter,
        max: usize,
        now: Timestamp,
        deliveries: &[Delivery],
    ) {
        assert!(deliveries.len() <= max);
        self.has_read = true;
        for (n, delivery) in deliveries.iter().enumerate() {
            let (queue, offset) = (delivery.queue.0 as usize, delivery.offset.0 as usize);
            let message = &queues[queue][offset];
            assert_eq!((delivery.record, delivery.stored_at), (message.record, message.stored_at));
            assert!(selected.contains(&queue), "queue {queue} was not asked for");
            assert!(matches(filter, message), "{message:?} is not for {filter:?}");
            match self.status[queue][offset] {
                Status::New => assert_eq!(delivery.attempt, 1),
                Status::InFlight { expires_at, attempt, .. } => {
                    assert!(expires_at <= now, "still invisible: {delivery:?}");
                    assert_eq!(delivery.attempt, attempt + 1);
                }
                Status::Settled => panic!("delivered after it was settled: {delivery:?}"),
            }
            assert!(
                !deliveries[..n].iter().any(|d| (d.queue, d.offset) == (delivery.queue, delivery.offset)),
                "twice in one batch: {delivery:?}"
            );
        }
        let chosen = self.choose(queues, selected, filter, max, now);
        let given: Vec<_> = deliveries.iter().map(|d| (d.queue.0 as usize, d.offset.0 as usize)).collect();
        assert_eq!(given, chosen, "expired ones first, queues in turn, offsets in order, nothing left out");
        for delivery in deliveries {
            self.status[delivery.queue.0 as usize][delivery.offset.0 as usize] = Status::InFlight {
                handle: delivery.handle,
                expires_at: delivery.expires_at,
                attempt: delivery.attempt,
            };
        }
    }

    /// Which messages to deliver. Settles those that the filter does not take.
    fn choose(
        &mut self,
        queues: &[Vec<Message>],
        selected: &[usize],
        filter: &Filter,
        max: usize,
        now: Timestamp,
    ) -> Vec<(usize, usize)> {
        let count = queues.len();
        let turns = (0..count).map(|n| (self.turn + n) % count);
        let order: Vec<usize> = turns.filter(|queue| selected.contains(queue)).collect();
        let mut candidates = Vec::new();
        for &queue in &order {
            candidates.extend(self.expired(queue, now).into_iter().map(|offset| (queue, offset)));
        }
        for &queue in &order {
            let offsets = 0..self.status[queue].len();
            let new = offsets.filter(|offset| self.status[queue][*offset] == Status::New);
            candidates.extend(new.map(|offset| (queue, offset)));
        }
        let mut chosen = Vec::new();
        for (queue, offset) in candidates {
            if chosen.len() == max {
                break;
            }
            if matches(filter, &queues[queue][offset]) {
                chosen.push((queue, offset));
            } else {
                self.status[queue][offset] = Status::Settled;
            }
        }
        if let Some((queue, _)) = chosen.last() {
            self.turn = (queue + 1) % count;
        }
        chosen
    }

    /// Offsets that have come back, longest overdue first.
    fn expired(&self, queue: usize, now: Timestamp) -> Vec<usize> {
        let mut expired = Vec::new();
        for (offset, status) in self.status[queue].iter().enumerate() {
            if let Status::InFlight { expires_at, .. } = status
                && *expires_at <= now
            {
                expired.push((*expires_at, offset));
            }
        }
        expired.sort_unstable();
        expired.into_iter().map(|(_, offset)| offset).collect()
    }

    pub(crate) fn acked(&mut self, handle: ReceiptHandle, now: Timestamp, result: Result<(), AckError>) {
        let status = self.status_of(handle);
        match *status {
            Status::InFlight { handle: current, expires_at, .. } if current == handle && now < expires_at => {
                assert_eq!(result, Ok(()));
                *status = Status::Settled;
            }
            Status::InFlight { .. } | Status::New => {
                assert!(result.is_err(), "a void handle settled {status:?}")
            }
            Status::Settled => assert_eq!(result, Ok(())),
        }
    }

    pub(crate) fn changed(
        &mut self,
        old: ReceiptHandle,
        now: Timestamp,
        invisible_ms: u64,
        result: Result<ReceiptHandle, AckError>,
    ) {
        let status = self.status_of(old);
        match *status {
            Status::InFlight { handle, expires_at, attempt } if handle == old && now < expires_at => {
                let handle = result.expect("the handle is good");
                assert_ne!(handle, old);
                *status = Status::InFlight { handle, expires_at: now.plus_millis(invisible_ms), attempt };
            }
            _ => assert!(result.is_err(), "a void handle changed {status:?}"),
        }
    }

    fn status_of(&mut self, handle: ReceiptHandle) -> &mut Status {
        &mut self.status[handle.queue().0 as usize][handle.offset().0 as usize]
    }

    /// Whether a receive would find anything.
    pub(crate) fn is_ready(
        &self,
        queues: &[Vec<Message>],
        selected: &[usize],
        filter: &Filter,
        now: Timestamp,
    ) -> bool {
        selected.iter().any(|&queue| {
            let messages = self.status[queue].iter().zip(&queues[queue]);
            let mut new = messages.filter(|(status, _)| **status == Status::New);
            !self.expired(queue, now).is_empty() || new.any(|(_, message)| matches(filter, message))
        })
    }

    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.status.iter().flatten().filter_map(|status| match status {
            Status::InFlight { expires_at, .. } => Some(*expires_at),
            Status::New | Status::Settled => None,
        });
        times.filter(|at| *at > now).min()
    }

    /// First offset not looked at, messages in flight, messages not looked at.
    pub(crate) fn progress(&self, queue: usize) -> (u64, u64, u64) {
        let status = &self.status[queue];
        let next = status.iter().position(|status| *status == Status::New).unwrap_or(status.len());
        let in_flight = status.iter().filter(|status| matches!(status, Status::InFlight { .. })).count();
        (next as u64, in_flight as u64, (status.len() - next) as u64)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.status.iter().flatten().all(|status| *status == Status::Settled)
    }
}
