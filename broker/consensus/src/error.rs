//! Why an event was not taken.

use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::{MembershipError, Moment};

/// The event changed nothing, except where a variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    #[error("this node does not lead{}", leader.map(|leader| format!("; {leader} does")).unwrap_or_default())]
    NotLeader { leader: Option<NodeId> },
    #[error("leadership is being handed over to {to}")]
    HandingOver { to: NodeId },
    #[error("batch {found} was proposed, but the next entry is {expected}")]
    Misplaced { expected: EntryId, found: EntryId },
    #[error("the membership cannot be changed by a proposal")]
    MembershipFixed,
    #[error("nothing of the leader's own epoch is committed yet")]
    NotReady,
    #[error("a change of the membership is under way (version {version})")]
    ChangeInProgress { version: u64 },
    #[error("the membership that is asked for is none: {0}")]
    BadChange(#[source] MembershipError),
    #[error("a group cannot change between Async, Sync and Raft")]
    ModeFixed,
    #[error("too few of the members that are asked for were heard lately to commit anything")]
    WouldLeaveNoQuorum,
    #[error("membership version {offered} is stale: version {known} is known already")]
    StaleMembership { offered: u64, known: u64 },
    #[error("a membership is adopted only where every member is needed to commit: others may know more")]
    AdoptionUnsafe,
    #[error("this node lost what it acknowledged and has not caught up: it cannot vouch for the others")]
    AdoptWhileCatchingUp,
    /// It is not followed.
    #[error("leader {from} knows membership version {theirs} only; {own} is in force")]
    OldMembership { from: NodeId, theirs: u64, own: u64 },
    #[error("order for epoch {ordered} is stale: epoch {granted} is already granted")]
    StaleOrder { ordered: u64, granted: Epoch },
    #[error("order for epoch {ordered} expired at {expires:?}")]
    ExpiredOrder { ordered: u64, expires: Moment },
    #[error("only in Async mode does the operator promote and lend its lease")]
    NotAsync,
    #[error("this node already leads epoch {epoch} and is in charge")]
    AlreadyLeads { epoch: Epoch },
    #[error("this node is not a member of the group (membership version {version})")]
    NotMember { version: u64 },
    #[error("the lease is for epoch {offered}, this node leads epoch {led}")]
    WrongEpoch { offered: Epoch, led: Epoch },
    #[error("{0} cannot take over: it is not a member that was heard lately")]
    NoSuccessor(NodeId),
    #[error("{0} cannot take over: it has not caught up with what it lost")]
    SuccessorCatchingUp(NodeId),
    #[error("no member that was heard lately can take over")]
    NoSuccessorAtAll,
    #[error("too few members were heard lately to elect a successor")]
    TooFewForHandOver,
    /// The peer breaks the protocol; its message was dropped.
    #[error("message of {from} is malformed: {what}")]
    Malformed { from: NodeId, what: &'static str },
    #[error("the log cannot begin after {base}: {what}")]
    BadBase { base: EntryId, what: &'static str },
    #[error("a snapshot of epoch {epoch} is of no use: {what}")]
    UselessSnapshot { epoch: Epoch, what: &'static str },
    /// The peer's log contradicts what is committed here. One of the two logs is damaged; nothing was changed.
    #[error("leader {from} contradicts the committed entry {index}: a log is damaged")]
    CommittedConflict { from: NodeId, index: LogIndex },
    #[error("membership batch {index} of leader {from}: {source}")]
    BadMembership { from: NodeId, index: LogIndex, source: MembershipError },
}
