//! Power cuts at every change of the disk, and at random ones over many generations of a log.
//!
//! The property is the same everywhere: after a power cut the log opens, what it holds is a prefix of what was written,
//! and nothing that was reported durable is missing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::{ErrorKind, Write};
use std::time::Duration;

use mainstay_record::LogIndex;
use mainstay_storage::{Flush, LogCore, MemFileSystem, Operation, TailFate, Unsynced};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use support::{Author, base_behind, core_read_all, epoch, open, open_core, open_core_with, options};

const DIRECTORY: &str = "/data/group-3";
const ALL: [Unsynced; 4] = [Unsynced::Lost, Unsynced::Kept, Unsynced::Scattered, Unsynced::Torn];

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: usize,
        bytes: usize,
    },
    Sync,
    Truncate {
        keep: u64,
        fate: TailFate,
    },
    Forget {
        through: u64,
    },
    /// Start over behind a base that is so far ahead of the end.
    Restart {
        ahead: u64,
        aside: bool,
    },
    Close,
}

/// What may be on the disk: a prefix of `author`'s batches that has at least `durable` of them, without some of those
/// through `forgettable`; or nothing, behind the base of `instead`.
#[derive(Debug, Clone, Default)]
struct Expected {
    author: Author,
    durable: usize,
    forgettable: u64,
    instead: Option<Author>,
}

/// Runs steps until the power fails. Afterwards `expected` says what may be found.
fn run(core: LogCore, steps: &[Step], reign: u64, expected: &mut Expected) {
    let mut core = Some(core);
    for step in steps {
        let Some(log) = &mut core else { return };
        let written = expected.author.batches.len();
        let done = match step {
            Step::Append { count, bytes } => {
                let batches = expected.author.write_many(epoch(reign), *count, *bytes);
                log.append(&batches).is_ok()
            }
            Step::Sync => {
                let done = log.sync().is_ok();
                if done {
                    expected.durable = written;
                }
                done
            }
            Step::Truncate { keep, fate } => {
                let keep = (*keep).clamp(expected.author.base.last.index.0, log.last().index.0);
                let count = expected.author.count_through(keep);
                expected.durable = expected.durable.min(count);
                let done = log.truncate(LogIndex(keep), *fate).is_ok();
                if done && count < written {
                    expected.author.cut(keep);
                    expected.durable = count;
                }
                done
            }
            Step::Forget { through } => forget(log, *through, expected),
            Step::Restart { ahead, aside } => restart(log, *ahead, *aside, reign, expected),
            Step::Close => {
                let done = core.take().is_some_and(|core| core.close().is_ok());
                if done {
                    expected.durable = written;
                }
                done
            }
        };
        if !done {
            return;
        }
    }
}

fn forget(log: &mut LogCore, through: u64, expected: &mut Expected) -> bool {
    expected.forgettable = through.min(log.last().index.0);
    let Ok(first) = log.forget(LogIndex(through)) else { return false };
    let base = first.0 - 1;
    assert!(base <= expected.forgettable.max(expected.author.base.last.index.0));
    let gone = expected.author.count_through(base);
    // What was removed had been complete, so durable.
    expected.durable = expected.durable.saturating_sub(gone);
    expected.author.forget(base);
    assert_eq!(log.base(), &expected.author.base);
    expected.forgettable = 0;
    true
}

fn restart(log: &mut LogCore, ahead: u64, aside: bool, reign: u64, expected: &mut Expected) -> bool {
    let (last, end) = (expected.author.last(), expected.author.end());
    // A snapshot may also lie before what this log says to be durable.
    let position = if ahead == 0 { end.0 / 2 } else { end.0 + ahead * 100 };
    let base = base_behind(last.index.0 + ahead, epoch(reign), position);
    let instead = Author::behind(base.clone());
    expected.instead = Some(instead.clone());
    let done = log.restart_at(base, aside.then_some(LogIndex(last.index.0 / 2))).is_ok();
    if done {
        *expected = Expected { author: instead, ..Expected::default() };
    }
    done
}

