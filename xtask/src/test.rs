//! `cargo xtask test`: every test on a fresh machine, ending in `N passed, N failed`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use mainstay_clusters::Step;

use crate::images::{self, Programs};
use crate::tally::Tally;
use crate::{cluster, e2e, mutants};

const CARGO_DENY: &str = "0.20.2";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Leave out what needs a Kubernetes, and planting bugs
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    location: cluster::Location,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let mut tally = Tally::default();
    source_checks(&mut tally);
    tally.cargo_test(
        "unit and integration tests",
        cargo().args(["test", "--workspace", "--locked", "--no-fail-fast"]),
    )?;
    tally.cargo_test(
        "spans reach an OpenTelemetry collector",
        cargo()
            .args(["test", "--package", "mainstay-broker", "--locked", "--test", "opentelemetry"])
            .args(["--features", "opentelemetry"]),
    )?;
    if !arguments.fast {
        tally.check("planted bugs are noticed", || mutants::run(&mutants::Arguments::default()));
    }
    match images::build() {
        Ok(programs) => with_programs(&mut tally, &programs, arguments)?,
        Err(error) => {
            println!("{error:#}");
            tally.count("images", Some(&format!("{error:#}")));
        }
    }
    println!("\nall of it took {:.0} s", started.elapsed().as_secs_f64());
    tally.finish()
}

fn source_checks(tally: &mut Tally) {
    tally.check("formatting", || succeed(cargo().args(["fmt", "--all", "--check"])));
    tally.check("clippy", || {
        succeed(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    });
    tally.check("dependencies: bans, licenses, sources", || {
        let program = cargo_deny()?;
        succeed(
            Command::new(program)
                .current_dir(e2e::repository())
                .args(["check", "bans", "licenses", "sources"]),
        )
    });
}

fn with_programs(tally: &mut Tally, programs: &Programs, arguments: &Arguments) -> Result<()> {
    tally.check("no release has a planted bug in it", || {
        mutants::release::is_clean([programs.path("mainstay-broker")?, programs.path("mainstay-operator")?])
    });
    official_clients(tally, programs);
    chart(tally);
    faults(tally, programs);
    if arguments.fast {
        return Ok(());
    }
    match e2e::on_cluster(&arguments.location.run_dir, false, programs, mainstay_e2e::all(), 1) {
        Ok(outcomes) => {
            outcomes.iter().for_each(|outcome| tally.count(outcome.name, outcome.failure.as_deref()));
        }
        Err(error) => {
            println!("no scenario could be run: {error:#}");
            tally.count("scenarios on Kubernetes", Some(&format!("{error:#}")));
        }
    }
    Ok(())
}

/// What each official client can do, against real brokers, and with their leader killed.
fn official_clients(tally: &mut Tally, programs: &Programs) {
    let name = "official clients";
    let run = || {
        let mut command = Command::new(programs.path("mainstay-clients")?);
        command.arg("--broker").arg(programs.path("mainstay-broker")?);
        command.arg("--folder").arg(mainstay_clusters::work_folder().join("clients"));
        Ok(command)
    };
    if let Err(error) = run().and_then(|mut command| tally.scenarios(name, &mut command)) {
        println!("{error:#}");
        tally.count(name, Some(&format!("{error:#}")));
    }
}

/// Real brokers, killed, cut off and on disks that fail. A machine where that cannot be done fails.
fn faults(tally: &mut Tally, programs: &Programs) {
    let name = "faults on real brokers";
    let run = || {
        mainstay_clusters::ensure_fault_packages()?;
        let mut command = Command::new(programs.path("mainstay-faults")?);
        command.arg("--broker").arg(programs.path("mainstay-broker")?);
        command.arg("--folder").arg(mainstay_clusters::work_folder().join("faults"));
        Ok(command)
    };
    if let Err(error) = run().and_then(|mut command| tally.scenarios(name, &mut command)) {
        println!("{error:#}");
        tally.count(name, Some(&format!("{error:#}")));
    }
}

fn chart(tally: &mut Tally) {
    let helm = mainstay_clusters::helm();
    let run = |arguments: &[&str]| {
        let helm = helm.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        // What it renders is of interest only when it fails.
        mainstay_clusters::output(Command::new(helm).current_dir(e2e::repository()).args(arguments)).map(drop)
    };
    tally.check("helm lint", || run(&["lint", "--strict", "charts/mainstay"]));
    tally.check("helm template", || {
        run(&["template", "mainstay", "charts/mainstay", "--namespace", "mainstay-system"])
    });
    tally.check("helm template refuses an unknown value", || {
        let refused = run(&["template", "mainstay", "charts/mainstay", "--set", "no.such.value=1"]);
        ensure!(refused.is_err(), "values.schema.json takes anything");
        Ok(())
    });
}

/// cargo-deny of a fixed version, built into the cache the first time.
fn cargo_deny() -> Result<PathBuf> {
    let root = mainstay_clusters::cache_folder()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        let step = Step::start(
            format!("build cargo-deny {CARGO_DENY}"),
            "about 5 minutes the first time, cached afterwards",
        );
        // A target folder of its own, gone afterwards: nothing of it is of use to the workspace.
        let target = root.join("target");
        succeed(
            cargo()
                .args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet", "--root"])
                .arg(&root)
                .arg("--target-dir")
                .arg(&target),
        )?;
        std::fs::remove_dir_all(target).context("remove cargo-deny's target folder")?;
        step.done();
    }
    Ok(program)
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(e2e::repository());
    cargo
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed ({status})", command.get_program());
    Ok(())
}
