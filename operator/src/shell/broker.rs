//! Calls to brokers' control service, each with a deadline: a broker that does not answer in time has not answered.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use mainstay_proto::control::{
    AdoptMembershipRequest, CampaignRequest, ChangeMembershipRequest, Epoch as WireEpoch, GrantLeaseRequest,
    Part, PromoteRequest, Role as WireRole, StatusRequest, StatusResponse, StepDownRequest,
    control_client::ControlClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::decide::observed::{Epoch, Moment, NodeId, Report, Role, Tail};

/// How long a broker has to answer what it need not ask anybody about.
pub const ANSWER: Duration = Duration::from_millis(700);
const CONNECT: Duration = Duration::from_millis(500);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("address {0} cannot be used")]
    Address(String),
    #[error("{0}")]
    Call(#[from] Box<Status>),
    #[error("refused: {0}")]
    Refused(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Until when an order may be acted on, by the clock of the broker that gets it.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub as_of_clock_ms: u64,
    pub valid: Duration,
}

/// Connections to the brokers of one group, by address.
#[derive(Debug)]
pub struct Brokers {
    token: MetadataValue<Ascii>,
    port: u16,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Brokers {
    /// # Errors
    /// When the token cannot be sent as a header.
    pub fn new(token: &str, port: u16) -> Result<Self, tonic::metadata::errors::InvalidMetadataValue> {
        let token = format!("Bearer {token}").parse()?;
        Ok(Self { token, port, channels: Mutex::default() })
    }

    fn client(&self, ip: &str) -> Result<ControlClient<Channel>, CallError> {
        let mut channels = self.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(channel) = channels.get(ip) {
            return Ok(ControlClient::new(channel.clone()));
        }
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let uri = format!("http://{host}:{}", self.port);
        let endpoint = Endpoint::from_shared(uri.clone()).map_err(|_| CallError::Address(uri))?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .connect_lazy();
        channels.insert(ip.to_owned(), channel.clone());
        Ok(ControlClient::new(channel))
    }

    /// Drops connections to addresses that no pod has any more.
    pub fn retain(&self, ips: &[String]) {
        let mut channels = self.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        channels.retain(|ip, _| ips.contains(ip));
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// What the broker knows about itself. `received` is left for the caller to fill in.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn status(&self, ip: &str) -> Result<StatusResponse, CallError> {
        let mut client = self.client(ip)?;
        within(ANSWER, client.status(self.request(StatusRequest {}))).await
    }

    /// # Errors
    /// When the broker does not answer or does not obey.
    pub async fn campaign(&self, ip: &str, epoch: u64, validity: Validity) -> Result<(), CallError> {
        let mut client = self.client(ip)?;
        let request = self.request(CampaignRequest {
            epoch,
            valid_ms: millis(validity.valid),
            as_of_clock_ms: validity.as_of_clock_ms,
        });
        let answer = within(ANSWER, client.campaign(request)).await?;
        obeyed(answer.accepted, answer.reason)
    }

    /// # Errors
    /// When the broker does not answer or does not obey.
    pub async fn promote(&self, ip: &str, epoch: u64, validity: Validity) -> Result<(), CallError> {
        let mut client = self.client(ip)?;
        let request = self.request(PromoteRequest {
            epoch,
            valid_ms: millis(validity.valid),
            as_of_clock_ms: validity.as_of_clock_ms,
        });
        let answer = within(ANSWER, client.promote(request)).await?;
        obeyed(answer.accepted, answer.reason)
    }

    /// # Errors
    /// When the broker does not answer or is not the leader of that epoch.
    pub async fn grant_lease(
        &self,
        ip: &str,
        epoch: Epoch,
        as_of_clock_ms: u64,
        duration: Duration,
    ) -> Result<(), CallError> {
        let mut client = self.client(ip)?;
        let epoch = WireEpoch { number: epoch.number, candidate: epoch.candidate };
        let request = GrantLeaseRequest { epoch: Some(epoch), duration_ms: millis(duration), as_of_clock_ms };
        let answer = within(ANSWER, client.grant_lease(self.request(request))).await?;
        obeyed(answer.accepted, answer.reason)
    }

    /// # Errors
    /// When the broker does not answer or does not take the change.
    pub async fn change_membership(
        &self,
        ip: &str,
        version: u64,
        voters: &[NodeId],
    ) -> Result<(), CallError> {
        let mut client = self.client(ip)?;
        let node_ids = voters.iter().map(|node| node.0).collect();
        let request = ChangeMembershipRequest { version, node_ids, min_in_sync: None };
        let answer = within(ANSWER, client.change_membership(self.request(request))).await?;
        obeyed(answer.accepted, answer.reason)
    }

    /// # Errors
    /// When the broker does not answer or does not take the membership.
    pub async fn adopt_membership(
        &self,
        ip: &str,
        version: u64,
        voters: &[NodeId],
        min_in_sync: u32,
    ) -> Result<(), CallError> {
        let mut client = self.client(ip)?;
        let node_ids = voters.iter().map(|node| node.0).collect();
        let request = AdoptMembershipRequest { version, node_ids, min_in_sync: Some(min_in_sync) };
        let answer = within(ANSWER, client.adopt_membership(self.request(request))).await?;
        obeyed(answer.accepted, answer.reason)
    }

    /// # Errors
    /// When the broker does not answer or keeps the leadership.
    pub async fn step_down(&self, ip: &str, to: NodeId, timeout: Duration) -> Result<(), CallError> {
        let mut client = self.client(ip)?;
        let request = StepDownRequest { to_node_id: Some(to.0), timeout_ms: millis(timeout) };
        let answer = within(timeout + ANSWER, client.step_down(self.request(request))).await?;
        obeyed(answer.accepted, answer.reason)
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError::Call(Box::new(status))),
        Err(_) => Err(CallError::Late(limit)),
    }
}

fn obeyed(accepted: bool, reason: String) -> Result<(), CallError> {
    if accepted { Ok(()) } else { Err(CallError::Refused(reason)) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A broker's answer as the core sees it.
pub fn report(answer: StatusResponse, received: Moment) -> Report {
    let role = match answer.role() {
        WireRole::Bootstrapping => Role::Bootstrapping,
        WireRole::Follower => Role::Follower,
        WireRole::Candidate => Role::Candidate,
        WireRole::Leader => Role::Leader,
        WireRole::Learner => Role::Learner,
        WireRole::Fenced | WireRole::Unspecified => Role::Fenced,
    };
    let epoch = |wire: Option<WireEpoch>| {
        wire.map_or_else(Epoch::default, |wire| Epoch { number: wire.number, candidate: wire.candidate })
    };
    let voters = answer.members.iter().filter(|member| member.part() == Part::Voter);
    Report {
        voters: voters.map(|member| NodeId(member.node_id)).collect(),
        changing: answer.changing,
        membership_version: answer.membership_version,
        write_quorum: answer.write_quorum as usize,
        node: NodeId(answer.node_id),
        role,
        epoch: epoch(answer.epoch),
        granted: epoch(answer.granted),
        highest: epoch(answer.highest),
        leader: answer.leader_node_id.map(NodeId),
        last_epoch: epoch(answer.last_epoch),
        last_index: answer.last_index,
        persisted_index: answer.persisted_index,
        serving: answer.serving,
        writable: answer.writable,
        quarantined: answer
            .quarantined
            .into_iter()
            .map(|tail| Tail {
                file: tail.file,
                records: tail.records,
                batches: tail.batches,
                bytes: tail.bytes,
                first_index: tail.first_index,
                last_index: tail.last_index,
            })
            .collect(),
        problem: answer.problem,
        clock_ms: answer.clock_ms,
        received,
    }
}
