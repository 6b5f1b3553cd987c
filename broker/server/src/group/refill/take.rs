//! The follower's side: empties its log, takes what the leader gives in place of it, and puts it in force.

use std::time::Instant;

use mainstay_consensus::{Event, HardState, Membership, Mode, StepError};
use mainstay_record::{Batch, EntryId, Epoch, GroupId, LogIndex, LogPosition};
use mainstay_storage::{LogBase, LogEvent, Snapshot};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::marker::Begun;
use super::{Offer, RefillError, RefillId, RefillStep};
use crate::group::driver::{Driver, Tail};
use crate::group::snapshots::Loaded;

type Reply = oneshot::Sender<Result<(), RefillError>>;

/// A refill that is being taken. While there is one, the log belongs to it and not to the consensus core, whose log is
/// empty.
#[derive(Debug)]
pub(in crate::group) struct Taking {
    id: RefillId,
    offer: Offer,
    /// The last batch that was given to the log.
    last: EntryId,
    end: LogPosition,
    /// What the log last reported durable since the refill began.
    durable: Option<EntryId>,
    /// Waits until `last` is in the file.
    waiting: Option<Reply>,
    /// All has arrived; waits until `last` is durable.
    ending: Option<(Snapshot, Reply)>,
}

impl Taking {
    fn new(id: RefillId, offer: Offer) -> Self {
        let (last, end) = (offer.log_base.last, offer.log_base.position);
        Self { id, offer, last, end, durable: None, waiting: None, ending: None }
    }

    /// Whether the batch is the next of the log that was offered.
    fn follow(&mut self, group: GroupId, batch: &Batch) -> Result<(), RefillError> {
        let header = batch.header();
        let last = self.last;
        let next = header.id.index == last.index.next() && header.id.epoch >= last.epoch;
        if header.group != group || !next || header.position != self.end {
            return Err(RefillError::Malformed("a batch is not the next of the log"));
        }
        if header.id.index > self.offer.snapshot_base.last.index {
            return Err(RefillError::Malformed("a batch comes after the snapshot"));
        }
        self.last = header.id;
        self.end = header.end_position();
        Ok(())
    }

    /// For people.
    pub(in crate::group) fn describe(&self) -> String {
        let Offer { from, log_base, snapshot_base, .. } = &self.offer;
        let bytes = |to: LogPosition| to.0.saturating_sub(log_base.position.0) >> 20;
        let (taken, all) = (bytes(self.end), bytes(snapshot_base.position));
        format!(
            "takes the log over from {from}, which no longer has what comes next here: {taken} of {all} MiB"
        )
    }
}

