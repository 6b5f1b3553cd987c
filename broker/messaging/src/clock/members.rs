//! What time it is for a broker group: what the clocks of its members say together.
//!
//! Every message between members carries the sender's clock. A reading is a lower bound of what that clock shows from
//! then on, since the message was under way for some time.
//!
//! What always holds: the time that is agreed on is ahead of the true time only when at least half of the clocks heard
//! of are. One clock of three that is wrong changes nothing; of two that disagree the later one is not believed, because
//! to be late loses less than to be early.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_record::{NodeId, Timestamp};

/// How long a message is under way at most without casting doubt on the receiver's own clock.
const TRANSIT: Duration = Duration::from_millis(100);
/// The part of the time passed by which two monotonic clocks may part.
const DRIFT: u32 = 16;
/// For how long a reading is better than one that says an earlier time: that one was longer under way.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Reading {
    shown: Timestamp,
    /// When it arrived, by the own monotonic clock.
    heard: Duration,
}

impl Reading {
    fn earliest(self, now: Duration) -> Timestamp {
        let passed = now.saturating_sub(self.heard);
        self.shown.plus_millis((passed - passed / DRIFT).as_millis() as u64)
    }

    fn latest(self, now: Duration) -> Timestamp {
        let passed = now.saturating_sub(self.heard);
        self.shown.plus_millis((passed + passed / DRIFT + TRANSIT).as_millis() as u64)
    }
}

/// The clocks of the other members.
#[derive(Debug, Clone, Default)]
pub(super) struct Members(BTreeMap<NodeId, Reading>);

impl Members {
    /// A message in which `from` showed its clock has arrived.
    pub(super) fn hear(&mut self, from: NodeId, shown: Timestamp, now: Duration) {
        let reading = Reading { shown, heard: now };
        let known = self.0.entry(from).or_insert(reading);
        if shown >= known.earliest(now) || now.saturating_sub(known.heard) > FRESH {
            *known = reading;
        }
    }

    pub(super) fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_member(*node));
    }

    /// The time that all clocks agree on, of which `own` is one.
    pub(super) fn agreed(&self, own: Timestamp, now: Duration) -> Timestamp {
        let earliest = self.of_the_middle(own, |reading| reading.earliest(now));
        let latest = self.of_the_middle(own, |reading| reading.latest(now));
        if own <= latest { own.max(earliest) } else { earliest }
    }

    /// Of an even number of clocks the earlier one.
    fn of_the_middle(&self, own: Timestamp, shown: impl Fn(Reading) -> Timestamp) -> Timestamp {
        let all = || self.0.values().map(|reading| shown(*reading)).chain([own]);
        let is_in_the_middle = |one: &Timestamp| {
            let earlier = all().filter(|other| other < one).count();
            let not_later = all().filter(|other| other <= one).count();
            (earlier..not_later).contains(&(self.0.len() / 2))
        };
        all().find(is_in_the_middle).unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn members(shown: &[u64]) -> Members {
        let mut members = Members::default();
        for (node, shown) in (1..).zip(shown) {
            members.hear(NodeId::new(node).unwrap(), Timestamp(*shown), at(0));
        }
        members
    }

    #[test]
    fn clocks_that_agree_leave_the_own_one_alone() {
        for others in [&[][..], &[HOUR - 40], &[HOUR - 5, HOUR - 90], &[HOUR - 1, HOUR - 1, HOUR - 1]] {
            assert_eq!(members(others).agreed(Timestamp(HOUR), at(0)), Timestamp(HOUR), "{others:?}");
        }
    }

    #[test]
    fn one_wrong_clock_of_three_changes_nothing() {
        for wrong in [0, 2 * HOUR] {
            let own_is_right = members(&[HOUR - 3, wrong]).agreed(Timestamp(HOUR), at(0));
            assert_eq!(own_is_right, Timestamp(HOUR));
            let own_is_wrong = members(&[HOUR - 3, HOUR - 7]).agreed(Timestamp(wrong), at(0));
            assert!((HOUR - 7..=HOUR - 3).contains(&own_is_wrong.0), "{own_is_wrong:?}");
        }
    }

    #[test]
    fn the_earlier_of_two_clocks_is_believed() {
        assert_eq!(members(&[HOUR]).agreed(Timestamp(2 * HOUR), at(0)), Timestamp(HOUR));
        assert_eq!(members(&[2 * HOUR]).agreed(Timestamp(HOUR), at(0)), Timestamp(HOUR));
    }

    #[test]
    fn readings_go_on_and_say_less_the_older_they_are() {
        let members = members(&[HOUR, HOUR]);
        let later = |own| members.agreed(Timestamp(own), at(16_000));
        assert_eq!(later(HOUR + 16_900), Timestamp(HOUR + 16_900));
        assert_eq!(later(HOUR + 17_200), Timestamp(HOUR + 15_000));
        assert_eq!(later(HOUR + 14_000), Timestamp(HOUR + 15_000));
    }

    #[test]
    fn a_message_that_was_long_under_way_is_not_taken_for_a_clock_that_is_behind() {
        let mut members = members(&[HOUR, HOUR]);
        for node in [1, 2] {
            members.hear(NodeId::new(node).unwrap(), Timestamp(HOUR - 3_000), at(500));
        }
        assert_eq!(members.agreed(Timestamp(HOUR + 500), at(500)), Timestamp(HOUR + 500));
        for node in [1, 2] {
            members.hear(NodeId::new(node).unwrap(), Timestamp(HOUR - 2_000), at(1_500));
        }
        assert_eq!(members.agreed(Timestamp(HOUR + 1_500), at(1_500)), Timestamp(HOUR - 2_000));
    }
}
