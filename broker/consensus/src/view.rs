//! What a node can tell about itself at a moment.

use std::time::Duration;

use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::core::{Core, State};
use crate::voters::Voters;
use crate::{Membership, Mode, Moment, Standing};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Follower,
    /// Campaigns, or prepares to.
    Candidate,
    Leader,
}

/// What a node is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Counts in the quorums, or is to be removed by a change under way.
    Voter,
    /// Is caught up, to become a member.
    Learner,
    /// Was removed, and is told so.
    Leaving,
}

/// A change that waits for its learners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeView {
    pub mode: Mode,
    /// The voters that are wanted, sorted.
    pub members: Vec<NodeId>,
    /// Those among them that are not members yet.
    pub waits_for: Vec<NodeId>,
}

/// A member, or who becomes or was one, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberView {
    pub id: NodeId,
    pub part: Part,
    /// Equal to the leader's log and persisted through here, as far as the leader knows.
    pub matched: LogIndex,
    /// When it was last heard in this reign; for the leader itself, now.
    pub heard_at: Option<Moment>,
    /// False while its grant does not count.
    pub caught_up: bool,
}

/// Why the last order or campaign came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("this node is not a member of its group")]
    NotMember,
    #[error("promotion to epoch {epoch} given up: {node} is reachable and further ahead ({last})")]
    Behind { epoch: Epoch, node: NodeId, last: EntryId },
    #[error("epoch {epoch} was overtaken: {highest} is granted already")]
    Overtaken { epoch: Epoch, highest: Epoch },
    #[error("epoch {epoch} was not granted by enough members before the order expired")]
    Expired { epoch: Epoch },
    #[error("epoch {epoch} was not granted by every member, which it takes while this node is catching up")]
    NotCaughtUp { epoch: Epoch },
    #[error(
        "this node's log may lack what it acknowledged: it takes no part in elections until it has caught up"
    )]
    CatchingUp,
}

impl Problem {
    /// The epoch that the node failed to lead.
    pub(crate) const fn epoch(self) -> Option<Epoch> {
        match self {
            Self::NotMember | Self::CatchingUp => None,
            Self::Behind { epoch, .. }
            | Self::Overtaken { epoch, .. }
            | Self::Expired { epoch }
            | Self::NotCaughtUp { epoch } => Some(epoch),
        }
    }
}

/// A snapshot of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub role: Role,
    /// The epoch this node leads, campaigns for or follows. Zero before any.
    pub epoch: Epoch,
    /// The highest epoch it has granted.
    pub granted: Epoch,
    /// The highest epoch it knows of anywhere; an order must be above its number to succeed.
    pub highest: Epoch,
    pub leader: Option<NodeId>,
    /// The entry before the first one of the own log.
    pub base: EntryId,
    pub last: EntryId,
    pub persisted: LogIndex,
    pub commit: LogIndex,
    /// Leads, has a batch of its own epoch committed, and holds its lease now: may deliver messages.
    pub serving: bool,
    /// Leads and has heard a write quorum lately: what is proposed can be committed.
    pub quorum_reachable: bool,
    /// Zero without a lease, [`Duration::MAX`] where none is needed.
    pub lease_remaining: Duration,
    /// Set while leadership is being handed over.
    pub handing_over_to: Option<NodeId>,
    pub membership: Membership,
    /// On a leader only, sorted, itself included.
    pub members: Vec<MemberView>,
    /// On a leader only. Once it goes through the log, the membership is joint instead.
    pub change: Option<ChangeView>,
    pub problem: Option<Problem>,
    pub standing: Standing,
}

impl Core {
    /// What the node can tell about itself. `serving`, `quorum_reachable` and the lease are true of `now` only.
    pub fn view(&self, now: Moment) -> View {
        View {
            role: self.role(),
            epoch: self.epoch(),
            granted: self.hard.granted,
            highest: self.highest,
            leader: self.leader(),
            base: self.log.base(),
            last: self.log.last(),
            persisted: self.log.persisted(),
            commit: self.commit,
            serving: self.serving(now),
            quorum_reachable: self.quorum_reachable(now),
            lease_remaining: self.lease_remaining(now),
            handing_over_to: self.handing_over_to(),
            membership: self.membership().clone(),
            members: self.member_views(now),
            change: self.change_view(),
            problem: self.shown_problem(),
            standing: self.standing,
        }
    }

    fn shown_problem(&self) -> Option<Problem> {
        if !self.takes_part() {
            return Some(Problem::NotMember);
        }
        self.problem.or((!self.standing.caught_up).then_some(Problem::CatchingUp))
    }

    pub(crate) fn quorum_reachable(&self, now: Moment) -> bool {
        match &self.state {
            State::Leader(reign) => self.writers_heard(reign, now),
            State::Follower | State::Candidate(_) => false,
        }
    }

    fn lease_remaining(&self, now: Moment) -> Duration {
        match &self.state {
            State::Leader(reign) => match self.lease_end(reign) {
                Moment::NEVER => Duration::MAX,
                end => end.since(now),
            },
            State::Follower | State::Candidate(_) => Duration::ZERO,
        }
    }

    fn member_views(&self, now: Moment) -> Vec<MemberView> {
        let State::Leader(reign) = &self.state else { return Vec::new() };
        let part = |id, leaves_at| match self.membership().contains(id) {
            true => Part::Voter,
            false if leaves_at == Moment::NEVER => Part::Learner,
            false => Part::Leaving,
        };
        let own = MemberView {
            id: self.node(),
            part: part(self.node(), now),
            matched: self.log.persisted(),
            heard_at: Some(now),
            caught_up: self.standing.caught_up,
        };
        let others = reign.peers.iter().map(|peer| MemberView {
            id: peer.id,
            part: part(peer.id, peer.leaves_at),
            matched: peer.matched,
            heard_at: peer.heard_at,
            caught_up: peer.standing.caught_up,
        });
        let mut views: Vec<_> = others.chain([own]).collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }

    fn change_view(&self) -> Option<ChangeView> {
        let State::Leader(reign) = &self.state else { return None };
        let wanted: &Voters = reign.change.as_ref()?;
        let new = |node: &NodeId| !self.membership().contains(*node);
        let waits_for = wanted.members().iter().copied().filter(new).collect();
        Some(ChangeView { mode: wanted.mode(), members: wanted.members().to_vec(), waits_for })
    }
}
