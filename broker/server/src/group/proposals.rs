//! Proposals from arrival to answer: waiting to be put into a batch, then pending in the log until it is applied.
//!
//! What always holds: pending batches are in log order and of the current reign. A proposal that is still waiting when
//! it is turned away has left no trace; one that is pending may be stored.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mainstay_messaging::{Command, Receive};
use mainstay_record::{BatchBuilder, EntryId, LogIndex};

use super::MAX_BATCH_RECORD_BYTES;
use super::error::ProposeError;
use super::input::Proposal;
use super::polls::Waiting;

/// Bytes after which no further proposal joins a batch.
const FULL_BATCH_BYTES: usize = 4 << 20;

/// Who waits for the outcome of records.
pub(crate) enum Waiter {
    Proposal(Proposal),
    Poll {
        waiting: Box<Waiting>,
        command: Box<Command>,
        since: Instant,
    },
    /// The broker itself, which does not look at the outcome.
    Nobody {
        commands: Vec<Command>,
        since: Instant,
    },
}

/// A waiter and the slot of its first record in the batch.
pub(crate) struct Placed {
    pub(crate) slot: u32,
    pub(crate) waiter: Waiter,
}

/// A batch in the log whose waiters are not answered yet.
struct Pending {
    id: EntryId,
    waiters: Vec<Placed>,
    /// No waiter is late before this.
    check_at: Instant,
}

/// How long a sender waits for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the own disk.
    pub(crate) flush: Duration,
    /// For the other replicas.
    pub(crate) replicas: Duration,
}

/// How far the log is, to tell what a late proposal is waiting for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) persisted: LogIndex,
    pub(crate) quorum_reachable: bool,
}

#[derive(Default)]
pub(crate) struct Proposals {
    waiting: VecDeque<Waiter>,
    pending: VecDeque<Pending>,
}

enum Lateness {
    Late(ProposeError),
    Until(Instant),
}

impl Waiter {
    pub(crate) fn since(&self) -> Instant {
        match self {
            Self::Proposal(proposal) => proposal.since,
            Self::Poll { since, .. } | Self::Nobody { since, .. } => *since,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Proposal(proposal) => Some(proposal.deadline),
            // A Receive that is in the log may have taken messages: its answer is waited for beyond the poll's end.
            Self::Poll { .. } | Self::Nobody { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Proposal(proposal) => proposal.room.bytes(),
            Self::Poll { command, .. } => command.encoded_len_hint(),
            Self::Nobody { commands, .. } => commands.iter().map(Command::encoded_len_hint).sum(),
        }
    }

    pub(crate) fn commands(&self) -> &[Command] {
        match self {
            Self::Proposal(proposal) => &proposal.commands,
            Self::Poll { command, .. } => std::slice::from_ref(&**command),
            Self::Nobody { commands, .. } => commands,
        }
    }

    fn refuse(self, error: ProposeError) {
        // Whoever asked may have gone away.
        match self {
            Self::Proposal(proposal) => drop(proposal.reply.send(Err(error))),
            Self::Poll { waiting, .. } => drop(waiting.poll.reply.send(Err(error.into()))),
            Self::Nobody { .. } => {}
        }
    }

    /// What this waiter is late for at `now`, or when to look again.
    fn lateness(
        &self,
        now: Instant,
        persisted: bool,
        quorum_reachable: bool,
        patience: Patience,
    ) -> Lateness {
        let (limit, error) = match (persisted, quorum_reachable) {
            (false, _) => (patience.flush, ProposeError::FlushTimeout),
            (true, false) => (patience.replicas, ProposeError::TooFewReplicas),
            (true, true) => (patience.replicas, ProposeError::ReplicaTimeout),
        };
        let at = self.since() + limit;
        match self.deadline() {
            _ if at <= now => Lateness::Late(error),
            Some(deadline) if deadline <= now => Lateness::Late(ProposeError::Deadline),
            deadline => Lateness::Until(deadline.map_or(at, |deadline| deadline.min(at))),
        }
    }
}

impl Patience {
    fn shortest(&self) -> Duration {
        self.flush.min(self.replicas)
    }
}

impl Proposals {
    pub(crate) fn add(&mut self, proposal: Proposal) {
        self.waiting.push_back(Waiter::Proposal(proposal));
    }

