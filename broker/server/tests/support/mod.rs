//! A broker group in one process: real brokers on loopback, each on a disk of its own in memory, with a network
//! between them that can be cut.

#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod network;
mod stall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_broker::config::Config;
use mainstay_broker::group::{GroupHandle, GroupView, Status};
use mainstay_broker::{Addresses, Broker, BrokerError, Ports};
use mainstay_messaging::{
    Command, CreateGroup, CreateTopic, Delivery, DeliveryOrder, Encoding, Filter, GroupName, MessageKind,
    Outcome, Publish, QueueCount, QueueId, QueueOffset, QueueSelection, Receive, RetryPolicy, StartPosition,
    TopicKind, TopicName,
};
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::control_client::ControlClient;
use mainstay_proto::replication::replication_client::ReplicationClient;
use mainstay_record::Timestamp;
use mainstay_storage::{FileSystem, MemFileSystem};
use tonic::transport::Channel;

pub(crate) use network::Network;
pub(crate) use stall::{Stall, StallingFileSystem};

/// Nothing in a test may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const SECRET: &str = "a-test-secret";

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Polls until `probe` gives something; the test fails after [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = soon();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// How a group is configured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) replication: &'static str,
    pub(crate) flush: &'static str,
    pub(crate) members: usize,
    /// More lines of `[storage]`.
    pub(crate) storage: &'static str,
}

impl Plan {
    pub(crate) fn single() -> Self {
        Self { replication: "mode = \"none\"", flush: "type = \"sync\"", members: 1, storage: "" }
    }

    pub(crate) fn raft() -> Self {
        Self { replication: "mode = \"raft\"", flush: "type = \"sync\"", members: 3, storage: "" }
    }
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) fs: MemFileSystem,
    pub(crate) broker: Option<Broker>,
    pub(crate) addresses: Option<Addresses>,
}

pub(crate) struct Group {
    plan: Plan,
    secret: tempfile::NamedTempFile,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
}

impl Group {
    /// All nodes, not started.
    pub(crate) async fn prepare(plan: Plan) -> Self {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), SECRET).unwrap();
        let mut nodes = Vec::new();
        for index in 0..plan.members {
            let fs = MemFileSystem::new(index as u64 + 1);
            nodes.push(Node { name: format!("node-{index}"), fs, broker: None, addresses: None });
        }
        Self { network: Network::between(plan.members).await, plan, secret, nodes }
    }

    pub(crate) async fn start(plan: Plan) -> Self {
        let mut group = Self::prepare(plan).await;
        for index in 0..group.nodes.len() {
            group.start_node(index).await;
        }
        group
    }

    /// The configuration of a node, which reaches the others through the network.
    pub(crate) fn config(&self, index: usize) -> Config {
        let members: Vec<String> = (0..self.nodes.len())
            .map(|other| {
                let address = self.network.address(index, other).unwrap_or_else(|| "127.0.0.1:1".to_owned());
                format!("{{name = \"{}\", address = \"{address}\"}}", self.nodes[other].name)
            })
            .collect();
        let text = format!(
            "cluster = \"test\"\ngroup = 0\nmember = \"{}\"\ndata = \"/data\"\n\
             [replication]\n{}\n[flush]\n{}\n[storage]\nsegment_bytes = \"1MiB\"\n{}\n\
             [listen]\nclient = \"127.0.0.1:0\"\ninternal = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
             [internal]\nsecret_file = \"{}\"\n\
             [[groups]]\nid = 0\naddress = \"127.0.0.1:1\"\nmembers = [{}]\n",
            self.nodes[index].name,
            self.plan.replication,
            self.plan.flush,
            self.plan.storage,
            self.secret.path().display(),
            members.join(", ")
        );
        Config::parse(&text, None).unwrap()
    }

    pub(crate) async fn start_node(&mut self, index: usize) {
        let fs: Arc<dyn FileSystem> = Arc::new(self.nodes[index].fs.clone());
        self.start_node_on(index, fs).await.unwrap();
    }

    pub(crate) async fn start_node_on(
        &mut self,
        index: usize,
        fs: Arc<dyn FileSystem>,
    ) -> Result<(), BrokerError> {
        let config = self.config(index);
        let ports = Ports::bind(&config).await?;
        let addresses = ports.addresses().unwrap();
        self.nodes[index].addresses = Some(addresses);
        self.network.started(index, addresses.internal);
        self.nodes[index].broker = Some(Broker::start_on(config, ports, fs).await?);
        Ok(())
    }

    /// As `kill -9`: the disk keeps what was written.
    pub(crate) fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.fs = node.fs.kill();
        node.broker = None;
    }

    pub(crate) async fn stop(&mut self, index: usize) {
        self.nodes[index].broker.take().unwrap().stop().await;
    }

    pub(crate) fn handle(&self, index: usize) -> GroupHandle {
        self.nodes[index].broker.as_ref().unwrap().group().clone()
    }

    pub(crate) fn view(&self, index: usize) -> GroupView {
        self.handle(index).view()
    }

    pub(crate) async fn status(&self, index: usize) -> Status {
        self.handle(index).status().await.unwrap()
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].broker.is_some()).collect()
    }

    /// Waits for a leader that serves.
    pub(crate) async fn leader(&self) -> usize {
        until("a leader that serves", async || {
            let serves = |index: &usize| {
                let view = self.view(*index);
                view.is_leader() && view.serving
            };
            self.running().into_iter().find(serves)
        })
        .await
    }

    pub(crate) async fn control(&self, index: usize) -> Control {
        control(self.nodes[index].addresses.unwrap().internal, Some(SECRET)).await
    }

    pub(crate) async fn admin(&self, index: usize) -> AdminClient<Authorised> {
        let channel = channel(self.nodes[index].addresses.unwrap().internal).await;
        AdminClient::with_interceptor(channel, Token(Some(SECRET.to_owned())))
    }

    /// The way by which another replica speaks to the node.
    pub(crate) async fn replication(&self, index: usize) -> ReplicationClient<Authorised> {
        let channel = channel(self.nodes[index].addresses.unwrap().internal).await;
        ReplicationClient::with_interceptor(channel, Token(Some(SECRET.to_owned())))
    }
}

