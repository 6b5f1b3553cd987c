//! Those who wait for an answer of a broker: for a batch, for its commit, or for messages to arrive.
//!
//! Follows the rules of the real driver: a proposal that still waits when it is turned away has left no trace, one that
//! is in the log may be stored; one Receive of a subscription is on its way at a time.

use std::collections::VecDeque;
use std::time::Duration;

use mainstay_consensus::Moment;
use mainstay_messaging::{Command, GroupName, Receive, TopicName};
use mainstay_record::{BatchBuilder, EntryId, LogIndex};

use crate::wire::{Reply, RequestId};

/// How long a sender waits for the own disk, and for the replicas.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nobody asked for it, and nobody is answered.
pub(super) const OWN: RequestId = RequestId(0);

/// Somebody who waits for the outcome of a command.
#[derive(Debug, Clone)]
pub(super) struct Waiter {
    pub(super) request: RequestId,
    pub(super) command: Command,
    pub(super) since: Moment,
    /// Set for a long poll: until when it waits for messages.
    pub(super) poll_until: Option<Moment>,
    /// Its record in the batch, once it is in one.
    pub(super) slot: u32,
}

#[derive(Debug)]
struct Pending {
    id: EntryId,
    waiters: Vec<Waiter>,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: VecDeque<Waiter>,
    pending: VecDeque<Pending>,
    polls: Vec<Waiter>,
    /// Subscriptions whose Receive is on its way through the log.
    taking: Vec<(GroupName, TopicName)>,
}

fn nothing_came() -> Reply {
    Reply::Messages { messages: Vec::new(), unreadable: 0 }
}

fn subscription(receive: &Receive) -> (GroupName, TopicName) {
    (receive.group.clone(), receive.topic.clone())
}

impl Requests {
    pub(super) fn add(&mut self, waiter: Waiter) {
        self.waiting.push_back(waiter);
    }

    pub(super) fn add_poll(&mut self, waiter: Waiter) {
        self.polls.push(waiter);
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.pending.iter().all(|pending| pending.waiters.is_empty())
    }

    /// Turns the polls that would be answered into proposals, one of a subscription at a time.
    pub(super) fn start_polls(&mut self, now: Moment, mut ready: impl FnMut(&Receive) -> bool) {
        for waiter in std::mem::take(&mut self.polls) {
            let Command::Receive(receive) = &waiter.command else { continue };
            let key = subscription(receive);
            if !self.taking.contains(&key) && ready(receive) {
                self.taking.push(key);
                self.waiting.push_back(Waiter { since: now, ..waiter });
            } else {
                self.polls.push(waiter);
            }
        }
    }

    /// The Receive is no longer on its way.
    pub(super) fn taken(&mut self, receive: &Receive) {
        let key = subscription(receive);
        if let Some(at) = self.taking.iter().position(|taking| *taking == key) {
            self.taking.swap_remove(at);
        }
    }

    /// The subscriptions that somebody waits for.
    pub(super) fn polled(&self) -> impl Iterator<Item = &Receive> {
        self.polls.iter().filter_map(|waiter| match &waiter.command {
            Command::Receive(receive) => Some(receive),
            _ => None,
        })
    }

    /// Puts what waits into one batch.
    pub(super) fn next_batch(&mut self) -> Option<(BatchBuilder, Vec<Waiter>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut waiters: Vec<Waiter> = self.waiting.drain(..).collect();
        let mut builder = BatchBuilder::default();
        for waiter in &mut waiters {
            waiter.slot = builder.push_with(|bytes| waiter.command.encode(bytes));
        }
        Some((builder, waiters))
    }

    pub(super) fn proposed(&mut self, id: EntryId, waiters: Vec<Waiter>) {
        self.pending.push_back(Pending { id, waiters });
    }

    /// Who waits for the batch that is applied now. Batches are applied in order.
    pub(super) fn take(&mut self, id: EntryId) -> Option<Vec<Waiter>> {
        while self.pending.front().is_some_and(|pending| pending.id.index < id.index) {
            self.pending.pop_front();
        }
        let next = self.pending.front()?;
        if next.id == id { self.pending.pop_front().map(|pending| pending.waiters) } else { None }
    }

    /// Turns away those who waited too long, and ends long polls that found nothing.
    pub(super) fn expire(&mut self, now: Moment, persisted: LogIndex, out: &mut Vec<(RequestId, Reply)>) {
        let ended = |waiter: &Waiter| waiter.poll_until.is_some_and(|until| until <= now);
        out.extend(self.polls.extract_if(.., |waiter| ended(waiter)).map(|w| (w.request, nothing_came())));
        let late = |waiter: &Waiter| waiter.since.plus(PATIENCE) <= now;
        for pending in &mut self.pending {
            let why = if pending.id.index <= persisted {
                "too few replicas in time"
            } else {
                "not on disk in time"
            };
            out.extend(pending.waiters.extract_if(.., |w| late(w)).map(|w| (w.request, Reply::Unknown(why))));
        }
        for waiter in std::mem::take(&mut self.waiting) {
            if !late(&waiter) {
                self.waiting.push_back(waiter);
                continue;
            }
            if let Command::Receive(receive) = &waiter.command {
                self.taken(receive);
            }
            out.push((waiter.request, Reply::Unknown("not on disk in time")));
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let polls = self.polls.iter().filter_map(|waiter| waiter.poll_until);
        let pending = self.pending.iter().flat_map(|pending| &pending.waiters);
        let late = pending.chain(&self.waiting).map(|waiter| waiter.since.plus(PATIENCE));
        polls.chain(late).min()
    }

    /// Turns away all who wait: with `waiting` those who left no trace, as unknown those who may have.
    pub(super) fn refuse_all(
        &mut self,
        waiting: &Reply,
        pending: &'static str,
        out: &mut Vec<(RequestId, Reply)>,
    ) {
        out.extend(self.waiting.drain(..).map(|waiter| (waiter.request, waiting.clone())));
        let in_log = self.pending.drain(..).flat_map(|batch| batch.waiters);
        out.extend(in_log.map(|waiter| (waiter.request, Reply::Unknown(pending))));
        self.refuse_polls(waiting, out);
    }

    pub(super) fn refuse_polls(&mut self, with: &Reply, out: &mut Vec<(RequestId, Reply)>) {
        out.extend(self.polls.drain(..).map(|waiter| (waiter.request, with.clone())));
        self.taking.clear();
    }
}
