//! What clients and operators ask brokers, and what they are told.

use mainstay_consensus::Moment;
use mainstay_messaging::{Command, Delivery, Outcome, Publish};
use mainstay_operator::decide::observed::{Epoch, Report};
use mainstay_record::NodeId;

/// Names one request for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u64);

/// A client's request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) client: usize,
    pub(crate) command: Command,
    /// How long a receive waits for messages, in microseconds.
    pub(crate) wait: u64,
}

/// A message handed out, with its content.
#[derive(Debug, Clone)]
pub(crate) struct Handed {
    pub(crate) delivery: Delivery,
    pub(crate) message: Publish,
}

/// The answer to a client.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// The command is committed and applied.
    Done(Outcome),
    /// `unreadable` more were taken and could not be read from the log.
    Messages { messages: Vec<Handed>, unreadable: usize },
    /// Nothing was stored; this broker may not act for the group now.
    NotHere { leader: Option<NodeId> },
    /// The command may or may not be stored.
    Unknown(&'static str),
}

/// What an operator asks a broker.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    Status,
    Campaign { epoch: u64, as_of_ms: u64, valid_ms: u64 },
    Promote { epoch: u64, as_of_ms: u64, valid_ms: u64 },
    GrantLease { epoch: Epoch, as_of_ms: u64, duration_ms: u64 },
    StepDown { to: NodeId },
}

/// What the operator is told.
#[derive(Debug, Clone)]
pub(crate) enum ControlReply {
    Status(Box<Report>),
    Ordered(Result<(), String>),
}

/// The moment `duration_ms` after a reading of the broker's clock, as its control service counts it.
pub(crate) fn deadline(as_of_ms: u64, duration_ms: u64, now: Moment) -> Result<Moment, String> {
    let as_of = Moment(std::time::Duration::from_millis(as_of_ms));
    if as_of > now {
        return Err("as_of_clock_ms is in the future: it is not of this process".to_owned());
    }
    Ok(as_of.plus(std::time::Duration::from_millis(duration_ms)))
}
