//! Runs scenarios one after the other, tells how each went, and keeps what explains a failure.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use futures::FutureExt;

use crate::group::MEMBERS;
use crate::network::Network;
use crate::scenarios::Scenario;
use crate::world::World;

/// No scenario takes longer, whatever it waits for.
const LIMIT: Duration = Duration::from_secs(180);

/// What to run and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) repeat: u32,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
}

/// Runs everything; whether all went well.
pub(crate) async fn run(plan: &Plan) -> Result<bool> {
    let mut network = Network::create(MEMBERS)?;
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    let began = Instant::now();
    for round in 0..plan.repeat {
        for scenario in &plan.scenarios {
            if let Some(why) = scenario.not_yet {
                println!("\ntest scenario {} ... skipped: {why}", scenario.name);
                skipped += 1;
                continue;
            }
            let seed = plan.seed.wrapping_add(u64::from(round));
            println!("\n=== {}: {} (seed {seed})", scenario.name, scenario.what);
            let started = Instant::now();
            let result = run_one(plan, scenario, seed, &mut network).await;
            let took = started.elapsed().as_secs_f64();
            match result {
                Ok(()) => {
                    passed += 1;
                    println!("test scenario {} ... ok ({took:.0} s)", scenario.name);
                }
                Err(error) => {
                    println!("test scenario {} ... FAILED ({took:.0} s)\n    {error:#}", scenario.name);
                    println!("    seed {seed}; kept in {}", keep(&folder(plan, scenario), round).display());
                    failed.push(scenario.name);
                }
            }
        }
    }
    println!("\nall of it took {:.0} s", began.elapsed().as_secs_f64());
    for name in &failed {
        println!("failed: {name}");
    }
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, {} failed{skipped}", failed.len());
    Ok(failed.is_empty())
}

async fn run_one(plan: &Plan, scenario: &Scenario, seed: u64, network: &mut Network) -> Result<()> {
    let limit = LIMIT + plan.time * 2;
    let result = {
        let mut world = World::new(network, &plan.program, folder(plan, scenario), seed, plan.time)?;
        let run = AssertUnwindSafe((scenario.run)(&mut world)).catch_unwind();
        match tokio::time::timeout(limit, run).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(anyhow!("panicked")),
            Err(_) => Err(anyhow!("not done after {limit:?}")),
        }
    };
    // Brokers and disks go with the scenario, however it ended.
    network.heal()?;
    alone().await?;
    result
}

/// Waits until no process but this one is left in its namespace.
async fn alone() -> Result<()> {
    let began = Instant::now();
    loop {
        let processes = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            (id != std::process::id()).then_some(id)
        });
        let left: Vec<u32> = processes.collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(10), "processes {left:?} do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn folder(plan: &Plan, scenario: &Scenario) -> PathBuf {
    plan.folder.join(scenario.name)
}

/// Moves what a failed scenario left out of the way of the next run.
fn keep(folder: &Path, round: u32) -> PathBuf {
    let kept = folder.with_extension(format!("failed-{round}"));
    let _ = std::fs::remove_dir_all(&kept);
    match std::fs::rename(folder, &kept) {
        Ok(()) => kept,
        Err(_) => folder.to_owned(),
    }
}
