//! The two clocks of a broker: a monotonic one for everything that times out, the wall clock for stamps in the log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mainstay_consensus::Moment;
use mainstay_record::Timestamp;

/// Monotonic time since the broker started. Copies agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment(at.saturating_duration_since(self.origin))
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// When `moment` is, or `at_most` from now if that is earlier.
    pub(crate) fn instant(&self, moment: Moment, now: Instant, at_most: Duration) -> Instant {
        let limit = now + at_most;
        self.origin.checked_add(moment.0).map_or(limit, |instant| instant.min(limit))
    }
}

/// The wall clock; a broker stamps batches with it, but never goes back behind its log.
pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since_epoch.as_millis() as u64)
}
