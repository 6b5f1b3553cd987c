//! What members say to each other. Mirrors `mainstay/replication/v1/replication.proto`.

use mainstay_record::{Batch, EntryId, Epoch, LogIndex};

use crate::Standing;

/// From one member to another. Messages may be lost, repeated and reordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    VoteRequest(VoteRequest),
    VoteResponse(VoteResponse),
    Append(Append),
    AppendResponse(AppendResponse),
    TimeoutNow(TimeoutNow),
}

/// Asks for the grant of an epoch, or (`pre_vote`) whether it would be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteRequest {
    pub epoch: Epoch,
    pub pre_vote: bool,
    /// Version of the candidate's membership.
    pub membership: u64,
    /// End of the candidate's log.
    pub last: EntryId,
    /// The epoch whose leader gave up its lease in favour of this candidate. A lease promised to exactly this epoch
    /// need not be waited for. A flag would not do: the request may arrive when another leader reigns.
    pub released: Option<Epoch>,
    /// The operator forces a promotion (Async): granted although a lease runs or the candidate's log is behind.
    pub forced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteResponse {
    /// The epoch that was asked for.
    pub epoch: Epoch,
    pub pre_vote: bool,
    pub granted: bool,
    /// Not granted, but it is if every other member grants: the voter is catching up. It refuses older epochs from here
    /// on like any that granted.
    pub if_all: bool,
    /// The highest epoch the voter has granted.
    pub highest: Epoch,
    /// End of the voter's log.
    pub last: EntryId,
}

/// What comes before the batches of an [`Append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendHeader {
    /// The epoch of the sender's reign.
    pub epoch: Epoch,
    /// Version of the leader's membership.
    pub membership: u64,
    /// The entry before the first batch.
    pub prev: EntryId,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// The follower's losses ([`crate::Standing::losses`]) as far as the leader has heard: it counts nothing that was
    /// acknowledged before the last of them.
    pub losses: u64,
    /// Opaque to the follower and echoed in the answer; the leader counts its lease from it. Zero asks for no lease.
    pub round: u64,
}

/// Batches in log order without gaps, or none as a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    pub header: AppendHeader,
    pub batches: Vec<Batch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendResponse {
    /// The highest epoch the follower has granted; above the leader's own, it is deposed.
    pub epoch: Epoch,
    pub accepted: bool,
    pub round: u64,
    /// Accepted: everything up to here equals the leader's log and is persisted on the follower. Refused: the last
    /// index at which the follower's log can equal the leader's.
    pub index: LogIndex,
    /// Refused: the epoch of the follower's batch at `index`.
    pub index_epoch: Epoch,
    /// Refused: the follower's log begins after `index`. A leader whose log has not this very entry must send a
    /// snapshot.
    pub floor: bool,
    /// The follower's [`crate::Standing`].
    pub standing: Standing,
}

/// The leader of `epoch` hands over: it has given up its lease, and the receiver is caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutNow {
    pub epoch: Epoch,
}
