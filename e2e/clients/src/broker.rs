//! A broker process on this machine.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const START: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where a broker listens, all on the loopback address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) internal: u16,
    pub(crate) http: u16,
}

impl Ports {
    /// Of the system's choice, given back for the broker to take.
    pub(crate) fn choose() -> Result<Self> {
        let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let http = TcpListener::bind("127.0.0.1:0")?;
        let [client, internal] = &listeners;
        Ok(Self {
            client: client.local_addr()?.port(),
            internal: internal.local_addr()?.port(),
            http: http.local_addr()?.port(),
        })
    }
}

pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    pub(crate) ports: Ports,
    log: PathBuf,
}

impl Broker {
    /// `mainstay-broker dev` with a fresh data folder below `folder`; ready when this returns.
    ///
    /// # Errors
    /// When it ends, or does not listen in time; its log is named.
    pub(crate) async fn dev(program: &Path, folder: &Path, name: &str, options: &[&str]) -> Result<Self> {
        let ports = Ports::choose()?;
        let mut command = Command::new(program);
        command
            .args(["dev", "--listen", &address(ports.client), "--internal", &address(ports.internal)])
            .args(["--http", &address(ports.http), "--data"])
            .arg(folder.join(name))
            .args(options);
        Self::start(command, ports, &folder.join(format!("{name}.log"))).await
    }

    /// `mainstay-broker run` with a configuration that names these ports; it listens when this returns.
    ///
    /// # Errors
    /// When it ends, or does not listen in time; its log is named.
    pub(crate) async fn member(program: &Path, config: &Path, ports: Ports, log: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config);
        Self::start(command, ports, log).await
    }

    async fn start(mut command: Command, ports: Ports, log: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let child = command.spawn().context("start the broker")?;
        let mut broker = Self { child, ports, log: log.to_owned() };
        broker.listens().await?;
        Ok(broker)
    }

    /// SIGKILL, and waits until nothing of the process is left.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn listens(&mut self) -> Result<()> {
        let began = Instant::now();
        for port in [self.ports.client, self.ports.internal] {
            while TcpStream::connect(address(port)).await.is_err() {
                let ended = self.child.try_wait()?;
                ensure!(ended.is_none(), "the broker ended ({ended:?}); see {}", self.log.display());
                ensure!(began.elapsed() < START, "the broker does not listen; see {}", self.log.display());
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }
}
