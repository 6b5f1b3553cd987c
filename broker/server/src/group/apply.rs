//! Applies committed batches to the state machine, in order and a bounded part per turn, and answers those who wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_messaging::{ChangeInvisible, Command, Delivery, Outcome, Receive, Refusal};
use mainstay_record::{Batch, BatchKind, LogIndex, RecordId, Timestamp};

use super::driver::Driver;
use super::error::{ProposeError, ReceiveError};
use super::input::{Poll, Undelivered};
use super::polls::Waiting;
use super::proposals::{Placed, Waiter};

/// When messages are delivered again that were delivered to somebody who had gone.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(1);
/// Bytes of batches applied in one turn, about.
const TURN_BYTES: usize = 1 << 20;

impl Driver {
    pub(super) fn apply(&mut self, now: Instant) {
        if self.applied >= self.committed || self.failed.is_some() {
            return;
        }
        // Looked at once per turn and after time may have passed in a stopped process: whoever is answered below is
        // answered under a lease that holds now.
        let view = self.core.view(self.clock.moment(now));
        let vouched = !self.lease_rules_writes() || self.vouched_for(&view);
        match self.read(self.applied.next(), self.committed, TURN_BYTES) {
            Ok(batches) => {
                for batch in batches {
                    if let Err(reason) = self.apply_batch(&batch, now, vouched) {
                        return self.fail(&reason);
                    }
                }
            }
            Err(reason) => return self.fail(&reason),
        }
        self.metrics.applied(self.applied, self.committed);
        self.publisher.applied.send_replace(self.applied);
        self.snapshot_when_due(now);
        self.publish_metadata();
    }

    pub(super) fn publish_metadata(&self) {
        if self.state.metadata_version() != self.publisher.metadata.load().version {
            self.publisher.metadata.store(Arc::new(self.state.metadata()));
        }
    }

    /// A leader's state counts as current once it holds everything that was committed when its reign began.
    pub(super) fn note_caught_up(&mut self) {
        if !self.caught_up && self.view.serving && self.applied == self.committed {
            self.caught_up = true;
            self.polls.wake(mainstay_messaging::Wake::All);
            self.publish();
        }
    }

    fn apply_batch(&mut self, batch: &Batch, now: Instant, vouched: bool) -> Result<(), String> {
        let header = batch.header();
        if header.kind == BatchKind::Data {
            match self.proposals.take(header.id) {
                Some(waiters) => self.apply_awaited(batch, waiters, now, vouched)?,
                None if self.caught_up && !self.polls.is_idle() => {
                    self.apply_awaited(batch, Vec::new(), now, vouched)?;
                }
                None => self.apply_unawaited(batch)?,
            }
        }
        self.applied = header.id.index;
        self.applied_end = header.end_position();
        self.replayed += 1;
        Ok(())
    }

    fn apply_unawaited(&mut self, batch: &Batch) -> Result<(), String> {
        let header = batch.header();
        for (slot, record) in (0..).zip(batch.records()) {
            let id = RecordId { index: header.id.index, slot };
            self.state
                .apply_encoded(id, header.timestamp, &record)
                .map_err(|error| inapplicable(id, &error))?;
        }
        Ok(())
    }

    /// On a leader: long polls are woken, and the waiters of each record get its outcome.
    fn apply_awaited(
        &mut self,
        batch: &Batch,
        waiters: Vec<Placed>,
        now: Instant,
        vouched: bool,
    ) -> Result<(), String> {
        let header = batch.header();
        let index = header.id.index;
        let mut waiters = waiters.into_iter().peekable();
        let mut records = (0..).zip(batch.records());
        while let Some((slot, record)) = records.next() {
            if let Some(placed) = waiters.next_if(|placed| placed.slot == slot) {
                let commands = placed.waiter.commands();
                let more = commands.len().saturating_sub(1);
                let outcomes = self.apply_commands(index, slot, header.timestamp, commands);
                // Whoever is told that a topic exists must find it.
                self.publish_metadata();
                self.answer(placed.waiter, outcomes, now, vouched);
                if more > 0 {
                    records.nth(more - 1);
                }
            } else {
                let id = RecordId { index, slot };
                let command = Command::decode(&record).map_err(|error| inapplicable(id, &error))?;
                self.apply_commands(index, slot, header.timestamp, std::slice::from_ref(&command));
                if let Command::Receive(receive) = &command {
                    self.polls.taken(receive);
                }
            }
        }
        Ok(())
    }

