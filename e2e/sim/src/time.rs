//! True time, which only the world knows, and the clocks of machines and processes, which are all a program sees.

use std::time::Duration;

use mainstay_consensus::Moment;
use mainstay_record::Timestamp;

/// Microseconds since the simulation began.
pub(crate) type Time = u64;

pub(crate) const MILLI: Time = 1_000;
pub(crate) const SECOND: Time = 1_000_000;

/// Wall clock at the beginning, in milliseconds since the Unix epoch.
const DAWN: i64 = 1_800_000_000_000;
/// A clock that runs true.
pub(crate) const TRUE_RATE: u64 = 1_000_000;

/// The hardware clock of a machine: its rate in parts per million of true time, and how wrong its time of day is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MachineClock {
    pub(crate) rate: u64,
    wall_error_ms: i64,
    /// Its time of day has been set wrong once.
    pub(crate) was_set: bool,
}

impl MachineClock {
    pub(crate) const fn new(rate: u64) -> Self {
        Self { rate, wall_error_ms: 0, was_set: false }
    }

    /// Sets the time of day wrong by so much, or right where it was wrong.
    pub(crate) fn set(&mut self, error_ms: i64) {
        self.wall_error_ms = if self.wall_error_ms == 0 { error_ms } else { 0 };
        self.was_set = true;
    }

    pub(crate) fn set_right(&mut self) {
        self.wall_error_ms = 0;
    }

    pub(crate) fn wall(&self, now: Time) -> Timestamp {
        let since = (now / MILLI) as i64;
        Timestamp((DAWN + since + self.wall_error_ms).max(0) as u64)
    }
}

/// The true time of day.
pub(crate) fn time_of_day(now: Time) -> Timestamp {
    Timestamp(DAWN as u64 + now / MILLI)
}

/// The monotonic clock of a process: starts at zero with it and never jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessClock {
    started: Time,
    rate: u64,
}

impl ProcessClock {
    pub(crate) const fn start(started: Time, rate: u64) -> Self {
        Self { started, rate }
    }

    pub(crate) fn at(&self, now: Time) -> Moment {
        let micros = u128::from(now.saturating_sub(self.started)) * u128::from(self.rate) / 1_000_000;
        Moment(Duration::from_micros(micros as u64))
    }

    /// The first true time at which this clock shows `moment`; `None` for a time that never comes.
    pub(crate) fn when(&self, moment: Moment) -> Option<Time> {
        let micros = moment.0.as_nanos().div_ceil(1000);
        if micros > u128::from(u64::MAX / 4) {
            return None;
        }
        Some(self.started + (micros * 1_000_000).div_ceil(u128::from(self.rate)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_clock_shows_a_moment_when_it_says_so() {
        for rate in [950_000, TRUE_RATE, 1_050_000] {
            let clock = ProcessClock::start(77, rate);
            for micros in [0, 1, 999, 1_234_567, 9 * SECOND] {
                let moment = Moment(Duration::from_micros(micros));
                let when = clock.when(moment).unwrap();
                assert!(clock.at(when) >= moment && (when == 77 || clock.at(when - 1) < moment));
            }
        }
        assert_eq!(ProcessClock::start(0, TRUE_RATE).when(Moment::NEVER), None);
    }
}
