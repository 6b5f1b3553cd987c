//! One broker from its configuration to its end: opens what it keeps, starts every service, stops them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_storage::{FileSystem, RealFileSystem};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::admin::{AdminService, follow_metadata};
use crate::client_api::ClientApi;
use crate::cluster::{Bearer, Cluster};
use crate::config::Config;
use crate::control::ControlService;
use crate::group::{self, Clock, GroupHandle, Replica, StartError};
use crate::http::{self, Health};
use crate::internal::{self, Authenticate};
use crate::listen::{ClientPort, ListenError, TlsSource};
use crate::metrics::{Figures, GroupMetrics};
use crate::replication::{Introduction, Links, ReplicationService};

/// How long a stopping leader waits for a successor.
const HAND_OVER_TIME: Duration = Duration::from_secs(5);
/// How long a stopping broker waits for what is in flight.
const DRAIN_TIME: Duration = Duration::from_secs(6);

/// Why a broker did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("cannot listen on {address} ({key}): {error}")]
    Bind { key: &'static str, address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Client(#[from] ListenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("an address of [[groups]] cannot be used: {0}")]
    Cluster(#[from] tonic::transport::Error),
    #[error("{0}")]
    Fatal(Arc<str>),
}

/// The ports, taken. Taken first, so that a broker whose port is taken leaves no trace.
#[derive(Debug)]
pub struct Ports {
    client: ClientPort,
    internal: TcpListener,
    http: TcpListener,
}

/// Where the ports are, after the system has chosen those that were 0.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub client: SocketAddr,
    pub internal: SocketAddr,
    pub http: SocketAddr,
}

impl Ports {
    pub async fn bind(config: &Config) -> Result<Self, BrokerError> {
        let internal = bind("listen.internal", config.listen.internal).await?;
        Self::with_internal(config, internal).await
    }

    /// As [`Self::bind`], with an internal port that has been taken before its address was written into the configuration.
    pub async fn with_internal(config: &Config, internal: TcpListener) -> Result<Self, BrokerError> {
        let tls = match &config.tls {
            Some(files) => {
                TlsSource::Files { certificate: files.cert_file.clone(), key: files.key_file.clone() }
            }
            None => TlsSource::SelfMade { names: vec![host_of(&config.own_group().address).to_owned()] },
        };
        let client = ClientPort::bind(config.listen.client, &tls).await?;
        let http = bind("listen.http", config.listen.http).await?;
        Ok(Self { client, internal, http })
    }

