//! Applies committed batches to the state machine, a bounded part per turn, and answers those who wait.

use mainstay_consensus::{Event, Role};
use mainstay_messaging::{Command, Delivery, Outcome, Publish};
use mainstay_record::{Batch, BatchKind, RecordId};

use super::requests::Waiter;
use super::{Broker, Effect, Scene};
use crate::plan::Bug;
use crate::wire::{Handed, Reply};

impl Broker {
    pub(super) fn apply(&mut self, scene: &mut Scene<'_>) {
        if scene.plan.bug == Some(Bug::DeliverUncommitted) && self.view.role == Role::Leader {
            self.committed = self.committed.max(self.persisted);
        }
        if self.applied >= self.committed || self.failed.is_some() {
            return;
        }
        // Whoever is answered below is answered under a lease that holds now.
        let serving = self.core.serving(scene.now) || scene.plan.bug == Some(Bug::ServeAfterLease);
        let vouched = !self.lease_rules_writes() || serving;
        match self.read(self.applied.next(), self.committed) {
            Ok(batches) => {
                for batch in batches {
                    if let Err(reason) = self.apply_batch(&batch, vouched, scene) {
                        return self.fail(reason, scene);
                    }
                }
            }
            Err(reason) => return self.fail(reason, scene),
        }
        self.snapshot_when_due(scene);
    }

    /// A leader's state counts as current once it holds everything that was committed when its reign began.
    pub(super) fn note_caught_up(&mut self) {
        if !self.caught_up && self.view.serving && self.applied == self.committed {
            self.caught_up = true;
        }
    }

    fn apply_batch(&mut self, batch: &Batch, vouched: bool, scene: &mut Scene<'_>) -> Result<(), String> {
        let header = batch.header();
        if header.kind == BatchKind::Data {
            let mut waiters = self.requests.take(header.id).unwrap_or_default().into_iter().peekable();
            for (slot, record) in (0..).zip(batch.records()) {
                let id = RecordId { index: header.id.index, slot };
                let bad = |error: &dyn std::fmt::Display| format!("record {id:?} cannot be applied: {error}");
                if let Some(waiter) = waiters.next_if(|waiter| waiter.slot == slot) {
                    let outcome = self.state.apply(id, header.timestamp, &waiter.command);
                    self.note_timers(&waiter.command);
                    self.answer(waiter, outcome, vouched, scene);
                } else if self.caught_up {
                    let command = Command::decode(&record).map_err(|error| bad(&error))?;
                    self.state.apply(id, header.timestamp, &command);
                    self.note_timers(&command);
                    if let Command::Receive(receive) = &command {
                        self.requests.taken(receive);
                    }
                } else {
                    self.state.apply_encoded(id, header.timestamp, &record).map_err(|error| bad(&error))?;
                }
            }
        }
        self.applied = header.id.index;
        self.applied_end = header.end_position();
        Ok(())
    }

    fn answer(&mut self, waiter: Waiter, outcome: Outcome, vouched: bool, scene: &mut Scene<'_>) {
        if let Command::Receive(receive) = &waiter.command {
            self.requests.taken(receive);
        }
        if !vouched {
            let reply = Reply::Unknown("the lease ran out");
            scene.effects.push(Effect::Reply { request: waiter.request, reply });
            return;
        }
        scene.oracle.figures.count(&outcome);
        let reply = match outcome {
            Outcome::Received { deliveries, .. }
                if deliveries.is_empty() && waiter.poll_until > Some(scene.now) =>
            {
                self.requests.add_poll(waiter);
                return;
            }
            Outcome::Received { deliveries, .. } => self.load(&deliveries, scene),
            outcome => Reply::Done(outcome),
        };
        scene.oracle.answered(scene.node, self.view.epoch);
        scene.effects.push(Effect::Reply { request: waiter.request, reply });
    }

    /// The messages of deliveries. One that cannot be read comes again, from another leader if there is one.
    fn load(&mut self, deliveries: &[Delivery], scene: &mut Scene<'_>) -> Reply {
        let mut messages = Vec::new();
        for delivery in deliveries {
            scene.oracle.delivered(scene.node, delivery.record.index);
            if let Some(message) = self.message(delivery.record) {
                messages.push(Handed { delivery: *delivery, message });
            }
        }
        let unreadable = deliveries.len() - messages.len();
        if unreadable > 0 && self.core.next_entry().is_some() {
            self.step(Event::StepDown { to: None }, scene);
        }
        Reply::Messages { messages, unreadable }
    }

    pub(super) fn message(&self, record: RecordId) -> Option<Publish> {
        let batch = self.read(record.index, record.index).ok()?.into_iter().next()?;
        match Command::decode(&batch.record(record.slot)?) {
            Ok(Command::Publish(publish)) => Some(publish),
            _ => None,
        }
    }
}
