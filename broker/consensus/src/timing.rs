//! Time as the core sees it: moments handed in by the driver, and the few durations the protocol is tuned with.

use std::ops::Range;
use std::time::Duration;

/// Monotonic time since the start of this process. Moments of two processes cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// Later than anything that happens.
    pub const NEVER: Self = Self(Duration::MAX);

    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// Time from `earlier` until this; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How often, how long, how patient. The same on every member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// A leader is heard from at least this often.
    pub heartbeat: Duration,
    /// How long a follower that heard its leader refuses to help another one. The leader relies on 9/10 of it, which
    /// covers clocks whose rates differ by up to 5 % from true time.
    pub lease: Duration,
    /// A Raft follower that has heard no leader for a random time of this range campaigns.
    pub election: Range<Duration>,
}

/// Durations that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    #[error("heartbeat must be above zero")]
    NoHeartbeat,
    #[error("lease ({lease:?}) must be at least three heartbeats ({heartbeat:?} each)")]
    LeaseTooShort { lease: Duration, heartbeat: Duration },
    #[error("election must start ({start:?}) at or after the end of the lease ({lease:?})")]
    ElectionTooEarly { start: Duration, lease: Duration },
    #[error("election range {start:?}..{end:?} must be at least one heartbeat wide")]
    ElectionTooNarrow { start: Duration, end: Duration },
}

impl Timing {
    /// Checks that the durations fit together; [`crate::Core`] expects this of what it is given.
    pub fn check(&self) -> Result<(), TimingError> {
        let (heartbeat, lease) = (self.heartbeat, self.lease);
        let (start, end) = (self.election.start, self.election.end);
        if heartbeat.is_zero() {
            return Err(TimingError::NoHeartbeat);
        }
        if lease < heartbeat.saturating_mul(3) {
            return Err(TimingError::LeaseTooShort { lease, heartbeat });
        }
        if start < lease {
            return Err(TimingError::ElectionTooEarly { start, lease });
        }
        if end < start.saturating_add(heartbeat) {
            return Err(TimingError::ElectionTooNarrow { start, end });
        }
        Ok(())
    }

    /// What a leader may rely on, counted from before it sent the round that was answered.
    pub(crate) fn relied_lease(&self) -> Duration {
        self.lease.mul_f64(0.9)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            lease: Duration::from_secs(1),
            election: Duration::from_millis(1000)..Duration::from_millis(1600),
        }
    }
}

/// Random waiting times, reproducible from the seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Jitter {
    state: u64,
}

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration of the range; its start when the range is empty.
    pub(crate) fn within(&mut self, range: &Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_nanos() as u64;
        let offset = if width == 0 { 0 } else { self.next() % width };
        range.start + Duration::from_nanos(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_contradict_each_other_are_refused() {
        let good = Timing::default();
        assert_eq!(good.check(), Ok(()));
        let bad = Timing { lease: Duration::from_millis(200), ..good.clone() };
        assert!(matches!(bad.check(), Err(TimingError::LeaseTooShort { .. })));
        let bad = Timing { lease: Duration::from_secs(3), ..good.clone() };
        assert!(matches!(bad.check(), Err(TimingError::ElectionTooEarly { .. })));
        let bad = Timing { election: good.election.start..good.election.start, ..good };
        assert!(matches!(bad.check(), Err(TimingError::ElectionTooNarrow { .. })));
    }

    #[test]
    fn jitter_stays_in_its_range_and_repeats() {
        let range = Duration::from_millis(10)..Duration::from_millis(20);
        let (mut one, mut two) = (Jitter::new(7), Jitter::new(7));
        let drawn: Vec<_> = (0..100).map(|_| one.within(&range)).collect();
        assert!(drawn.iter().all(|value| range.contains(value)));
        assert!(drawn.iter().any(|value| *value != drawn[0]));
        assert_eq!(drawn, (0..100).map(|_| two.within(&range)).collect::<Vec<_>>());
    }
}
