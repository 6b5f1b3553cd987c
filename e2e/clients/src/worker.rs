//! A client's program that sends or receives until it is told to stop, and keeps a history.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// What a program says about its progress.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    /// Transactions that the broker asked about.
    pub(crate) asked: u64,
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    child: Child,
    history: PathBuf,
    counts: watch::Receiver<Counts>,
}

impl Worker {
    /// Starts the program with the rest of its arguments; its history lies below `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        let history = folder.join(format!("{name}.jsonl"));
        // Options of all commands, the command, its own options.
        command.args(["--name", name]).args(arguments);
        command.args(["--progress", "0.2", "--history"]).arg(&history).stdout(Stdio::piped());
        let mut child = command.spawn().context("start e2e/clients/run")?;
        let output = child.stdout.take().context("a program without output")?;
        let (sender, counts) = watch::channel(Counts::default());
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(counts) = serde_json::from_str(&line) {
                    sender.send_replace(counts);
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, history, counts })
    }

    pub(crate) fn history(&self) -> &Path {
        &self.history
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until its counts are as wanted.
    pub(crate) async fn reach(
        &self,
        what: &str,
        limit: Duration,
        enough: impl Fn(&Counts) -> bool + Send,
    ) -> Result<()> {
        let mut counts = self.counts.clone();
        let reached = counts.wait_for(|counts| enough(counts));
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("{} ended before {what}", self.name),
            Err(_) => bail!("{} has {:?} after {limit:?}, too little for {what}", self.name, self.counts()),
        }
    }

    /// SIGTERM: no new calls.
    pub(crate) fn stop(&self) -> Result<()> {
        let id = self.child.id().with_context(|| format!("{} has ended", self.name))?;
        kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)
            .with_context(|| format!("SIGTERM to {}", self.name))
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<()> {
        let Ok(status) = tokio::time::timeout(limit, self.child.wait()).await else {
            bail!("{} still runs after {limit:?}", self.name);
        };
        let status = status?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}
