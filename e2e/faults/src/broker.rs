//! One broker as a process of its own, in its own network, which can be killed, paused, and started again on what it left.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::clock::WallClock;
use crate::network::{Place, address, in_network};

pub(crate) const CLIENT_PORT: u16 = 8081;
pub(crate) const INTERNAL_PORT: u16 = 8082;
const HTTP_PORT: u16 = 8080;

/// With flush Async. Long, so that there is something to lose.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(2);

/// The host that routes name; clients know its addresses by themselves.
pub(crate) const ROUTE_HOST: &str = "brokers";
/// What calls on the internal port carry.
pub(crate) const SECRET: &str = "faults";

/// How the brokers of a group are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Raft,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    Sync,
    Async,
}

/// What all brokers of a group are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    pub(crate) flush: Flush,
    /// How long messages are kept, consumed or not; for ever when absent.
    pub(crate) kept: Option<Duration>,
    /// Each has a wall clock of its own, which can be set.
    pub(crate) clocks: bool,
}

impl From<(Mode, Flush)> for Setup {
    fn from((mode, flush): (Mode, Flush)) -> Self {
        Self { mode, flush, kept: None, clocks: false }
    }
}

/// A broker and where its things are.
#[derive(Debug)]
pub(crate) struct Broker {
    number: usize,
    program: PathBuf,
    folder: PathBuf,
    /// Stands in for the kernel's boot id: a new one says that the machine was started anew.
    boot: u64,
    clock: Option<WallClock>,
    child: Option<Child>,
}

impl Broker {
    /// Writes the configuration; nothing runs yet. The broker keeps everything below `data`.
    pub(crate) fn new(
        program: &Path,
        folder: &Path,
        data: &Path,
        number: usize,
        members: usize,
        setup: Setup,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("secret"), SECRET)?;
        let text = config(number, members, data, &folder.join("secret"), setup);
        std::fs::write(folder.join("broker.toml"), text)?;
        let clock = setup.clocks.then(|| WallClock::new(folder)).transpose()?;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        Ok(Self { number, program, folder, boot: 1, clock, child: None })
    }

    pub(crate) fn name(&self) -> String {
        name(self.number)
    }

    /// Starts the process. It need not be ready when this returns.
    pub(crate) fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name());
        let boot = self.folder.join("boot_id");
        std::fs::write(&boot, format!("{:08x}-0000-4000-8000-{:012x}\n", self.boot, self.boot))?;
        let log = self.append_log()?;
        let mut command = in_network(self.number);
        // Its own view of the boot id; every step replaces the process, so that signals reach the broker itself.
        command
            .args(["unshare", "--mount", "--", "sh", "-c"])
            .arg("mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"")
            .arg(&boot)
            .arg(&self.program)
            .args(["run", "--config"])
            .arg(self.folder.join("broker.toml"))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        let child = Command::from(command).kill_on_drop(true).spawn().context("start nsenter")?;
        self.child = Some(child);
        Ok(())
    }

    fn append_log(&self) -> Result<File> {
        let path = self.log_path();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// The last lines that it wrote.
    pub(crate) fn log_end(&self, lines: usize) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL, and waits until nothing of the process is left.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("kill {}", self.name()))?;
        }
        Ok(())
    }

    /// From now on it runs as after a start of its machine.
    pub(crate) fn machine_restarts(&mut self) {
        self.boot += 1;
    }

    /// Its wall clock is ahead by so many seconds, or behind.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<()> {
        self.clock.as_ref().context("the broker has no clock of its own")?.set(seconds)
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.as_ref().and_then(Child::id).context("the broker does not run")?;
        kill(Pid::from_raw(i32::try_from(id)?), signal)
            .with_context(|| format!("{signal} to {}", self.name()))
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("the broker does not run")?;
        let Ok(status) = tokio::time::timeout(limit, child.wait()).await else {
            bail!("{} still runs after {limit:?}", self.name());
        };
        self.child = None;
        Ok(status?)
    }

    /// The exit status if it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        match self.child.as_mut() {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("orders-0-{number}")
}

fn config(number: usize, members: usize, data: &Path, secret: &Path, setup: Setup) -> String {
    let mode = match setup.mode {
        Mode::Raft => "raft",
    };
    let retention = setup.kept.map(|kept| format!("retention = {{ time = \"{}ms\" }}", kept.as_millis()));
    let flush = match setup.flush {
        Flush::Sync => "sync",
        Flush::Async => "async",
    };
    let members: Vec<String> = (0..members)
        .map(|member| {
            let host = address(Place::Broker(member));
            format!("{{ name = \"{}\", address = \"{host}:{INTERNAL_PORT}\" }}", name(member))
        })
        .collect();
    format!(
        r#"cluster = "orders"
group = 0
member = "{own}"
data = "{data}"

[replication]
mode = "{mode}"

[flush]
type = "{flush}"
interval = "{interval}ms"

[storage]
segment_bytes = "4MiB"
cache_bytes = "1MiB"
{retention}

[listen]
client = "0.0.0.0:{CLIENT_PORT}"
internal = "0.0.0.0:{INTERNAL_PORT}"
http = "0.0.0.0:{HTTP_PORT}"

[topics]
auto_create = true
queues = 4

[internal]
secret_file = "{secret}"

[[groups]]
id = 0
address = "{ROUTE_HOST}:{CLIENT_PORT}"
members = [{members}]
"#,
        own = name(number),
        retention = retention.unwrap_or_default(),
        data = data.display(),
        secret = secret.display(),
        interval = FLUSH_INTERVAL.as_millis(),
        members = members.join(", "),
    )
}
