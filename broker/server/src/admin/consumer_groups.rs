//! Consumer groups: create, list, describe, delete, reset.

use mainstay_messaging::{Command, CreateGroup, DeleteGroup, Outcome, ResetGroup};
use mainstay_proto::control::{
    ConsumerQueueStatus, CreateConsumerGroupRequest, CreateConsumerGroupResponse, DeleteConsumerGroupRequest,
    DeleteConsumerGroupResponse, DescribeConsumerGroupRequest, DescribeConsumerGroupResponse,
    ListConsumerGroupsRequest, ListConsumerGroupsResponse, ResetConsumerGroupRequest,
    ResetConsumerGroupResponse,
};
use mainstay_record::GroupId;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on, unanswered};
use super::topics::unexpected;
use super::{AdminService, Answer, convert, dead_letters};

pub(super) async fn create(
    service: &AdminService,
    request: Request<CreateConsumerGroupRequest>,
) -> Answer<CreateConsumerGroupResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let group = message.group.as_ref().ok_or_else(|| Status::invalid_argument("group is not given"))?;
    if group.max_attempts == 0 {
        return Err(Status::invalid_argument("group.max_attempts is 0, at least 1 is needed"));
    }
    let command = Command::CreateGroup(CreateGroup {
        name: convert::group_name(&group.name)?,
        start: convert::start(group.start(), "group.start")?,
        order: convert::order(group.order()),
        max_attempts: group.max_attempts,
        retry: convert::retry(group.retry.as_ref())?,
    });
    let here = || async {
        match service.propose(command.clone()).await? {
            Outcome::GroupCreated { created } => Ok(CreateConsumerGroupResponse { created }),
            other => Err(unexpected(&other).into()),
        }
    };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.create_consumer_group(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn delete(
    service: &AdminService,
    request: Request<DeleteConsumerGroupRequest>,
) -> Answer<DeleteConsumerGroupResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let name = convert::group_name(&message.name)?;
    let with_dead_letters = message.with_dead_letters;
    // The log of the metadata group decides about its own dead letters; those of the others are looked at before.
    if !with_dead_letters && origin == Origin::Edge {
        dead_letters::require_none(service, &name).await?;
    }
    let command = Command::DeleteGroup(DeleteGroup { name, with_dead_letters });
    let here = || async { service.propose(command.clone()).await.map(|_| DeleteConsumerGroupResponse {}) };
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.delete_consumer_group(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn list(
    service: &AdminService,
    request: Request<ListConsumerGroupsRequest>,
) -> Answer<ListConsumerGroupsResponse> {
    let origin = Origin::of(request.metadata());
    let here = || async {
        let groups = service.group.metadata().groups.iter().map(convert::group_to_wire).collect();
        Ok(ListConsumerGroupsResponse { groups })
    };
    let there = |mut peer: Peer| async move {
        Ok(peer.list_consumer_groups(passed_on(ListConsumerGroupsRequest {})).await?.into_inner())
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

/// Progress in all broker groups, or in this broker's own when another broker asks.
pub(super) async fn describe(
    service: &AdminService,
    request: Request<DescribeConsumerGroupRequest>,
) -> Answer<DescribeConsumerGroupResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    convert::group_name(&message.name)?;
    let mut joined = DescribeConsumerGroupResponse::default();
    for group in service.groups_for(origin) {
        let part = describe_in(service, group, origin, &message).await?;
        joined.group = joined.group.or(part.group);
        joined.queues.extend(part.queues);
    }
    Ok(Response::new(joined))
}

async fn describe_in(
    service: &AdminService,
    group: GroupId,
    origin: Origin,
    message: &DescribeConsumerGroupRequest,
) -> Result<DescribeConsumerGroupResponse, Status> {
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.describe_consumer_group(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(group, origin, || describe_here(service, &message.name), there).await
}

async fn describe_here(
    service: &AdminService,
    name: &str,
) -> Result<DescribeConsumerGroupResponse, Unanswered> {
    let broker_group = service.config.group.0;
    let wanted = name.to_owned();
    let described = service.group.query(move |state| {
        let group = convert::group_to_wire(state.group(&wanted)?);
        let mut queues = Vec::new();
        for topic in state.subscribed_topics(&wanted) {
            for queue in state.progress(&wanted, topic.as_str()).unwrap_or_default() {
                queues.push(ConsumerQueueStatus {
                    topic: topic.as_str().to_owned(),
                    group: broker_group,
                    queue: queue.queue.0,
                    next_offset: queue.next.0,
                    max_offset: queue.end.0,
                    in_flight: queue.in_flight,
                    lag: queue.lag,
                });
            }
        }
        Some(DescribeConsumerGroupResponse { group: Some(group), queues })
    });
    let described = described.await.map_err(unanswered)?;
    described.ok_or_else(|| Status::not_found(format!("consumer group '{name}' does not exist")).into())
}

/// Progress lives in every broker group, so each resets its own part.
pub(super) async fn reset(
    service: &AdminService,
    request: Request<ResetConsumerGroupRequest>,
) -> Answer<ResetConsumerGroupResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let command = Command::ResetGroup(ResetGroup {
        group: convert::group_name(&message.group)?,
        topic: convert::topic_name(&message.topic)?,
        to: convert::reset_to(&message)?,
    });
    for group in service.groups_for(origin) {
        let here = || async { service.propose(command.clone()).await.map(|_| ResetConsumerGroupResponse {}) };
        let there = |mut peer: Peer| {
            let message = message.clone();
            async move { Ok(peer.reset_consumer_group(passed_on(message)).await?.into_inner()) }
        };
        service.at_leader(group, origin, here, there).await?;
    }
    Ok(Response::new(ResetConsumerGroupResponse {}))
}
