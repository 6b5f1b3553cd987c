//! The operator's service: what this node knows, and orders to it. It never waits for another node, except to see a
//! hand-over done.

use std::sync::Arc;
use std::time::Duration;

use mainstay_consensus::{Mode, Moment, Part, View};
use mainstay_proto::control::control_server::{Control, ControlServer};
use mainstay_proto::control::{
    self as proto, AbandonChangeRequest, AdoptMembershipRequest, CampaignRequest, ChangeMembershipRequest,
    GrantLeaseRequest, GrantLeaseResponse, MemberStatus, OrderResponse, PromoteRequest, QuarantineStatus,
    StatusRequest, StatusResponse, StepDownRequest, StepDownResponse,
};
use mainstay_record::{Epoch, NodeId};
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::group::{self, GroupHandle, GroupView, OrderError, Role};
use crate::membership::{self, WishError};
use crate::replication::Directory;

/// Longest wait for a hand-over.
const LONGEST_STEP_DOWN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct ControlService {
    config: Arc<Config>,
    group: GroupHandle,
    directory: Arc<Directory>,
}

impl ControlService {
    pub(crate) fn new(config: Arc<Config>, group: GroupHandle, directory: Arc<Directory>) -> Self {
        Self { config, group, directory }
    }

    pub(crate) fn server(self) -> ControlServer<Self> {
        ControlServer::new(self)
    }

