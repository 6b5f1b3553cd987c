//! The group's clock against the true time: three members, one of which has a wall clock that is set at will, talk to each
//! other over a network that takes its time.

use std::time::Duration;

use mainstay_messaging::LogClock;
use mainstay_record::{NodeId, Timestamp};
use proptest::prelude::*;

const MEMBERS: usize = 3;
const DAWN: u64 = 1_800_000_000_000;
/// Milliseconds between two rounds of messages, each of which takes less than that.
const ROUND: u64 = 100;
/// How late the clock may be: a message is under way, and says less the older it is.
const LATE: u64 = 120;
/// One that is less wrong may pass for right, and the group's time be as early.
const SEEN: i64 = 1_000;

#[derive(Debug, Clone)]
struct Round {
    /// What the wrong clock is set to from now on, from the truth.
    set: Option<i64>,
    under_way: [u64; MEMBERS],
    /// The one whose clock counts.
    leader: usize,
    restarts: bool,
}

fn round() -> impl Strategy<Value = Round> {
    let wrong = prop_oneof![-7_200_000..-SEEN, Just(0), SEEN..7_200_000];
    let set = prop::option::weighted(0.2, wrong);
    (set, [0..ROUND, 0..ROUND, 0..ROUND], 0..MEMBERS, prop::bool::weighted(0.05))
        .prop_map(|(set, under_way, leader, restarts)| Round { set, under_way, leader, restarts })
}

fn node(member: usize) -> NodeId {
    NodeId::new(member as u64 + 1).unwrap()
}

proptest! {
    #[test]
    fn one_wrong_clock_never_makes_the_groups_time_wrong(rounds in prop::collection::vec(round(), 1..600)) {
        let mut wrong = 0;
        let wall = |member: usize, wrong: i64, now: u64| {
            let error = if member == 0 { wrong } else { 0 };
            Timestamp((DAWN + now).checked_add_signed(error).unwrap())
        };
        let at = Duration::from_millis;
        let mut clocks: Vec<LogClock> =
            (0..MEMBERS).map(|member| LogClock::new(Timestamp(0), wall(member, 0, 0), at(0))).collect();
        for (number, round) in (1..).zip(&rounds) {
            let now = number * ROUND;
            wrong = round.set.unwrap_or(wrong);
            if round.restarts {
                clocks[0] = LogClock::new(Timestamp(0), wall(0, wrong, now), at(now));
            }
            for (member, clock) in clocks.iter_mut().enumerate() {
                clock.observe(wall(member, wrong, now), at(now));
            }
            for from in 0..MEMBERS {
                let shown = clocks[from].own(wall(from, wrong, now), at(now));
                for to in (0..MEMBERS).filter(|to| *to != from) {
                    clocks[to].hear(node(from), shown, at(now + round.under_way[from]));
                }
            }
            let then = now + ROUND - 1;
            let shown = clocks[round.leader].now(wall(round.leader, wrong, then), at(then));
            let late = (DAWN + then).checked_signed_diff(shown.0).unwrap();
            prop_assert!((0..=LATE as i64).contains(&late), "round {number}: {late} ms late");
        }
    }
}
