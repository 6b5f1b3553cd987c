//! Servers under test as processes of their own, started for the run and killed with it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const START_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    Sync,
    Async,
}

impl Flush {
    const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

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

/// One broker of one replica, on a fresh data folder.
#[derive(Debug)]
pub(crate) struct BrokerProcess {
    flush: Flush,
    client: String,
    start_up: Duration,
    idle_kib: u64,
    child: Child,
    _folder: TempDir,
}

impl BrokerProcess {
    pub(crate) async fn start(program: &Path, directory: &Path, flush: Flush) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(directory).context("--directory cannot be written")?;
        let [client, internal, http] = free_ports()?;
        let config = write_config(folder.path(), flush, client, internal, http)?;
        let before = Instant::now();
        let mut child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("broker.log"))?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        while !is_ready(http).await {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(folder.path().join("broker.log")).unwrap_or_default();
                bail!("{} ended with {status}: {log}", program.display());
            }
            if before.elapsed() > START_TIMEOUT {
                bail!("{} is not ready after {START_TIMEOUT:?}", program.display());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let start_up = before.elapsed();
        let idle_kib = resident_kib(&child)?;
        Ok(Self { flush, client: format!("127.0.0.1:{client}"), start_up, idle_kib, child, _folder: folder })
    }

    pub(crate) fn address(&self) -> &str {
        &self.client
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

/// Held open together, so that the system gives three different ones.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

fn write_config(
    folder: &Path,
    flush: Flush,
    client: u16,
    internal: u16,
    http: u16,
) -> anyhow::Result<PathBuf> {
    let data = folder.join("data");
    let text = format!(
        r#"cluster = "bench"
group = 0
member = "bench-0-0"
data = "{data}"

[replication]
mode = "none"

[flush]
type = "{flush}"

[listen]
client = "127.0.0.1:{client}"
internal = "127.0.0.1:{internal}"
http = "127.0.0.1:{http}"

[topics]
auto_create = true

[[groups]]
id = 0
address = "127.0.0.1:{client}"
members = [{{ name = "bench-0-0", address = "127.0.0.1:{internal}" }}]
"#,
        data = data.display(),
        flush = flush.name(),
    );
    let path = folder.join("broker.toml");
    std::fs::write(&path, text)?;
    Ok(path)
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
