//! What time it is for a broker group: what the clocks of its members say together.
//!
//! Every message between members carries the sender's clock. A reading is a lower bound of what that clock shows from
//! then on, since the message was under way for some time. How long that was is not known: of several readings the one
//! that says the latest time was the fastest, unless the clock was set back, which all that come later tell. So the fastest
//! of the last few seconds counts.
//!
//! What always holds: the time that is agreed on is ahead of the true time only when at least half of the clocks heard
//! of lately are. One clock of three that is wrong changes nothing; of two that disagree the later one is not believed,
//! because to be late loses less than to be early. A clock that is wrong by less than half a second may pass for right.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_record::{NodeId, Timestamp};

/// How long a message is under way at most without casting doubt on the receiver's own clock.
const TRANSIT: Duration = Duration::from_millis(100);
/// The part of the time passed by which two monotonic clocks may part.
const DRIFT: u32 = 16;
/// What that part comes to at most where a clock may be ahead: a long silence must not make room for one that is wrong.
const ROOM: Duration = Duration::from_millis(400);
/// How long the fastest message of a period counts for it, and as long again.
const PERIOD: Duration = Duration::from_secs(3);
/// A member that has not been heard for so long says nothing any more: what its clock may show by now is too wide.
const SILENT: Duration = Duration::from_secs(60);

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
        self.shown.plus_millis((passed + (passed / DRIFT).min(ROOM) + TRANSIT).as_millis() as u64)
    }
}

/// What is known of the clock of one member.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// The fastest of the period that has begun.
    recent: Reading,
    /// That of the period before.
    before: Reading,
    began: Duration,
    heard: Duration,
}

impl Member {
    const fn new(first: Reading) -> Self {
        Self { recent: first, before: first, began: first.heard, heard: first.heard }
    }

    fn hear(&mut self, reading: Reading) {
        let now = reading.heard;
        self.heard = now;
        if now.saturating_sub(self.began) >= PERIOD {
            (self.before, self.recent, self.began) = (self.recent, reading, now);
        } else if reading.shown >= self.recent.earliest(now) {
            self.recent = reading;
        }
    }

    fn earliest(self, now: Duration) -> Timestamp {
        self.recent.earliest(now).max(self.before.earliest(now))
    }

    fn latest(self, now: Duration) -> Timestamp {
        self.recent.latest(now).max(self.before.latest(now))
    }
}

/// The clocks of the other members.
#[derive(Debug, Clone, Default)]
pub(super) struct Members(BTreeMap<NodeId, Member>);

impl Members {
    /// A message in which `from` showed its clock has arrived.
    pub(super) fn hear(&mut self, from: NodeId, shown: Timestamp, now: Duration) {
        let reading = Reading { shown, heard: now };
        self.0.entry(from).or_insert(Member::new(reading)).hear(reading);
    }

    pub(super) fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_member(*node));
    }

    /// The time that all clocks agree on, of which `own` is one.
    pub(super) fn agreed(&self, own: Timestamp, now: Duration) -> Timestamp {
        let earliest = self.of_the_middle(own, now, |member| member.earliest(now));
        let latest = self.of_the_middle(own, now, |member| member.latest(now));
        if own <= latest { own.max(earliest) } else { earliest }
    }

    /// Nobody else was heard lately.
    pub(super) fn are_silent(&self, now: Duration) -> bool {
        self.heard_lately(now).next().is_none()
    }

    fn heard_lately(&self, now: Duration) -> impl Iterator<Item = Member> {
        self.0.values().copied().filter(move |member| now.saturating_sub(member.heard) < SILENT)
    }

    /// Of an even number of clocks the earlier one.
    fn of_the_middle(&self, own: Timestamp, now: Duration, shown: impl Fn(Member) -> Timestamp) -> Timestamp {
        let all = || self.heard_lately(now).map(&shown).chain([own]);
        let middle = self.heard_lately(now).count() / 2;
        let is_in_the_middle = |one: &Timestamp| {
            let earlier = all().filter(|other| other < one).count();
            let not_later = all().filter(|other| other <= one).count();
            (earlier..not_later).contains(&middle)
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
        assert_eq!(later(HOUR + 16_500), Timestamp(HOUR + 16_500));
        assert_eq!(later(HOUR + 16_501), Timestamp(HOUR + 15_000));
        assert_eq!(later(HOUR + 14_000), Timestamp(HOUR + 15_000));
    }

    #[test]
    fn a_message_that_was_long_under_way_is_not_taken_for_a_clock_that_is_behind() {
        let mut members = members(&[HOUR, HOUR]);
        for node in [1, 2] {
            members.hear(NodeId::new(node).unwrap(), Timestamp(HOUR - 3_000), at(500));
        }
        assert_eq!(members.agreed(Timestamp(HOUR + 500), at(500)), Timestamp(HOUR + 500));
        // All of two periods say that it is.
        for passed in [4_000, 7_000] {
            for node in [1, 2] {
                members.hear(NodeId::new(node).unwrap(), Timestamp(HOUR + passed - 3_500), at(passed));
            }
        }
        assert_eq!(members.agreed(Timestamp(HOUR + 7_000), at(7_000)), Timestamp(HOUR + 3_500));
    }

    #[test]
    fn after_a_silence_one_message_that_was_long_under_way_changes_nothing() {
        let mut members = members(&[HOUR]);
        let node = NodeId::new(1).unwrap();
        for late in [900, 3_000] {
            let mut members = members.clone();
            members.hear(node, Timestamp(HOUR + 20_000 - late), at(20_000));
            assert_eq!(members.agreed(Timestamp(HOUR + 20_000), at(20_000)), Timestamp(HOUR + 20_000));
            members.hear(node, Timestamp(HOUR + 20_010), at(20_013));
            assert_eq!(members.agreed(Timestamp(HOUR + 20_013), at(20_013)), Timestamp(HOUR + 20_013));
        }
        // The clock was set back.
        for passed in (20_000..25_500).step_by(50) {
            members.hear(node, Timestamp(HOUR + passed - 3_000), at(passed));
        }
        assert_eq!(members.agreed(Timestamp(HOUR + 25_500), at(25_500)), Timestamp(HOUR + 22_496));
    }

    #[test]
    fn a_member_that_is_silent_makes_room_for_no_wrong_clock() {
        let mut members = members(&[HOUR, HOUR]);
        let node = NodeId::new(2).unwrap();
        for minutes in 1..2_000 {
            let passed = minutes * 60_000;
            members.hear(node, Timestamp(HOUR + passed), at(passed));
            for wrong in [60_000, HOUR] {
                let agreed = members.agreed(Timestamp(HOUR + passed + wrong), at(passed));
                assert_eq!(agreed, Timestamp(HOUR + passed), "after {minutes} minutes");
            }
        }
        assert!(!members.are_silent(at(2_000 * 60_000 - 1)) && members.are_silent(at(2_000 * 60_000)));
    }

    #[test]
    fn what_was_heard_before_a_silence_makes_room_for_no_wrong_clock() {
        for silence in [1_000, 10_000, 70_000, 600_000, HOUR] {
            let mut members = members(&[HOUR, HOUR]);
            for node in [1, 2] {
                members.hear(NodeId::new(node).unwrap(), Timestamp(HOUR + silence), at(silence));
            }
            let agreed = members.agreed(Timestamp(HOUR + silence + 501), at(silence));
            assert_eq!(agreed, Timestamp(HOUR + silence), "silence of {silence} ms");
        }
    }
}
