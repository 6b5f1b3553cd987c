//! The clock that batches are stamped with, by which everything that waits in the log is timed.
//!
//! It shows what the clocks of all members say together, each without its sudden steps, but stamps never go back: not when
//! those clocks do, and not behind those of a former leader that was ahead. While they are behind the newest stamp this
//! clock goes on at half the pace of the monotonic one until they meet: what is invisible comes back late then, but it
//! comes.

mod members;
mod steady;

use std::time::Duration;

use mainstay_planted::{Fault, planted};
use mainstay_record::{NodeId, Timestamp};

use members::Members;
use steady::Steady;

pub use steady::Step;

/// By how much a clock that is ahead goes slower.
const SLOWER: u64 = 2;

/// See the module. Fed with the wall clock and a monotonic one, with what other members' clocks show, and with every
/// stamp that gets into the log.
#[derive(Debug, Clone)]
pub struct LogClock {
    newest: Timestamp,
    /// When it was noted, by the monotonic clock.
    at: Duration,
    steady: Steady,
    members: Members,
}

impl LogClock {
    /// The clock of a log whose newest batch has the stamp `newest`.
    pub fn new(newest: Timestamp, wall: Timestamp, now: Duration) -> Self {
        Self { newest, at: now, steady: Steady::new(wall, now), members: Members::default() }
    }

    /// Looks whether the wall clock was set; to be called at least every second.
    pub fn observe(&mut self, wall: Timestamp, now: Duration) -> Option<Step> {
        self.steady.observe(wall, now)
    }

    /// What this member tells the others.
    pub fn own(&self, wall: Timestamp, now: Duration) -> Timestamp {
        self.steady.earliest(wall, now)
    }

    /// A message has arrived in which another member told what its clock showed.
    pub fn hear(&mut self, from: NodeId, shown: Timestamp, now: Duration) {
        self.members.hear(from, shown, now);
    }

    /// Others do not count any more.
    pub fn retain_members(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.members.retain(is_member);
    }

    /// The stamp of a batch that is made now. Where other members are needed to commit it, one of them has to be heard
    /// before: their clocks count.
    pub fn now(&self, wall: Timestamp, now: Duration) -> Timestamp {
        self.slow(now).max(self.time_of_day(wall, now))
    }

    /// The stamp of a batch that times nothing. It believes no clock, so that it can be made before any other member was
    /// heard.
    pub fn unbelieving(&self, now: Duration) -> Timestamp {
        self.slow(now)
    }

    /// A batch with this stamp is in the log.
    pub fn note(&mut self, stamp: Timestamp, now: Duration) {
        if stamp > self.slow(now) {
            (self.newest, self.at) = (stamp, now);
        }
    }

    /// How long until this clock shows `due`.
    pub fn until(&self, due: Timestamp, wall: Timestamp, now: Duration) -> Duration {
        let by_day = due.millis_since(self.time_of_day(wall, now));
        let by_itself = due.millis_since(self.slow(now)).saturating_mul(SLOWER);
        Duration::from_millis(by_day.min(by_itself))
    }

    /// How far the time that the members agree on is from what the wall clock shows, in milliseconds.
    pub fn correction(&self, wall: Timestamp, now: Duration) -> i64 {
        self.time_of_day(wall, now).0.cast_signed().wrapping_sub(wall.0.cast_signed())
    }

    fn time_of_day(&self, wall: Timestamp, now: Duration) -> Timestamp {
        if planted(Fault::BelieveOneClock) {
            return wall;
        }
        if self.members.are_silent(now) {
            return self.steady.now(wall, now);
        }
        self.members.agreed(self.own(wall, now), now)
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
        let mut clock = LogClock::new(Timestamp(1000), Timestamp(1000), at(0));
        for passed in (0..5000).step_by(7) {
            let stamp = clock.now(Timestamp(1000 + passed), at(passed));
            assert_eq!(stamp, Timestamp(1000 + passed));
            clock.note(stamp, at(passed));
        }
        assert_eq!(clock.until(Timestamp(7000), Timestamp(6000), at(5000)), at(1000));
    }

