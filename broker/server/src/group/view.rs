//! What a broker knows about its group from one moment to the next: who leads, and what may be done.

use mainstay_record::{Epoch, GroupId, NodeId};

/// What this node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Has no membership yet: waits until every configured member has been met.
    Bootstrapping,
    Follower,
    Candidate,
    Leader,
    /// No voter of its group: waits to be taken in, is caught up, or was removed.
    Learner,
    /// Takes no part; [`GroupView::problem`] says why.
    Fenced,
}

/// The node that leads, and its name in the configuration once that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub node: NodeId,
    pub member: Option<String>,
}

/// Changes rarely: with elections, leases and connections, never with messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    pub group: GroupId,
    pub node: NodeId,
    pub role: Role,
    /// The epoch this node follows or leads.
    pub epoch: Epoch,
    /// `None` while nobody is known to lead.
    pub leader: Option<Leader>,
    /// This node leads, and has applied all that was committed before its reign.
    pub caught_up: bool,
    /// This node leads and may deliver messages (and in mode `async` accept them).
    pub serving: bool,
    /// This node leads and hears from enough replicas to commit.
    pub writable: bool,
    /// This node's disk has no space for new messages; while it leads, they are refused.
    pub short_of_space: bool,
    /// Why this node is fenced or not ready; empty when all is well.
    pub problem: String,
}

impl GroupView {
    /// True when this node leads and its state holds all that was committed before its reign: only then does the
    /// absence of a topic mean anything.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader && self.caught_up
    }
}
