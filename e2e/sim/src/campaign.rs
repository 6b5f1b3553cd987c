//! Many runs in a row, and what they came to together.

use std::fmt;
use std::time::{Duration, Instant};

use crate::oracle::Figures;
use crate::run::{Setting, Verdict, run};

/// More failures rarely tell more.
const ENOUGH_FAILURES: usize = 3;

/// Seeds to run: consecutive ones from a base.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    pub base: u64,
    pub count: u64,
    pub setting: Setting,
}

/// What the runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    pub runs: u64,
    pub events: u64,
    pub simulated: Duration,
    pub took: Duration,
    /// Longest time from the last fault until messages were taken again.
    pub slowest_healing: Duration,
    pub figures: Figures,
    pub failures: Vec<Verdict>,
}

impl Campaign {
    /// Runs all seeds, or until enough have failed; `tell` hears of every verdict.
    pub fn run(&self, mut tell: impl FnMut(&Verdict)) -> Summary {
        let started = Instant::now();
        let mut summary = Summary::default();
        for number in 0..self.count {
            let verdict = run(self.base.wrapping_add(number), self.setting);
            tell(&verdict);
            summary.add(verdict);
            if summary.failures.len() >= ENOUGH_FAILURES {
                break;
            }
        }
        summary.took = started.elapsed();
        summary
    }
}

impl Summary {
    pub fn add(&mut self, verdict: Verdict) {
        self.runs += 1;
        self.events += verdict.events;
        self.simulated += Duration::from_micros(verdict.simulated);
        self.slowest_healing = self.slowest_healing.max(Duration::from_micros(verdict.writable_after));
        self.figures.add(&verdict.figures);
        if verdict.violation.is_some() {
            self.failures.push(verdict);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simulated = self.simulated.as_secs_f64();
        let took = self.took.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "{} seeds, {:.2} simulated hours, {} events in {took:.1} s: {:.0} simulated seconds and {:.0} events a second, \
             slowest healing {:.1} s",
            self.runs,
            simulated / 3600.0,
            self.events,
            simulated / took,
            self.events as f64 / took,
            self.slowest_healing.as_secs_f64(),
        )?;
        write!(f, "{:?}", self.figures)?;
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.violation {
            None => write!(f, "seed {} passed", self.seed),
            Some(violation) => write!(
                f,
                "seed {} FAILED {}: {}\n    {}\n    again with: MAINSTAY_SEED={} cargo run -p mainstay-sim",
                self.seed, violation.check, violation.what, self.plan, self.seed
            ),
        }
    }
}