    /// # Errors
    /// When the system does not tell.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            client: self.client.local_addr()?,
            internal: self.internal.local_addr()?,
            http: self.http.local_addr()?,
        })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BrokerError> {
    TcpListener::bind(address).await.map_err(|error| BrokerError::Bind { key, address, error })
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// A running broker. Dropping it without [`Broker::stop`] is like killing it.
#[derive(Debug)]
pub struct Broker {
    group: GroupHandle,
    members: usize,
    stopping: Arc<AtomicBool>,
    /// Ends the client port and what belongs to it.
    stop_clients: CancellationToken,
    /// Ends everything else but the driver.
    stop_rest: CancellationToken,
    clients: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    fatal: watch::Receiver<Option<Arc<str>>>,
}

impl Broker {
    /// Opens the data folder and starts to serve. Needs a multi-threaded tokio runtime.
    pub async fn start(config: Config, ports: Ports) -> Result<Self, BrokerError> {
        Self::start_on(config, ports, Arc::new(RealFileSystem)).await
    }

    /// As [`Self::start`], on another file system.
    pub async fn start_on(
        config: Config,
        ports: Ports,
        fs: Arc<dyn FileSystem>,
    ) -> Result<Self, BrokerError> {
        let config = Arc::new(config);
        let mut registry = Registry::with_prefix("mainstay");
        let metrics = Arc::new(GroupMetrics::register(&mut registry));
        let replica = open(&config, fs, &metrics).await?;
        let figures = Figures {
            group: replica.handle.clone(),
            outbox: replica.outbox.clone(),
            clients: ports.client.open_connections(),
        };
        figures.register(&mut registry);
        let cluster = Cluster::new(Arc::clone(&config), replica.handle.clone())?;
        let health = Health {
            group: replica.handle.clone(),
            metrics,
            outbox: replica.outbox.clone(),
            registry: Arc::new(registry),
            stopping: Arc::default(),
            fatal: replica.fatal.clone(),
        };
        Ok(Self::spawn(config, ports, replica, cluster, health))
    }

    fn spawn(config: Arc<Config>, ports: Ports, replica: Replica, cluster: Cluster, health: Health) -> Self {
        let (stop_clients, stop_rest) = (CancellationToken::new(), CancellationToken::new());
        let group = replica.handle.clone();
        let api = ClientApi::start(Arc::clone(&config), group.clone(), cluster.clone(), stop_clients.clone());
        let internal = internal_routes(&config, &replica, &cluster, &api, stop_rest.clone());
        let own = introduction(&config, &replica);
        let links = Links {
            own,
            bearer: Bearer::new(config.secret.as_ref()),
            adopted: replica.adopted.clone(),
            directory: Arc::clone(&replica.directory),
            outbox: replica.outbox.clone(),
            inputs: replica.inputs.clone(),
            stop: stop_rest.clone(),
        };
        let stopping = Arc::clone(&health.stopping);
        let authenticate = Authenticate::new(config.secret.clone());
        let mut tasks = vec![
            tokio::spawn(replica.runner.run()),
            tokio::spawn(ended(
                "internal port",
                internal::serve(ports.internal, internal, authenticate, stop_rest.clone()),
            )),
            tokio::spawn(ended("http port", http::serve(ports.http, health, stop_rest.clone()))),
        ];
        let members = &config.own_group().members;
        for member in members.iter().filter(|member| member.name != config.member) {
            tasks.push(tokio::spawn(links.clone().keep(member.clone())));
        }
        tasks.push(tokio::spawn(follow(Arc::clone(&config), group.clone(), cluster, stop_rest.clone())));
        let routes = Routes::new(api.for_clients());
        let clients = tokio::spawn(ended("client port", ports.client.serve(routes, stop_clients.clone())));
        let members = members.len();
        Self { group, members, stopping, stop_clients, stop_rest, clients, tasks, fatal: replica.fatal }
    }

    /// The broker's group.
    pub fn group(&self) -> &GroupHandle {
        &self.group
    }

    /// Returns when the broker cannot go on, with the reason.
    pub async fn failed(&self) -> BrokerError {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => BrokerError::Fatal(reason.as_deref().unwrap_or_default().into()),
            Err(_) => BrokerError::Fatal("the group's driver has ended".into()),
        }
    }

    /// Ends in order: no longer ready, leadership handed over, what is in flight finished, the log closed.
    pub async fn stop(mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if self.members > 1 && self.group.view().role == group::Role::Leader {
            self.hand_over().await;
        }
        self.stop_clients.cancel();
        if tokio::time::timeout(DRAIN_TIME, self.group.drain()).await.is_err() {
            tracing::warn!("stopping although somebody still waits for an answer");
        }
        let _ = tokio::time::timeout(DRAIN_TIME, &mut self.clients).await;
        self.stop_rest.cancel();
        self.group.stop().await;
        for task in self.tasks.drain(..) {
            if tokio::time::timeout(DRAIN_TIME, task).await.is_err() {
                tracing::warn!("a task did not end in time");
            }
        }
        tracing::info!("stopped");
    }

    async fn hand_over(&self) {
        if let Err(error) = self.group.step_down(None).await {
            tracing::warn!(%error, "leadership is not handed over");
            return;
        }
        let mut views = self.group.watch();
        let gone = views.wait_for(|view| view.role != group::Role::Leader && view.leader.is_some());
        match tokio::time::timeout(HAND_OVER_TIME, gone).await {
            Ok(_) => tracing::info!("leadership handed over"),
            Err(_) => tracing::warn!("nobody took over leadership in time"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop_clients.cancel();
        self.stop_rest.cancel();
        self.clients.abort();
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn open(
    config: &Arc<Config>,
    fs: Arc<dyn FileSystem>,
    metrics: &Arc<GroupMetrics>,
) -> Result<Replica, BrokerError> {
    let (config, metrics) = (Arc::clone(config), Arc::clone(metrics));
    let opened = tokio::task::spawn_blocking(move || group::open(config, fs, Clock::start(), metrics)).await;
    match opened {
        Ok(replica) => Ok(replica?),
        Err(error) => Err(BrokerError::Fatal(error.to_string().into())),
    }
}

fn introduction(config: &Config, replica: &Replica) -> Introduction {
    Introduction {
        cluster: config.cluster.clone(),
        group: config.group.0,
        member: config.member.clone(),
        node: replica.node,
    }
}

fn internal_routes(
    config: &Arc<Config>,
    replica: &Replica,
    cluster: &Cluster,
    api: &ClientApi,
    stop: CancellationToken,
) -> Routes {
    let control =
        ControlService::new(Arc::clone(config), replica.handle.clone(), Arc::clone(&replica.directory));
    let (handle, fs) = (replica.handle.clone(), Arc::clone(&replica.fs));
    let admin = AdminService::new(Arc::clone(config), handle, cluster.clone(), api.clone(), fs);
    let own = introduction(config, replica);
    let (adopted, inputs) = (replica.adopted.clone(), replica.inputs.clone());
    let replication = ReplicationService::server(own, adopted, inputs, replica.snapshots.clone(), stop);
    Routes::new(replication).add_service(control.server()).add_service(admin).add_service(api.for_brokers())
}

async fn ended<E: std::fmt::Display>(what: &'static str, serving: impl Future<Output = Result<(), E>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "the {what} failed");
    }
}

async fn follow(config: Arc<Config>, group: GroupHandle, cluster: Cluster, stop: CancellationToken) {
    tokio::select! {
        () = follow_metadata(config, group, cluster) => {}
        () = stop.cancelled() => {}
    }
}
