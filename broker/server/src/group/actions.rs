//! Executes what the consensus core asks for, in order.

use std::time::Instant;

use mainstay_consensus::{Action, Append, AppendHeader, Event, Membership, Message, Mode, TailFate};
use mainstay_planted::{Fault, planted};
use mainstay_record::{Batch, BatchBuilder, BatchKind, LogIndex, LogPosition, NodeId};
use mainstay_storage::{ReadError, StateError};

use super::driver::{Driver, Tail};

/// Bytes of batches in one message to a follower, about.
const MESSAGE_BYTES: usize = 4 << 20;

impl Driver {
    pub(super) fn execute(&mut self, now: Instant) {
        while let Some(action) = self.actions.pop_front() {
            let done = self.execute_one(action, now);
            if let Err(reason) = done {
                self.fail(&reason);
            }
        }
    }

    fn execute_one(&mut self, action: Action, now: Instant) -> Result<(), String> {
        match action {
            Action::StoreHardState(_) if planted(Fault::LeaveGrantUnstored) => {}
            Action::StoreHardState(state) => {
                let stored = tokio::task::block_in_place(|| self.hard_state.store(&state.encode()));
                stored.map_err(|error| format!("cannot store the granted epoch: {error}"))?;
            }
            Action::StoreStanding(standing) => {
                let stored = tokio::task::block_in_place(|| {
                    self.standing.store(&standing.encode())?;
                    if standing.caught_up {
                        self.log.set_complete();
                    }
                    Ok::<_, StateError>(())
                });
                stored.map_err(|error| format!("cannot store that the log has caught up: {error}"))?;
            }
            Action::Append(batches) => self.append(batches),
            Action::Truncate { keep, fate } => self.truncate(keep, fate)?,
            Action::Rewind { through } => self.rewind(through)?,
            Action::Send { to, message } => self.outbox.send(to, self.shown(), message),
            Action::SendEntries { to, header, from, through } => {
                self.send_entries(to, header, from, through)?;
            }
            Action::Seal { kind, payload } => self.seal(kind, &payload, now),
            Action::Commit { through } => self.committed = self.committed.max(through),
            Action::SendSnapshot { to, epoch, round } => self.give_refill(to, epoch, round),
            Action::InstallSnapshot { base } => self.install_snapshot(base)?,
            Action::StoreMembership(membership) => self.store_membership(&membership)?,
            Action::RoleChanged => self.look(),
        }
        Ok(())
    }

    fn store_membership(&mut self, membership: &Membership) -> Result<(), String> {
        tokio::task::block_in_place(|| self.adopted.store(&membership.encode()))
            .map_err(|error| format!("cannot store the membership that the operator named: {error}"))
    }

    fn append(&mut self, batches: Vec<Batch>) {
        if let Some(last) = batches.last() {
            // A leader that has the whole log is worth more than the rest of one that has not.
            self.give_up_refill();
            let header = last.header();
            self.tail = Tail { end: header.end_position() };
            self.log_clock.note(header.timestamp, self.clock.now().0);
            self.log.append(batches);
        }
    }

    fn truncate(&mut self, keep: LogIndex, fate: TailFate) -> Result<(), String> {
        let fate = match fate {
            TailFate::Discard => mainstay_storage::TailFate::Discard,
            TailFate::Quarantine if planted(Fault::LeaveTailUnsaved) => mainstay_storage::TailFate::Discard,
            TailFate::Quarantine => mainstay_storage::TailFate::Quarantine,
        };
        self.log.truncate(keep, fate);
        self.persisted = self.persisted.min(keep);
        self.tail = Tail { end: LogPosition(0) };
        if keep > LogIndex::ZERO
            && let Some(batch) = self.read(keep, keep, 1)?.first()
        {
            self.tail = Tail { end: batch.header().end_position() };
        }
        self.roll_back(keep)
    }

    /// A snapshot may hold more than the core has heard to be committed since the start.
    fn roll_back(&mut self, keep: LogIndex) -> Result<(), String> {
        if self.applied <= keep {
            return Ok(());
        }
        if self.view.membership.mode() != Mode::Async {
            return Err(format!(
                "the leader cuts the log behind {keep}, but batch {} was applied: a log is damaged",
                self.applied
            ));
        }
        self.rewind(keep)
    }

    /// Sends what one turn can send; the follower's answer brings the rest.
    fn send_entries(
        &mut self,
        to: NodeId,
        mut header: AppendHeader,
        from: LogIndex,
        through: LogIndex,
    ) -> Result<(), String> {
        if !self.outbox.has_room(to) {
            return Ok(());
        }
        let mut next = from;
        while next <= through {
            if next < self.log.first() {
                // The beginning of the log was given up this moment, which the core hears next.
                return Ok(());
            }
            let batches = self.read(next, through, MESSAGE_BYTES)?;
            let Some(last) = batches.last().map(Batch::id) else { return Ok(()) };
            self.outbox.send(to, self.shown(), Message::Append(Append { header, batches }));
            if !self.outbox.has_room(to) {
                return Ok(());
            }
            header.prev = last;
            next = last.index.next();
        }
        Ok(())
    }

    /// Reads from memory, or from the disk while other tasks go on elsewhere.
    pub(super) fn read(&self, from: LogIndex, through: LogIndex, bytes: usize) -> Result<Vec<Batch>, String> {
        let read = || self.log.read(from, through, bytes);
        let batches =
            if self.log.cached(from).is_some() { read() } else { tokio::task::block_in_place(read) };
        batches.map_err(|error| unreadable(&error))
    }

    fn seal(&mut self, kind: BatchKind, payload: &[u8], now: Instant) {
        let Some(id) = self.core.next_entry() else { return };
        let mut builder = BatchBuilder::with_capacity(payload.len() + 4);
        builder.push(payload);
        let stamp = self.unbelieving_stamp();
        let batch = builder.seal(kind, self.identity.group, id, self.tail.end, stamp);
        if let Err(error) = self.feed(Event::Propose { batch }, now) {
            tracing::warn!(group = %self.identity.group, %error, "consensus refused its own batch");
        }
    }
}

fn unreadable(error: &ReadError) -> String {
    format!("the log cannot be read: {error}")
}
