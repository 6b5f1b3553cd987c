//! The broker's program: reads the command line, starts a broker, stops it when told to.

mod logging;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use mainstay_broker::config::{Administrator, Auth, Config, Listen, MEMBER_VARIABLE};
use mainstay_broker::{Broker, BrokerError, Ports};
use mainstay_messaging::{UserName, UserSecret};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::logging::LogFormat;

/// Access key of the administrator of a `dev` broker.
const DEV_ADMIN: &str = "admin";

#[derive(Debug, Parser)]
#[command(name = "mainstay-broker", version, about = "The Mainstay message broker")]
struct Cli {
    /// What is logged, such as `info` or `mainstay_broker=debug`.
    #[arg(long, global = true, env = "RUST_LOG")]
    log: Option<String>,
    #[arg(long, global = true, env = "MAINSTAY_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker from a configuration file.
    Run(ConfigFile),
    /// Check a configuration file and say what it configures.
    CheckConfig(ConfigFile),
    /// Run one broker by itself: no configuration, topics created on first use.
    Dev(Dev),
}

#[derive(Debug, Args)]
struct ConfigFile {
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This broker's name in the configuration, unless the file says it.
    #[arg(long, env = MEMBER_VARIABLE)]
    member: Option<String>,
}

#[derive(Debug, Args)]
struct Dev {
    /// Folder that keeps the messages; created if need be.
    #[arg(long, value_name = "DIR", default_value = "mainstay-data")]
    data: PathBuf,
    /// Address for clients. Administration listens on the next port, probes and metrics on the one before.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Address for administration; has no password, so it should stay on this machine.
    #[arg(long, value_name = "ADDRESS")]
    internal: Option<SocketAddr>,
    /// Address for probes and metrics.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Clients need credentials: those of user `admin`, whose secret key is printed, or of a user that `mainstay user create`
    /// makes.
    #[arg(long)]
    auth: bool,
    /// File with the secret key of user `admin`; without it, a new one is made at each start.
    #[arg(long, value_name = "FILE", requires = "auth")]
    admin_secret_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = if matches!(cli.command, Command::Run(_)) { "info" } else { "warn" };
    let filter = cli.log.unwrap_or_else(|| quiet.to_owned());
    match command(cli.command, &filter, cli.log_format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command, filter: &str, format: LogFormat) -> anyhow::Result<()> {
    match command {
        Command::CheckConfig(file) => {
            let config = Config::load(&file.config, file.member)?;
            println!(
                "{}: member {} of group {} in cluster {}, replication {:?} with {} replicas, {} broker groups",
                file.config.display(),
                config.member,
                config.group,
                config.cluster,
                config.replication.mode,
                config.own_group().members.len(),
                config.groups.len(),
            );
            Ok(())
        }
        Command::Run(file) => {
            let config = Config::load(&file.config, file.member)?;
            logged(filter, format, run(config))
        }
        Command::Dev(dev) => logged(filter, format, run_dev(dev)),
    }
}

/// Runs it, and tells what it does meanwhile.
fn logged(
    filter: &str,
    format: LogFormat,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let _logging = logging::start(filter, format);
        work.await
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

async fn run(config: Config) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let ports = Ports::bind(&config).await?;
    let broker = Broker::start(config, ports).await?;
    signals.serve(broker).await
}

async fn run_dev(dev: Dev) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let beside = |port: Option<u16>| SocketAddr::new(dev.listen.ip(), port.unwrap_or(0));
    let port = dev.listen.port();
    let listen = Listen {
        client: dev.listen,
        internal: dev.internal.unwrap_or_else(|| beside(port.checked_add(1).filter(|_| port != 0))),
        http: dev.http.unwrap_or_else(|| beside(port.checked_sub(1))),
    };
    let mut config = Config::single(dev.data.clone(), listen);
    let made =
        if dev.auth { require_credentials(&mut config, dev.admin_secret_file.as_deref())? } else { None };
    let ports = Ports::bind(&config).await?;
    let addresses = ports.addresses().context("cannot tell the ports")?;
    config.name_ports(addresses.client, addresses.internal);
    let broker = Broker::start(config, ports).await?;
    let leads = async { broker.group().watch().wait_for(|view| view.is_leader()).await.is_ok() };
    tokio::select! {
        _ = leads => {}
        () = signals.received() => {
            broker.stop().await;
            return Ok(());
        }
        error = broker.failed() => return Err(error.into()),
    }
    println!(
        "Mainstay is ready: clients connect to {}; data in {}, administration on {}, metrics on {}",
        addresses.client,
        dev.data.display(),
        addresses.internal,
        addresses.http
    );
    if let Some(secret) = made {
        println!(
            "Clients need credentials: access key {DEV_ADMIN}, secret key {} (of this start only)",
            secret.expose()
        );
    }
    signals.serve(broker).await
}

/// Switches access control on; gives back the administrator's secret when it was made here.
fn require_credentials(config: &mut Config, file: Option<&Path>) -> anyhow::Result<Option<UserSecret>> {
    let name = UserName::new(DEV_ADMIN)?;
    let (secret, made) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read --admin-secret-file {}", path.display()))?;
            let secret = UserSecret::new(text.trim());
            (secret.with_context(|| format!("--admin-secret-file {}", path.display()))?, None)
        }
        None => {
            let secret = UserSecret::new(&format!("{:032x}", rand::random::<u128>()))?;
            (secret.clone(), Some(secret))
        }
    };
    config.auth = Some(Auth { admin: Some(Administrator { name, secret }.into()), ..Auth::default() });
    Ok(made)
}

/// The signals that end a broker. Listened to before anything is started, so that none goes unheard.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Serves until a signal comes, then stops in order, or at once when interrupted again. A broker that cannot go on
    /// ends with the reason.
    async fn serve(mut self, broker: Broker) -> anyhow::Result<()> {
        let failed: Option<BrokerError> = tokio::select! {
            () = self.received() => None,
            error = broker.failed() => Some(error),
        };
        if let Some(error) = failed {
            let _ = tokio::time::timeout(Duration::from_secs(1), broker.stop()).await;
            return Err(error.into());
        }
        tokio::select! {
            () = broker.stop() => {}
            _ = self.interrupt.recv() => {}
        }
        Ok(())
    }
}
