//! Executes what the consensus core asks for, in order, and drives the disk.

use mainstay_consensus::{Action, Append, AppendHeader, Event, Message, Mode, TailFate};
use mainstay_record::{Batch, BatchBuilder, BatchKind, LogIndex, NodeId};

use super::disk::{Change, DiskEvent, DiskStep};
use super::{Broker, Effect, GROUP, Scene, Tail};
use crate::plan::Bug;

/// Bytes of batches in one message to a follower, about.
const MESSAGE_BYTES: usize = 16 * 1024;

impl Broker {
    pub(super) fn execute(&mut self, scene: &mut Scene<'_>) {
        while let Some(action) = self.actions.pop_front() {
            scene.oracle.sends(scene.node, &action, &self.core);
            if let Err(reason) = self.execute_one(action, scene) {
                self.fail(reason, scene);
            }
        }
    }

    fn execute_one(&mut self, action: Action, scene: &mut Scene<'_>) -> Result<(), String> {
        match action {
            Action::StoreHardState(state) => {
                if scene.plan.bug != Some(Bug::ForgetGrant) {
                    let stored = self.hard_state.store(&state.encode());
                    stored.map_err(|error| format!("cannot store the granted epoch: {error}"))?;
                    scene.oracle.stored(scene.node, state);
                }
            }
            Action::StoreStanding(standing) => {
                if standing.caught_up {
                    scene.oracle.caught_up(scene.node);
                }
                let stored = self.standing.store(&standing.encode());
                stored.map_err(|error| format!("cannot store that the log has caught up: {error}"))?;
                if let Some(disk) = self.disk.as_mut().filter(|_| standing.caught_up) {
                    disk.set_complete();
                }
            }
            Action::Append(batches) => self.append(batches, scene),
            Action::Truncate { keep, fate } => self.truncate(keep, fate, scene)?,
            Action::Rewind { through } => self.rewind(through, scene)?,
            Action::Send { to, message } => self.send(to, message, scene),
            Action::SendEntries { to, header, from, through } => {
                self.send_entries(to, header, from, through, scene)?;
            }
            Action::Seal { kind, payload } => self.seal(kind, &payload, scene),
            Action::Commit { through } => self.commit(through, scene),
            Action::SendSnapshot { to, epoch, round } => self.give_refill(to, epoch, round, scene)?,
            Action::InstallSnapshot { base } => self.install_snapshot(base, scene)?,
            Action::StoreMembership(membership) => {
                return Err(format!(
                    "membership version {} is to be adopted, which these brokers do not do",
                    membership.version()
                ));
            }
            Action::RoleChanged => self.look(scene),
        }
        Ok(())
    }

    fn append(&mut self, batches: Vec<Batch>, scene: &mut Scene<'_>) {
        // A leader that has the whole log is worth more than the rest of one that has not.
        self.give_up_refill(scene);
        for batch in &batches {
            scene.oracle.appended(scene.node, self.tail.id, batch);
            let header = batch.header();
            self.tail = Tail { end: header.end_position(), id: header.id };
            self.entries.push(header.id);
            self.log_clock.note(header.timestamp, scene.now.0);
        }
        if let Some(disk) = &mut self.disk {
            disk.append(batches);
        }
    }

    fn truncate(&mut self, keep: LogIndex, fate: TailFate, scene: &mut Scene<'_>) -> Result<(), String> {
        let gone = self.entries.cut(keep);
        scene.oracle.cuts(scene.node, &gone, fate);
        let fate = match fate {
            TailFate::Quarantine if scene.plan.bug != Some(Bug::DropTails) => {
                mainstay_storage::TailFate::Quarantine
            }
            _ => mainstay_storage::TailFate::Discard,
        };
        if let Some(disk) = &mut self.disk {
            disk.truncate(keep, fate);
        }
        self.persisted = self.persisted.min(keep);
        if let Some(base) = self.disk.as_ref().map(super::disk::Disk::base) {
            self.tail = Tail { end: base.position, id: base.last };
        }
        if keep > self.entries.base()
            && let Some(batch) = self.read(keep, keep)?.first()
        {
            let header = batch.header();
            self.tail = Tail { end: header.end_position(), id: header.id };
        }
        self.roll_back(keep, scene)
    }

