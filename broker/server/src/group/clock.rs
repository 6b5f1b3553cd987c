//! The two clocks of a broker: a monotonic one for everything that times out, the wall clock for stamps in the log.
//!
//! A machine that is suspended stands still, but the leases that it gave and got run out elsewhere. So a [`Moment`]
//! counts the time of a suspension (the kernel's boot time clock), while an [`Instant`], which timers sleep by, does
//! not. Deadlines of callers are instants; whatever the consensus core is told is a moment.
//!
//! What always holds: the moments of growing instants never go back, and none is later than the true time when it was
//! made. One that is a little early is like a process that was held up after it looked at the clock, which every rule
//! about leases allows for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mainstay_consensus::Moment;
use mainstay_record::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Monotonic time since the broker started. Copies agree.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    origin: Instant,
    suspended: Arc<Suspended>,
}

/// How long the machine has been suspended since the broker started.
struct Suspended {
    /// How far the boot time clock was ahead of the monotonic one at the start.
    before: Duration,
    /// Nanoseconds, as last seen. Only grows.
    seen: AtomicU64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now(), suspended: Arc::new(Suspended::since(lead())) }
    }

    /// The moment of `at`; where the machine was suspended since then, of the end of that.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment(at.saturating_duration_since(self.origin) + self.suspended.note(lead()))
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// When `moment` is unless the machine is suspended before, or `at_most` from now if that is earlier.
    pub(crate) fn instant(&self, moment: Moment, now: Instant, at_most: Duration) -> Instant {
        let limit = now + at_most;
        let awake = moment.0.saturating_sub(self.suspended.seen());
        self.origin.checked_add(awake).map_or(limit, |instant| instant.min(limit))
    }
}

impl Suspended {
    fn since(before: Duration) -> Self {
        Self { before, seen: AtomicU64::new(0) }
    }

    fn seen(&self) -> Duration {
        Duration::from_nanos(self.seen.load(Ordering::Relaxed))
    }

    /// Takes a reading of how far the boot time clock is ahead.
    fn note(&self, lead: Duration) -> Duration {
        let suspended = lead.saturating_sub(self.before).as_nanos() as u64;
        let before = self.seen.fetch_max(suspended, Ordering::Relaxed);
        Duration::from_nanos(before.max(suspended))
    }
}

impl fmt::Debug for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Suspended").field(&self.seen()).finish()
    }
}

/// How far the boot time clock is ahead of the monotonic one. The second is read last, so that time that passes in
/// between makes it less, never more.
fn lead() -> Duration {
    let boot = since_boot(clock_gettime(ClockId::Boottime));
    boot.saturating_sub(since_boot(clock_gettime(ClockId::Monotonic)))
}

fn since_boot(time: Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The wall clock; a broker stamps batches with it, but never goes back behind its log.
pub(crate) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since_epoch.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A clock whose machine has been suspended for `ahead` before it started.
    fn clock(ahead: Duration) -> Clock {
        Clock { origin: Instant::now(), suspended: Arc::new(Suspended::since(ahead)) }
    }

    /// [`Clock::moment`] with a reading of the test's choice.
    fn moment(clock: &Clock, at: Instant, lead: Duration) -> Moment {
        Moment(at.saturating_duration_since(clock.origin) + clock.suspended.note(lead))
    }

    #[test]
    fn a_suspension_counts_although_no_instant_shows_it() {
        let clock = clock(7 * SECOND);
        let at = clock.origin + SECOND;
        assert_eq!(moment(&clock, at, 7 * SECOND), Moment(SECOND));
        assert_eq!(moment(&clock, at, 17 * SECOND), Moment(11 * SECOND), "ten seconds of sleep");
        let lease_end = Moment(5 * SECOND);
        assert!(lease_end < moment(&clock, at, 17 * SECOND), "a lease of then has ended");
    }

    #[test]
    fn moments_do_not_go_back_when_a_reading_is_late() {
        let clock = clock(Duration::ZERO);
        let at = clock.origin + SECOND;
        let after = moment(&clock, at, 3 * SECOND);
        // Held up between the two clocks: less than the truth.
        assert_eq!(moment(&clock, at, 2 * SECOND), after);
        assert_eq!(moment(&clock, at + SECOND, 2 * SECOND), after.plus(SECOND));
    }

    #[test]
    fn timers_are_set_for_the_moment_that_is_meant() {
        let clock = clock(Duration::ZERO);
        let now = clock.origin + SECOND;
        let soon = moment(&clock, now, 10 * SECOND).plus(SECOND);
        assert_eq!(clock.instant(soon, now, 5 * SECOND), now + SECOND, "sleep before does not postpone it");
        assert_eq!(clock.instant(Moment::NEVER, now, 5 * SECOND), now + 5 * SECOND);
        assert_eq!(clock.instant(soon.plus(9 * SECOND), now, 5 * SECOND), now + 5 * SECOND);
    }

    #[test]
    fn the_machines_own_clocks_agree_within_reason() {
        let clock = Clock::start();
        let (first, instant) = (clock.now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let second = clock.now();
        assert!(second.since(first) >= Duration::from_millis(20));
        assert!(clock.moment(instant) >= first && clock.moment(instant) <= second);
    }
}
