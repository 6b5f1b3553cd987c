//! Proposals from arrival to answer: waiting to be put into a batch, then pending in the log until it is applied.
//!
//! What always holds: pending batches are in log order and of the current reign. A proposal that is still waiting when
//! it is turned away has left no trace; one that is pending may be stored.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mainstay_messaging::{Command, Receive};
use mainstay_record::{BatchBuilder, EntryId, LogIndex, NodeId};

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
    pub(crate) committed: LogIndex,
    pub(crate) quorum_reachable: bool,
    /// Who leadership is being handed over to; nothing new comes into the log meanwhile.
    pub(crate) successor: Option<NodeId>,
}

impl Progress {
    /// What a batch in the log is waiting for: how long one waits for that, and what one is told then.
    fn missing(self, index: LogIndex, patience: Patience) -> (Duration, ProposeError) {
        if index <= self.committed {
            (patience.replicas, ProposeError::Deadline)
        } else if index > self.persisted {
            (patience.flush, ProposeError::FlushTimeout)
        } else if self.quorum_reachable {
            (patience.replicas, ProposeError::ReplicaTimeout)
        } else {
            (patience.replicas, ProposeError::TooFewReplicas)
        }
    }
}

#[derive(Default)]
pub(crate) struct Proposals {
    waiting: VecDeque<Waiter>,
    pending: VecDeque<Pending>,
}

enum Lateness {
    Late,
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

    /// Whether this waiter, who waits for `limit` at most, is late at `now`, or when to look again.
    fn lateness(&self, now: Instant, limit: Duration) -> Lateness {
        let at = self.since() + limit;
        let at = self.deadline().map_or(at, |deadline| deadline.min(at));
        if at <= now { Lateness::Late } else { Lateness::Until(at) }
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

    /// A long poll that may be answered, by this Receive.
    pub(crate) fn add_poll(&mut self, waiting: Waiting, receive: Receive, since: Instant) {
        let command = Box::new(Command::Receive(receive));
        self.waiting.push_back(Waiter::Poll { waiting: Box::new(waiting), command, since });
    }

    pub(crate) fn add_own(&mut self, commands: Vec<Command>, since: Instant) {
        self.waiting.push_back(Waiter::Nobody { commands, since });
    }

    /// Before all that wait.
    pub(crate) fn add_own_first(&mut self, command: Command, since: Instant) {
        self.waiting.push_front(Waiter::Nobody { commands: vec![command], since });
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// True when nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.nothing_pending()
    }

    /// True when nobody waits for what is in the log.
    pub(crate) fn nothing_pending(&self) -> bool {
        self.pending.iter().all(|pending| pending.waiters.is_empty())
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
            let (limit, error) = progress.missing(pending.id.index, patience);
            let mut check_at = now + patience.shortest();
            for placed in std::mem::take(&mut pending.waiters) {
                match placed.waiter.lateness(now, limit) {
                    Lateness::Late => placed.waiter.refuse(error.clone()),
                    Lateness::Until(at) => {
                        check_at = check_at.min(at);
                        pending.waiters.push(placed);
                    }
                }
            }
            pending.check_at = check_at;
        }
        self.expire_waiting(now, progress, patience)
    }

    /// What waits has not been stored, because the disk is behind, too few replicas are in touch, or leadership is being
    /// handed over.
    fn expire_waiting(&mut self, now: Instant, progress: Progress, patience: Patience) -> Vec<Receive> {
        let (limit, error) = match progress {
            Progress { successor: Some(_), .. } => {
                (patience.replicas, ProposeError::NotLeader { leader: progress.successor })
            }
            Progress { quorum_reachable: false, .. } => (patience.replicas, ProposeError::NoQuorum),
            Progress { .. } => (patience.flush, ProposeError::NotTaken),
        };
        let mut receives = Vec::new();
        for waiter in std::mem::take(&mut self.waiting) {
            match (waiter.lateness(now, limit), waiter) {
                (Lateness::Until(_), waiter) => self.waiting.push_back(waiter),
                (Lateness::Late, waiter) => {
                    if let Waiter::Poll { waiting, .. } = &waiter {
                        receives.push(waiting.poll.receive.clone());
                    }
                    waiter.refuse(error.clone());
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
