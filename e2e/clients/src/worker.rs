//! A program of a client that sends or receives in several parts at once, until it is told to stop, and keeps a history of
//! each part.

use std::collections::BTreeMap;
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

/// What a part says about its progress.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    /// Transactions that the broker asked about.
    pub(crate) asked: u64,
    /// Sends that were refused.
    pub(crate) failed: u64,
}

#[derive(Debug, Deserialize)]
struct Line {
    client: String,
    #[serde(flatten)]
    counts: Counts,
}

/// One command line of a program, by the name of its client.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    child: Child,
    folder: PathBuf,
    counts: watch::Receiver<BTreeMap<String, Counts>>,
}

impl Worker {
    /// Starts the program; the histories of its parts lie below `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path, name: &str, parts: &[Part]) -> Result<Self> {
        for (number, part) in parts.iter().enumerate() {
            command.args((number > 0).then_some("+"));
            command.args(["--name", &part.name]).args(&part.arguments).args([
                "--progress",
                "0.2",
                "--history",
            ]);
            command.arg(history(folder, &part.name));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("start e2e/clients/run")?;
        let output = child.stdout.take().context("a program without output")?;
        let (sender, counts) = watch::channel(BTreeMap::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(line) = serde_json::from_str::<Line>(&line) {
                    sender.send_modify(|counts| {
                        counts.insert(line.client, line.counts);
                    });
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, folder: folder.to_owned(), counts })
    }

    pub(crate) fn history(&self, part: &str) -> PathBuf {
        history(&self.folder, part)
    }

    pub(crate) fn counts(&self, part: &str) -> Counts {
        self.counts.borrow().get(part).copied().unwrap_or_default()
    }

    /// Waits until the counts of a part are as wanted.
    pub(crate) async fn reach(
        &self,
        part: &str,
        what: &str,
        limit: Duration,
        enough: impl Fn(&Counts) -> bool + Send,
    ) -> Result<()> {
        let mut counts = self.counts.clone();
        let reached = counts.wait_for(|counts| counts.get(part).is_some_and(&enough));
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("{} ended before {what}", self.name),
            Err(_) => {
                bail!("{part} has {:?} after {limit:?}, too little for {what}", self.counts(part))
            }
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

fn history(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.jsonl"))
}
