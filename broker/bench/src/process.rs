//! Servers under test as processes of their own, started for the run and killed with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::config::{self, Flush, Ports};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The ceiling's server.
#[derive(Debug)]
pub(crate) struct CeilingProcess {
    address: String,
    _child: Child,
}

impl CeilingProcess {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

pub(crate) async fn start_ceiling() -> anyhow::Result<CeilingProcess> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("ceiling-server")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the ceiling's server")?;
    let stdout = child.stdout.take().context("the ceiling's server has no output")?;
    let address =
        BufReader::new(stdout).lines().next_line().await?.context("the ceiling's server said nothing")?;
    Ok(CeilingProcess { address, _child: child })
}

/// A broker on a fresh data folder.
#[derive(Debug)]
pub(crate) struct BrokerProcess {
    program: PathBuf,
    config: PathBuf,
    flush: Flush,
    ports: Ports,
    started: Instant,
    start_up: Duration,
    idle_kib: u64,
    child: Child,
    folder: TempDir,
}

impl BrokerProcess {
    /// One broker of one replica, ready.
    pub(crate) async fn start(program: &Path, directory: &Path, flush: Flush) -> anyhow::Result<Self> {
        let mut broker = Self::spawn(program, directory, flush, &Ports::free(1)?, 0)?;
        broker.wait_ready().await?;
        Ok(broker)
    }

    /// Member `own` of the group that listens on `ports`.
    pub(crate) fn spawn(
        program: &Path,
        directory: &Path,
        flush: Flush,
        ports: &[Ports],
        own: usize,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(directory).context("--directory cannot be written")?;
        let config = config::write(folder.path(), flush, ports, own)?;
        let started = Instant::now();
        let child = run(program, &config, folder.path())?;
        Ok(Self {
            program: program.to_owned(),
            config,
            flush,
            ports: ports[own],
            started,
            start_up: Duration::ZERO,
            idle_kib: 0,
            child,
            folder,
        })
    }

    pub(crate) async fn wait_ready(&mut self) -> anyhow::Result<()> {
        while !is_ready(self.ports.http).await {
            let program = self.program.display();
            if let Some(status) = self.child.try_wait()? {
                let log = self.folder.path().join("broker.log");
                let log = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{program} ended with {status}: {log}");
            }
            if self.started.elapsed() > START_TIMEOUT {
                bail!("{program} is not ready after {START_TIMEOUT:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.start_up = self.started.elapsed();
        self.idle_kib = resident_kib(&self.child)?;
        Ok(())
    }

    /// Kills it with SIGKILL and starts it on what it left; not ready yet.
    pub(crate) async fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the broker")?;
        self.started = Instant::now();
        self.child = run(&self.program, &self.config, self.folder.path())?;
        Ok(())
    }

    /// Bytes of the files in its data folder.
    pub(crate) fn stored_bytes(&self) -> anyhow::Result<u64> {
        bytes_below(&self.folder.path().join("data"))
    }

    pub(crate) const fn ports(&self) -> Ports {
        self.ports
    }

    /// Address of the client port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.client)
    }

    pub(crate) const fn flush(&self) -> Flush {
        self.flush
    }

    /// From the start of the process until it said that it is ready.
    pub(crate) const fn start_up(&self) -> Duration {
        self.start_up
    }

    /// Resident memory when it had just become ready.
    pub(crate) const fn idle_kib(&self) -> u64 {
        self.idle_kib
    }

    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        resident_kib(&self.child)
    }
}

fn run(program: &Path, config: &Path, folder: &Path) -> anyhow::Result<Child> {
    Command::new(program)
        .arg("run")
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("broker.log"))?)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Whether `/readyz` answers 200.
async fn is_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}

fn resident_kib(child: &Child) -> anyhow::Result<u64> {
    let pid = child.id().context("the broker is gone")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches("kB").trim().parse().context("VmRSS")
}
