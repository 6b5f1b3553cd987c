//! `cargo xtask cluster up|down`: a Kubernetes cluster on this machine that stays until it is told to go.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use mainstay_clusters::{Options, Provider};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    location: Location,
}

/// Which cluster is meant.
#[derive(Debug, Args)]
pub(crate) struct Location {
    /// Folder of the cluster; clusters of different folders never meet
    #[arg(long, env = "MAINSTAY_RUN_DIR", default_value_os_t = Options::default_run_dir(), hide_default_value = true, global = true)]
    pub(crate) run_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a cluster, in place of the one that may run in the folder
    Up {
        /// Worker nodes
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// `kind` or `local`; without it kind where a Docker engine can run it, else local
        #[arg(long)]
        provider: Option<Provider>,
    },
    /// Stop the cluster and remove everything of it
    Down,
    /// Write logs, events and objects of the running cluster into a folder
    Diagnose { folder: PathBuf },
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let run_dir = arguments.location.run_dir;
    match arguments.action {
        Action::Up { nodes, provider } => {
            let provider = match provider {
                Some(provider) => provider,
                None => Provider::detect()?,
            };
            let options = Options { nodes, run_dir, ..Options::default() };
            let cluster = mainstay_clusters::up(provider, &options)?;
            print!("{}", cluster.kubectl(&["get", "nodes", "--output", "wide"])?);
            println!("\nIt runs until `cargo xtask cluster down`. To use it:");
            println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
            println!("  alias kubectl={}", cluster.kubectl_program().display());
            println!("  alias helm={}", cluster.helm_program().display());
        }
        Action::Down => mainstay_clusters::down(&run_dir)?,
        Action::Diagnose { folder } => mainstay_clusters::attach(&run_dir)?.diagnose(&folder),
    }
    Ok(())
}