type Authorised = tonic::service::interceptor::InterceptedService<Channel, Token>;
type Control = ControlClient<Authorised>;

#[derive(Clone)]
pub(crate) struct Token(Option<String>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(request)
    }
}

pub(crate) async fn control(address: SocketAddr, secret: Option<&str>) -> Control {
    ControlClient::with_interceptor(channel(address).await, Token(secret.map(str::to_owned)))
}

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub(crate) fn create_topic(name: &str) -> Command {
    let name = TopicName::new(name).unwrap();
    Command::CreateTopic(CreateTopic { name, kind: TopicKind::Normal, queues: QueueCount::new(1).unwrap() })
}

pub(crate) fn create_group(name: &str) -> Command {
    let name = GroupName::new(name).unwrap();
    Command::CreateGroup(CreateGroup {
        name,
        start: StartPosition::Earliest,
        order: DeliveryOrder::Concurrent,
        max_attempts: 3,
        retry: RetryPolicy::default(),
    })
}

pub(crate) fn publish(topic: &str, body: &str) -> Command {
    Command::Publish(Publish {
        topic: TopicName::new(topic).unwrap(),
        queue: QueueId(0),
        kind: MessageKind::Normal,
        tag: None,
        message_id: body.to_owned(),
        keys: Vec::new(),
        properties: Vec::new(),
        trace_context: None,
        born_at: Timestamp(0),
        born_host: String::new(),
        encoding: Encoding::Identity,
        body: Bytes::from(body.to_owned()),
    })
}

pub(crate) fn receive(topic: &str, group: &str, invisible_ms: u64) -> Receive {
    Receive {
        group: GroupName::new(group).unwrap(),
        topic: TopicName::new(topic).unwrap(),
        queues: QueueSelection::All,
        max: 32,
        filter: Filter::All,
        invisible_ms,
        attempt_id: None,
        by: String::new(),
    }
}

/// Topic `letters` and consumer group `readers`.
pub(crate) async fn prepare_topic(handle: &GroupHandle) {
    for command in [create_topic("letters"), create_group("readers")] {
        let outcome = handle.propose(command, soon()).await.unwrap();
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
}

pub(crate) async fn send(handle: &GroupHandle, body: &str) {
    let outcome = handle.propose(publish("letters", body), soon()).await.unwrap();
    assert!(matches!(outcome, Outcome::Published { .. }), "{outcome:?}");
}

/// Bodies of all messages of `letters` on this node, in order. A log that is cut meanwhile is looked at again.
pub(crate) async fn bodies(handle: &GroupHandle) -> Vec<String> {
    until("every message can be read", async || {
        let located = handle.query(|state| {
            let range = state.queue_range("letters", QueueId(0));
            let range = range.map_or(0..0, |range| range.start.0..range.end.0);
            let locate = |at| state.locate("letters", QueueId(0), QueueOffset(at)).unwrap();
            range.map(locate).collect::<Vec<_>>()
        });
        let mut bodies = Vec::new();
        for record in located.await.unwrap() {
            let publish = handle.load(record).await.ok()?;
            bodies.push(String::from_utf8(publish.body.to_vec()).unwrap());
        }
        Some(bodies)
    })
    .await
}

pub(crate) async fn bodies_of(handle: &GroupHandle, deliveries: &[Delivery]) -> Vec<String> {
    let mut bodies = Vec::new();
    for delivery in deliveries {
        let publish = handle.load(delivery.record).await.unwrap();
        bodies.push(String::from_utf8(publish.body.to_vec()).unwrap());
    }
    bodies
}

/// A body that fills a log soon, and tells which it is.
pub(crate) fn large(number: usize) -> String {
    format!("{number:05}-{}", "x".repeat(50_000))
}

/// A random number of the round.
pub(crate) fn random(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
}

/// The node leads by order of the operator.
pub(crate) async fn lead(group: &Group, node: usize, epoch: u64) {
    let handle = group.handle(node);
    until("the order is taken", async || {
        handle.campaign(epoch, handle.clock_now().plus(PATIENCE)).await.ok()
    })
    .await;
    until("it leads", async || (group.leader().await == node).then_some(())).await;
}
