//! The follower's side: empties its log, takes what the leader gives in place of it, and puts it in force.

use mainstay_consensus::{Event, HardState, Membership, Mode, Moment, StepError};
use mainstay_messaging::State;
use mainstay_record::{Batch, EntryId, Epoch, LogIndex, LogPosition, NodeId};
use mainstay_storage::{LogBase, Snapshot, SnapshotReceiver};

use super::{BROKEN, Begun, Offer, Part, Refill};
use crate::broker::disk::DiskEvent;
use crate::broker::{Broker, Effect, Entries, GROUP, Scene, Tail};
use crate::plan::Bug;

/// A refill that is being taken. While there is one, the log belongs to it and not to the consensus core, whose log is
/// empty.
#[derive(Debug)]
pub(in crate::broker) struct Taking {
    gift: u64,
    from: NodeId,
    offer: Offer,
    /// The last batch that was given to the log, and where the log goes on behind it.
    last: EntryId,
    end: LogPosition,
    /// What the log last reported durable since the refill began.
    durable: Option<EntryId>,
    receiver: Option<SnapshotReceiver>,
    /// An answer is due once `last` is in the file.
    waits: bool,
    /// All has arrived; waits until `last` is durable.
    ending: Option<Snapshot>,
    broken_at: Moment,
}

impl Taking {
    /// Whether the batch is the next of the log that was offered.
    fn follow(&mut self, batch: &Batch) -> Result<(), String> {
        let header = batch.header();
        let next = header.id.index == self.last.index.next() && header.id.epoch >= self.last.epoch;
        if header.group != GROUP || !next || header.position != self.end {
            return Err("a batch is not the next of the log".to_owned());
        }
        if header.id.index > self.offer.snapshot_base.last.index {
            return Err("a batch comes after the snapshot".to_owned());
        }
        self.last = header.id;
        self.end = header.end_position();
        Ok(())
    }
}

impl Broker {
    pub(in crate::broker) fn refill(&mut self, from: NodeId, refill: Refill, scene: &mut Scene<'_>) {
        match refill {
            Refill::Answer { gift, answer } => self.gift_answered(gift, answer, scene),
            Refill::Gone { gift } => {
                if self.taking.as_ref().is_some_and(|taking| taking.gift == gift) {
                    self.give_up_refill(scene);
                }
            }
            Refill::Part { gift, part } => {
                let answer = self.take_part(from, gift, part, scene);
                if let Some(taking) = self.taking.as_mut().filter(|taking| taking.gift == gift) {
                    taking.broken_at = scene.now.plus(BROKEN);
                }
                if let Some(answer) = answer {
                    reply(from, gift, answer, scene);
                }
            }
        }
    }

