//! What comes in: every input finds its way from here, and what may not be taken now is refused before it leaves a trace.

use std::sync::Arc;
use std::time::Instant;

use mainstay_consensus::{Event, View};
use mainstay_planted::{Fault, planted};
use mainstay_storage::{Flush, LogEvent};
use tracing::warn;

use super::driver::Driver;
use super::error::ProposeError;
use super::input::{Input, Poll, Proposal};

impl Driver {
    pub(super) fn take(&mut self, input: Input, now: Instant) {
        match input {
            Input::Propose(proposal) => self.take_proposal(proposal),
            Input::Receive(poll) => self.take_poll(poll),
            Input::Judged(judged) => self.take_judged(judged, now),
            Input::GiveBack(undelivered) => self.give_back(undelivered, now),
            Input::Query(ask) => ask(&self.state, self.stamp()),
            Input::Peer { from, shown, message } => {
                self.hear_clock(from, shown, now);
                self.step(Event::Message { from, message }, now);
            }
            Input::PeerGone(peer) => self.step(Event::Disconnected { peer }, now),
            Input::PeerMet => self.look(),
            Input::Log(event) => self.take_log_event(event, now),
            Input::Order { event: event @ Event::StepDown { .. }, reply } => {
                self.step_down(event, reply, now)
            }
            Input::Unreadable => self.give_way(now),
            Input::Order { event, reply } => {
                let answer = self.order(event, now);
                let _ = reply.send(answer);
            }
            Input::Status(reply) => drop(reply.send(self.status(now))),
            Input::Snapshot(written) => self.snapshot_written(written, now),
            Input::Refill(step) => self.take_refill(step, now),
            Input::Given(given) => self.refill_given(given, now),
            Input::Drain(drained) => {
                self.draining = true;
                self.drained = Some(drained);
                self.answer_polls(&ProposeError::ShuttingDown);
            }
            Input::Stop(_) => {}
        }
    }

    fn take_proposal(&mut self, proposal: Proposal) {
        match self.refusal().or_else(|| self.refusal_for_space(&proposal)) {
            Some(error) => drop(proposal.reply.send(Err(error))),
            None => self.proposals.add(proposal),
        }
    }

    fn take_poll(&mut self, poll: Poll) {
        let unknown = || self.caught_up.then(|| self.unknown_name(&poll.receive)).flatten();
        if let Some(error) = self.refusal() {
            let _ = poll.reply.send(Err(error.into()));
        } else if !self.vouched_for(&self.view) {
            let _ = poll.reply.send(Err(ProposeError::NotServing.into()));
        } else if let Some(refusal) = unknown() {
            let _ = poll.reply.send(Err(refusal.into()));
        } else {
            self.polls.add(poll);
        }
    }

    /// Why nothing may be proposed now; what is refused here leaves no trace.
    pub(super) fn refusal(&self) -> Option<ProposeError> {
        if self.draining {
            Some(ProposeError::ShuttingDown)
        } else if let Some(reason) = &self.failed {
            Some(ProposeError::Failed(Arc::clone(reason)))
        } else if self.view.role != mainstay_consensus::Role::Leader {
            Some(ProposeError::NotLeader { leader: self.view.leader })
        } else if self.lease_rules_writes() && !self.vouched_for(&self.view) {
            Some(ProposeError::NotServing)
        } else {
            None
        }
    }

    /// Where one copy commits, only the lease keeps an old leader from accepting.
    pub(super) fn lease_rules_writes(&self) -> bool {
        let membership = &self.view.membership;
        membership.write_quorum() == 1 && membership.members().len() > 1
    }

    /// Whether a view says that nobody else can serve.
    pub(super) fn vouched_for(&self, view: &View) -> bool {
        view.serving || planted(Fault::IgnoreLease) && view.role == mainstay_consensus::Role::Leader
    }

    fn take_log_event(&mut self, event: LogEvent, now: Instant) {
        if self.refill_progress(&event, now) {
            return;
        }
        match (event, self.flush) {
            (LogEvent::Durable { last }, Flush::Sync) | (LogEvent::Written { last }, Flush::Async { .. }) => {
                self.persisted = last.index;
                self.step(Event::Persisted { last }, now);
                if planted(Fault::AnswerEarly) && self.view.role == mainstay_consensus::Role::Leader {
                    self.committed = self.committed.max(last.index);
                }
            }
            (LogEvent::Durable { .. } | LogEvent::Written { .. }, _) => {}
            (LogEvent::Restarted, _) => {}
            (LogEvent::Space(space), _) => self.take_space(space),
            (LogEvent::Failed(error), _) => self.fail(&format!("the log failed: {error}")),
        }
    }

    /// What this node's disk has lost, another's still has: leads on only where nobody else can.
    fn give_way(&mut self, now: Instant) {
        if self.core.next_entry().is_some() {
            warn!(group = %self.identity.group, "hands leadership over, since its log cannot be read");
            self.step(Event::StepDown { to: None }, now);
        }
    }
}