    #[test]
    fn it_goes_on_when_the_wall_clock_jumped_back_and_meets_it_again() {
        let wall = |passed| Timestamp(4_000 + passed);
        let mut clock = LogClock::new(Timestamp(10_000), wall(0), at(0));
        let mut last = Timestamp(0);
        for passed in (0..20_000).step_by(10) {
            let stamp = clock.now(wall(passed), at(passed));
            assert!(stamp >= last, "{stamp:?} after {last:?}");
            last = stamp;
            clock.note(stamp, at(passed));
        }
        assert_eq!(clock.now(wall(20_000), at(20_000)), wall(20_000), "they have met");
        let clock = LogClock::new(Timestamp(10_000), wall(0), at(0));
        assert_eq!(clock.now(wall(2_000), at(2_000)), Timestamp(11_000), "half the pace");
        let wait = clock.until(Timestamp(12_500), wall(2_000), at(2_000));
        assert_eq!((wait, clock.now(wall(5_000), at(5_000))), (at(3_000), Timestamp(12_500)));
    }

    #[test]
    fn stamps_at_every_millisecond_do_not_hold_it_up() {
        let mut clock = LogClock::new(Timestamp(10_000), Timestamp(0), at(0));
        for passed in 0..1_000 {
            clock.note(clock.now(Timestamp(0), at(passed)), at(passed));
        }
        assert_eq!(clock.now(Timestamp(0), at(1_000)), Timestamp(10_500));
    }

    #[test]
    fn a_stamp_of_another_leader_that_was_ahead_is_not_undercut() {
        let mut clock = LogClock::new(Timestamp(1_000), Timestamp(1_000), at(0));
        clock.note(Timestamp(50_000), at(500));
        assert_eq!(clock.now(Timestamp(1_600), at(600)), Timestamp(50_050));
        clock.note(Timestamp(2_000), at(700));
        assert!(clock.now(Timestamp(2_000), at(700)) >= Timestamp(50_050));
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_nothing_at_once() {
        let mut clock = LogClock::new(Timestamp(0), Timestamp(1_000_000), at(0));
        assert_eq!(clock.observe(Timestamp(9_000_000), at(1_000)), Some(Step::Suspected(7_999_000)));
        assert_eq!(clock.now(Timestamp(9_001_000), at(2_000)), Timestamp(1_002_000));
        assert_eq!(clock.until(Timestamp(1_005_000), Timestamp(9_001_000), at(2_000)), at(3_000));
        assert_eq!(clock.correction(Timestamp(9_001_000), at(2_000)), -7_999_000);
    }

    #[test]
    fn while_a_step_is_suspected_the_other_members_tell_the_time() {
        let wrong = Timestamp(9_000_000);
        let mut clock = LogClock::new(Timestamp(0), Timestamp(1_000_000), at(0));
        clock.observe(wrong, at(1_000));
        // The own monotonic clock is a little ahead of theirs.
        for node in [1, 2] {
            clock.hear(NodeId::new(node).unwrap(), Timestamp(1_020_950), at(21_000));
        }
        assert_eq!(clock.now(wrong, at(21_000)), Timestamp(1_020_950));
        assert!(clock.own(wrong, at(21_000)) <= Timestamp(1_020_950), "what the others are told");
    }

    #[test]
    fn a_leader_whose_clock_was_wrong_from_the_start_is_overruled_by_the_other_members() {
        let wrong = |passed: u64| Timestamp(9_000_000 + passed);
        let mut clock = LogClock::new(Timestamp(0), wrong(0), at(0));
        for node in [1, 2] {
            clock.hear(NodeId::new(node).unwrap(), Timestamp(1_000_000), at(10));
        }
        assert_eq!(clock.own(wrong(10), at(10)), wrong(10), "what the others are told");
        assert_eq!(clock.unbelieving(at(10)), Timestamp(5), "before anybody was heard");
        assert_eq!(clock.now(wrong(10), at(10)), Timestamp(1_000_000));
        clock.retain_members(|node| node.get() == 7);
        assert_eq!(clock.now(wrong(10), at(10)), wrong(10), "nobody is left to overrule it");
    }
}
