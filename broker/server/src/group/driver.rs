//! The driver: one task that owns the consensus core, the state machine and everybody who waits.
//!
//! Each turn takes all input that has arrived, applies a bounded part of what is committed, and puts what waits into
//! one batch. It never waits for a batch to commit before it starts the next. Nothing else touches core or state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_consensus::{Action, Core, Event, StepError, View};
use mainstay_messaging::{LogClock, State};
use mainstay_record::{GroupId, LogIndex, LogPosition, NodeId};
use mainstay_storage::{Flush, Log, StateFile};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::clock::Clock;
use super::error::ProposeError;
use super::input::{Input, OrderError};
use super::judging::Judging;
use super::polls::{Finds, Polls};
use super::proposals::{Patience, Progress, Proposals};
use super::publish::Publisher;
use super::refill::{Gifts, Marker, Taking};
use super::retention::Keeping;
use super::snapshots::Snapshots;
use super::step_down::SteppingDown;
use crate::metrics::GroupMetrics;
use crate::replication::{Adoption, Directory, Outbox};

/// Input taken in one turn at most.
const INPUTS_PER_TURN: usize = 4096;
/// The driver turns at least this often, to show that it is alive.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// How often those who wait are looked at for being late.
const LATENESS_CHECK: Duration = Duration::from_millis(20);
/// Batches of the own log that may be on their way to the disk. What arrives meanwhile goes into the next one
/// together, which costs less than many small ones.
const MAX_UNPERSISTED_BATCHES: u64 = 4;

/// Who this node is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) group: GroupId,
    /// How many broker groups there are.
    pub(super) groups: u32,
    pub(super) node: NodeId,
}

/// Where the own log ends, counting what is not written yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) end: LogPosition,
}

pub(super) struct Driver {
    pub(super) identity: Identity,
    pub(super) clock: Clock,
    pub(super) patience: Patience,
    pub(super) flush: Flush,
    pub(super) inputs: mpsc::UnboundedReceiver<Input>,
    pub(super) core: Core,
    /// The core's view as of the last change it reported.
    pub(super) view: View,
    pub(super) log: Log,
    pub(super) hard_state: StateFile,
    pub(super) standing: StateFile,
    /// The file of the membership that counts where the log has none.
    pub(super) membership: StateFile,
    pub(super) tail: Tail,
    pub(super) log_clock: LogClock,
    pub(super) state: State,
    pub(super) applied: LogIndex,
    /// Position behind the last batch applied.
    pub(super) applied_end: LogPosition,
    /// Batches applied since the start.
    pub(super) replayed: u64,
    pub(super) snapshots: Snapshots,
    pub(super) keeping: Keeping,
    /// Set while the log is being taken over from the leader.
    pub(super) taking: Option<Taking>,
    pub(super) marker: Marker,
    /// How often the log is to start over, without having told yet that it has: until then it tells of what it was.
    pub(super) restarts: u64,
    /// The file of the newest membership that the operator named.
    pub(super) adopted: StateFile,
    /// Tells the others which membership is in force here.
    pub(super) adopt: watch::Sender<Adoption>,
    /// Refills that were begun since the start.
    pub(super) refills: u64,
    /// Refills of followers.
    pub(super) gifts: Gifts,
    pub(super) segment_bytes: u64,
    pub(super) committed: LogIndex,
    /// The state has caught up with what was committed when this node became leader.
    pub(super) caught_up: bool,
    pub(super) proposals: Proposals,
    /// The first metadata version of this reign is not in the log yet.
    pub(super) begins_versions: bool,
    /// Since when a release of what is due is on its way through the log.
    pub(super) elapsing: Option<Instant>,
    pub(super) polls: Polls,
    pub(super) judging: Judging,
    pub(super) outbox: Outbox,
    pub(super) directory: Arc<Directory>,
    pub(super) publisher: Publisher,
    pub(super) metrics: Arc<GroupMetrics>,
    /// What the core asked for and is not executed yet.
    pub(super) actions: VecDeque<Action>,
    /// Empty between steps.
    pub(super) scratch: Vec<Action>,
    /// The own log is persisted through here, as the writer reported it.
    pub(super) persisted: LogIndex,
    /// Nothing new is taken; who asked for that is told when nobody waits any more.
    pub(super) draining: bool,
    pub(super) drained: Option<oneshot::Sender<()>>,
    /// Leadership is to be handed over as soon as nobody waits for an outcome.
    pub(super) stepping_down: Option<SteppingDown>,
    /// Why this node takes no part any more.
    pub(super) failed: Option<Arc<str>>,
    /// There is no space for new messages, as the log told last.
    pub(super) short_of_space: bool,
}

impl Driver {
    /// Turns until it is told to stop; closes the log then.
    pub(super) async fn run(mut self) {
        let mut inbox = Vec::new();
        self.look();
        loop {
            let now = Instant::now();
            if self.applied < self.committed && self.failed.is_none() {
                while inbox.len() < INPUTS_PER_TURN
                    && let Ok(input) = self.inputs.try_recv()
                {
                    inbox.push(input);
                }
                tokio::task::yield_now().await;
            } else {
                let wake = self.next_wake(now);
                tokio::select! {
                    biased;
                    taken = self.inputs.recv_many(&mut inbox, INPUTS_PER_TURN) => {
                        if taken == 0 {
                            return;
                        }
                    }
                    () = tokio::time::sleep_until(wake.into()) => {}
                }
            }
            if let Some(done) = self.turn(&mut inbox) {
                self.close().await;
                let _ = done.send(());
                return;
            }
        }
    }

