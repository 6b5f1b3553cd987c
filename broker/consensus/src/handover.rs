//! Planned change of leader: the leader takes no more proposals, waits until the successor has everything, gives up
//! its lease and tells the successor to campaign at once. All of it in bounded time.
//!
//! What always holds: once a leader has told a successor to campaign it never serves in that epoch again, since the
//! successor's campaign need not wait for the lease of that epoch. If the successor does not take over, the leader
//! campaigns for a new epoch itself.

use mainstay_record::{LogIndex, NodeId};

use crate::core::{Core, State};
use crate::replication::Progress;
use crate::{Action, Message, Moment, StepError, TimeoutNow};

#[derive(Debug, Clone, Copy)]
pub(crate) struct HandOver {
    pub(crate) to: NodeId,
    pub(crate) stage: Stage,
    pub(crate) until: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The successor still lacks something. Undone when it takes too long.
    CatchingUp,
    /// The lease is given up.
    Released,
}

impl Core {
    pub(crate) fn handing_over_to(&self) -> Option<NodeId> {
        match &self.state {
            State::Leader(reign) => reign.handover.map(|handover| handover.to),
            State::Follower | State::Candidate(_) => None,
        }
    }

    pub(crate) fn step_down(
        &mut self,
        to: Option<NodeId>,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        let State::Leader(reign) = &self.state else {
            return Err(StepError::NotLeader { leader: self.leader() });
        };
        if let Some(handover) = reign.handover {
            let same = to.is_none_or(|to| to == handover.to);
            return if same { Ok(()) } else { Err(StepError::HandingOver { to: handover.to }) };
        }
        let to = self.successor(to, now)?;
        let until = now.plus(self.config.timing.election.end);
        if let State::Leader(reign) = &mut self.state {
            reign.handover = Some(HandOver { to, stage: Stage::CatchingUp, until });
        }
        self.advance_handover(now, out);
        Ok(())
    }

    /// The member asked for, or the most advanced one, if it was heard lately and could be elected.
    fn successor(&self, to: Option<NodeId>, now: Moment) -> Result<NodeId, StepError> {
        let State::Leader(reign) = &self.state else {
            return Err(StepError::NotLeader { leader: self.leader() });
        };
        let lately = |heard: Moment| now < heard.plus(self.config.timing.lease);
        let stays = |peer: &&Progress| self.membership().wanted().contains(peer.id);
        let mut heard = reign.peers.iter().filter(stays).filter(|peer| peer.heard_at.is_some_and(lately));
        let best = match to {
            Some(to) => heard.find(|peer| peer.id == to),
            None => heard.filter(|peer| peer.standing.caught_up).max_by_key(|peer| peer.matched),
        };
        let Some(best) = best else {
            return Err(to.map_or(StepError::NoSuccessorAtAll, StepError::NoSuccessor));
        };
        if !best.standing.caught_up {
            return Err(StepError::SuccessorCatchingUp(best.id));
        }
        let grants = |node| match reign.peer(node) {
            _ if node == self.node() => self.standing.caught_up,
            Some(peer) => peer.standing.caught_up && peer.heard_at.is_some_and(lately),
            None => false,
        };
        if !self.membership().in_force().all(|voters| voters.count(grants) >= voters.grant_quorum()) {
            return Err(StepError::TooFewForHandOver);
        }
        Ok(best.id)
    }

    /// Lets the successor campaign as soon as it has everything and everything is committed.
    pub(crate) fn advance_handover(&mut self, now: Moment, out: &mut Vec<Action>) {
        let last: LogIndex = self.log.last().index;
        let until = now.plus(self.config.timing.election.start);
        let State::Leader(reign) = &mut self.state else { return };
        let epoch = reign.epoch;
        let Some(handover) = &mut reign.handover else { return };
        let caught_up = reign.peers.iter().any(|peer| peer.id == handover.to && peer.matched == last);
        if handover.stage == Stage::CatchingUp && caught_up && self.commit == last {
            handover.stage = Stage::Released;
            handover.until = until;
            out.push(Action::Send { to: handover.to, message: Message::TimeoutNow(TimeoutNow { epoch }) });
        }
    }

    /// Ends a hand-over that took too long. Tells whether this node still leads.
    pub(crate) fn handover_tick(&mut self, now: Moment, out: &mut Vec<Action>) -> bool {
        let State::Leader(reign) = &mut self.state else { return false };
        let epoch = reign.epoch;
        match reign.handover {
            Some(handover) if now >= handover.until => match handover.stage {
                Stage::CatchingUp => {
                    reign.handover = None;
                    true
                }
                Stage::Released if !self.is_member() => {
                    self.become_follower(now);
                    false
                }
                Stage::Released => {
                    self.start_election(Some(epoch), now, out);
                    false
                }
            },
            _ => true,
        }
    }

    /// The leader handed over to this node.
    pub(crate) fn timeout_now(
        &mut self,
        from: NodeId,
        order: TimeoutNow,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let follows = self.following.as_ref().is_some_and(|following| following.epoch == order.epoch);
        let from_leader = order.epoch.leader() == Some(from) && order.epoch == self.hard.granted;
        let able = self.is_member() && self.standing.caught_up;
        if follows && from_leader && able && matches!(self.state, State::Follower) {
            self.start_handover(order.epoch, now, out);
        }
    }
}
