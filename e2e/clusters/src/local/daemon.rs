//! Programs that go on running after the process that started them has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::Layout;
use crate::command;

/// In the environment of everything a cluster starts, with the run folder: how the processes of a cluster are found
/// again when nothing else about them is known.
pub(super) const MARK: &str = "MAINSTAY_CLUSTER_RUN_DIR";

/// The shell goes away at once, so the program becomes a child of init, which reaps it; a session of its own keeps the
/// terminal's signals from it.
const DETACH: &str = r#"setsid "$@" >"$DAEMON_LOG" 2>&1 </dev/null & echo $! >"$DAEMON_PID""#;

/// A program of the cluster, by the name of its log and pid files.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    name: String,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Daemon {
    pub(super) fn new(layout: &Layout, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { log: layout.log(&name), pid_file: layout.path("pids").join(&name), name }
    }

    /// Starts the program in a network namespace, or in that of this process. Words are the program and its arguments.
    pub(super) fn start(&self, layout: &Layout, network: Option<&str>, words: &[String]) -> Result<()> {
        for folder in [self.log.parent(), self.pid_file.parent()].into_iter().flatten() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let mut shell = Command::new("sh");
        shell
            .args(["-c", DETACH, "sh"])
            .env("DAEMON_LOG", &self.log)
            .env("DAEMON_PID", &self.pid_file)
            .env(MARK, &layout.run_dir)
            .env("PATH", command::search_path())
            // The working folder may be removed while the cluster runs.
            .current_dir("/");
        if let Some(network) = network {
            // Not `ip netns exec`: it mounts a /sys of its own, which hides the control groups from the kubelet.
            shell.arg("nsenter").arg(format!("--net=/run/netns/{network}")).arg("--");
        }
        command::output(shell.args(words)).with_context(|| format!("start {}", self.name))?;
        Ok(())
    }

    /// Fails with the end of its log if the program has ended: nobody need wait for what it was to do.
    pub(super) fn check(&self) -> Result<()> {
        if self.pid().is_some_and(is_running) {
            return Ok(());
        }
        bail!("{} has ended; the end of {}:\n{}", self.name, self.log.display(), tail(&self.log))
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} was never started", self.name))?;
        kill(pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    pub(super) fn is_running(&self) -> bool {
        self.pid().is_some_and(is_running)
    }

    fn pid(&self) -> Option<Pid> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok().map(Pid::from_raw)
    }
}

/// Whether the process exists and is not merely waiting to be reaped.
pub(super) fn is_running(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the program's name, which may itself contain spaces and brackets.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
