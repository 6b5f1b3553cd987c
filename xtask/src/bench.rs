//! `cargo xtask bench`: builds the programs as they are shipped and measures them; arguments go to `mainstay-bench send`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::images;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Options of `mainstay-bench send`, after `--`
    #[arg(last = true)]
    options: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let programs = images::build()?;
    let directory = mainstay_clusters::work_folder();
    std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let status = Command::new(programs.path("mainstay-bench")?)
        .args(["send", "--broker"])
        .arg(programs.path("mainstay-broker")?)
        .arg("--directory")
        .arg(directory)
        .args(&arguments.options)
        .status()
        .context("start mainstay-bench")?;
    ensure!(status.success(), "mainstay-bench failed ({status})");
    Ok(())
}
