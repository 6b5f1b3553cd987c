//! Brokers that speak the control protocol over real sockets on 127.0.0.1, .2, .3, and keep its rules about epochs, but
//! hold no messages.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use mainstay_proto::control::{
    AbandonChangeRequest, AdoptMembershipRequest, CampaignRequest, ChangeMembershipRequest, Epoch,
    GrantLeaseRequest, GrantLeaseResponse, Mode, OrderResponse, PromoteRequest, Role, StatusRequest,
    StatusResponse, StepDownRequest, StepDownResponse,
    control_server::{Control, ControlServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, transport::Server};

#[derive(Debug, Clone)]
struct Node {
    up: bool,
    granted: u64,
    leads: Option<u64>,
    last_index: u64,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    orders: Vec<(usize, u64)>,
    grants: Vec<(usize, u64)>,
    adopted: Vec<(usize, AdoptMembershipRequest)>,
    needed: usize,
    token: String,
}

/// A group of them.
#[derive(Debug)]
pub struct FakeGroup {
    state: Arc<Mutex<State>>,
    servers: Vec<Option<JoinHandle<()>>>,
    pub port: u16,
    name: String,
}

impl FakeGroup {
    /// Starts brokers of which `needed` must grant an epoch.
    pub async fn start(name: &str, replicas: usize, needed: usize, token: &str) -> Self {
        let node = Node { up: true, granted: 0, leads: None, last_index: 10 };
        let state = State {
            nodes: vec![node; replicas],
            orders: Vec::new(),
            grants: Vec::new(),
            adopted: Vec::new(),
            needed,
            token: token.to_owned(),
        };
        let state = Arc::new(Mutex::new(state));
        for _ in 0..100 {
            let first = TcpListener::bind((ip(0), 0)).await.expect("a free port");
            let port = first.local_addr().expect("bound").port();
            let mut listeners = vec![first];
            for ordinal in 1..replicas {
                if let Ok(listener) = TcpListener::bind((ip(ordinal), port)).await {
                    listeners.push(listener);
                }
            }
            if listeners.len() == replicas {
                let serve =
                    |(ordinal, listener)| Some(spawn(ordinal, listener, state.clone(), name.to_owned()));
                let servers = listeners.into_iter().enumerate().map(serve).collect();
                return Self { state, servers, port, name: name.to_owned() };
            }
        }
        panic!("no port is free on {replicas} loopback addresses");
    }

    pub fn pod(&self, ordinal: usize) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// Ends a broker; whoever asks gets no connection any more.
    pub fn kill(&mut self, ordinal: usize) {
        if let Some(server) = self.servers[ordinal].take() {
            server.abort();
        }
        let mut state = self.state.lock().expect("lock");
        state.nodes[ordinal].up = false;
        state.nodes[ordinal].leads = None;
    }

    pub fn set_last_index(&self, ordinal: usize, index: u64) {
        self.state.lock().expect("lock").nodes[ordinal].last_index = index;
    }

    pub fn leader(&self) -> Option<(usize, u64)> {
        let state = self.state.lock().expect("lock");
        state.leader()
    }

    pub fn orders(&self) -> Vec<(usize, u64)> {
        self.state.lock().expect("lock").orders.clone()
    }

    pub fn grants(&self) -> Vec<(usize, u64)> {
        self.state.lock().expect("lock").grants.clone()
    }

    /// Who was told of which membership.
    pub fn adopted(&self) -> Vec<(usize, AdoptMembershipRequest)> {
        self.state.lock().expect("lock").adopted.clone()
    }
}

impl State {
    fn leader(&self) -> Option<(usize, u64)> {
        let leading = self.nodes.iter().enumerate().filter(|(_, node)| node.up);
        leading.filter_map(|(ordinal, node)| Some((ordinal, node.leads?))).max_by_key(|(_, epoch)| *epoch)
    }

    fn elect(&mut self, ordinal: usize, epoch: u64, forced: bool) -> OrderResponse {
        self.orders.push((ordinal, epoch));
        let willing = self.nodes.iter().filter(|node| node.up && node.granted < epoch).count();
        let accepted = self.nodes[ordinal].granted < epoch && (forced || willing >= self.needed);
        if accepted {
            for node in self.nodes.iter_mut().filter(|node| node.up) {
                node.granted = epoch;
                node.leads = None;
            }
            self.nodes[ordinal].leads = Some(epoch);
        }
        let granted = Epoch { number: self.nodes[ordinal].granted, candidate: 1 };
        OrderResponse {
            accepted,
            reason: if accepted { "" } else { "stale" }.to_owned(),
            granted: Some(granted),
        }
    }
}

