//! `cargo xtask e2e`: the scenarios on a Kubernetes of this machine, all or some, once or several times.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use mainstay_clusters::{Options, Provider};
use mainstay_e2e::{Outcome, Scenario, World};

use crate::images::{self, Programs};
use crate::tally::Tally;
use crate::{clients, cluster};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Scenarios to run; all when none is named
    names: Vec<String>,
    /// Run each so many times
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// List the scenarios and stop
    #[arg(long)]
    list: bool,
    /// Use the cluster that runs in the folder, and leave it running
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    location: cluster::Location,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for scenario in mainstay_e2e::all() {
            println!("{:<24} {}", scenario.name, scenario.what);
        }
        return Ok(());
    }
    let scenarios = chosen(&arguments.names)?;
    let programs = images::build()?;
    let mut tally = Tally::default();
    let run_dir = &arguments.location.run_dir;
    for outcome in on_cluster(run_dir, arguments.keep, &programs, &scenarios, arguments.repeat)? {
        tally.count(outcome.name, outcome.failure.as_deref());
    }
    tally.finish()
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    let all = mainstay_e2e::all();
    for name in names {
        ensure!(all.iter().any(|scenario| scenario.name == name), "there is no scenario {name}; see --list");
    }
    Ok(all
        .iter()
        .filter(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name))
        .copied()
        .collect())
}

/// Starts a cluster (or takes the one that runs), runs the scenarios in it, and takes it down again.
pub(crate) fn on_cluster(
    run_dir: &Path,
    keep: bool,
    programs: &Programs,
    scenarios: &[Scenario],
    repeat: u32,
) -> Result<Vec<Outcome>> {
    clients::install("python")?;
    let world = world(run_dir, keep, programs)?;
    let outcomes = mainstay_e2e::run(&world, scenarios, repeat);
    if !keep {
        world.cluster().down()?;
    }
    Ok(outcomes)
}

/// A cluster with our images and the chart installed.
pub(crate) fn world(run_dir: &Path, keep: bool, programs: &Programs) -> Result<World> {
    let running = keep.then(|| mainstay_clusters::attach(run_dir).ok()).flatten();
    let cluster = match running {
        Some(cluster) => cluster,
        None => {
            let options = Options { run_dir: run_dir.to_owned(), ..Options::default() };
            mainstay_clusters::up(Provider::detect()?, &options)?
        }
    };
    programs.load(&*cluster)?;
    let build = programs.operator_build()?;
    World::install(cluster, &repository(), programs.path("mainstay")?, &build, &results())
}

pub(crate) fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    folder.canonicalize().unwrap_or(folder)
}

/// Where histories, logs and diagnoses go.
pub(crate) fn results() -> PathBuf {
    mainstay_clusters::work_folder().join("results")
}
