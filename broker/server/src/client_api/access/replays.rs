//! Which dates a user has signed, so that one overheard is not taken for a fresh one of another time zone.
//!
//! A signature covers a date only, of whole seconds and often in local time. What was shown at noon is therefore again "of
//! now" an hour later, one time zone to the west. Such a second showing is a replay, unless it can be what it seems: in UTC,
//! exactly an hour behind (clocks that were put back after summer time), or in a zone in which the user has shown a date that
//! nobody had shown before.
//!
//! Kept in memory, by each broker for itself: what it has not seen since its start, it cannot tell.

use std::collections::{BTreeMap, HashMap};

use mainstay_messaging::UserName;
use parking_lot::Mutex;

use super::dates::{QUARTER, Zone};

/// Seconds after which no zone takes a date for one of now.
const OUTDATED: i64 = 13 * 3600;
/// How long a zone counts as the user's after a fresh date in it.
const PROVEN_FOR: i64 = 26 * 3600;
const HOUR: i64 = 4;
const UTC: Zone = Zone(0);
const WORDS: usize = (QUARTER as usize).div_ceil(64);

#[derive(Debug, Default)]
pub(super) struct Replays {
    by_user: Mutex<HashMap<UserName, Dates>>,
}

/// Dates of one user.
#[derive(Debug, Default)]
struct Dates {
    /// By the quarter hour that the dates are of.
    shown: BTreeMap<i64, Vec<Seconds>>,
    /// Zones with the time of their last fresh date.
    zones: Vec<(Zone, i64)>,
}

/// Which seconds of a quarter hour were shown as of this zone.
#[derive(Debug)]
struct Seconds {
    zone: Zone,
    bits: [u64; WORDS],
}

impl Replays {
    /// Notes that `user` showed the date `at`, which is of `now` in `zone`; false when it is a replay.
    pub(super) fn show(&self, user: &UserName, at: i64, zone: Zone, now: i64) -> bool {
        let mut by_user = self.by_user.lock();
        if let Some(dates) = by_user.get_mut(user) {
            return dates.show(at, zone, now);
        }
        by_user.retain(|_, dates| dates.is_of_use(now));
        by_user.entry(user.clone()).or_default().show(at, zone, now)
    }
}

impl Dates {
    fn show(&mut self, at: i64, zone: Zone, now: i64) -> bool {
        let (quarter, second) = (at.div_euclid(QUARTER), at.rem_euclid(QUARTER) as usize);
        let (word, bit) = (second / 64, 1_u64 << (second % 64));
        if !self.shown.contains_key(&quarter) {
            self.shown = self.shown.split_off(&(now - OUTDATED).div_euclid(QUARTER));
            self.zones.retain(|(_, last)| now - last < PROVEN_FOR);
        }
        let shown = self.shown.entry(quarter).or_default();
        // Time goes on, so that what was shown earlier was further before UTC.
        let earlier = shown.iter().filter(|seconds| seconds.zone > zone && seconds.bits[word] & bit != 0);
        let put_back = |seconds: &Seconds| seconds.zone.0 - zone.0 == HOUR;
        let (mut seen, mut explained) = (false, zone == UTC);
        for seconds in earlier {
            seen = true;
            explained |= put_back(seconds);
        }
        let proven = self.zones.iter_mut().find(|(known, _)| *known == zone);
        if seen && !explained && proven.is_none() {
            return false;
        }
        if seen {
            // Not noted: what is excused once must not excuse the next.
            return true;
        }
        match proven {
            Some((_, last)) => *last = now,
            None => self.zones.push((zone, now)),
        }
        let at = shown.iter().position(|seconds| seconds.zone == zone).unwrap_or_else(|| {
            shown.push(Seconds { zone, bits: [0; WORDS] });
            shown.len() - 1
        });
        shown[at].bits[word] |= bit;
        true
    }

