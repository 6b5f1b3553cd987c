//! How much of the log is kept: which messages the leader should have forgotten now.
//!
//! Whole segments only, since space comes back with whole segments only; oldest first, and never the newest. What is
//! older than the promised age goes, consumed or not. To stay below a size, only what every group has consumed goes.

pub(crate) mod trim;

use mainstay_record::{LogIndex, Timestamp};

/// What is kept. Without limits, everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Messages are kept this long, in milliseconds.
    pub max_age_ms: Option<u64>,
    /// Bytes that the log should not go above. It does as long as what could go is neither consumed nor too old.
    pub max_bytes: Option<u64>,
}

/// A segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    pub first: LogIndex,
    pub last: LogIndex,
    pub bytes: u64,
    /// Timestamp of its newest batch.
    pub newest: Timestamp,
}

/// Through which batch to trim, by [`crate::Command::Trim`]. `segments` are all of the log, oldest first;
/// `unconsumed_from` is [`crate::State::unconsumed_from`]. The answer stays the same until the segments are gone:
/// trimming again is needed only while [`crate::State::trims`] says so.
pub fn plan(
    policy: &Retention,
    segments: &[SegmentInfo],
    unconsumed_from: Option<LogIndex>,
    now: Timestamp,
) -> Option<LogIndex> {
    let (_, candidates) = segments.split_last()?;
    let too_old = |segment: &&SegmentInfo| {
        policy.max_age_ms.is_some_and(|max_age| now.millis_since(segment.newest) > max_age)
    };
    let by_age = candidates.iter().take_while(too_old).count();

    let mut bytes = segments.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.bytes));
    let too_much = |segment: &&SegmentInfo| {
        let over = policy.max_bytes.is_some_and(|max_bytes| bytes > max_bytes);
        bytes = bytes.saturating_sub(segment.bytes);
        over && unconsumed_from.is_none_or(|from| segment.last < from)
    };
    let by_size = candidates.iter().take_while(too_much).count();

    let gone = by_age.max(by_size).checked_sub(1)?;
    candidates.get(gone).map(|segment| segment.last)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    /// Of ten batches and 100 bytes each, one an hour.
    fn segments(count: u64) -> Vec<SegmentInfo> {
        let segment = |n: u64| SegmentInfo {
            first: LogIndex(1 + 10 * n),
            last: LogIndex(10 + 10 * n),
            bytes: 100,
            newest: Timestamp(HOUR * (n + 1)),
        };
        (0..count).map(segment).collect()
    }

    const fn by_age(max_age_ms: u64) -> Retention {
        Retention { max_age_ms: Some(max_age_ms), max_bytes: None }
    }

    const fn by_size(max_bytes: u64) -> Retention {
        Retention { max_age_ms: None, max_bytes: Some(max_bytes) }
    }

    #[test]
    fn what_is_too_old_goes_consumed_or_not() {
        let at = |now| plan(&by_age(2 * HOUR), &segments(5), Some(LogIndex(1)), Timestamp(now));
        assert_eq!(at(3 * HOUR), None, "just old enough");
        assert_eq!(at(3 * HOUR + 1), Some(LogIndex(10)));
        assert_eq!(at(5 * HOUR + 1), Some(LogIndex(30)));
        assert_eq!(at(1000 * HOUR), Some(LogIndex(40)), "the newest stays");
        assert_eq!(at(0), None, "clocks may differ");
    }

    #[test]
    fn what_is_too_much_goes_when_it_is_consumed() {
        let with = |max_bytes, from: Option<u64>| {
            plan(&by_size(max_bytes), &segments(5), from.map(LogIndex), Timestamp(6 * HOUR))
        };
        assert_eq!(with(500, None), None, "just small enough");
        assert_eq!(with(499, None), Some(LogIndex(10)));
        assert_eq!(with(300, None), Some(LogIndex(20)));
        assert_eq!(with(0, None), Some(LogIndex(40)), "the newest stays");
        assert_eq!(with(0, Some(21)), Some(LogIndex(20)));
        assert_eq!(with(0, Some(20)), Some(LogIndex(10)));
        assert_eq!(with(0, Some(1)), None);
    }

    #[test]
    fn without_limits_or_segments_everything_stays() {
        let now = Timestamp(1000 * HOUR);
        assert_eq!(plan(&Retention::default(), &segments(9), None, now), None);
        for count in [0, 1] {
            let policy = Retention { max_age_ms: Some(0), max_bytes: Some(0) };
            assert_eq!(plan(&policy, &segments(count), None, now), None);
        }
    }

    #[derive(Debug, Clone)]
    struct Case {
        policy: Retention,
        segments: Vec<SegmentInfo>,
        unconsumed_from: Option<LogIndex>,
        now: Timestamp,
    }

    impl Case {
        fn plan(&self) -> Option<LogIndex> {
            plan(&self.policy, &self.segments, self.unconsumed_from, self.now)
        }
    }

    fn case() -> impl Strategy<Value = Case> {
        let segments = vec((1..20u64, 0..200u64, 0..50u64), 0..12).prop_map(|shapes| {
            let (mut last, mut newest) = (0, 0);
            let segment = |(batches, bytes, millis): (u64, u64, u64)| {
                let first = LogIndex(last + 1);
                (last, newest) = (last + batches, newest + millis);
                SegmentInfo { first, last: LogIndex(last), bytes, newest: Timestamp(newest) }
            };
            shapes.into_iter().map(segment).collect()
        });
        let policy = (option::of(0..400u64), option::of(0..1000u64))
            .prop_map(|(max_age_ms, max_bytes)| Retention { max_age_ms, max_bytes });
        let from = option::of((0..150u64).prop_map(LogIndex));
        (policy, segments, from, (0..800u64).prop_map(Timestamp)).prop_map(
            |(policy, segments, unconsumed_from, now)| Case { policy, segments, unconsumed_from, now },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_young_and_unconsumed_goes_and_nothing_goes_without_need(case in case()) {
            let through = case.plan();
            prop_assert_eq!(case.plan(), through);
            let size: u64 = case.segments.iter().map(|segment| segment.bytes).sum();
            let mut left = size;
            for segment in case.segments.iter().filter(|segment| Some(segment.last) <= through) {
                let old = case.policy.max_age_ms.is_some_and(|age| segment.newest.0 + age < case.now.0);
                let consumed = case.unconsumed_from.is_none_or(|from| segment.last < from);
                let needed = case.policy.max_bytes.is_some_and(|max| left > max);
                prop_assert!(old || consumed && needed, "{:?}", segment);
                left -= segment.bytes;
            }
            if let Some(through) = through {
                prop_assert!(case.segments.iter().any(|segment| segment.last == through));
                prop_assert!(through < case.segments.last().unwrap().last);
            }
        }

        #[test]
        fn what_may_go_goes(case in case()) {
            let through = case.plan();
            let Some((_, older)) = case.segments.split_last() else { return Ok(()) };
            let Some(first) = older.iter().find(|segment| Some(segment.last) > through) else { return Ok(()) };
            let left: u64 = case.segments.iter().filter(|s| s.last >= first.last).map(|s| s.bytes).sum();
            let old = case.policy.max_age_ms.is_some_and(|age| first.newest.0 + age < case.now.0);
            let consumed = case.unconsumed_from.is_none_or(|from| first.last < from);
            prop_assert!(!old, "{:?} is too old", first);
            prop_assert!(!consumed || case.policy.max_bytes.is_none_or(|max| left <= max), "{:?}", first);
        }

        #[test]
        fn later_and_more_never_bring_anything_back(case in case(), later in 0..200u64, bytes in 0..300u64) {
            let through = case.plan();
            let mut next = case;
            next.now = next.now.plus_millis(later);
            prop_assert!(next.plan() >= through);
            next.unconsumed_from = next.unconsumed_from.map(|from| LogIndex(from.0 + later));
            prop_assert!(next.plan() >= through);
            if let Some(newest) = next.segments.last().copied() {
                let first = newest.last.next();
                next.segments.push(SegmentInfo { first, last: first, bytes, newest: newest.newest });
            }
            prop_assert!(next.plan() >= through);
        }
    }
}
