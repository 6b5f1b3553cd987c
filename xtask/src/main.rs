//! `cargo xtask`: what people and CI run. One file per command.

mod cluster;
mod images;

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
    /// Start, stop or use a Kubernetes cluster on this machine
    Cluster(cluster::Arguments),
    /// Build the container images of broker and operator
    Images(images::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Cluster(arguments) => cluster::run(arguments),
        Task::Images(arguments) => images::run(&arguments),
    }
}
