//! A reign: how it begins, takes proposals, commits and ends.
//!
//! What always holds: only a batch of the reign's own epoch commits by counting, and a member counts only with what it
//! has persisted, this one included.

use bytes::Bytes;
use mainstay_planted::{Fault, planted};
use mainstay_record::{Batch, BatchKind, Epoch, LogIndex, NodeId};

use crate::core::{Core, State};
use crate::handover::{HandOver, Stage};
use crate::lease::Promise;
use crate::membership_log::MembershipLog;
use crate::portrait::Portrait;
use crate::replication::Progress;
use crate::voters::Voters;
use crate::{Action, Membership, Message, Mode, Moment, StepError, TimeoutNow};

#[derive(Debug, Clone)]
pub(crate) struct Reign {
    pub(crate) epoch: Epoch,
    /// Index of the reign's first batch.
    pub(crate) first: LogIndex,
    pub(crate) since: Moment,
    /// The other members, learners, and for a while those that were removed.
    pub(crate) peers: Vec<Progress>,
    /// The voters that are wanted, while those among them that are new catch up.
    pub(crate) change: Option<Voters>,
    /// The membership that is to be proposed next.
    pub(crate) sealing: Option<Membership>,
    /// Until when the operator starts nobody else.
    pub(crate) operator_lease: Moment,
    pub(crate) heartbeat_at: Moment,
    pub(crate) handover: Option<HandOver>,
}

impl Reign {
    pub(crate) fn peer(&self, node: NodeId) -> Option<&Progress> {
        self.peers.iter().find(|peer| peer.id == node)
    }

    /// Whether the lease was given up for good.
    pub(crate) fn released(&self) -> bool {
        self.handover.is_some_and(|handover| handover.stage == Stage::Released)
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { epoch, first, since, peers, change, sealing, operator_lease, heartbeat_at, handover } =
            self;
        portrait.epoch(*epoch).word(first.0).heard(Some(*since)).until(*operator_lease).until(*heartbeat_at);
        match handover {
            None => portrait.word(0),
            Some(HandOver { to, stage, until }) => {
                portrait.word(1 + u64::from(*stage == Stage::Released)).word(to.get()).until(*until)
            }
        };
        portrait.nodes(change.as_ref().map_or(&[], Voters::members));
        portrait.word(change.as_ref().map_or(0, |wanted| wanted.write_quorum() as u64));
        portrait.word(sealing.as_ref().map_or(0, Membership::version));
        portrait.word(peers.len() as u64);
        for peer in peers {
            peer.paint(portrait);
        }
    }

    pub(crate) fn wakeup(&self) -> Moment {
        self.handover.map_or(self.heartbeat_at, |handover| handover.until.min(self.heartbeat_at))
    }
}

impl Core {
    /// The epoch was granted by enough members.
    pub(crate) fn become_leader(&mut self, epoch: Epoch, now: Moment, out: &mut Vec<Action>) {
        let last = self.log.last().index;
        self.problem = None;
        self.following = None;
        // Run out or released, or this reign would not begin. Should it end at once, nothing is owed to the one before.
        self.promise = Promise::after_restart(epoch, now);
        self.state = State::Leader(Reign {
            epoch,
            first: last.next(),
            since: now,
            peers: self.peers().map(|peer| Progress::new(peer, last)).collect(),
            change: None,
            sealing: None,
            operator_lease: Moment::default(),
            heartbeat_at: now,
            handover: None,
        });
        self.leader_tick(now, out);
        out.push(Action::Seal { kind: BatchKind::Epoch, payload: Bytes::new() });
    }

    pub(crate) fn propose(
        &mut self,
        batch: Batch,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        if let Some(to) = self.handing_over_to() {
            return Err(StepError::HandingOver { to });
        }
        let Some(expected) = self.next_entry() else {
            return Err(StepError::NotLeader { leader: self.leader() });
        };
        let found = batch.id();
        if found != expected {
            return Err(StepError::Misplaced { expected, found });
        }
        let membership = MembershipLog::read(&batch).map_err(|_| StepError::MembershipFixed)?;
        if let Some(membership) = membership {
            self.membership_proposed(found.index, membership, now)?;
        }
        let opens_reign = batch.header().kind == BatchKind::Epoch;
        self.log.append(found);
        out.push(Action::Append(vec![batch]));
        self.stream(now, out);
        if opens_reign && self.memberships.in_log_at().is_none() {
            let payload = self.membership().encode();
            out.push(Action::Seal { kind: BatchKind::Membership, payload });
        }
        Ok(())
    }

    /// Only what this leader asked to be sealed, or what is in force anyway. In force at once.
    fn membership_proposed(
        &mut self,
        at: LogIndex,
        membership: Membership,
        now: Moment,
    ) -> Result<(), StepError> {
        let State::Leader(reign) = &mut self.state else { return Err(StepError::MembershipFixed) };
        if reign.sealing.as_ref() == Some(&membership) {
            reign.sealing = None;
        } else if membership != *self.memberships.current() {
            return Err(StepError::MembershipFixed);
        }
        let former = self.membership().members().to_vec();
        self.memberships.appended(at, membership);
        self.refresh_peers(&former, now);
        Ok(())
    }

    pub(crate) fn advance_commit(&mut self, out: &mut Vec<Action>) {
        let State::Leader(reign) = &self.state else { return };
        let own = if planted(Fault::CountUnpersisted) { self.log.last().index } else { self.log.persisted() };
        let own_id = self.node();
        let matched = |node| match reign.peer(node) {
            _ if node == own_id => own,
            Some(peer) => peer.matched,
            None => LogIndex::ZERO,
        };
        let small = usize::from(planted(Fault::SmallWriteQuorum));
        let membership = self.membership();
        let reached = |voters: &Voters| voters.reached(membership.writers(voters) - small, matched);
        let Some(index) = membership.in_force().map(reached).min().flatten() else { return };
        if membership.is_forced() && self.memberships.in_log_at().is_none_or(|at| index < at) {
            // Who has acknowledged what comes before may not have known of it then.
            return;
        }
        let own_epoch = self.log.entry(index).is_some_and(|entry| entry.epoch == reign.epoch);
        let own_epoch = own_epoch || planted(Fault::CommitOldEpoch);
        if index > self.commit && own_epoch {
            let first = reign.first;
            self.commit = index;
            out.push(Action::Commit { through: index });
            self.leader_catches_up(first, out);
        }
    }

    pub(crate) fn leader_tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        if !self.handover_tick(now, out) {
            return;
        }
        let State::Leader(reign) = &self.state else { return };
        if self.membership().mode() == Mode::Raft && self.cut_off(reign, now) {
            self.become_follower(now);
            return;
        }
        let heartbeat = self.config.timing.heartbeat;
        if let State::Leader(reign) = &mut self.state
            && now >= reign.heartbeat_at
        {
            reign.heartbeat_at = now.plus(heartbeat);
            if let Some(HandOver { to, stage: Stage::Released, .. }) = reign.handover {
                let again = TimeoutNow { epoch: reign.epoch };
                out.push(Action::Send { to, message: Message::TimeoutNow(again) });
            }
            self.dismiss_leavers(now);
            self.heartbeat(now, out);
            self.advance_change(now, out);
        }
    }

    /// Another node has granted a newer epoch: this reign cannot go on everywhere.
    pub(crate) fn deposed_by(&mut self, epoch: Epoch, now: Moment) {
        self.note(epoch);
        if matches!(&self.state, State::Leader(reign) if reign.epoch < epoch) {
            self.become_follower(now);
        }
    }
}