    /// `None` when the answer comes later.
    fn take_part(
        &mut self,
        from: NodeId,
        gift: u64,
        part: Part,
        scene: &mut Scene<'_>,
    ) -> Option<Result<(), String>> {
        if let Part::Begin(offer) = part {
            return Some(self.begin_refill(from, gift, *offer, scene));
        }
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.gift == gift) else {
            return Some(Err("the refill was given up for another".to_owned()));
        };
        let taken = match part {
            Part::Begin(_) => Ok(()),
            Part::Batches(batches) => {
                let followed = batches.iter().try_for_each(|batch| taking.follow(batch));
                if followed.is_ok() {
                    taking.waits = true;
                    self.take_batches(batches, scene);
                    return None;
                }
                followed
            }
            Part::Snapshot(bytes) => match &mut taking.receiver {
                Some(receiver) => receiver.write(&bytes).map_err(|error| error.to_string()),
                None => Err("there is no file for the snapshot".to_owned()),
            },
            Part::End => match taking.receiver.take().map(SnapshotReceiver::finish) {
                Some(Ok(snapshot)) => return self.end_refill(snapshot, scene),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("there is no snapshot".to_owned()),
            },
        };
        if taken.is_err() {
            self.give_up_refill(scene);
        }
        Some(taken)
    }

    fn begin_refill(
        &mut self,
        from: NodeId,
        gift: u64,
        offer: Offer,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        let set_aside_after = self.weigh(from, &offer, scene)?;
        self.give_up_refill(scene);
        if let Err(reason) = self.begin_anew(&offer.log_base, set_aside_after, scene) {
            self.fail(reason.clone(), scene);
            return Err(reason);
        }
        let (last, end) = (offer.log_base.last, offer.log_base.position);
        self.taking = Some(Taking {
            gift,
            from,
            offer,
            last,
            end,
            durable: None,
            receiver: self.snapshots.store().receive().ok(),
            waits: false,
            ending: None,
            broken_at: scene.now.plus(BROKEN),
        });
        Ok(())
    }

    /// Whether the offer is the leader's and of use. In mode `Async`, what the leader lacks is set aside; where that
    /// begins is returned.
    fn weigh(
        &mut self,
        from: NodeId,
        offer: &Offer,
        scene: &mut Scene<'_>,
    ) -> Result<Option<LogIndex>, String> {
        let view = self.core.view(scene.now);
        let Offer { epoch, log_base, snapshot_base, .. } = offer;
        if view.leader != Some(from) || view.epoch != *epoch || from == self.id {
            return Err(format!("{from} does not lead this node's group in epoch {epoch}"));
        }
        if log_base.last.index > snapshot_base.last.index {
            return Err("its snapshot is of what comes before its log".to_owned());
        }
        let shared = self.core.shared_with(&epochs(snapshot_base), snapshot_base.last.index);
        if self.taking.is_none() && shared >= log_base.last.index.max(view.base.index) {
            return Err("this node's log reaches the sender's".to_owned());
        }
        if view.membership.mode() == Mode::Async {
            return Ok((shared < view.last.index).then_some(shared));
        }
        if shared < view.commit.min(snapshot_base.last.index) {
            let error = StepError::CommittedConflict { from, index: shared.next() }.to_string();
            scene.oracle.violated("no-corruption", format!("node {}: {error}", scene.node));
            self.fail(error.clone(), scene);
            return Err(error);
        }
        Ok(None)
    }

    /// Empties the log, which begins behind `log_base` then. From here on this node is as one that has lost its log, and
    /// knows it.
    pub(in crate::broker) fn begin_anew(
        &mut self,
        log_base: &LogBase,
        set_aside_after: Option<LogIndex>,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let view = self.core.view(scene.now);
        let begun = Begun { log_base: log_base.clone(), membership: view.membership };
        let held_something = view.last != EntryId::ZERO && scene.plan.bug != Some(Bug::RefillWithoutLoss);
        let standing = if held_something { view.standing.after_loss() } else { view.standing };
        // A log proves what was granted. It goes.
        let hard = HardState { granted: view.granted };
        let noted = self.hard_state.store(&hard.encode());
        let noted = noted.and_then(|()| self.standing.store(&standing.encode()));
        let noted = noted.and_then(|()| self.marker.set(&begun));
        noted.map_err(|error| format!("cannot note that the log begins anew: {error}"))?;
        scene.oracle.stored(scene.node, hard);
        if scene.plan.bug == Some(Bug::ClearMarkerEarly) {
            self.clear_marker(scene);
        }
        let set_aside_after = set_aside_after.filter(|_| scene.plan.bug != Some(Bug::DropRefilledTail));
        self.restart_log(log_base.clone(), set_aside_after, scene);
        self.core = self.core.without_log(standing, scene.now);
        self.actions.clear();
        self.snapshots.forget();
        self.state = State::new(GROUP, 1);
        (self.applied, self.applied_end) = (LogIndex::ZERO, LogPosition(0));
        (self.committed, self.persisted) = (LogIndex::ZERO, LogIndex::ZERO);
        self.tail = Tail { end: LogPosition(0), id: EntryId::ZERO };
        self.caught_up = false;
        self.look(scene);
        Ok(())
    }

    fn restart_log(&mut self, base: LogBase, set_aside_after: Option<LogIndex>, scene: &mut Scene<'_>) {
        let after = set_aside_after.unwrap_or(LogIndex(u64::MAX));
        scene.oracle.figures.quarantined += self.entries.range(after, self.entries.last()).len() as u64;
        self.entries = Entries::empty(base.last);
        if let Some(disk) = &mut self.disk {
            disk.restart_at(base, set_aside_after);
        }
    }

    fn take_batches(&mut self, batches: Vec<Batch>, scene: &mut Scene<'_>) {
        for batch in &batches {
            scene.oracle.appended(scene.node, self.entries.newest(), batch);
            self.entries.push(batch.id());
        }
        if let Some(disk) = &mut self.disk {
            disk.append(batches);
        }
    }

    /// Leaves an empty log behind.
    pub(in crate::broker) fn give_up_refill(&mut self, scene: &mut Scene<'_>) {
        if self.taking.take().is_some() {
            scene.oracle.figures.refills_cut += 1;
            self.restart_log(LogBase::default(), None, scene);
        }
    }

    /// The stream is broken: its sender is gone, or silent.
    pub(in crate::broker) fn end_broken_refill(&mut self, gone: Option<NodeId>, scene: &mut Scene<'_>) {
        let broken = |taking: &Taking| gone.map_or(taking.broken_at <= scene.now, |peer| taking.from == peer);
        if self.taking.as_ref().is_some_and(broken) {
            self.give_up_refill(scene);
        }
    }

    pub(in crate::broker) fn next_broken_refill(&self) -> Option<Moment> {
        self.taking.as_ref().map(|taking| taking.broken_at)
    }

    /// True when the event is about a log that is being taken over.
    pub(in crate::broker) fn refill_progress(&mut self, event: &DiskEvent, scene: &mut Scene<'_>) -> bool {
        let (last, durable) = match event {
            DiskEvent::Written(last) => (*last, false),
            DiskEvent::Durable(last) => (*last, true),
            DiskEvent::Failed(_) => return false,
        };
        let Some(taking) = &mut self.taking else {
            // The log is the core's again, whatever it holds.
            if self.marker.is_set() {
                self.clear_marker(scene);
            }
            return false;
        };
        // What comes from the log as it was before is of other entries.
        if last != taking.last {
            return true;
        }
        let (from, gift) = (taking.from, taking.gift);
        if std::mem::take(&mut taking.waits) {
            reply(from, gift, Ok(()), scene);
        }
        if durable {
            taking.durable = Some(last);
        }
        if taking.durable == Some(last)
            && let Some(snapshot) = taking.ending.take()
        {
            let answer = self.put_in_force(snapshot, scene);
            reply(from, gift, answer, scene);
        }
        true
    }

    fn end_refill(&mut self, snapshot: Snapshot, scene: &mut Scene<'_>) -> Option<Result<(), String>> {
        let taking = self.taking.as_mut()?;
        if snapshot.base != taking.offer.snapshot_base || taking.last != snapshot.base.last {
            self.give_up_refill(scene);
            return Some(Err("log and snapshot do not end with the same entry".to_owned()));
        }
        if taking.durable == Some(taking.last) {
            return Some(self.put_in_force(snapshot, scene));
        }
        taking.ending = Some(snapshot);
        None
    }

    fn put_in_force(&mut self, snapshot: Snapshot, scene: &mut Scene<'_>) -> Result<(), String> {
        let Some(taking) = &self.taking else { return Err("it was given up".to_owned()) };
        let Offer { epoch, round, snapshot_base, .. } = &taking.offer;
        let base = consensus_base(snapshot_base, &self.view.membership);
        let base = base.ok_or("its membership cannot be read")?;
        let event = Event::SnapshotArrived { from: taking.from, epoch: *epoch, base, round: *round };
        self.snapshots.adopt(snapshot);
        let answer = self.feed(event, scene);
        self.execute(scene);
        if self.taking.is_none() {
            return Ok(());
        }
        self.snapshots.forget();
        self.give_up_refill(scene);
        Err(answer.err().unwrap_or_default())
    }

    /// Executes [`mainstay_consensus::Action::InstallSnapshot`].
    pub(in crate::broker) fn install_snapshot(
        &mut self,
        base: EntryId,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let Some(taking) = self.taking.take().filter(|taking| taking.last == base) else {
            return Err(format!("a snapshot at {base} is to be put in force that has not arrived"));
        };
        let loaded = self.snapshots.load(base.index, self.entries.base().next())?;
        scene.oracle.loaded(scene.node, loaded.applied);
        scene.oracle.refilled(scene.node);
        self.state = loaded.state;
        self.applied = loaded.applied.index;
        self.applied_end = loaded.end;
        self.persisted = base.index;
        self.tail = Tail { end: taking.end, id: taking.last };
        self.log_clock.note(taking.offer.snapshot_base.timestamp, scene.now.0);
        self.clear_marker(scene);
        Ok(())
    }

    fn clear_marker(&mut self, scene: &mut Scene<'_>) {
        if let Err(error) = self.marker.clear() {
            self.fail(format!("cannot note that the log is whole: {error}"), scene);
        }
    }
}

fn reply(to: NodeId, gift: u64, answer: Result<(), String>, scene: &mut Scene<'_>) {
    scene.effects.push(Effect::Refill { to, refill: Refill::Answer { gift, answer } });
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
