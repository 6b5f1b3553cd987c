//! The wall clock of one machine without its sudden steps.
//!
//! A wall clock that is suddenly elsewhere is either set right or set wrong, and nothing on the machine tells which. So a
//! step is not believed at once: time goes on by the monotonic clock, and a step that was taken back meanwhile has had no
//! effect. One that lasts is followed. Meanwhile time may be ahead of the true one by what the monotonic clock is; who
//! must not be early asks for the lower bound.

use std::time::Duration;

use mainstay_record::Timestamp;

/// What a wall clock may be away from where it is expected without having been set.
const TOLERANCE: Duration = Duration::from_millis(100);
/// The same for time during which nobody looked: the part of it by which two clocks may part.
const DRIFT: u32 = 8;
/// The part of the time passed by which a monotonic clock may be ahead.
const AHEAD: u32 = 16;
/// How long a step has to last until it is believed.
const HOLD: Duration = Duration::from_secs(30);

/// A sudden step of the wall clock, or the end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is elsewhere by so many milliseconds, and is not followed yet.
    Suspected(i64),
    /// The same, and has been followed: it has lasted.
    Followed(i64),
    /// It is back where it was expected.
    TakenBack,
}

/// The wall clock is elsewhere.
#[derive(Debug, Clone, Copy)]
struct Away {
    /// Since it was set, or set again.
    since: Duration,
    /// What it showed when it was last looked at, and when that was.
    wall: Timestamp,
    at: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Steady {
    /// What the wall clock showed when it was last where it was expected.
    wall: Timestamp,
    /// When that was, by the monotonic clock.
    at: Duration,
    away: Option<Away>,
}

impl Steady {
    pub(super) const fn new(wall: Timestamp, now: Duration) -> Self {
        Self { wall, at: now, away: None }
    }

    /// Looks at the clocks; to be called more often than steps are to be told from drift.
    pub(super) fn observe(&mut self, wall: Timestamp, now: Duration) -> Option<Step> {
        match self.away {
            Some(away) if goes_on(wall, now, away.wall, away.at) => {
                if away.has_lasted(now) {
                    let ahead = ahead(wall, now, self.wall, self.at);
                    *self = Self::new(wall, now);
                    return Some(Step::Followed(ahead));
                }
                self.away = Some(Away { wall, at: now, ..away });
                None
            }
            // What is a step is taken back by a step: expected drift grows while nothing is expected.
            away if goes_on(wall, now, self.wall, self.at) => {
                *self = Self::new(wall, now);
                away.map(|_| Step::TakenBack)
            }
            _ => {
                self.away = Some(Away { since: now, wall, at: now });
                Some(Step::Suspected(ahead(wall, now, self.wall, self.at)))
            }
        }
    }

    /// The time of day.
    pub(super) fn now(&self, wall: Timestamp, now: Duration) -> Timestamp {
        if self.is_believed(wall, now) { wall } else { expected(now, self.wall, self.at) }
    }

    /// The same, and while a step is suspected not ahead of what the time of day would be without it.
    pub(super) fn earliest(&self, wall: Timestamp, now: Duration) -> Timestamp {
        if self.is_believed(wall, now) {
            return wall;
        }
        let passed = now.saturating_sub(self.at);
        self.wall.plus_millis((passed - passed / AHEAD).as_millis() as u64)
    }

