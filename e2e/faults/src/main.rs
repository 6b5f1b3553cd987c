//! `mainstay-faults`: real broker processes in network namespaces, killed, paused, cut off, and on disks that fail.
//!
//! Every scenario runs three brokers under load, breaks something, heals it, and has the checker judge what the clients
//! saw. Needs root; a machine that cannot run it makes it fail, never pass.

mod broker;
mod client;
mod clock;
mod control;
mod disk;
mod enclosure;
mod group;
mod network;
mod runner;
mod scenarios;
mod story;
mod traffic;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::runner::Plan;
use crate::scenarios::{ALL, Scenario};

#[derive(Debug, Parser)]
#[command(
    name = "mainstay-faults",
    version,
    about = "Faults on real broker processes: kills, pauses, cut networks, failing disks, power cuts"
)]
struct Arguments {
    /// Scenarios to run; all when none is named
    names: Vec<String>,
    /// The broker program; the default lies beside this one
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where brokers keep their data, and what explains a failure stays
    #[arg(long, default_value = "target/faults")]
    folder: PathBuf,
    /// Run everything so many times
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Seconds that faults go on at least, where a scenario has no end of its own
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Where the dice begin; drawn when absent
    #[arg(long)]
    seed: Option<u64>,
    /// List the scenarios and stop
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in ALL {
            println!("{:<28} {}", scenario.name, scenario.what);
        }
        return ExitCode::SUCCESS;
    }
    let result = if enclosure::is_inside() { inside(&arguments) } else { outside(&arguments) };
    result.unwrap_or_else(|error| {
        eprintln!("mainstay-faults: {error:#}");
        println!("0 passed, 1 failed");
        ExitCode::FAILURE
    })
}

fn outside(arguments: &Arguments) -> Result<ExitCode> {
    chosen(&arguments.names)?;
    program(arguments)?;
    enclosure::enter(std::env::args_os().skip(1)).map(ExitCode::from)
}

fn inside(arguments: &Arguments) -> Result<ExitCode> {
    enclosure::settle()?;
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("seed {seed}");
    let plan = Plan {
        program: program(arguments)?,
        folder: folder.canonicalize()?,
        scenarios: chosen(&arguments.names)?,
        repeat: arguments.repeat,
        seed,
        time: Duration::from_secs(arguments.seconds),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            all_well = runner::run(&plan) => Ok(if all_well? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
        }
    })
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    for name in names {
        ensure!(ALL.iter().any(|scenario| scenario.name == name), "there is no scenario {name}; see --list");
    }
    let named = |scenario: &&Scenario| names.iter().any(|name| name == scenario.name);
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    // Run even if it does not hold yet.
    let asked_for = |scenario: &Scenario| Scenario { not_yet: None, ..*scenario };
    Ok(ALL.iter().filter(named).map(asked_for).collect())
}

fn program(arguments: &Arguments) -> Result<PathBuf> {
    let path = match &arguments.broker {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("mainstay-broker"),
    };
    path.canonicalize().with_context(|| format!("there is no broker program at {}", path.display()))
}