impl Driver {
    pub(in crate::group) fn take_refill(&mut self, step: RefillStep, now: Instant) {
        match step {
            RefillStep::Begin { offer, reply } => {
                let _ = reply.send(self.begin_refill(*offer, now));
            }
            RefillStep::Batches { id, batches, reply } => {
                let group = self.identity.group;
                let Some(taking) = self.taking.as_mut().filter(|taking| taking.id == id) else {
                    let _ = reply.send(Err(RefillError::Superseded));
                    return;
                };
                match batches.iter().try_for_each(|batch| taking.follow(group, batch)) {
                    Ok(()) => {
                        taking.waiting = Some(reply);
                        self.log.append(batches);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            RefillStep::End { id, snapshot, reply } => self.end_refill(id, *snapshot, reply, now),
            RefillStep::Abandon { id } => {
                if self.taking.as_ref().is_some_and(|taking| taking.id == id) {
                    self.give_up_refill();
                }
            }
        }
    }

    fn begin_refill(&mut self, offer: Offer, now: Instant) -> Result<RefillId, RefillError> {
        if let Some(reason) = &self.failed {
            return Err(RefillError::Failed(reason.to_string()));
        }
        let set_aside_after = self.weigh(&offer, now)?;
        self.give_up_refill();
        if let Err(reason) = self.begin_anew(&offer.log_base, set_aside_after, now) {
            self.fail(&reason);
            return Err(RefillError::Failed(reason));
        }
        self.refills += 1;
        let id = RefillId(self.refills);
        let (from, through) = (offer.from, offer.snapshot_base.last);
        info!(group = %self.identity.group, %from, %through, "this node's log begins anew: its leader's no longer reaches it");
        self.taking = Some(Taking::new(id, offer));
        self.publish();
        Ok(id)
    }

    /// Whether the offer is the leader's and of use. In mode `async`, what the leader lacks is set aside; where that
    /// begins is returned.
    fn weigh(&mut self, offer: &Offer, now: Instant) -> Result<Option<LogIndex>, RefillError> {
        let view = self.core.view(self.clock.moment(now));
        let Offer { from, epoch, log_base, snapshot_base, .. } = offer;
        let follows = view.leader == Some(*from) && view.epoch == *epoch && *from != self.identity.node;
        if !follows {
            return Err(RefillError::NotTheLeader { from: *from, epoch: *epoch });
        }
        if log_base.last.index > snapshot_base.last.index {
            return Err(RefillError::Malformed("its snapshot is of what comes before its log"));
        }
        let shared = self.core.shared_with(&epochs(snapshot_base), snapshot_base.last.index);
        if self.taking.is_none() && shared >= log_base.last.index.max(view.base.index) {
            return Err(RefillError::NotNeeded);
        }
        if view.membership.mode() == Mode::Async {
            return Ok((shared < view.last.index).then_some(shared));
        }
        if shared < view.commit.min(snapshot_base.last.index) {
            let error = StepError::CommittedConflict { from: *from, index: shared.next() };
            self.fail(&error.to_string());
            return Err(error.into());
        }
        Ok(None)
    }

    /// Empties the log, which begins behind `log_base` then. From here on this node is as one that has lost its log, and
    /// knows it.
    pub(in crate::group) fn begin_anew(
        &mut self,
        log_base: &LogBase,
        set_aside_after: Option<LogIndex>,
        now: Instant,
    ) -> Result<(), String> {
        let view = self.core.view(self.clock.moment(now));
        let begun = Begun { log_base: log_base.clone(), membership: view.membership.known() };
        let held_something = view.last != EntryId::ZERO;
        let standing = if held_something { view.standing.after_loss() } else { view.standing };
        // A log proves what was granted. It goes.
        let hard = HardState { granted: view.granted };
        tokio::task::block_in_place(|| {
            // Last: whoever finds the marker may empty the log, and the loss must be counted by then.
            self.hard_state.store(&hard.encode())?;
            self.standing.store(&standing.encode())?;
            self.marker.set(&begun)
        })
        .map_err(|error| format!("cannot note that the log begins anew: {error}"))?;
        self.restart_log(log_base.clone(), set_aside_after);
        self.core = self.core.without_log(standing, self.clock.moment(now));
        self.actions.clear();
        self.snapshots.forget();
        // What it knows of topics and consumer groups stays published: it is out of date, not wrong.
        self.take_state(Loaded::nothing(self.identity.group, self.identity.groups));
        (self.committed, self.persisted) = (LogIndex::ZERO, LogIndex::ZERO);
        self.tail = Tail { end: LogPosition(0) };
        self.caught_up = false;
        self.look();
        Ok(())
    }

    /// What the log tells from now on is of what it was, until it says that it has started over.
    fn restart_log(&mut self, base: LogBase, set_aside_after: Option<LogIndex>) {
        self.log.restart_at(base, set_aside_after);
        self.restarts += 1;
    }

    /// Leaves an empty log behind.
    pub(in crate::group) fn give_up_refill(&mut self) {
        if let Some(taking) = self.taking.take() {
            warn!(group = %self.identity.group, from = %taking.offer.from, "a refill was not completed");
            self.restart_log(LogBase::default(), None);
            self.publish();
        }
    }

    /// True when the event is not about the core's log: about one that is being taken over, or one that is gone.
    pub(in crate::group) fn refill_progress(&mut self, event: &LogEvent, now: Instant) -> bool {
        if matches!(event, LogEvent::Restarted) {
            self.restarts = self.restarts.saturating_sub(1);
            if self.restarts == 0 && self.taking.is_none() {
                self.note_empty_log();
            }
            return true;
        }
        if self.restarts > 0 && matches!(event, LogEvent::Written { .. } | LogEvent::Durable { .. }) {
            return true;
        }
        let Some(taking) = &mut self.taking else { return false };
        match event {
            LogEvent::Written { last } | LogEvent::Durable { last } if *last == taking.last => {
                if let Some(waiting) = taking.waiting.take() {
                    let _ = waiting.send(Ok(()));
                }
                if matches!(event, LogEvent::Durable { .. }) {
                    taking.durable = Some(*last);
                }
                if taking.durable == Some(*last)
                    && let Some((snapshot, reply)) = taking.ending.take()
                {
                    let _ = reply.send(self.put_in_force(snapshot, now));
                }
                true
            }
            LogEvent::Written { .. } | LogEvent::Durable { .. } => true,
            LogEvent::Restarted | LogEvent::Failed(_) | LogEvent::Space(_) => false,
        }
    }

    fn end_refill(&mut self, id: RefillId, snapshot: Snapshot, reply: Reply, now: Instant) {
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.id == id) else {
            let _ = reply.send(Err(RefillError::Superseded));
            return;
        };
        if snapshot.base != taking.offer.snapshot_base || taking.last != snapshot.base.last {
            self.give_up_refill();
            let _ =
                reply.send(Err(RefillError::Malformed("log and snapshot do not end with the same entry")));
            return;
        }
        if taking.durable == Some(taking.last) {
            let _ = reply.send(self.put_in_force(snapshot, now));
        } else {
            taking.ending = Some((snapshot, reply));
        }
    }

    fn put_in_force(&mut self, snapshot: Snapshot, now: Instant) -> Result<(), RefillError> {
        let Some(taking) = &self.taking else { return Err(RefillError::Superseded) };
        let Offer { from, epoch, round, snapshot_base, .. } = &taking.offer;
        let base = consensus_base(snapshot_base, &self.view.membership);
        let base = base.ok_or(RefillError::Malformed("its membership cannot be read"))?;
        let event = Event::SnapshotArrived { from: *from, epoch: *epoch, base, round: *round };
        self.snapshots.adopt(snapshot);
        let answer = self.feed(event, now);
        self.execute(now);
        if self.taking.is_none() {
            return Ok(());
        }
        self.snapshots.forget();
        self.give_up_refill();
        Err(answer.err().map_or(RefillError::Superseded, RefillError::Refused))
    }

    /// Executes [`mainstay_consensus::Action::InstallSnapshot`].
    pub(in crate::group) fn install_snapshot(&mut self, base: EntryId) -> Result<(), String> {
        let Some(taking) = self.taking.take().filter(|taking| taking.last == base) else {
            return Err(format!("a snapshot at {base} is to be put in force that has not arrived"));
        };
        let loaded = self.load_state(base.index).map_err(|error| error.to_string())?;
        self.take_state(loaded);
        self.persisted = base.index;
        self.tail = Tail { end: taking.end };
        self.log_clock.note(taking.offer.snapshot_base.timestamp, self.clock.now().0);
        self.clear_marker();
        self.publish_another_past();
        self.publish();
        info!(group = %self.identity.group, through = %base, "log and state are taken over");
        Ok(())
    }

    /// The log is the core's again. It holds no membership now, and only the marker told of one.
    fn note_empty_log(&mut self) {
        let membership = self.view.membership.clone().known();
        let noted = tokio::task::block_in_place(|| {
            membership.map_or(Ok(()), |membership| self.membership.store(&membership.encode()))
        });
        match noted {
            Ok(()) => self.clear_marker(),
            Err(error) => self.fail(&format!("the membership cannot be stored: {error}")),
        }
    }

    fn clear_marker(&mut self) {
        let cleared = tokio::task::block_in_place(|| self.marker.clear());
        if let Err(error) = cleared {
            self.fail(&format!("cannot note that the log is whole: {error}"));
        }
    }
}

fn epochs(base: &LogBase) -> Vec<(Epoch, LogIndex)> {
    base.epochs.iter().map(|start| (start.epoch, start.first)).collect()
}

/// `known` counts where the log has no membership yet.
fn consensus_base(base: &LogBase, known: &Membership) -> Option<mainstay_consensus::LogBase> {
    let (membership_at, membership) = match &base.membership {
        Some(batch) => (batch.index(), Membership::decode(&batch.record(0)?).ok()?),
        None => (LogIndex::ZERO, known.clone()),
    };
    Some(mainstay_consensus::LogBase { base: base.last, epochs: epochs(base), membership, membership_at })
}