/// Opens the log and checks it against what may be there; takes what is there as the new truth.
fn check(fs: &MemFileSystem, expected: &mut Expected, context: &str) -> LogCore {
    // How segments are made depends on the flush; recovery must not.
    let flushes = [Flush::Sync, Flush::Async { interval: Duration::from_millis(1) }];
    let flush = flushes[expected.author.batches.len() % 2];
    let (core, recovered) =
        open_core_with(fs, DIRECTORY, flush).unwrap_or_else(|error| panic!("{context}: {error}"));
    if let Some(instead) = expected.instead.take()
        && instead.base == recovered.base
    {
        *expected = Expected { author: instead, ..Expected::default() };
    }
    let base = recovered.base.last.index.0;
    let old = expected.author.base.last.index.0;
    assert!((old..=expected.forgettable.max(old)).contains(&base), "{context}: begins behind {base}");
    expected.durable = expected.durable.saturating_sub(expected.author.count_through(base));
    expected.author.forget(base);
    expected.forgettable = 0;
    assert_eq!(recovered.base, expected.author.base, "{context}");
    let found = core_read_all(&core);
    assert_eq!(core.first().0 + found.len() as u64, recovered.last.index.0 + 1, "{context}");
    assert!(
        found.len() >= expected.durable,
        "{context}: {} batches are left of {} durable ones; {:?}",
        found.len(),
        expected.durable,
        recovered.torn_tail,
    );
    assert!(expected.author.batches.starts_with(&found), "{context}: found what was never written there");
    expected.author.batches = found;
    assert_eq!((recovered.last, recovered.end), (expected.author.last(), expected.author.end()), "{context}");
    assert_eq!(recovered.epochs, expected.author.base_at(recovered.last.index.0).epochs, "{context}");
    expected.durable = expected.author.batches.len();
    core
}

fn workload() -> Vec<Step> {
    use Step::{Append, Close, Sync, Truncate};
    let (discard, quarantine) = (TailFate::Discard, TailFate::Quarantine);
    vec![
        Append { count: 3, bytes: 700 },
        Sync,
        Append { count: 2, bytes: 3000 },
        Append { count: 1, bytes: 40 },
        Sync,
        Truncate { keep: 4, fate: quarantine },
        Append { count: 4, bytes: 900 },
        Sync,
        // Over several segments, and back.
        Append { count: 9, bytes: 30_000 },
        Sync,
        Append { count: 2, bytes: 300 },
        Truncate { keep: 6, fate: quarantine },
        Append { count: 5, bytes: 20_000 },
        Truncate { keep: 2, fate: discard },
        Append { count: 2, bytes: 1500 },
        Sync,
        Close,
    ]
}

/// Segments that become complete, get their index files, are cut again, go away, and a log that starts over.
fn long_workload() -> Vec<Step> {
    use Step::{Append, Close, Forget, Restart, Sync, Truncate};
    vec![
        Append { count: 7, bytes: 30_000 },
        Sync,
        Forget { through: 4 },
        Append { count: 4, bytes: 30_000 },
        // Into a segment that was complete, and complete again with batches of the same length.
        Truncate { keep: 5, fate: TailFate::Discard },
        Append { count: 5, bytes: 30_000 },
        Sync,
        Forget { through: 100 },
        Append { count: 1, bytes: 100 },
        Restart { ahead: 3, aside: true },
        Append { count: 3, bytes: 30_000 },
        Sync,
        Truncate { keep: 0, fate: TailFate::Discard },
        Append { count: 5, bytes: 30_000 },
        Forget { through: 17 },
        Restart { ahead: 0, aside: false },
        Append { count: 1, bytes: 100 },
        Sync,
        Close,
    ]
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_durable() {
    cut_power_everywhere(&workload(), 150);
}

#[test]
fn a_power_cut_at_any_change_of_a_long_log_loses_nothing_durable() {
    cut_power_everywhere(&long_workload(), 150);
}

fn cut_power_everywhere(workload: &[Step], at_least: u64) {
    let fs = MemFileSystem::new(0);
    run(open_core(&fs, DIRECTORY).unwrap().0, workload, 1, &mut Expected::default());
    let changes = fs.changes();
    assert!(changes > at_least, "{changes}");
    for change in 1..=changes {
        for unsynced in ALL {
            let fs = MemFileSystem::new(change);
            let mut expected = Expected::default();
            fs.cut_power_at(change);
            if let Ok((core, _)) = open_core(&fs, DIRECTORY) {
                run(core, workload, 1, &mut expected);
            }
            let context = format!("power cut at change {change}, unsynced {unsynced:?}");
            let after = fs.crash_with(unsynced);
            drop(check(&after, &mut expected, &context));
            if unsynced == Unsynced::Torn {
                // What recovery found is durable from then on.
                let again = after.crash_with(Unsynced::Lost);
                check(&again, &mut expected, &format!("{context}, second cut"));
            }
        }
    }
    tell(&format!("power cut at each of {changes} changes of the disk, {} ways each", ALL.len()));
}

/// Past the capture of the test harness: how much was tried is of interest when all passes, too.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "crash points: {what}");
}

#[test]
fn a_power_cut_during_recovery_is_no_different() {
    let mut tried = 0;
    for workload in [workload(), long_workload()] {
        let fs = MemFileSystem::new(0);
        run(open_core(&fs, DIRECTORY).unwrap().0, &workload, 1, &mut Expected::default());
        for first in (1..=fs.changes()).step_by(3) {
            for second in 1..12 {
                let fs = MemFileSystem::new(first * 100 + second);
                let mut expected = Expected::default();
                fs.cut_power_at(first);
                if let Ok((core, _)) = open_core(&fs, DIRECTORY) {
                    run(core, &workload, 1, &mut expected);
                }
                let after = fs.crash();
                after.cut_power_at(second);
                let _ = open_core(&after, DIRECTORY);
                let context = format!("power cuts at {first} and, recovering, {second}");
                check(&after.crash(), &mut expected, &context);
                tried += 1;
            }
        }
    }
    tell(&format!("{tried} pairs of power cuts, the second during recovery"));
}

