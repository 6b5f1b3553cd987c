//! Requests on their way into the log and back: what may be asked now, which polls can be answered, what is sealed into a
//! batch, and who is answered for being late.

use mainstay_consensus::{Event, Role};
use mainstay_messaging::Command;
use mainstay_record::{BatchKind, Timestamp};

use super::requests::Waiter;
use super::{Broker, Effect, GROUP, Scene, Stopping};
use crate::plan::Bug;
use crate::wire::{Reply, Request, RequestId};

/// Batches of the own log that may be on their way to the disk.
const MAX_UNPERSISTED_BATCHES: u64 = 4;

impl Broker {
    pub(super) fn request(&mut self, request: Request, scene: &mut Scene<'_>) {
        let Request { id, command, wait, .. } = request;
        let poll = matches!(command, Command::Receive(_));
        if let Some(refusal) = self.refusal(poll, scene) {
            scene.effects.push(Effect::Reply { request: id, reply: refusal });
            return;
        }
        let until = scene.now.plus(std::time::Duration::from_micros(wait));
        let poll_until = poll.then_some(until);
        let waiter = Waiter { request: id, command, since: scene.now, poll_until, slot: 0 };
        if poll { self.requests.add_poll(waiter) } else { self.requests.add(waiter) }
    }

    /// Why nothing may be asked of this broker now; what is refused here leaves no trace.
    pub(super) fn refusal(&self, poll: bool, scene: &Scene<'_>) -> Option<Reply> {
        let serving = self.view.serving || scene.plan.bug == Some(Bug::ServeAfterLease);
        if self.failed.is_some() {
            Some(Reply::Unknown("the log has failed"))
        } else if matches!(self.stopping, Stopping::Draining { .. }) {
            Some(Reply::NotHere { leader: None })
        } else if self.view.role != Role::Leader || ((poll || self.lease_rules_writes()) && !serving) {
            Some(Reply::NotHere { leader: self.view.leader.filter(|leader| *leader != self.id) })
        } else {
            None
        }
    }

    /// Where one copy commits, only the lease keeps an old leader from accepting.
    pub(super) fn lease_rules_writes(&self) -> bool {
        let membership = &self.view.membership;
        membership.write_quorum() == 1 && membership.members().len() > 1
    }

    /// Takes the polls that the state says can be answered.
    pub(super) fn start_polls(&mut self, scene: &Scene<'_>) {
        let serving = self.view.serving || scene.plan.bug == Some(Bug::ServeAfterLease);
        if !self.caught_up || self.applied < self.committed || !serving {
            return;
        }
        let stamp = self.stamp(scene);
        let state = &self.state;
        self.requests.start_polls(scene.now, |receive| {
            let (group, topic) = (receive.group.as_str(), receive.topic.as_str());
            // What is refused is settled by a receive that takes nothing.
            state.ready(group, topic, &receive.queues, &receive.filter, stamp)
                || state.refused(group, topic, &receive.queues, &receive.filter) > 0
        });
    }

    /// Seals what waits into batches, while a write quorum is in touch.
    pub(super) fn propose(&mut self, scene: &mut Scene<'_>) {
        while self.requests.has_waiting()
            && self.core.view(scene.now).quorum_reachable
            && self.unpersisted() < MAX_UNPERSISTED_BATCHES
        {
            let Some(id) = self.core.next_entry() else { return };
            let Some((builder, waiters)) = self.requests.next_batch() else { return };
            let batch = builder.seal(BatchKind::Data, GROUP, id, self.tail.end, self.stamp(scene));
            self.requests.proposed(id, waiters);
            self.step(Event::Propose { batch }, scene);
        }
    }

    fn unpersisted(&self) -> u64 {
        self.core.next_entry().map_or(0, |next| next.index.0.saturating_sub(self.persisted.0 + 1))
    }

    /// Timestamp of a batch made now: never before the one before it.
    pub(super) fn stamp(&self, scene: &Scene<'_>) -> Timestamp {
        self.log_clock.now(scene.wall, scene.now.0)
    }

    pub(super) fn expire(&mut self, scene: &mut Scene<'_>) {
        let mut replies = Vec::new();
        self.requests.expire(scene.now, self.persisted, &mut replies);
        self.reply_all(replies, scene);
    }

    pub(super) fn reply_all(&self, replies: Vec<(RequestId, Reply)>, scene: &mut Scene<'_>) {
        let effects = replies.into_iter().map(|(request, reply)| Effect::Reply { request, reply });
        scene.effects.extend(effects);
    }
}