    /// What this node knows about itself and its group.
    pub(crate) async fn tell(&self) -> Result<StatusResponse, Status> {
        let status = self.group.status().await.ok_or_else(|| Status::unavailable("shutting down"))?;
        let view = self.group.view();
        let mut response = StatusResponse {
            cluster: self.config.cluster.clone(),
            group: self.config.group.0,
            member: self.config.member.clone(),
            node_id: view.node.get(),
            role: role(view.role).into(),
            leader_node_id: view.leader.as_ref().map(|leader| leader.node.get()),
            leader_member: view.leader.as_ref().and_then(|l| l.member.clone()).unwrap_or_default(),
            applied_index: status.applied.0,
            serving: view.serving,
            writable: view.writable,
            short_of_space: view.short_of_space,
            quarantined: self.quarantined(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_ms: status.at.0.as_millis() as u64,
            ..StatusResponse::default()
        };
        response.problem = view.problem;
        if let Some(consensus) = &status.consensus {
            self.tell_consensus(&mut response, consensus, &status);
        }
        Ok(response)
    }

    fn tell_consensus(&self, response: &mut StatusResponse, view: &View, status: &group::Status) {
        response.set_mode(match view.membership.mode() {
            Mode::Async => proto::Mode::Async,
            Mode::Sync { .. } => proto::Mode::Sync,
            Mode::Raft => proto::Mode::Raft,
        });
        response.epoch = Some(epoch(view.epoch));
        response.granted = Some(epoch(view.granted));
        response.highest = Some(epoch(view.highest));
        response.last_index = view.last.index.0;
        response.last_epoch = Some(epoch(view.last.epoch));
        response.persisted_index = view.persisted.0;
        response.commit_index = view.commit.0;
        response.write_quorum = view.membership.write_quorum() as u32;
        response.membership_version = view.membership.version();
        response.changing = view.change.is_some() || view.membership.is_joint();
        response.lease_remaining_ms = u64::try_from(view.lease_remaining.as_millis()).unwrap_or(u64::MAX);
        response.members = view
            .members
            .iter()
            .map(|member| MemberStatus {
                node_id: member.id.get(),
                member: self.directory.member(member.id).unwrap_or_default(),
                persisted_index: member.matched.0,
                heard_ms_ago: member.heard_at.map(|heard| status.at.since(heard).as_millis() as u64),
                part: part(member.part).into(),
            })
            .collect();
    }

    fn quarantined(&self) -> Vec<QuarantineStatus> {
        let tell = |file: mainstay_storage::QuarantineFile| QuarantineStatus {
            file: file.path.display().to_string(),
            batches: file.batches,
            records: file.records,
            bytes: file.bytes,
            first_index: file.first.0,
            last_index: file.last.0,
        };
        self.group.quarantined().into_iter().map(tell).collect()
    }

    async fn taken(&self, wish: Result<(), WishError>) -> OrderResponse {
        membership::answer(&self.group, wish.map_err(|error| error.to_string())).await
    }

    /// The moment `duration_ms` after a reading of this node's clock.
    fn deadline(&self, as_of_clock_ms: u64, duration_ms: u64) -> Result<Moment, String> {
        let as_of = Moment(Duration::from_millis(as_of_clock_ms));
        if as_of > self.group.clock_now() {
            return Err("as_of_clock_ms is in the future: it is not of this process".to_owned());
        }
        Ok(as_of.plus(Duration::from_millis(duration_ms)))
    }

    /// Waits until another node is known to lead.
    async fn successor(&self, timeout: Duration) -> Option<NodeId> {
        let mut views = self.group.watch();
        let other = |view: &GroupView| {
            let leader = view.leader.as_ref()?.node;
            (leader != view.node).then_some(leader)
        };
        let seen = tokio::time::timeout(timeout, views.wait_for(|view| other(view).is_some())).await;
        seen.ok()?.ok().and_then(|view| other(&view))
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.tell().await?))
    }

    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<OrderResponse>, Status> {
        let request = request.into_inner();
        let ordered = match self.deadline(request.as_of_clock_ms, request.valid_ms) {
            Ok(expires) => {
                self.group.campaign(request.epoch, expires).await.map_err(|error| error.to_string())
            }
            Err(reason) => Err(reason),
        };
        Ok(Response::new(membership::answer(&self.group, ordered).await))
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Result<Response<OrderResponse>, Status> {
        let request = request.into_inner();
        let ordered = match self.deadline(request.as_of_clock_ms, request.valid_ms) {
            Ok(expires) => {
                self.group.promote(request.epoch, expires).await.map_err(|error| error.to_string())
            }
            Err(reason) => Err(reason),
        };
        Ok(Response::new(membership::answer(&self.group, ordered).await))
    }

    async fn grant_lease(
        &self,
        request: Request<GrantLeaseRequest>,
    ) -> Result<Response<GrantLeaseResponse>, Status> {
        let request = request.into_inner();
        let granted = request.epoch.ok_or_else(|| Status::invalid_argument("epoch is missing"))?;
        let until = match self.deadline(request.as_of_clock_ms, request.duration_ms) {
            Ok(until) => until,
            Err(reason) => return Ok(Response::new(GrantLeaseResponse { accepted: false, reason })),
        };
        let granted = Epoch { number: granted.number, candidate: granted.candidate };
        let ordered = self.group.grant_lease(granted, until).await;
        let (accepted, reason) = (ordered.is_ok(), reason(&ordered));
        Ok(Response::new(GrantLeaseResponse { accepted, reason }))
    }

    async fn change_membership(
        &self,
        request: Request<ChangeMembershipRequest>,
    ) -> Result<Response<OrderResponse>, Status> {
        let changed = membership::change(&self.group, request.into_inner()).await;
        Ok(Response::new(self.taken(changed).await))
    }

    async fn abandon_change(
        &self,
        _: Request<AbandonChangeRequest>,
    ) -> Result<Response<OrderResponse>, Status> {
        Ok(Response::new(self.taken(membership::abandon(&self.group).await).await))
    }

    async fn adopt_membership(
        &self,
        request: Request<AdoptMembershipRequest>,
    ) -> Result<Response<OrderResponse>, Status> {
        let adopted = membership::adopt(&self.group, request.into_inner()).await;
        Ok(Response::new(self.taken(adopted).await))
    }

    async fn step_down(
        &self,
        request: Request<StepDownRequest>,
    ) -> Result<Response<StepDownResponse>, Status> {
        let request = request.into_inner();
        let to = match request.to_node_id {
            None => None,
            Some(raw) => {
                Some(NodeId::new(raw).ok_or_else(|| Status::invalid_argument("to_node_id is zero"))?)
            }
        };
        let ordered = self.group.step_down(to).await;
        if ordered.is_err() {
            let reason = reason(&ordered);
            return Ok(Response::new(StepDownResponse { accepted: false, reason, new_leader_node_id: None }));
        }
        let timeout = Duration::from_millis(request.timeout_ms).min(LONGEST_STEP_DOWN);
        let successor = self.successor(timeout).await;
        let reason = if successor.is_some() { "" } else { "no successor was seen in time" }.to_owned();
        let new_leader_node_id = successor.map(NodeId::get);
        Ok(Response::new(StepDownResponse { accepted: true, reason, new_leader_node_id }))
    }
}

fn reason(ordered: &Result<(), OrderError>) -> String {
    ordered.as_ref().err().map(ToString::to_string).unwrap_or_default()
}

fn epoch(epoch: Epoch) -> proto::Epoch {
    proto::Epoch { number: epoch.number, candidate: epoch.candidate }
}

fn part(part: Part) -> proto::Part {
    match part {
        Part::Voter => proto::Part::Voter,
        Part::Learner => proto::Part::Newcomer,
        Part::Leaving => proto::Part::Leaving,
    }
}

fn role(role: Role) -> proto::Role {
    match role {
        Role::Bootstrapping => proto::Role::Bootstrapping,
        Role::Follower => proto::Role::Follower,
        Role::Candidate => proto::Role::Candidate,
        Role::Leader => proto::Role::Leader,
        Role::Learner => proto::Role::Learner,
        Role::Fenced => proto::Role::Fenced,
    }
}
