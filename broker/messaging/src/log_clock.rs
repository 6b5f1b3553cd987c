//! The clock that batches are stamped with, by which everything that waits in the log is timed.
//!
//! The wall clock, but stamps never go back: not when the wall clock does, and not behind those of a former leader whose
//! wall clock was ahead. While the wall clock is behind the newest stamp this clock goes on at half the pace of the
//! monotonic one until they meet: what is invisible comes back late then, but it comes.

use std::time::Duration;

use mainstay_record::Timestamp;

/// By how much a clock that is ahead goes slower.
const SLOWER: u64 = 2;

/// See the module. Fed with the wall clock and a monotonic one, and with every stamp that gets into the log.
#[derive(Debug, Clone, Copy)]
pub struct LogClock {
    newest: Timestamp,
    /// When it was noted, by the monotonic clock.
    at: Duration,
}

impl LogClock {
    /// The clock of a log whose newest batch has the stamp `newest`.
    pub const fn new(newest: Timestamp, now: Duration) -> Self {
        Self { newest, at: now }
    }

    /// The stamp of a batch that is made now.
    pub fn now(&self, wall: Timestamp, now: Duration) -> Timestamp {
        self.slow(now).max(wall)
    }

    /// A batch with this stamp is in the log.
    pub fn note(&mut self, stamp: Timestamp, now: Duration) {
        if stamp > self.slow(now) {
            *self = Self::new(stamp, now);
        }
    }

    /// How long until this clock shows `due`.
    pub fn until(&self, due: Timestamp, wall: Timestamp, now: Duration) -> Duration {
        let by_wall = due.millis_since(wall);
        let by_itself = due.millis_since(self.slow(now)).saturating_mul(SLOWER);
        Duration::from_millis(by_wall.min(by_itself))
    }

    fn slow(&self, now: Duration) -> Timestamp {
        let passed = now.saturating_sub(self.at).as_millis() as u64;
        self.newest.plus_millis(passed / SLOWER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_is_the_wall_clock_as_long_as_that_goes_on() {
        let mut clock = LogClock::new(Timestamp(1000), at(0));
        for passed in (0..5000).step_by(7) {
            let stamp = clock.now(Timestamp(1000 + passed), at(passed));
            assert_eq!(stamp, Timestamp(1000 + passed));
            clock.note(stamp, at(passed));
        }
        assert_eq!(clock.until(Timestamp(7000), Timestamp(6000), at(5000)), at(1000));
    }

    #[test]
    fn it_goes_on_when_the_wall_clock_jumped_back_and_meets_it_again() {
        let mut clock = LogClock::new(Timestamp(10_000), at(0));
        let wall = |passed| Timestamp(4_000 + passed);
        let mut last = Timestamp(0);
        for passed in (0..20_000).step_by(10) {
            let stamp = clock.now(wall(passed), at(passed));
            assert!(stamp >= last, "{stamp:?} after {last:?}");
            last = stamp;
            clock.note(stamp, at(passed));
        }
        assert_eq!(clock.now(wall(20_000), at(20_000)), wall(20_000), "they have met");
        let clock = LogClock::new(Timestamp(10_000), at(0));
        assert_eq!(clock.now(wall(2_000), at(2_000)), Timestamp(11_000), "half the pace");
        let wait = clock.until(Timestamp(12_500), wall(2_000), at(2_000));
        assert_eq!((wait, clock.now(wall(5_000), at(5_000))), (at(3_000), Timestamp(12_500)));
    }

    #[test]
    fn stamps_at_every_millisecond_do_not_hold_it_up() {
        let mut clock = LogClock::new(Timestamp(10_000), at(0));
        for passed in 0..1_000 {
            clock.note(clock.now(Timestamp(0), at(passed)), at(passed));
        }
        assert_eq!(clock.now(Timestamp(0), at(1_000)), Timestamp(10_500));
    }

    #[test]
    fn a_stamp_of_another_leader_that_was_ahead_is_not_undercut() {
        let mut clock = LogClock::new(Timestamp(1_000), at(0));
        clock.note(Timestamp(50_000), at(500));
        assert_eq!(clock.now(Timestamp(1_600), at(600)), Timestamp(50_050));
        clock.note(Timestamp(2_000), at(700));
        assert!(clock.now(Timestamp(2_000), at(700)) >= Timestamp(50_050));
    }
}
