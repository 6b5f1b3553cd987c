//! Runs without a planted mistake: all of them must pass.

use std::io::Write;

use mainstay_sim::{Campaign, Figures, Setting, Summary, run};

/// Fresh seeds of one run of the tests.
const FRESH: u64 = 200;
/// Seeds of the past, each with what it once found.
const FAILED_ONCE: &str = include_str!("../failed_once.txt");

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}', not a number")))
}

/// Past the capture of the test harness: what was run is of interest when it passed, too.
fn tell(what: &str, summary: &Summary) {
    let _ = writeln!(std::io::stderr(), "simulation, {what}: {summary}");
}

#[test]
fn fresh_seeds_keep_every_promise() {
    let base = number("MAINSTAY_BASE").unwrap_or_else(rand::random);
    let count = number("MAINSTAY_SEEDS").unwrap_or(FRESH);
    let campaign = Campaign { base, count, setting: Setting::default() };
    let summary = campaign.run(|_| {});
    tell(&format!("seeds {base} to {}", base.wrapping_add(count - 1)), &summary);
    assert!(summary.failures.is_empty(), "{summary}");
    if count >= FRESH {
        reaches_what_it_tests(&summary.figures, count);
    }
}

/// Only what so many seeds do not miss by chance.
fn reaches_what_it_tests(figures: &Figures, count: u64) {
    assert!(figures.reigns > 2 * count && figures.acknowledged > 50 * count, "{figures:?}");
    assert!(figures.cuts > 0 && figures.quarantined > 0 && figures.rewinds > 0, "{figures:?}");
    assert!(figures.fatal > 0 && figures.lost_disks > 0 && figures.orders > 0, "{figures:?}");
    assert!(figures.snapshots > 10 * count && figures.trimmed > count, "{figures:?}");
    assert!(figures.forgotten > count && figures.refills > 0 && figures.refills_cut > 0, "{figures:?}");
    assert!(figures.orphans > 0 && figures.lost_logs > 0, "{figures:?}");
    assert!(figures.released > 10 * count && figures.recalled > count, "{figures:?}");
    assert!(figures.decided > 5 * count && figures.checks > count, "{figures:?}");
    assert!(figures.buried > count && figures.repeated > 0, "{figures:?}");
}

#[test]
fn seeds_that_once_failed_pass() {
    let mut summary = Summary::default();
    for line in FAILED_ONCE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let seed = line.split_whitespace().next().unwrap().parse().unwrap();
        summary.add(run(seed, Setting::default()));
    }
    tell("seeds that once failed", &summary);
    assert!(summary.failures.is_empty(), "{summary}");
}

#[test]
fn a_seed_is_one_run() {
    let base: u64 = rand::random();
    for seed in base..base.saturating_add(20) {
        let (one, two) = (run(seed, Setting::default()), run(seed, Setting::default()));
        assert_eq!((one.trace, one.events), (two.trace, two.events), "seed {seed} gave two different runs");
        assert_eq!(one.violation.map(|v| v.what), two.violation.map(|v| v.what), "seed {seed}");
    }
}
