//! `cargo xtask`: what people and CI run. One file per command.

mod bench;
mod clients;
mod cluster;
mod demo;
mod e2e;
mod fuzz;
mod images;
mod mutants;
mod tally;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Mainstay project", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show the whole product at work on a Kubernetes of this machine
    Demo(demo::Arguments),
    /// Run every test
    Test(test::Arguments),
    /// Run the scenarios on Kubernetes, all or some
    E2e(e2e::Arguments),
    /// Measure the broker beside the machine's own limits
    Bench(bench::Arguments),
    /// Start, stop or use a Kubernetes cluster on this machine
    Cluster(cluster::Arguments),
    /// Plant bugs, one at a time, and see which proof notices
    Mutants(mutants::Arguments),
    /// Look for inputs that break a decoder
    Fuzz(fuzz::Arguments),
    /// Build the container images of broker and operator
    Images(images::Arguments),
}

fn main() -> ExitCode {
    let ended = match fuzz::instrument::stand_in() {
        Some(error) => Err(error),
        None => run(Arguments::parse().task),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::E2e(arguments) => e2e::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Cluster(arguments) => cluster::run(arguments),
        Task::Mutants(arguments) => mutants::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Images(arguments) => images::run(&arguments),
    }
}
