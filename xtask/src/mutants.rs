//! `cargo xtask mutants`: plants one bug after the other and runs the proofs until one notices.
//!
//! The bugs are those of `broker/planted`. Each has a home, which says which proofs are asked first. A bug that no proof
//! notices means that a proof is too weak; the command fails then.

mod build;
mod proofs;
pub(crate) mod release;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use mainstay_planted::Fault;

use build::Binaries;
use proofs::{Proof, Strength};
use run::Outcome;

/// Proofs that run at the same time. Their tests run one by one.
const WORKERS: usize = 2;
/// After this long no further proof is asked about a bug.
const TRIAL: Duration = Duration::from_secs(300);

#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// The bugs to plant; all of them unless some are named
    faults: Vec<String>,
    /// Only tell which bugs there are
    #[arg(long)]
    list: bool,
}

/// What became of one planted bug.
#[derive(Debug)]
struct Trial {
    fault: Fault,
    caught: Option<Caught>,
    /// Proofs that ended without a verdict, and how.
    broken: Vec<String>,
    seconds: f64,
}

#[derive(Debug)]
struct Caught {
    proof: Proof,
    test: String,
    why: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let faults = chosen(&arguments.faults)?;
    if arguments.list {
        for fault in faults {
            println!("{:24} {}", fault.name(), fault.description());
        }
        return Ok(());
    }
    let started = Instant::now();
    release::refuses_planted_bugs()?;
    let needed = |proof: &&Proof| faults.iter().any(|fault| proofs::asked(*fault).contains(&proof.package));
    let proofs: Vec<&Proof> = proofs::ALL.iter().filter(needed).collect();
    ensure!(!proofs.is_empty(), "no proof is asked");
    if proofs.iter().any(|proof| proof.package == proofs::PROCESSES) {
        mainstay_clusters::ensure_fault_packages()?;
    }
    println!("property tests begin with seed {}", run::PROPTEST_SEED);
    let seeds: BTreeSet<String> = proofs.iter().filter_map(|proof| proof.seeds()).collect();
    seeds.iter().for_each(|seeds| println!("{seeds}"));
    let binaries = Binaries::build(&proofs)?;
    println!("built in {:.0} s", started.elapsed().as_secs_f64());
    let trials = each(&faults, |fault| {
        let trial = try_fault(*fault, &binaries);
        println!("{}", line(&trial));
        trial
    });
    without_fault(&trials, &binaries)?;
    report(&trials, started)
}

fn chosen(names: &[String]) -> Result<Vec<Fault>> {
    if names.is_empty() {
        return Ok(Fault::ALL.to_vec());
    }
    let mut faults = Vec::new();
    for name in names {
        match Fault::named(name) {
            Some(fault) => faults.push(fault),
            None => bail!("there is no bug {name}; --list names them all"),
        }
    }
    Ok(faults)
}

/// What has noticed a bug passes without one: else it would notice everything.
fn without_fault(trials: &[Trial], binaries: &Binaries) -> Result<()> {
    let caught = trials.iter().filter_map(|trial| trial.caught.as_ref());
    let proofs: BTreeMap<String, &Proof> =
        caught.map(|caught| (format!("{:?}", caught.proof), &caught.proof)).collect();
    let proofs: Vec<&Proof> = proofs.into_values().collect();
    let failures = each(&proofs, |&proof| match run::run(proof, binaries, None) {
        Outcome::Passed => None,
        Outcome::Failed { test, why } => Some(format!("{proof}: {test} fails without a bug: {why}")),
        Outcome::Broken(what) => Some(format!("{proof}: {what}")),
    });
    let failures: Vec<_> = failures.into_iter().flatten().collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    println!("without a bug all of the {} that noticed one pass", proofs.len());
    Ok(())
}

fn try_fault(fault: Fault, binaries: &Binaries) -> Trial {
    let started = Instant::now();
    let mut trial = Trial { fault, caught: None, broken: Vec::new(), seconds: 0.0 };
    for proof in proofs::of(fault) {
        if started.elapsed() > TRIAL {
            trial
                .broken
                .push(format!("{proof} and those after it were not asked: {} s are over", TRIAL.as_secs()));
            break;
        }
        match run::run(&proof, binaries, Some(fault)) {
            Outcome::Passed => {}
            Outcome::Failed { test, why } => {
                trial.caught = Some(Caught { proof, test, why });
                break;
            }
            Outcome::Broken(what) => trial.broken.push(format!("{proof}: {what}")),
        }
    }
    trial.seconds = started.elapsed().as_secs_f64();
    trial
}

/// Does something with every item, a few at a time. The results are in the order of the items.
fn each<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, item)) = take(items, &next) {
            done.push((at, act(item)));
        }
        done
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    items.get(at).map(|item| (at, item))
}

fn line(trial: &Trial) -> String {
    let Trial { fault, caught, seconds, .. } = trial;
    match caught {
        Some(Caught { proof, test, why }) => {
            format!(
                "{:24} {} {proof}: {test} ({seconds:.1} s)\n{:24}       {why}",
                fault.name(),
                proof.strength,
                ""
            )
        }
        None => format!("{:24} SURVIVED ({seconds:.1} s)", fault.name()),
    }
}

fn report(trials: &[Trial], started: Instant) -> Result<()> {
    let caught_by = |strength| {
        let by =
            |trial: &&Trial| trial.caught.as_ref().is_some_and(|caught| caught.proof.strength == strength);
        trials.iter().filter(by).count()
    };
    for trial in trials.iter().filter(|trial| trial.caught.is_none()) {
        println!("\nsurvived: {}: {}", trial.fault.name(), trial.fault.description());
        trial.broken.iter().for_each(|what| println!("    {what}"));
    }
    let (proofs, units) = (caught_by(Strength::Proof), caught_by(Strength::Unit));
    let caught = proofs + units;
    let (all, took) = (trials.len(), started.elapsed().as_secs_f64());
    println!(
        "\n{caught} of {all} caught, {proofs} by a proof, {units} by a unit test only; it took {took:.0} s"
    );
    ensure!(!trials.is_empty() && caught == trials.len(), "{} planted bugs survived", trials.len() - caught);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_in_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(each(&items, |item| item * 2), (0..100).map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_survivor_is_a_failure() {
        let trial = |caught| Trial { fault: Fault::SkipFsync, caught, broken: Vec::new(), seconds: 0.1 };
        let caught = || {
            Some(Caught { proof: proofs::ALL[0].clone(), test: "some".to_owned(), why: "because".to_owned() })
        };
        assert!(report(&[trial(caught())], Instant::now()).is_ok());
        assert!(report(&[trial(caught()), trial(None)], Instant::now()).is_err());
        assert!(report(&[], Instant::now()).is_err(), "nothing tried is nothing proved");
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(chosen(&["SkipFsync".to_owned()]).is_ok());
        assert!(chosen(&["skip-fsync".to_owned()]).is_err());
    }
}
