//! What goes into the core and what comes out of it.

use bytes::Bytes;
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, LogIndex, NodeId};

use crate::{AppendHeader, HardState, LogBase, Membership, Message, Mode, Moment, Standing};

/// Something happened. Timestamps travel beside it, see [`crate::Core::step`].
#[derive(Debug, Clone)]
pub enum Event {
    /// [`crate::Core::next_wakeup`] has come. Harmless at any other time.
    Tick,
    Message {
        from: NodeId,
        message: Message,
    },
    /// A batch sealed with [`crate::Core::next_entry`]; on a leader only.
    Propose {
        batch: Batch,
    },
    /// The own log is persisted through this entry: durable with flush Sync, written with flush Async. Reported in
    /// log order.
    Persisted {
        last: EntryId,
    },
    /// Messages in flight to this peer may be lost.
    Disconnected {
        peer: NodeId,
    },
    /// In the core's eyes the log begins after `base` from here on: it asks for no entry at or before it any more. Once a
    /// snapshot of the state at exactly this entry is durable; committed and persisted. Storage may keep older entries.
    /// While a snapshot is sent, what comes after it is best kept; in Async, what not every member has as well, since
    /// only that can be set aside should it be overridden.
    Compacted {
        base: EntryId,
    },
    /// The transfer that [`Action::SendSnapshot`] asked for in this epoch is over, whatever came of it: the answers of
    /// the follower tell. Until then no other is asked for in this reign, and then not before a lease has passed since
    /// the last.
    SnapshotEnded {
        to: NodeId,
        epoch: Epoch,
    },
    /// Everything that [`Action::SendSnapshot`] asked `from` for has arrived and is durable, but not in force. Answered
    /// by [`Action::InstallSnapshot`], at once or in a later step, when all of the own log is reported persisted; or by
    /// an error of this or that later step, and then it is of no use; or by another leader's epoch.
    SnapshotArrived {
        from: NodeId,
        /// The reign in which it was sent.
        epoch: Epoch,
        /// Of which entry the state is.
        base: LogBase,
        /// Of [`Action::SendSnapshot`].
        round: u64,
    },
    Order(Order),
    /// The operator vouches that it starts nobody else before `until`. `until` must be counted from a moment of this
    /// process that is certainly before the operator decided, never from when the grant arrived.
    OperatorLease {
        epoch: Epoch,
        until: Moment,
    },
    /// Hand leadership over; without `to`, to the most advanced member.
    StepDown {
        to: Option<NodeId>,
    },
    /// The voters that the group shall have; on a leader only. Who is new is caught up first. A wish that still waits
    /// for that is replaced by a newer one.
    ChangeMembership {
        mode: Mode,
        members: Vec<NodeId>,
    },
    /// Forget a wish that still waits for who is new.
    AbandonChange,
    /// The operator names the membership, since the write quorum of the one in force can no longer be had. It has
    /// written it down by compare-and-swap before.
    AdoptMembership {
        membership: Membership,
    },
}

/// What the operator may order. `epoch` is the number it wrote by compare-and-swap; after `expires` the order is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Campaign for the epoch until enough members granted it. Waits for a running lease, loses nothing.
    Campaign { epoch: u64, expires: Moment },
    /// Async only: lead with the grants that can be had, once the own promise to the old leader has run out. What
    /// only unreachable members hold will be quarantined there.
    Promote { epoch: u64, expires: Moment },
}

/// What becomes of a tail that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TailFate {
    /// Never committed.
    Discard,
    /// May have been acknowledged: kept aside, counted, reported.
    Quarantine,
}

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Durable before the next action is executed.
    StoreHardState(HardState),
    /// Durable at any time: whoever restarts before that catches up once more.
    StoreStanding(Standing),
    /// Durable before the next action is executed; the newest is [`crate::LogSummary::adopted`] at every later start.
    StoreMembership(Membership),
    /// Enqueue to the log; [`Event::Persisted`] follows.
    Append(Vec<Batch>),
    /// Cut everything above `keep`; durable before later appends. Only when all of it has been reported persisted.
    Truncate {
        keep: LogIndex,
        fate: TailFate,
    },
    /// What was applied above is void: rebuild the state machine through here.
    Rewind {
        through: LogIndex,
    },
    Send {
        to: NodeId,
        message: Message,
    },
    /// Read the batches `from..=through` from the log and send them as one or more [`Message::Append`] with this
    /// header, where each further message has the entry before its first batch as `prev`. `header.prev` is the entry
    /// at `from - 1`. What is not sent is found out by the follower's answer, at the cost of a round trip.
    SendEntries {
        to: NodeId,
        header: AppendHeader,
        from: LogIndex,
        through: LogIndex,
    },
    /// The own log cannot serve this member any more. Send a snapshot of the state at a committed entry that the log
    /// still reaches, the base included; what describes a log that begins exactly there ([`crate::Core::log_base_at`]);
    /// epoch and round. What comes after it is streamed as usual. Replaces an older transfer to the same member. Then
    /// step [`Event::SnapshotEnded`], in any case.
    SendSnapshot {
        to: NodeId,
        epoch: Epoch,
        round: u64,
    },
    /// Put the snapshot that has arrived in force: its state, and a log that holds nothing and begins after `base`; both
    /// or none after a crash, and durable before the next action.
    InstallSnapshot {
        base: EntryId,
    },
    /// Seal a batch of this kind with one record at [`crate::Core::next_entry`], then step [`Event::Propose`], before
    /// any other proposal.
    Seal {
        kind: BatchKind,
        payload: Bytes,
    },
    /// Everything through here is committed. Starts from the log base after a restart or an installed snapshot.
    Commit {
        through: LogIndex,
    },
    /// Role, epoch, leader, lease or quorum changed: look at [`crate::Core::view`].
    RoleChanged,
}
