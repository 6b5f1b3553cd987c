//! What the driver is told, in the order it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mainstay_consensus::{Event, Message, StepError};
use mainstay_messaging::{Command, Delivery, GroupName, Outcome, ReceiptHandle, Receive, State, TopicName};
use mainstay_record::{NodeId, Timestamp};
use mainstay_storage::LogEvent;
use tokio::sync::oneshot;

use super::error::{ProposeError, ReceiveError};
use super::judging::{Condition, Judged};
use super::refill::{Given, RefillStep};
use super::snapshots::Written;
use super::status::Status;

/// Everything that wakes the driver, except time.
pub(crate) enum Input {
    Propose(Proposal),
    Receive(Poll),
    /// Messages were looked into for a long poll.
    Judged(Judged),
    /// Deliveries that nobody got.
    GiveBack(Undelivered),
    Query(Ask),
    Peer {
        from: NodeId,
        /// What the sender's wall clock showed, where it told.
        shown: Option<Timestamp>,
        message: Message,
    },
    PeerGone(NodeId),
    /// A name or identity of another member became known.
    PeerMet,
    Log(LogEvent),
    /// A message that was delivered cannot be read from the own log.
    Unreadable,
    /// What the operator or a graceful stop asks for.
    Order {
        event: Event,
        reply: oneshot::Sender<Result<(), OrderError>>,
    },
    Status(oneshot::Sender<Status>),
    /// A snapshot was written, or could not be.
    Snapshot(Written),
    /// The leader gives this node log and state.
    Refill(RefillStep),
    /// A follower was given both, or not.
    Given(Given),
    /// Answer every long poll and take nothing new; tell when what is in flight has been answered.
    Drain(oneshot::Sender<()>),
    /// Close the log and end.
    Stop(oneshot::Sender<()>),
}

/// A look at the state, with the stamp that a batch made now would have.
pub(crate) type Ask = Box<dyn FnOnce(&State, Timestamp) + Send>;

/// Why an order was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Refused(#[from] StepError),
    #[error("this node has no membership yet")]
    Bootstrapping,
    #[error("this node takes no part: {0}")]
    Fenced(String),
    #[error("this broker is shutting down")]
    ShuttingDown,
}

/// Commands that go into one batch together, and who waits for their outcomes.
pub(crate) struct Proposal {
    pub(crate) commands: Vec<Command>,
    pub(crate) since: Instant,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Outcome>, ProposeError>>,
    /// Held until the proposal is answered.
    pub(crate) room: Room,
}

/// A long poll.
pub(crate) struct Poll {
    pub(crate) receive: Receive,
    /// On top of the receive's own filter, which takes all then.
    pub(crate) condition: Option<Condition>,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Delivery>, ReceiveError>>,
}

/// Deliveries of one subscription that nobody got: they are to be made again soon.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) group: GroupName,
    pub(crate) topic: TopicName,
    pub(crate) handles: Vec<ReceiptHandle>,
}

/// Bytes of proposals that are not answered yet, bounded so that a slow disk cannot fill the memory.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

/// A share of the bound; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl InFlight {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Arc::default(), limit }
    }

    /// Room for `bytes` more, unless that exceeds the bound. One proposal always fits an empty bound.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Room> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { bytes, of: Arc::clone(&self.bytes) };
        (before == 0 || before + bytes <= self.limit).then_some(room)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Room {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let in_flight = InFlight::new(100);
        let first = in_flight.reserve(60).unwrap();
        assert!(in_flight.reserve(41).is_none());
        assert_eq!(in_flight.bytes(), 60, "a refused reservation leaves nothing behind");
        let second = in_flight.reserve(40).unwrap();
        drop((first, second));
        assert!(in_flight.reserve(1000).is_some(), "a large proposal passes when nothing else waits");
    }
}
