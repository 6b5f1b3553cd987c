//! Changing the members of a group, or how many of them commit, on its leader.
//!
//! A wish first waits until everybody it adds has caught up, as a learner who counts for nothing. Then a joint membership
//! goes through the log, under which every quorum takes one of the old voters and one of the new; once that is
//! committed, the wanted one alone. Each takes effect when it is appended. So no two leaders can ever rely on quorums
//! that do not meet, whoever knows of which step. A new leader that finds the joint one in its log finishes the change;
//! a wish that is not in the log yet is forgotten with its leader.

use bytes::Bytes;
use mainstay_planted::{Fault, planted};
use mainstay_record::{BatchKind, LogIndex, NodeId};

use crate::core::{Core, State};
use crate::leader::Reign;
use crate::replication::Progress;
use crate::voters::Voters;
use crate::{Action, Membership, Mode, Moment, StepError};

/// How many longest election timeouts a removed member is still told that it is removed.
const FAREWELL: u32 = 10;

impl Core {
    pub(crate) fn change_membership(
        &mut self,
        mode: Mode,
        members: Vec<NodeId>,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        let reign = self.reign_that_may_change()?;
        let wanted = Voters::new(mode, members).map_err(StepError::BadChange)?;
        let current = self.membership();
        if !current.wanted().same_kind(&wanted) {
            return Err(StepError::ModeFixed);
        }
        let begun = reign.sealing.as_ref().filter(|sealing| sealing.is_joint()).unwrap_or(current);
        if *begun.wanted() == wanted {
            return if begun.is_joint() { Ok(()) } else { self.abandon_change(now) };
        }
        if self.commit < reign.first {
            return Err(StepError::NotReady);
        }
        self.settled_or()?;
        let lately = |heard: Moment| now < heard.plus(self.config.timing.lease);
        let counts = |node: NodeId| match reign.peer(node).filter(|_| current.contains(node)) {
            Some(peer) => peer.heard_at.is_some_and(lately),
            // A learner is waited for.
            None => true,
        };
        if wanted.count(counts) < wanted.write_quorum() {
            return Err(StepError::WouldLeaveNoQuorum);
        }
        if let State::Leader(reign) = &mut self.state {
            reign.change = Some(wanted);
        }
        self.refresh_peers(&[], now);
        self.heartbeat(now, out);
        self.advance_change(now, out);
        Ok(())
    }

    fn reign_that_may_change(&self) -> Result<&Reign, StepError> {
        let State::Leader(reign) = &self.state else {
            return Err(StepError::NotLeader { leader: self.leader() });
        };
        match &reign.handover {
            Some(handover) => Err(StepError::HandingOver { to: handover.to }),
            None => Ok(reign),
        }
    }

    /// The membership in force is not joint, and committed.
    fn settled_or(&self) -> Result<(), StepError> {
        let version = self.membership().version();
        let sealing = matches!(&self.state, State::Leader(reign) if reign.sealing.is_some());
        let unsettled = self.membership().is_joint() || self.membership().is_forced();
        if sealing || unsettled || !self.membership_committed() {
            return Err(StepError::ChangeInProgress { version });
        }
        Ok(())
    }

    fn membership_committed(&self) -> bool {
        self.memberships.in_log_at().is_some_and(|at| at <= self.commit)
    }

    pub(crate) fn abandon_change(&mut self, now: Moment) -> Result<(), StepError> {
        self.reign_that_may_change()?;
        if self.membership().is_joint() {
            return Err(StepError::ChangeInProgress { version: self.membership().version() });
        }
        if let State::Leader(reign) = &mut self.state {
            if reign.sealing.as_ref().is_some_and(Membership::is_joint) {
                let version = self.memberships.current().version();
                return Err(StepError::ChangeInProgress { version });
            }
            reign.change = None;
        }
        self.refresh_peers(&[], now);
        Ok(())
    }

