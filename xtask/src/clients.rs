//! Installing the official clients.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use mainstay_clusters::Step;

use crate::e2e;

/// Installs a client into the cache, unless it is there.
pub(crate) fn install(language: &str) -> Result<()> {
    let step = Step::start(format!("install the official {language} client"), "");
    let status = launcher().args(["--install", language]).status().context("start e2e/clients/run")?;
    ensure!(status.success(), "the official {language} client cannot be installed");
    step.done();
    Ok(())
}

fn launcher() -> Command {
    Command::new(e2e::repository().join("e2e/clients/run"))
}