    /// One turn; `Some` when told to stop.
    fn turn(&mut self, inbox: &mut Vec<Input>) -> Option<oneshot::Sender<()>> {
        let now = Instant::now();
        self.metrics.turned(now);
        self.observe_clock(now);
        if self.clock.moment(now) >= self.core.next_wakeup() {
            self.step(Event::Tick, now);
        }
        let mut stop = None;
        for input in inbox.drain(..) {
            match input {
                Input::Stop(done) => stop = Some(done),
                input => self.take(input, now),
            }
        }
        self.apply(now);
        self.note_caught_up();
        self.look_after_retention(now);
        self.step_down_when_quiet(now);
        self.elapse_when_due(now);
        self.start_polls(now);
        self.propose(now);
        self.expire(now);
        self.metrics.polls_waiting(self.polls.len());
        self.metrics.stored_for_later(self.state.pending_timers(), self.state.half_count());
        if self.proposals.is_empty()
            && let Some(drained) = self.drained.take()
        {
            let _ = drained.send(());
        }
        stop
    }

    pub(super) fn order(&mut self, event: Event, now: Instant) -> Result<(), OrderError> {
        if let Some(reason) = &self.failed {
            return Err(OrderError::Fenced(reason.to_string()));
        }
        let answer = self.feed(event, now);
        self.execute(now);
        Ok(answer?)
    }

    /// Gives the core an event and queues what it asks for.
    pub(super) fn feed(&mut self, event: Event, now: Instant) -> Result<(), StepError> {
        let answer = self.core.step(event, self.clock.moment(now), &mut self.scratch);
        self.actions.extend(self.scratch.drain(..));
        answer
    }

    /// Gives the core an event whose refusal nobody waits for.
    pub(super) fn step(&mut self, event: Event, now: Instant) {
        if self.failed.is_some() {
            return;
        }
        let answer = self.feed(event, now);
        self.execute(now);
        match answer {
            Ok(()) => {}
            // One of two logs is damaged, and nothing tells which: neither may be read or relied on.
            Err(error @ StepError::CommittedConflict { .. }) => self.fail(&error.to_string()),
            Err(error) => warn!(group = %self.identity.group, %error, "consensus refused an event"),
        }
    }

    /// Takes the polls that the state says can be answered.
    fn start_polls(&mut self, now: Instant) {
        if !self.caught_up || self.applied < self.committed || !self.vouched_for(&self.view) {
            return;
        }
        let stamp = self.stamp();
        self.polls.wake_due(stamp);
        let state = &self.state;
        let ready = self.polls.take_ready(
            stamp,
            |receive| Finds::of(receive, state, stamp),
            |topic, group| state.next_due(group.as_str(), topic.as_str(), stamp),
        );
        for waiting in ready {
            match waiting.poll.condition.clone() {
                Some(condition) => self.look_into(waiting, &condition, stamp),
                None => {
                    let receive = waiting.poll.receive.clone();
                    self.proposals.add_poll(waiting, receive, now);
                }
            }
        }
    }

    /// Seals what waits into batches. While no write quorum is in touch it waits: what cannot be committed is better
    /// not stored, since its sender can then be told so for certain.
    fn propose(&mut self, now: Instant) {
        while self.view.quorum_reachable
            && self.stepping_down.is_none()
            && (self.proposals.has_waiting() || self.begins_versions)
            && self.unpersisted() < MAX_UNPERSISTED_BATCHES
        {
            let Some(id) = self.core.next_entry() else { return };
            self.begin_versions(now);
            let Some((builder, waiters)) = self.proposals.next_batch() else { return };
            let batch = builder.seal(
                mainstay_record::BatchKind::Data,
                self.identity.group,
                id,
                self.tail.end,
                self.stamp(),
            );
            self.metrics.proposed(&batch);
            self.proposals.proposed(id, waiters, self.patience);
            self.step(Event::Propose { batch }, now);
        }
    }

    fn unpersisted(&self) -> u64 {
        self.core.next_entry().map_or(0, |next| next.index.0.saturating_sub(self.persisted.0 + 1))
    }

    fn expire(&mut self, now: Instant) {
        for poll in self.polls.expired(now) {
            let _ = poll.reply.send(Ok(Vec::new()));
        }
        if self.proposals.is_empty() {
            return;
        }
        let progress = Progress {
            persisted: self.persisted,
            committed: self.committed,
            quorum_reachable: self.view.quorum_reachable,
            successor: self.view.handing_over_to,
        };
        for receive in self.proposals.expire(now, progress, self.patience) {
            self.polls.taken(&receive);
        }
    }

    fn next_wake(&self, now: Instant) -> Instant {
        if self.failed.is_some() {
            // The core is not asked any more, so what it wants to be woken for is not done.
            return now + LONGEST_SLEEP;
        }
        let mut wake = self.clock.instant(self.core.next_wakeup(), now, LONGEST_SLEEP);
        if let Some(deadline) = self.polls.next_deadline() {
            wake = wake.min(deadline);
        }
        if let Some(due) = self.polls.next_due() {
            wake = wake.min(self.instant_of(due, now));
        }
        if let Some(due) = self.next_elapse(now) {
            wake = wake.min(due);
        }
        if !self.proposals.is_empty() {
            wake = wake.min(now + LATENESS_CHECK);
        }
        wake
    }

    async fn close(mut self) {
        let error = ProposeError::ShuttingDown;
        self.proposals.refuse_all(&error, &ProposeError::LeadershipLost);
        self.answer_polls(&error);
        let log = self.log;
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || log.close()).await {
            warn!(group = %self.identity.group, %error, "the log was not closed in order");
        }
    }
}