    /// Takes the next step of a change as soon as it may be taken.
    pub(crate) fn advance_change(&mut self, now: Moment, out: &mut Vec<Action>) {
        let State::Leader(reign) = &self.state else { return };
        if reign.handover.is_some() || reign.sealing.is_some() || self.commit < reign.first {
            return;
        }
        let current = self.membership();
        let next = if current.is_joint() || current.is_forced() {
            self.membership_committed().then(|| current.settled())
        } else {
            let ready = |wanted: &&Voters| self.settled_or().is_ok() && self.learned(reign, wanted, now);
            reign.change.as_ref().filter(ready).map(|wanted| current.joint(wanted.clone()))
        };
        if let Some(next) = next {
            self.seal_membership(next, out);
        } else if !current.contains(self.node()) && self.membership_committed() {
            // Nothing is left to do for who has removed itself. Tried again should nobody be able to take over.
            let _ = self.step_down(None, now, out);
        }
    }

    pub(crate) fn seal_membership(&mut self, membership: Membership, out: &mut Vec<Action>) {
        let payload: Bytes = membership.encode();
        if let State::Leader(reign) = &mut self.state {
            reign.change = None;
            reign.sealing = Some(membership);
            out.push(Action::Seal { kind: BatchKind::Membership, payload });
        }
    }

    /// Whether everybody who is new has caught up, and the wanted could commit now.
    fn learned(&self, reign: &Reign, wanted: &Voters, now: Moment) -> bool {
        let lately =
            |peer: &Progress| peer.heard_at.is_some_and(|heard| now < heard.plus(self.config.timing.lease));
        let own = self.node();
        let window = self.config.max_inflight_batches.max(1);
        let behind = self.log.last().index.0.saturating_sub(window);
        let learned = |peer: &Progress| lately(peer) && peer.standing.caught_up && peer.matched.0 >= behind;
        let new = |node: &&NodeId| !self.membership().contains(**node);
        let all = wanted.members().iter().filter(new).all(|node| reign.peer(*node).is_some_and(learned));
        let heard = wanted.count(|node| node == own || reign.peer(node).is_some_and(lately));
        (all || planted(Fault::LearnerCountsEarly)) && heard >= wanted.write_quorum()
    }

    /// On a leader whose membership or wish has changed: whom it talks to. `former` members are told for a while.
    pub(crate) fn refresh_peers(&mut self, former: &[NodeId], now: Moment) {
        let (own, last) = (self.node(), self.log.last().index);
        let farewell = now.plus(self.config.timing.election.end.saturating_mul(FAREWELL));
        let members = self.memberships.current().members();
        let State::Leader(reign) = &mut self.state else { return };
        let learners = reign.change.as_ref().map_or(&[][..], Voters::members);
        let part = |node: NodeId| members.contains(&node) || learners.contains(&node);
        reign
            .peers
            .retain(|peer| part(peer.id) || former.contains(&peer.id) || peer.leaves_at != Moment::NEVER);
        for peer in &mut reign.peers {
            let until = if part(peer.id) { Moment::NEVER } else { farewell };
            peer.leaves_at = if part(peer.id) { until } else { peer.leaves_at.min(until) };
        }
        for node in members.iter().chain(learners).filter(|node| **node != own) {
            if !reign.peers.iter().any(|peer| peer.id == *node) {
                reign.peers.push(Progress::new(*node, last));
            }
        }
    }

    /// Members that were removed and know it, or had the time to, are talked to no more.
    pub(crate) fn dismiss_leavers(&mut self, now: Moment) {
        let removed_at = self.memberships.in_log_at().unwrap_or(LogIndex(u64::MAX));
        if let State::Leader(reign) = &mut self.state {
            let goes = |peer: &Progress| {
                peer.leaves_at <= now || (peer.leaves_at != Moment::NEVER && peer.matched >= removed_at)
            };
            reign.peers.retain(|peer| !goes(peer));
        }
    }
}