/// Address of a broker.
pub fn ip(ordinal: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(ordinal + 1).expect("few brokers")))
}

fn spawn(ordinal: usize, listener: TcpListener, state: Arc<Mutex<State>>, name: String) -> JoinHandle<()> {
    let _: SocketAddr = listener.local_addr().expect("bound");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = Server::builder().add_service(ControlServer::new(FakeBroker { ordinal, state, name }));
    tokio::spawn(async move {
        let _ = server.serve_with_incoming(incoming).await;
    })
}

struct FakeBroker {
    ordinal: usize,
    state: Arc<Mutex<State>>,
    name: String,
}

impl FakeBroker {
    fn authorized<T>(&self, request: Request<T>) -> Result<T, Box<Status>> {
        let expected = format!("Bearer {}", self.state.lock().expect("lock").token);
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if given == Some(&expected) {
            Ok(request.into_inner())
        } else {
            Err(Box::new(Status::unauthenticated("wrong token")))
        }
    }
}

#[tonic::async_trait]
impl Control for FakeBroker {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.authorized(request).map_err(|status| *status)?;
        let state = self.state.lock().expect("lock");
        let node = &state.nodes[self.ordinal];
        let leader = state.leader();
        let epoch = |number: u64| Some(Epoch { number, candidate: 1 });
        Ok(Response::new(StatusResponse {
            cluster: "orders".to_owned(),
            member: format!("{}-{}", self.name, self.ordinal),
            node_id: self.ordinal as u64 + 1,
            mode: Mode::Sync.into(),
            role: if node.leads.is_some() { Role::Leader } else { Role::Follower }.into(),
            epoch: epoch(node.leads.or(leader.map(|(_, epoch)| epoch)).unwrap_or(0)),
            granted: epoch(node.granted),
            highest: epoch(node.granted),
            leader_node_id: leader.map(|(ordinal, _)| ordinal as u64 + 1),
            last_index: node.last_index,
            last_epoch: epoch(1),
            persisted_index: node.last_index,
            serving: node.leads.is_some(),
            writable: node.leads.is_some(),
            clock_ms: 5,
            ..StatusResponse::default()
        }))
    }

    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<OrderResponse>, Status> {
        let order = self.authorized(request).map_err(|status| *status)?;
        Ok(Response::new(self.state.lock().expect("lock").elect(self.ordinal, order.epoch, false)))
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Result<Response<OrderResponse>, Status> {
        let order = self.authorized(request).map_err(|status| *status)?;
        Ok(Response::new(self.state.lock().expect("lock").elect(self.ordinal, order.epoch, true)))
    }

    async fn grant_lease(
        &self,
        request: Request<GrantLeaseRequest>,
    ) -> Result<Response<GrantLeaseResponse>, Status> {
        let grant = self.authorized(request).map_err(|status| *status)?;
        let epoch = grant.epoch.map_or(0, |epoch| epoch.number);
        let mut state = self.state.lock().expect("lock");
        let accepted = state.nodes[self.ordinal].leads == Some(epoch) && grant.as_of_clock_ms == 5;
        state.grants.push((self.ordinal, epoch));
        Ok(Response::new(GrantLeaseResponse { accepted, reason: String::new() }))
    }

    async fn change_membership(
        &self,
        request: Request<ChangeMembershipRequest>,
    ) -> Result<Response<OrderResponse>, Status> {
        self.authorized(request).map_err(|status| *status)?;
        Err(Status::unimplemented("not in this test"))
    }

    async fn abandon_change(
        &self,
        request: Request<AbandonChangeRequest>,
    ) -> Result<Response<OrderResponse>, Status> {
        self.authorized(request).map_err(|status| *status)?;
        Err(Status::unimplemented("not in this test"))
    }

    async fn adopt_membership(
        &self,
        request: Request<AdoptMembershipRequest>,
    ) -> Result<Response<OrderResponse>, Status> {
        let named = self.authorized(request).map_err(|status| *status)?;
        self.state.lock().expect("lock").adopted.push((self.ordinal, named));
        Ok(Response::new(OrderResponse { accepted: true, ..OrderResponse::default() }))
    }

    async fn step_down(
        &self,
        request: Request<StepDownRequest>,
    ) -> Result<Response<StepDownResponse>, Status> {
        self.authorized(request).map_err(|status| *status)?;
        Err(Status::unimplemented("not in this test"))
    }
}