    fn is_of_use(&self, now: i64) -> bool {
        self.shown
            .last_key_value()
            .is_some_and(|(quarter, _)| *quarter >= (now - OUTDATED).div_euclid(QUARTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_703_678_400;

    /// Calls of one user against a clock.
    struct User {
        replays: Replays,
        name: UserName,
    }

    impl User {
        fn new() -> Self {
            Self { replays: Replays::default(), name: UserName::new("ann").unwrap() }
        }

        /// At `now`, in a zone so many quarter hours before UTC.
        fn calls(&self, now: i64, zone: i64) -> bool {
            self.replays.show(&self.name, now + zone * QUARTER, Zone(zone), now)
        }

        /// Shows what was signed at `signed` in `zone` again at `now`.
        fn repeats(&self, signed: i64, zone: i64, now: i64) -> bool {
            let at = signed + zone * QUARTER;
            assert_eq!((at - now) % QUARTER, 0, "no zone takes it for one of now");
            self.replays.show(&self.name, at, Zone((at - now) / QUARTER), now)
        }
    }

    #[test]
    fn many_clients_sign_the_same_second() {
        let user = User::new();
        assert!((0..100).all(|_| user.calls(NOON, 8)));
        assert!((0..5000).all(|second| user.calls(NOON + second, 8)));
    }

    #[test]
    fn what_was_shown_is_a_replay_in_every_zone_to_the_west() {
        for zone in [-20, 4, 8, 23] {
            let user = User::new();
            assert!(user.calls(NOON, zone));
            for quarters in 1..40 {
                let (now, later) = (NOON + quarters * QUARTER, zone - quarters);
                let excused = later == 0 || quarters == 4;
                assert_eq!(user.repeats(NOON, zone, now), excused, "zone {zone}, {quarters} quarters later");
            }
        }
    }

    #[test]
    fn a_replay_proves_nothing() {
        let user = User::new();
        user.calls(NOON, 8);
        user.calls(NOON + 1, 8);
        let later = NOON + 6 * QUARTER;
        assert!(!user.repeats(NOON, 8, later));
        assert!(!user.repeats(NOON, 8, later), "shown again it is no better");
        assert!(!user.repeats(NOON + 1, 8, later + 1));
    }

    #[test]
    fn clients_in_several_zones_share_a_user() {
        let user = User::new();
        assert!(user.calls(NOON, 36) && user.calls(NOON, -20), "both are new");
        // Calls in the east at every even second of a day, in the west at every one.
        let mut refused = 0;
        for second in (1..20 * 3600).step_by(7) {
            refused += u32::from(second % 2 == 0 && !user.calls(NOON + second, 36));
            refused += u32::from(!user.calls(NOON + second, -20));
        }
        assert_eq!(refused, 0);
    }

    #[test]
    fn clocks_put_back_after_summer_time_go_on() {
        let user = User::new();
        assert!((0..3600).all(|second| user.calls(NOON + second, 8)));
        assert!((3600..10_000).all(|second| user.calls(NOON + second, 4)));
    }

    #[test]
    fn users_have_nothing_to_do_with_each_other() {
        let user = User::new();
        let other = UserName::new("ben").unwrap();
        user.calls(NOON, 8);
        assert!(user.replays.show(&other, NOON + 8 * QUARTER, Zone(2), NOON + 6 * QUARTER));
    }

    #[test]
    fn what_can_never_be_of_now_again_is_forgotten() {
        let user = User::new();
        for second in (0..3 * 86_400).step_by(60) {
            assert!(user.calls(NOON + second, 8));
        }
        let by_user = user.replays.by_user.lock();
        let dates = &by_user[&user.name];
        assert!(dates.shown.len() <= 4 * (13 + 2) + 2, "{}", dates.shown.len());
        drop(by_user);
        user.replays.show(&UserName::new("ben").unwrap(), NOON + 4 * 86_400, UTC, NOON + 4 * 86_400);
        assert_eq!(user.replays.by_user.lock().len(), 1, "a user that is gone costs nothing");
    }
}
