//! The search: breadth first, so that the trace of a violation is the shortest there is in the scope.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::canon::Canon;
use crate::checks::{Checked, Tally, Violation};
use crate::moves::Move;
use crate::recovery;
use crate::scope::Scope;
use crate::trace;
use crate::world::World;

/// Where a search begins.
pub(crate) type Start = fn(&mut World, &mut Canon) -> Checked;

/// One in so many states is let recover.
const RECOVERIES: usize = 997;

/// What a search saw.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) violation: Option<(Violation, String)>,
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

struct Search {
    canon: Canon,
    seen: HashSet<u128, BuildHasherDefault<Taken>>,
    /// By state: the state it was first reached from, and how.
    parents: Vec<(u32, Move)>,
    frontier: VecDeque<(World, u32, u32)>,
    transitions: usize,
    recoveries: usize,
    tally: Tally,
    /// What is being tried, for a core that panics.
    trying: (u32, Move),
}

pub(crate) fn explore(scope: Scope, start: Start) -> Found {
    let begin = Instant::now();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seconds = number("MAINSTAY_MODEL_SECONDS").map(Duration::from_secs);
    let depth = number("MAINSTAY_MODEL_DEPTH").map(|depth| depth as u32);
    let states = if seconds.is_some() { usize::MAX } else { scope.states };
    let depth = depth.unwrap_or(if seconds.is_some() { u32::MAX } else { scope.depth });
    let scope = Rc::new(scope);
    let mut canon = Canon::default();
    let mut world = World::new(&scope);
    if let Err(violation) = start(&mut world, &mut canon) {
        let story = format!("on the way to the start\n{}", trace::tell(&world, &[]));
        eprintln!("{}: VIOLATED {} on the way to the start", scope.name, violation.check);
        return Found { states: 1, violation: Some((violation, story)) };
    }
    world.begin();
    let mut search = Search {
        canon,
        seen: HashSet::default(),
        parents: vec![(0, Move::Heal)],
        frontier: VecDeque::from([(world.clone(), 0, 0)]),
        transitions: 0,
        recoveries: 0,
        tally: Tally::default(),
        trying: (0, Move::Heal),
    };
    let first = search.canon.fingerprint(&world);
    search.seen.insert(first);
    let go_on =
        |search: &Search| search.seen.len() < states && seconds.is_none_or(|limit| begin.elapsed() < limit);
    let result = catch_unwind(AssertUnwindSafe(|| search.run(depth, go_on)));
    let (reached, violation) = match result {
        Ok(Ok(reached)) => (reached, None),
        Ok(Err(violation)) => (0, Some(violation)),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            (0, Some(Violation::new("no-panic", text.unwrap_or_default())))
        }
    };
    let complete = violation.is_none() && search.frontier.is_empty() && reached < depth;
    let end = match (&violation, complete) {
        (Some(violation), _) => format!("VIOLATED {}", violation.check),
        (None, true) => format!("complete, depth {reached}"),
        (None, false) => format!("depth {reached}"),
    };
    // Past the capture of the test harness: how much was explored is of interest when all passes, too.
    let _ = writeln!(
        std::io::stderr(),
        "{}: {} states explored, {} transitions, {end}, {:.1} s; {} recoveries; {:?}",
        scope.name,
        search.seen.len(),
        search.transitions,
        begin.elapsed().as_secs_f64(),
        search.recoveries,
        search.tally,
    );
    let violation = violation.map(|violation| {
        let story = trace::tell(&world, &search.path());
        (violation, story)
    });
    Found { states: search.seen.len(), violation }
}

impl Search {
    /// Tells how deep every state was expanded.
    fn run(&mut self, depth: u32, go_on: impl Fn(&Self) -> bool) -> Result<u32, Violation> {
        let mut moves = Vec::new();
        let mut reached = 0;
        while let Some((world, id, at)) = self.frontier.pop_front() {
            reached = at;
            if at >= depth {
                break;
            }
            if !go_on(self) {
                self.frontier.push_front((world, id, at));
                break;
            }
            world.moves(&mut self.canon, &mut moves);
            for what in &moves {
                self.trying = (id, *what);
                self.transitions += 1;
                let mut next = world.clone();
                next.make(*what, &mut self.canon)?;
                if next.beyond() || !self.seen.insert(self.canon.fingerprint(&next)) {
                    continue;
                }
                self.tally.add(&next.tally);
                let new = self.parents.len();
                self.parents.push((id, *what));
                if new.is_multiple_of(RECOVERIES) && next.scope.fault.is_none() {
                    self.recoveries += 1;
                    recovery::recovers(next.clone(), &mut self.canon)?;
                }
                self.frontier.push_back((next, new as u32, at + 1));
            }
        }
        Ok(reached)
    }

    /// How what is being tried was reached.
    fn path(&self) -> Vec<Move> {
        let (mut at, last) = self.trying;
        let mut path = vec![last];
        while at != 0 {
            let (parent, what) = self.parents[at as usize];
            path.push(what);
            at = parent;
        }
        path.reverse();
        path
    }
}