/// Runs the workload while the `nth` operation of this kind fails. Tells whether there was one so late.
fn fail_once(workload: &[Step], operation: Operation, nth: u64) -> bool {
    let mut failed = false;
    for killed in [false, true] {
        let mut fs = MemFileSystem::new(nth);
        let mut expected = Expected::default();
        fs.fail(operation, "", nth, ErrorKind::Other);
        if let Ok((core, _)) = open_core(&fs, DIRECTORY) {
            run(core, workload, 1, &mut expected);
        }
        failed = fs.heal() == 0;
        let context = format!("{operation:?} {nth} failed, killed before the power is cut: {killed}");
        if killed {
            // The next process reads what the page cache shows, whether it is on the disk or not.
            fs = fs.kill();
            drop(check(&fs, &mut expected, &context));
        }
        // Once the power is gone, nothing but the disk tells what a report was worth.
        drop(check(&fs.crash_with(Unsynced::Lost), &mut expected, &context));
    }
    failed
}

#[test]
fn an_operation_that_fails_once_never_leads_to_a_false_report() {
    let operations =
        [Operation::Write, Operation::SyncData, Operation::SyncDir, Operation::Create, Operation::Rename];
    for operation in operations {
        for workload in [workload(), long_workload()] {
            let failures = (0..1000).take_while(|nth| fail_once(&workload, operation, *nth)).count();
            assert!((3..1000).contains(&failures), "{operation:?} failed {failures} times");
        }
    }
}

fn random_steps(rng: &mut StdRng, length: u64) -> Vec<Step> {
    let largest = if rng.random_bool(0.3) { 25_000 } else { 2_000 };
    let mut steps = Vec::new();
    for _ in 0..rng.random_range(3..25) {
        steps.push(match rng.random_range(0..10) {
            0..=4 => Step::Append { count: rng.random_range(1..8), bytes: rng.random_range(0..largest) },
            5..=6 => Step::Sync,
            7 if rng.random_bool(0.2) => Step::Restart { ahead: rng.random_range(0..9), aside: rng.random() },
            7 => Step::Forget { through: rng.random_range(0..length + 20) },
            _ => Step::Truncate {
                keep: rng.random_range(0..length + 20),
                fate: if rng.random() { TailFate::Discard } else { TailFate::Quarantine },
            },
        });
    }
    if rng.random_bool(0.1) {
        steps.push(Step::Close);
    }
    steps
}

#[test]
fn generations_of_crashes_never_lose_or_invent_anything() {
    for seed in 0..600 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut fs = MemFileSystem::new(seed);
        let mut expected = Expected::default();
        let mut core = open_core(&fs, DIRECTORY).unwrap().0;
        for reign in 1..6 {
            let steps = random_steps(&mut rng, expected.author.last().index.0);
            fs.cut_power_at(rng.random_range(1..60));
            run(core, &steps, reign, &mut expected);
            fs = if rng.random_bool(0.2) { fs.kill() } else { fs.crash() };
            core = check(&fs, &mut expected, &format!("seed {seed}, reign {reign}, {steps:?}"));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let disk = |seed| {
        let fs = MemFileSystem::new(seed);
        fs.cut_power_at(70);
        run(open_core(&fs, DIRECTORY).unwrap().0, &workload(), 1, &mut Expected::default());
        let after = fs.crash();
        let paths = support::segments(&after, DIRECTORY);
        paths.into_iter().map(|path| after.contents(&path).unwrap()).collect::<Vec<_>>()
    };
    assert!(disk(5) == disk(5));
    assert!(disk(5) != disk(6));
}

#[test]
fn what_the_writer_thread_reports_durable_survives_a_power_cut() {
    for seed in 0..120 {
        let fs = MemFileSystem::new(seed);
        let (log, _, events) = open(&fs, options(DIRECTORY)).unwrap();
        let mut author = Author::new();
        fs.cut_power_at(5 + seed);
        for round in 0..1000 {
            log.append(author.write_many(epoch(1), 1 + round % 4, 400 + 90 * (seed as usize % 50)));
            // Mostly one at a time, sometimes several that share a write.
            if round % 3 != 0 && events.wait_durable_or_failed(author.last()).is_err() {
                break;
            }
        }
        events.wait_failed();
        let durable = events.durable();
        drop(log);
        let mut expected = Expected { author, durable: durable.index.0 as usize, ..Expected::default() };
        check(&fs.crash(), &mut expected, &format!("seed {seed}"));
    }
}