    fn is_believed(&self, wall: Timestamp, now: Duration) -> bool {
        match self.away {
            None => goes_on(wall, now, self.wall, self.at),
            Some(away) => away.has_lasted(now) && goes_on(wall, now, away.wall, away.at),
        }
    }
}

impl Away {
    fn has_lasted(self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= HOLD
    }
}

/// What a clock that showed `shown` at the monotonic time `at` shows at `now`.
fn expected(now: Duration, shown: Timestamp, at: Duration) -> Timestamp {
    shown.plus_millis(now.saturating_sub(at).as_millis() as u64)
}

/// By how many milliseconds the wall clock is ahead of that.
fn ahead(wall: Timestamp, now: Duration, shown: Timestamp, at: Duration) -> i64 {
    wall.0.cast_signed().wrapping_sub(expected(now, shown, at).0.cast_signed())
}

/// Whether the wall clock was not set since it showed `shown`.
fn goes_on(wall: Timestamp, now: Duration, shown: Timestamp, at: Duration) -> bool {
    let room = TOLERANCE + now.saturating_sub(at) / DRIFT;
    u128::from(ahead(wall, now, shown, at).unsigned_abs()) <= room.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_clock_that_is_led_slowly_is_followed() {
        let mut steady = Steady::new(Timestamp(HOUR), at(0));
        for passed in (0..60_000).step_by(100) {
            let wall = Timestamp(HOUR + passed + passed / 100);
            assert_eq!(steady.observe(wall, at(passed)), None);
            assert_eq!(steady.now(wall, at(passed)), wall);
        }
    }

    #[test]
    fn a_step_that_is_taken_back_has_no_effect() {
        for jump in [2 * HOUR, 0] {
            let mut steady = Steady::new(Timestamp(HOUR), at(0));
            for passed in (0..25_000).step_by(100) {
                let step = steady.observe(Timestamp(jump + passed), at(passed));
                let seen = Step::Suspected(jump.cast_signed() - HOUR.cast_signed());
                assert_eq!(step, (passed == 0).then_some(seen));
                let shown = steady.now(Timestamp(jump + passed), at(passed));
                assert_eq!(shown, Timestamp(HOUR + passed));
            }
            let back = Timestamp(HOUR + 25_000);
            assert_eq!(steady.observe(back, at(25_000)), Some(Step::TakenBack));
            assert_eq!(steady.now(back, at(25_000)), back);
        }
    }

    #[test]
    fn a_monotonic_clock_that_is_ahead_does_not_take_the_lower_bound_along() {
        let mut steady = Steady::new(Timestamp(HOUR), at(0));
        let jump = Timestamp(2 * HOUR);
        steady.observe(jump, at(0));
        for passed in (0..25_000).step_by(100) {
            let ahead = at(passed + passed / 20);
            let bound = steady.earliest(jump, ahead);
            assert!(bound <= Timestamp(HOUR + passed), "{bound:?} after {passed} ms");
            assert!(bound >= Timestamp(HOUR + passed - passed / 40), "{bound:?} after {passed} ms");
        }
    }

    #[test]
    fn a_step_that_lasts_is_followed() {
        let mut steady = Steady::new(Timestamp(HOUR), at(0));
        let wall = |passed| Timestamp(2 * HOUR + passed);
        steady.observe(wall(0), at(0));
        assert_eq!(steady.now(wall(29_999), at(29_999)), Timestamp(HOUR + 29_999));
        assert_eq!(steady.now(wall(30_000), at(30_000)), wall(30_000), "even where nobody has looked");
        assert_eq!(steady.observe(wall(30_100), at(30_100)), Some(Step::Followed(HOUR.cast_signed())));
        assert_eq!(steady.now(wall(30_200), at(30_200)), wall(30_200));
    }

    #[test]
    fn a_small_step_has_to_last_as_long_as_a_large_one() {
        let mut steady = Steady::new(Timestamp(HOUR), at(0));
        let wall = |passed| Timestamp(HOUR + 2_000 + passed);
        for passed in (0..30_000).step_by(100) {
            let step = steady.observe(wall(passed), at(passed));
            assert_eq!(step, (passed == 0).then_some(Step::Suspected(2_000)));
            assert_eq!(steady.now(wall(passed), at(passed)), Timestamp(HOUR + passed));
        }
        assert_eq!(steady.observe(wall(30_000), at(30_000)), Some(Step::Followed(2_000)));
    }

    #[test]
    fn a_clock_that_is_set_twice_has_to_last_after_the_second_time() {
        let mut steady = Steady::new(Timestamp(HOUR), at(0));
        let wall =
            |passed| Timestamp(if passed < 29_900 { HOUR + 10_000 + passed } else { 99 * HOUR + passed });
        for passed in (0..59_900).step_by(100) {
            let step = steady.observe(wall(passed), at(passed));
            assert_eq!(step.is_some(), passed == 0 || passed == 29_900, "{step:?} after {passed} ms");
            assert_eq!(steady.now(wall(passed), at(passed)), Timestamp(HOUR + passed));
        }
        assert!(matches!(steady.observe(wall(59_900), at(59_900)), Some(Step::Followed(_))));
    }

    #[test]
    fn a_process_that_stood_still_does_not_take_drift_for_a_step() {
        let mut steady = Steady::new(Timestamp(HOUR), at(0));
        let wall = Timestamp(HOUR + 20_000);
        assert_eq!(steady.observe(wall, at(19_000)), None);
        assert_eq!(steady.now(wall, at(19_000)), wall);
    }
}
