//! What time it is for the group: the driver's use of the clock that batches are stamped with.
//!
//! Every turn looks whether the wall clock was set, and every message of another member says what that one's shows. An
//! operator is told when clocks disagree, since delayed messages may be late then.

use std::time::Instant;

use mainstay_messaging::Step;
use mainstay_record::{NodeId, Timestamp};
use tracing::{info, warn};

use super::clock::wall;
use super::driver::Driver;

impl Driver {
    /// Timestamp of a batch made now: never before the one before it.
    pub(super) fn stamp(&self) -> Timestamp {
        self.log_clock.now(wall(), self.clock.now().0)
    }

    /// The same of a batch that times nothing, which a new leader makes before it has heard anybody's clock.
    pub(super) fn unbelieving_stamp(&self) -> Timestamp {
        self.log_clock.unbelieving(self.clock.now().0)
    }

    /// When the group's clock shows `due`.
    pub(super) fn instant_of(&self, due: Timestamp, now: Instant) -> Instant {
        now + self.log_clock.until(due, wall(), self.clock.moment(now).0)
    }

    /// What other members are told.
    pub(super) fn shown(&self) -> Timestamp {
        self.log_clock.own(wall(), self.clock.now().0)
    }

    /// What another node's clock showed when it sent something that has arrived now. Only members count.
    pub(super) fn hear_clock(&mut self, from: NodeId, shown: Option<Timestamp>, now: Instant) {
        if let Some(shown) = shown
            && self.view.membership.contains(from)
        {
            self.log_clock.hear(from, shown, self.clock.moment(now).0);
        }
    }

    pub(super) fn observe_clock(&mut self, now: Instant) {
        let (wall, moment) = (wall(), self.clock.moment(now).0);
        let group = self.identity.group;
        match self.log_clock.observe(wall, moment) {
            None => {}
            Some(Step::Suspected(ms)) => {
                warn!(%group, ms, "the wall clock was set, which is not believed before it has lasted");
            }
            Some(Step::Followed(ms)) => warn!(%group, ms, "the wall clock was set, and is followed now"),
            Some(Step::TakenBack) => info!(%group, "the wall clock is where it was before it was set"),
        }
        self.metrics.clock_corrected(self.log_clock.correction(wall, moment));
    }
}
