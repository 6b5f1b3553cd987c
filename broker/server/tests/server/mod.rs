//! A broker by itself inside the test's process, on ports of the system's choice, with its data in a folder that goes
//! away with it.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod figures;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_broker::config::{BrokerGroup, Config, Listen, Member};
use mainstay_broker::group::GroupHandle;
use mainstay_broker::{Addresses, Broker, Ports};
use mainstay_messaging::{Command, CreateTopic, Outcome, QueueCount, TopicKind, TopicName};
use mainstay_record::GroupId;
use md5::{Digest, Md5};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::client::Client;

pub(crate) use figures::{gauge, polls_waiting};

/// Bound of everything that waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Server {
    broker: Broker,
    addresses: Addresses,
    data: TempDir,
    config: Config,
}

pub(crate) async fn start() -> Server {
    start_with(|_| {}).await
}

pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Server {
    let data = tempfile::tempdir().unwrap();
    let mut config = single(&data);
    change(&mut config);
    let ports = Ports::bind(&config).await.unwrap();
    run(config, ports, data).await
}

/// Two broker groups of one member each, the cluster `pair`.
pub(crate) async fn start_pair() -> [Server; 2] {
    start_pair_with(|_| {}).await
}

/// As [`start_pair`], each with its configuration changed.
pub(crate) async fn start_pair_with(change: impl Fn(&mut Config)) -> [Server; 2] {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut members = Vec::new();
    for _ in 0..2 {
        let data = tempfile::tempdir().unwrap();
        let internal = TcpListener::bind(any).await.unwrap();
        members.push((single(&data), internal, data));
    }
    let group = |(id, (_, internal, _)): (usize, &(Config, TcpListener, TempDir))| BrokerGroup {
        id: GroupId(id as u32),
        address: format!("pair-{id}.test:8081"),
        members: vec![Member {
            name: format!("pair-{id}-0"),
            address: internal.local_addr().unwrap().to_string(),
        }],
    };
    let groups: Vec<_> = members.iter().enumerate().map(group).collect();
    let mut servers = Vec::new();
    for (id, (mut config, internal, data)) in members.into_iter().enumerate() {
        config.cluster = "pair".to_owned();
        config.group = GroupId(id as u32);
        config.member = format!("pair-{id}-0");
        config.topics.queues = 4;
        config.groups = groups.clone();
        change(&mut config);
        let ports = Ports::with_internal(&config, internal).await.unwrap();
        servers.push(run(config, ports, data).await);
    }
    servers.try_into().unwrap()
}

fn single(data: &TempDir) -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listen = Listen { client: any, internal: any, http: any };
    let mut config = Config::single(data.path().join("data"), listen);
    // Small files: each is written in full when it is made.
    config.storage.segment_bytes = 16 << 20;
    config
}

async fn run(config: Config, ports: Ports, data: TempDir) -> Server {
    let addresses = ports.addresses().unwrap();
    let broker = Broker::start(config.clone(), ports).await.unwrap();
    let serving = async { broker.group().watch().wait_for(|view| view.serving).await.map(drop) };
    tokio::time::timeout(PATIENCE, serving).await.expect("serves in time").unwrap();
    Server { broker, addresses, data, config }
}

impl Server {
    pub(crate) fn client_port(&self) -> u16 {
        self.addresses.client.port()
    }

    /// Where the command line and other brokers reach it.
    pub(crate) fn internal(&self) -> SocketAddr {
        self.addresses.internal
    }

    /// One value of its metrics.
    pub(crate) async fn figure(&self, name: &str) -> u64 {
        gauge(self.addresses.http, name).await
    }

    pub(crate) fn group(&self) -> &GroupHandle {
        self.broker.group()
    }

    pub(crate) fn client(&self) -> Client {
        Client::plain(self.client_port())
    }

    pub(crate) async fn create_topic(&self, name: &str, queues: u32) {
        self.create_topic_of(TopicKind::Normal, name, queues).await;
    }

    pub(crate) async fn create_topic_of(&self, kind: TopicKind, name: &str, queues: u32) {
        let create = Command::CreateTopic(CreateTopic {
            name: TopicName::new(name).unwrap(),
            kind,
            queues: QueueCount::new(queues).unwrap(),
        });
        let outcome = self.broker.group().propose(create, Instant::now() + PATIENCE).await.unwrap();
        assert_eq!(outcome, Outcome::TopicCreated { created: true });
    }

    /// Returns once exactly `expected` long polls wait in the broker, by its metrics.
    pub(crate) async fn until_polls_wait(&self, expected: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting = polls_waiting(self.addresses.http).await;
            if waiting == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{waiting} long polls wait, expected {expected}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts a command through the broker's log.
    pub(crate) async fn propose(&self, command: Command) -> Outcome {
        self.broker.group().propose(command, Instant::now() + PATIENCE).await.unwrap()
    }

    /// Stops, and starts again with what the disk has.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Config)) -> Self {
        self.broker.stop().await;
        let mut config = single(&self.data);
        change(&mut config);
        let ports = Ports::bind(&config).await.unwrap();
        run(config, ports, self.data).await
    }

    /// Stops, lets its data be changed, and starts again as before, where the others find it.
    pub(crate) async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        let Self { broker, addresses, data, config } = self;
        broker.stop().await;
        change(&config.data);
        let internal = TcpListener::bind(addresses.internal).await.unwrap();
        let ports = Ports::with_internal(&config, internal).await.unwrap();
        run(config, ports, data).await
    }

    pub(crate) async fn stop(self) {
        self.broker.stop().await;
    }
}

pub(crate) fn md5_upper_hex(body: &[u8]) -> String {
    Md5::digest(body).iter().map(|byte| format!("{byte:02X}")).collect()
}
