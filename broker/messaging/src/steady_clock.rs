//! The machine's wall clock without its jumps.
//!
//! What waits in the log waits by the wall clock, since its producers mean that. But a wall clock that jumps would deliver
//! early, and have everything in flight delivered again. So a jump is caught up with: at twice the pace when the wall
//! clock is ahead, at half when it is behind. A jump of [`TOLERANCE`] is taken as it comes.

use std::time::Duration;

use mainstay_record::Timestamp;

/// By how much the wall clock may move against the monotonic one at once.
const TOLERANCE: Duration = Duration::from_secs(1);

/// See the module. Fed with the wall clock and a monotonic one.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    /// Since 1970, at the monotonic time `at`.
    shown: Duration,
    at: Duration,
}

impl SteadyClock {
    /// Begins with what the wall clock shows.
    pub const fn new(wall: Timestamp, now: Duration) -> Self {
        Self { shown: Duration::from_millis(wall.0), at: now }
    }

    /// To be told often: a jump is measured against the time since.
    pub fn settle(&mut self, wall: Timestamp, now: Duration) {
        *self = Self { shown: self.read(wall, now), at: self.at.max(now) };
    }

    /// The time now.
    pub fn now(&self, wall: Timestamp, now: Duration) -> Timestamp {
        Timestamp(self.read(wall, now).as_millis() as u64)
    }

    fn read(&self, wall: Timestamp, now: Duration) -> Duration {
        let wall = Duration::from_millis(wall.0);
        let passed = now.saturating_sub(self.at);
        let expected = self.shown + passed;
        if wall > expected + TOLERANCE {
            expected + passed
        } else if wall + TOLERANCE < expected {
            self.shown + passed / 2
        } else {
            wall
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Runs from `from` to `until`, settled every 7 ms, with a wall clock that is `error` off; gives back the last time.
    fn run(clock: &mut SteadyClock, from: u64, until: u64, error: i64) -> u64 {
        let mut last = clock.now(Timestamp(from.saturating_add_signed(error)), at(from)).0;
        for now in (from..until).step_by(7) {
            let wall = Timestamp((10 * HOUR + now).saturating_add_signed(error));
            clock.settle(wall, at(now));
            let shown = clock.now(wall, at(now)).0;
            assert!(shown >= last || last - shown <= 1000, "{last} then {shown}");
            last = shown;
        }
        last
    }

    #[test]
    fn it_is_the_wall_clock_as_long_as_that_goes_on() {
        let mut clock = SteadyClock::new(Timestamp(10 * HOUR), at(0));
        for now in (0..100_000).step_by(13) {
            let wall = Timestamp(10 * HOUR + now + now / 10_000);
            clock.settle(wall, at(now));
            assert_eq!(clock.now(wall, at(now)), wall, "drift and small corrections are taken");
        }
    }

    #[test]
    fn a_jump_ahead_is_caught_up_with_at_twice_the_pace() {
        let mut clock = SteadyClock::new(Timestamp(10 * HOUR), at(0));
        let shown = run(&mut clock, 0, 60_000, HOUR as i64);
        assert!((119_000..=121_000).contains(&(shown - 10 * HOUR)), "{}", shown - 10 * HOUR);
        let shown = run(&mut clock, 60_000, HOUR + 10_000, HOUR as i64);
        assert!(shown.abs_diff(11 * HOUR + HOUR + 10_000) <= 1000, "they have met");
    }

    #[test]
    fn a_jump_back_and_its_correction_cost_little() {
        let mut clock = SteadyClock::new(Timestamp(10 * HOUR), at(0));
        let shown = run(&mut clock, 0, 60_000, -(HOUR as i64));
        assert!((29_000..=31_000).contains(&(shown - 10 * HOUR)), "{}", shown - 10 * HOUR);
        let shown = run(&mut clock, 60_000, 100_000, 0);
        assert!(shown.abs_diff(10 * HOUR + 100_000) <= 1000);
    }
}
