//! What a node can tell about itself at a moment.

use std::time::Duration;

use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::core::{Core, State};
use crate::{Membership, Moment, Standing};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Follower,
    /// Campaigns, or prepares to.
    Candidate,
    Leader,
}

/// A member as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberView {
    pub id: NodeId,
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
            problem: self.shown_problem(),
            standing: self.standing,
        }
    }

    fn shown_problem(&self) -> Option<Problem> {
        if !self.is_member() {
            return Some(Problem::NotMember);
        }
        self.problem.or((!self.standing.caught_up).then_some(Problem::CatchingUp))
    }

    pub(crate) fn quorum_reachable(&self, now: Moment) -> bool {
        match &self.state {
            State::Leader(reign) => self.heard_from(reign, self.membership().write_quorum(), now),
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
        let own = MemberView {
            id: self.node(),
            matched: self.log.persisted(),
            heard_at: Some(now),
            caught_up: self.standing.caught_up,
        };
        let others = reign.peers.iter().map(|peer| MemberView {
            id: peer.id,
            matched: peer.matched,
            heard_at: peer.heard_at,
            caught_up: peer.standing.caught_up,
        });
        let mut views: Vec<_> = others.chain([own]).collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }
}
