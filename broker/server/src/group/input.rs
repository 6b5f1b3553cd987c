//! What the driver is told, in the order it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mainstay_messaging::{Command, Delivery, Outcome, Receive, State};
use tokio::sync::oneshot;

use super::error::{ProposeError, ReceiveError};

/// Everything that wakes the driver, except time.
pub(crate) enum Input {
    Propose(Proposal),
    Receive(Poll),
    Query(Box<dyn FnOnce(&State) + Send>),
}

/// Commands that go into one batch together, and who waits for their outcomes.
pub(crate) struct Proposal {
    pub(crate) commands: Vec<Command>,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Outcome>, ProposeError>>,
    /// Held until the proposal is answered.
    pub(crate) room: Room,
}

/// A long poll.
pub(crate) struct Poll {
    pub(crate) receive: Receive,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Vec<Delivery>, ReceiveError>>,
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

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
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
