//! What falls due by time: delayed messages come into their queues and half messages are given up when a record says so,
//! which the leader proposes at the right moment.
//!
//! One such record is on its way at a time, and releases a bounded number. What falls due meanwhile goes with the next.

use std::time::{Duration, Instant};

use mainstay_messaging::{Command, Elapse};

use super::driver::Driver;

/// Messages that one record releases at most.
const MOST: u32 = 1000;
/// A record that nothing was heard of for so long is proposed again; a second one does no harm.
const LOST_AFTER: Duration = Duration::from_secs(2);

impl Driver {
    /// Proposes the release of what is due.
    pub(super) fn elapse_when_due(&mut self, now: Instant) {
        let under_way = self.elapsing.is_some_and(|since| now < since + LOST_AFTER);
        if under_way || !self.may_elapse() || self.state.next_elapse().is_none_or(|due| due > self.stamp()) {
            return;
        }
        self.elapsing = Some(now);
        self.proposals.add_own(vec![Command::Elapse(Elapse { max: MOST })], now);
    }

    /// When the next release is to be proposed.
    pub(super) fn next_elapse(&self, now: Instant) -> Option<Instant> {
        if !self.may_elapse() {
            return None;
        }
        match self.elapsing {
            Some(since) => Some(since + LOST_AFTER),
            None => {
                let due = self.state.next_elapse()?;
                Some(self.instant_of(due, now))
            }
        }
    }

    /// Only a leader that may serve, and knows everything that was committed before it.
    fn may_elapse(&self) -> bool {
        self.caught_up
            && self.stepping_down.is_none()
            && self.refusal().is_none()
            && self.vouched_for(&self.view)
    }
}
