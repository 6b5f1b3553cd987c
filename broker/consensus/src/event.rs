//! What goes into the core and what comes out of it.

use bytes::Bytes;
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, LogIndex, NodeId};

use crate::{AppendHeader, HardState, Message, Moment, Standing};

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
    /// Seal a batch of this kind with one record at [`crate::Core::next_entry`], then step [`Event::Propose`], before
    /// any other proposal.
    Seal {
        kind: BatchKind,
        payload: Bytes,
    },
    /// Everything through here is committed. Starts from zero after a restart.
    Commit {
        through: LogIndex,
    },
    /// Role, epoch, leader, lease or quorum changed: look at [`crate::Core::view`].
    RoleChanged,
}
