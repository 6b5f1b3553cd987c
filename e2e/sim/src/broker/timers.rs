//! What falls due by time, as the real broker does it: the leader proposes the record by which delayed messages come into
//! their queues, has producers asked about half messages, and notes that it did.
//!
//! One such record of each kind is on its way at a time.

use std::time::Duration;

use mainstay_consensus::Moment;
use mainstay_messaging::{Check, Command, Elapse, HalfMessage, NoteChecks, TopicName};
use mainstay_record::Timestamp;

use super::requests::{OWN, Waiter};
use super::{Broker, Effect, Scene, Stopping};
use crate::plan::Bug;

/// Messages that one record releases at most.
const MOST: u32 = 50;
/// Producers asked at a time at most.
const CHECKS: usize = 20;
/// A record that nothing was heard of for so long is proposed again.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Records on their way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    elapse: Option<Moment>,
    checks: Option<Moment>,
}

fn is_under_way(since: Option<Moment>, now: Moment) -> bool {
    since.is_some_and(|since| now < since.plus(LOST_AFTER))
}

impl Broker {
    pub(super) fn look_at_timers(&mut self, scene: &mut Scene<'_>) {
        if !self.may_elapse() {
            return;
        }
        let (now, stamp) = (scene.now, self.stamp(scene));
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= stamp);
        let forgets = scene.plan.bug == Some(Bug::NeverElapse);
        if !forgets && !is_under_way(self.under_way.elapse, now) && is_due(self.state.next_elapse()) {
            self.under_way.elapse = Some(now);
            self.propose_own(Command::Elapse(Elapse { max: MOST }), now);
        }
        if !is_under_way(self.under_way.checks, now) && is_due(self.state.next_check()) {
            let due = self.state.due_checks(stamp, CHECKS);
            if let Some(topic) = due.first().map(|half| half.topic.clone()) {
                self.under_way.checks = Some(now);
                self.check(topic, due, scene);
            }
        }
    }

    /// Those of one topic at a time; the others stay due.
    fn check(&mut self, topic: TopicName, due: Vec<HalfMessage>, scene: &mut Scene<'_>) {
        let mut checks = Vec::new();
        for half in due.into_iter().filter(|half| half.topic == topic) {
            let message = self.message(half.transaction.record());
            checks.push(Check { transaction: half.transaction, asked: message.is_some() });
            if let Some(message) = message {
                scene.oracle.figures.checks += 1;
                let message_id = message.message_id;
                scene.effects.push(Effect::Check { message_id, transaction: half.transaction });
            }
        }
        self.propose_own(Command::NoteChecks(NoteChecks { topic, checks }), scene.now);
    }

    fn propose_own(&mut self, command: Command, now: Moment) {
        self.requests.add(Waiter { request: OWN, command, since: now, poll_until: None, slot: 0 });
    }

    /// One of these was applied, whoever had proposed it.
    pub(super) fn note_timers(&mut self, command: &Command) {
        match command {
            Command::Elapse(_) => self.under_way.elapse = None,
            Command::NoteChecks(_) => self.under_way.checks = None,
            _ => {}
        }
    }

    /// When the next of them is due.
    pub(super) fn next_timer(&self, wall: Timestamp, now: Moment) -> Option<Moment> {
        if !self.may_elapse() {
            return None;
        }
        let at = |under_way: Option<Moment>, due: Option<Timestamp>| {
            let due = due?;
            if let Some(since) = under_way.filter(|_| is_under_way(under_way, now)) {
                return Some(since.plus(LOST_AFTER));
            }
            let wait = self.log_clock.until(due, wall, now.0);
            Some(now.plus(wait.max(Duration::from_millis(1))))
        };
        let elapse = at(self.under_way.elapse, self.state.next_elapse());
        let checks = at(self.under_way.checks, self.state.next_check());
        elapse.into_iter().chain(checks).min()
    }

    /// Only a leader that may serve, and knows everything that was committed before it.
    fn may_elapse(&self) -> bool {
        let stops = matches!(self.stopping, Stopping::Draining { .. });
        self.caught_up && self.view.serving && self.failed.is_none() && !stops
    }
}