    /// A snapshot may hold more than the core has heard to be committed since the start.
    fn roll_back(&mut self, keep: LogIndex, scene: &mut Scene<'_>) -> Result<(), String> {
        if self.applied <= keep || scene.plan.bug == Some(Bug::KeepOverriddenState) {
            return Ok(());
        }
        if self.view.membership.mode() != Mode::Async {
            let what = format!("node {} cuts behind {keep}, but has applied {}", scene.node, self.applied);
            scene.oracle.violated("applied-is-kept", what.clone());
            return Err(what);
        }
        self.rewind(keep, scene)
    }

    pub(super) fn read(&self, from: LogIndex, through: LogIndex) -> Result<Vec<Batch>, String> {
        self.read_part(from, through, MESSAGE_BYTES)
    }

    pub(super) fn read_part(
        &self,
        from: LogIndex,
        through: LogIndex,
        bytes: usize,
    ) -> Result<Vec<Batch>, String> {
        let Some(disk) = &self.disk else { return Ok(Vec::new()) };
        disk.read(from, through, bytes).map_err(|error| format!("the log cannot be read: {error}"))
    }

    fn send(&self, to: NodeId, message: Message, scene: &mut Scene<'_>) {
        let shown = self.log_clock.own(scene.wall, scene.now.0);
        scene.effects.push(Effect::Send { to, shown, message });
    }

    fn send_entries(
        &mut self,
        to: NodeId,
        mut header: AppendHeader,
        from: LogIndex,
        through: LogIndex,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let mut next = from;
        while next <= through {
            if self.disk.as_ref().is_some_and(|disk| next < disk.first()) {
                // The beginning of the log was given up this moment, which the core hears next.
                return Ok(());
            }
            let batches = self.read(next, through)?;
            let Some(last) = batches.last().map(Batch::id) else { return Ok(()) };
            self.send(to, Message::Append(Append { header, batches }), scene);
            header.prev = last;
            next = last.index.next();
        }
        Ok(())
    }

    fn seal(&mut self, kind: BatchKind, payload: &[u8], scene: &mut Scene<'_>) {
        let Some(id) = self.core.next_entry() else { return };
        let mut builder = BatchBuilder::with_capacity(payload.len() + 4);
        builder.push(payload);
        let batch = builder.seal(kind, GROUP, id, self.tail.end, self.log_clock.unbelieving(scene.now.0));
        let _ = self.feed(Event::Propose { batch }, scene);
    }

    fn commit(&mut self, through: LogIndex, scene: &mut Scene<'_>) {
        if through <= self.committed {
            return;
        }
        let view = self.core.view(scene.now);
        let ids = self.entries.range(self.committed.max(self.entries.base()), through);
        if view.role == mainstay_consensus::Role::Leader
            && let Some(last) = ids.last()
        {
            scene.oracle.leader_commits(view.epoch, *last);
        }
        for id in ids {
            scene.oracle.committed(scene.node, *id, view.epoch);
        }
        self.committed = through;
    }

    pub(super) fn disk_changed(&mut self, change: Change, scene: &mut Scene<'_>) {
        if let Change::Forgot(base) = change
            && self.disk.as_ref().is_some_and(|disk| disk.base().last.index == base)
        {
            scene.oracle.figures.forgotten += 1;
            self.entries.forget(base);
        }
        scene.oracle.disk_changed(scene.node, change);
    }

    /// Lets the disk begin what waits.
    pub(super) fn run_disk(&mut self, scene: &mut Scene<'_>) {
        let Some(disk) = &mut self.disk else { return };
        let step = disk.begin();
        let early = step.forcing && scene.plan.bug == Some(Bug::AckBeforeSync);
        if early {
            let last = disk.written_through();
            scene.effects.push(Effect::Disk(DiskEvent::Durable(last)));
        }
        self.take_disk_step(step, scene);
    }

    pub(super) fn forcing_ends(&mut self, scene: &mut Scene<'_>) {
        let Some(disk) = &mut self.disk else { return };
        let step = disk.forced(scene.plan.bug == Some(Bug::IgnoreFailedSync));
        self.take_disk_step(step, scene);
    }

    pub(super) fn take_disk_step(&mut self, step: DiskStep, scene: &mut Scene<'_>) {
        for change in step.changes {
            self.disk_changed(change, scene);
        }
        if step.forcing {
            scene.effects.push(Effect::Forcing);
        }
        if step.flush_later {
            scene.effects.push(Effect::FlushLater);
        }
        scene.effects.extend(step.events.into_iter().map(Effect::Disk));
    }
}