    fn apply_commands(
        &mut self,
        index: LogIndex,
        first: u32,
        timestamp: Timestamp,
        commands: &[Command],
    ) -> Vec<Outcome> {
        let apply = |(slot, command)| {
            let outcome = self.state.apply(RecordId { index, slot }, timestamp, command);
            if matches!(command, Command::Elapse(_)) {
                self.elapsing = None;
            }
            for wake in outcome.wakes(command) {
                self.polls.wake(wake);
            }
            outcome
        };
        (first..).zip(commands).map(apply).collect()
    }

    fn answer(&mut self, waiter: Waiter, mut outcomes: Vec<Outcome>, now: Instant, vouched: bool) {
        self.metrics.answered(now.saturating_duration_since(waiter.since()));
        match waiter {
            Waiter::Proposal(proposal) => {
                let answer = if vouched { Ok(outcomes) } else { Err(ProposeError::LeadershipLost) };
                let _ = proposal.reply.send(answer);
            }
            Waiter::Poll { waiting, .. } => {
                self.polls.taken(&waiting.poll.receive);
                match outcomes.pop() {
                    _ if !vouched => {
                        let _ = waiting.poll.reply.send(Err(ProposeError::LeadershipLost.into()));
                    }
                    Some(Outcome::Received { deliveries, .. }) => self.answer_poll(*waiting, deliveries, now),
                    Some(Outcome::Refused(refusal)) => {
                        let _ = waiting.poll.reply.send(Err(ReceiveError::Refused(refusal)));
                    }
                    _ => self.polls.park(*waiting),
                }
            }
            Waiter::Nobody { .. } => {}
        }
    }

    fn answer_poll(&mut self, mut waiting: Waiting, deliveries: Vec<Delivery>, now: Instant) {
        if deliveries.is_empty() && waiting.poll.deadline > now {
            if let Some(condition) = &mut waiting.poll.condition {
                condition.look_further();
            }
            self.polls.park(waiting);
        } else {
            let Poll { receive, reply, .. } = waiting.poll;
            if let Err(Ok(deliveries)) = reply.send(Ok(deliveries)) {
                let Receive { group, topic, .. } = receive;
                let handles = deliveries.iter().map(|delivery| delivery.handle).collect();
                self.give_back(Undelivered { group, topic, handles }, now);
            }
        }
    }

    /// Has deliveries that nobody got made again soon. Where that cannot be, they are after their invisible time.
    pub(super) fn give_back(&mut self, undelivered: Undelivered, now: Instant) {
        let Undelivered { group, topic, handles } = undelivered;
        if handles.is_empty() || self.core.next_entry().is_none() || self.failed.is_some() {
            return;
        }
        let change = |handle| {
            let (group, topic) = (group.clone(), topic.clone());
            let invisible_ms = GIVEN_BACK_AFTER.as_millis() as u64;
            Command::ChangeInvisible(ChangeInvisible {
                group,
                topic,
                handle,
                invisible_ms,
                at_least_retry_delay: false,
                by: String::new(),
            })
        };
        self.proposals.add_own(handles.into_iter().map(change).collect(), now);
    }

    pub(super) fn unknown_name(&self, receive: &Receive) -> Option<Refusal> {
        if self.state.topic(receive.topic.as_str()).is_none() {
            return Some(Refusal::UnknownTopic(receive.topic.to_string()));
        }
        if self.state.group(receive.group.as_str()).is_none() {
            return Some(Refusal::UnknownGroup(receive.group.to_string()));
        }
        None
    }
}

fn inapplicable(record: RecordId, error: &impl std::fmt::Display) -> String {
    format!("record {}/{} cannot be applied: {error}", record.index, record.slot)
}
