//! `mainstay-operator run` and `mainstay-operator crds`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use kube::{Api, Client};
use mainstay_operator::{
    candidacy::Timing,
    names,
    shell::{
        Clock, Context, Settings,
        leadership::{Leadership, Tenure},
        metrics::Metrics,
        supervisor, web,
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

#[derive(Debug, Parser)]
#[command(name = "mainstay-operator", version, about = "Runs Mainstay broker clusters on Kubernetes")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Looks after BrokerClusters.
    Run(Box<Run>),
    /// Prints the custom resource definitions.
    Crds {
        /// Writes one file for each into this folder instead.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Image of the brokers whose cluster names none.
    #[arg(long, env = "MAINSTAY_BROKER_IMAGE")]
    broker_image: String,
    /// Namespaces to look after, separated by commas. Empty: all of them.
    #[arg(long, env = "MAINSTAY_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Namespace of the lease by which one of several operators is the active one.
    #[arg(long, env = "MAINSTAY_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Name of that lease.
    #[arg(long, env = "MAINSTAY_LEASE", default_value = "mainstay-operator")]
    lease: String,
    /// Name of this process in the lease and in events. Must differ between operators.
    #[arg(long, env = "MAINSTAY_POD")]
    identity: Option<String>,
    /// Address of probes and metrics.
    #[arg(long, env = "MAINSTAY_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "MAINSTAY_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Logs as JSON.
    #[arg(long, env = "MAINSTAY_LOG_JSON")]
    log_json: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Crds { directory } => print_crds(directory),
        Command::Run(run) => start(*run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstay-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_crds(directory: Option<PathBuf>) -> anyhow::Result<()> {
    let files = mainstay_crds::yaml_files()?;
    match directory {
        None => {
            for (_, text) in files {
                print!("---\n{text}");
            }
        }
        Some(directory) => {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            for (name, text) in files {
                let path = directory.join(name);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn start(run: Run) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if run.log_json {
        log.json().init()
    } else {
        log.init()
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(operate(run))
}

async fn operate(run: Run) -> anyhow::Result<()> {
    let clock = Clock::start();
    let tenure = Tenure::new(clock);
    let metrics = Arc::new(Metrics::default());
    let listener =
        TcpListener::bind(run.listen).await.with_context(|| format!("cannot listen on {}", run.listen))?;
    let mut web = tokio::spawn(web::serve(listener, metrics.clone(), tenure.clone()));
    let client = Client::try_default().await.context("no access to a Kubernetes cluster")?;
    let identity = match run.identity {
        Some(identity) => identity,
        None => format!("{}-{}", names::FIELD_MANAGER, std::process::id()),
    };
    let settings = Settings {
        broker_image: run.broker_image,
        domain: run.cluster_domain,
        identity: identity.clone(),
        control_port: names::INTERNAL_PORT,
    };
    let context = Context {
        client: client.clone(),
        tenure: tenure.clone(),
        metrics,
        settings: Arc::new(settings),
        clock,
    };
    let leases = Api::namespaced(client, &run.namespace);
    let mut leadership = Leadership::new(leases, run.lease, identity, Timing::default(), tenure);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    tokio::select! {
        () = leadership.acquire() => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        ended = &mut web => bail!("probes and metrics are not served any more: {ended:?}"),
    }
    let stop = CancellationToken::new();
    let mut supervisors = JoinSet::new();
    let namespaces: Vec<String> = run.watch_namespaces.into_iter().filter(|name| !name.is_empty()).collect();
    if namespaces.is_empty() {
        supervisors.spawn(supervisor::run(context.clone(), None, stop.clone()));
    }
    for namespace in namespaces {
        supervisors.spawn(supervisor::run(context.clone(), Some(namespace), stop.clone()));
    }
    tokio::select! {
        () = leadership.keep() => {
            // Leave at once: whatever is still under way checks the tenure before it acts.
            error!("another operator may be active by now");
            bail!("the lease was lost");
        }
        _ = terminate.recv() => info!("asked to stop"),
        _ = interrupt.recv() => info!("asked to stop"),
        ended = supervisors.join_next() => bail!("a watch has ended: {ended:?}"),
        ended = &mut web => bail!("probes and metrics are not served any more: {ended:?}"),
    }
    stop.cancel();
    while supervisors.join_next().await.is_some() {}
    leadership.release().await;
    Ok(())
}