    pub(crate) fn add_poll(&mut self, waiting: Waiting, since: Instant) {
        let command = Box::new(Command::Receive(waiting.poll.receive.clone()));
        self.waiting.push_back(Waiter::Poll { waiting: Box::new(waiting), command, since });
    }

    pub(crate) fn add_own(&mut self, commands: Vec<Command>, since: Instant) {
        self.waiting.push_back(Waiter::Nobody { commands, since });
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// True when nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.pending.iter().all(|pending| pending.waiters.is_empty())
    }

    /// Fills one batch with what waits.
    pub(crate) fn next_batch(&mut self) -> Option<(BatchBuilder, Vec<Placed>)> {
        let mut bytes = 0;
        let count = self.waiting.iter().take_while(|waiter| {
            let full =
                bytes >= FULL_BATCH_BYTES || (bytes > 0 && bytes + waiter.bytes() > MAX_BATCH_RECORD_BYTES);
            bytes += waiter.bytes();
            !full
        });
        let count = count.count();
        if count == 0 {
            return None;
        }
        let mut builder = BatchBuilder::with_capacity(bytes);
        let place = |waiter: Waiter| {
            let slot = builder.records();
            for command in waiter.commands() {
                builder.push_with(|bytes| command.encode(bytes));
            }
            Placed { slot, waiter }
        };
        let waiters = self.waiting.drain(..count).map(place).collect();
        Some((builder, waiters))
    }

    /// The batch of these waiters is in the log.
    pub(crate) fn proposed(&mut self, id: EntryId, waiters: Vec<Placed>, patience: Patience) {
        let early = waiters.iter().map(|placed| {
            let at = placed.waiter.since() + patience.shortest();
            placed.waiter.deadline().map_or(at, |deadline| deadline.min(at))
        });
        if let Some(check_at) = early.min() {
            self.pending.push_back(Pending { id, waiters, check_at });
        }
    }

    /// The waiters of the batch that is applied now, by slot. Batches are applied in order.
    pub(crate) fn take(&mut self, id: EntryId) -> Option<Vec<Placed>> {
        while self.pending.front().is_some_and(|pending| pending.id.index < id.index) {
            self.pending.pop_front();
        }
        let next = self.pending.front()?;
        if next.id == id { self.pending.pop_front().map(|pending| pending.waiters) } else { None }
    }

    /// Turns away those who waited too long. Returns the Receives among them that never came into a batch.
    pub(crate) fn expire(&mut self, now: Instant, progress: Progress, patience: Patience) -> Vec<Receive> {
        for pending in self.pending.iter_mut().filter(|pending| pending.check_at <= now) {
            let persisted = pending.id.index <= progress.persisted;
            let mut check_at = now + patience.shortest();
            for placed in std::mem::take(&mut pending.waiters) {
                match placed.waiter.lateness(now, persisted, progress.quorum_reachable, patience) {
                    Lateness::Late(error) => placed.waiter.refuse(error),
                    Lateness::Until(at) => {
                        check_at = check_at.min(at);
                        pending.waiters.push(placed);
                    }
                }
            }
            pending.check_at = check_at;
        }
        self.expire_waiting(now, patience)
    }

    /// What waits has not been stored, because the disk is behind or leadership is being handed over.
    fn expire_waiting(&mut self, now: Instant, patience: Patience) -> Vec<Receive> {
        let mut receives = Vec::new();
        for waiter in std::mem::take(&mut self.waiting) {
            match (waiter.lateness(now, false, true, patience), waiter) {
                (Lateness::Until(_), waiter) => self.waiting.push_back(waiter),
                (Lateness::Late(error), waiter) => {
                    if let Waiter::Poll { waiting, .. } = &waiter {
                        receives.push(waiting.poll.receive.clone());
                    }
                    waiter.refuse(error);
                }
            }
        }
        receives
    }

    /// Answers all that wait with `waiting`, all that are pending with `pending`.
    pub(crate) fn refuse_all(&mut self, waiting: &ProposeError, pending: &ProposeError) {
        for waiter in self.waiting.drain(..) {
            waiter.refuse(waiting.clone());
        }
        for placed in self.pending.drain(..).flat_map(|batch| batch.waiters) {
            placed.waiter.refuse(pending.clone());
        }
    }
}
