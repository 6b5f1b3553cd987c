//! Changing who belongs to a broker group, for people: any broker passes the wish on to the group's leader.

use mainstay_proto::control::{AbandonMemberChangeRequest, ChangeMembersRequest, OrderResponse};
use mainstay_record::GroupId;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on};
use super::{AdminService, Answer};
use crate::membership::{self, WishError};

pub(super) async fn change(
    service: &AdminService,
    request: Request<ChangeMembersRequest>,
) -> Answer<OrderResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let group = service.known_group(message.group)?;
    let wish = message.change.clone().ok_or_else(|| Status::invalid_argument("change is not given"))?;
    let here = || async { taken(service, membership::change(&service.group, wish.clone()).await).await };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.change_members(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(group, origin, here, there).await.map(Response::new)
}

pub(super) async fn abandon(
    service: &AdminService,
    request: Request<AbandonMemberChangeRequest>,
) -> Answer<OrderResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let group = service.known_group(message.group)?;
    let here = || async { taken(service, membership::abandon(&service.group).await).await };
    let there = |mut peer: Peer| async move {
        Ok(peer.abandon_member_change(passed_on(message)).await?.into_inner())
    };
    service.at_leader(group, origin, here, there).await.map(Response::new)
}

/// A refusal is an answer, unless it is for another node to answer.
async fn taken(service: &AdminService, wish: Result<(), WishError>) -> Result<OrderResponse, Unanswered> {
    match wish {
        Err(error) if error.is_for_another() => Err(Unanswered::NotLeader),
        wish => Ok(membership::answer(&service.group, wish.map_err(|error| error.to_string())).await),
    }
}

impl AdminService {
    fn known_group(&self, group: u32) -> Result<GroupId, Status> {
        let known = self.all_groups().find(|known| known.0 == group);
        known.ok_or_else(|| Status::not_found(format!("there is no broker group {group}")))
    }
}
