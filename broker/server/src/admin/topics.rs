//! Topics: create, list, describe, delete.

use mainstay_messaging::{Command, CreateTopic, DeleteTopic, Outcome, QueueId};
use mainstay_proto::control::{
    CreateTopicRequest, CreateTopicResponse, DeleteTopicRequest, DeleteTopicResponse, DescribeTopicRequest,
    DescribeTopicResponse, ListTopicsRequest, ListTopicsResponse, QueueStatus,
};
use mainstay_record::GroupId;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Unanswered, passed_on, unanswered};
use super::{AdminService, Answer, convert};

pub(super) async fn create(
    service: &AdminService,
    request: Request<CreateTopicRequest>,
) -> Answer<CreateTopicResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let topic = message.topic.as_ref().ok_or_else(|| Status::invalid_argument("topic is not given"))?;
    let command = Command::CreateTopic(CreateTopic {
        name: convert::topic_name(&topic.name)?,
        kind: convert::kind(topic.r#type())?,
        queues: convert::queue_count(topic.queues)?,
    });
    let here = || async {
        match service.propose(command.clone()).await? {
            Outcome::TopicCreated { created } => Ok(CreateTopicResponse { created }),
            other => Err(unexpected(&other).into()),
        }
    };
    let there = |mut peer: super::leaders::Peer| {
        let message = message.clone();
        async move { Ok(peer.create_topic(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn delete(
    service: &AdminService,
    request: Request<DeleteTopicRequest>,
) -> Answer<DeleteTopicResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let command = Command::DeleteTopic(DeleteTopic { name: convert::topic_name(&message.name)? });
    let here = || async { service.propose(command.clone()).await.map(|_| DeleteTopicResponse {}) };
    let there = |mut peer: super::leaders::Peer| {
        let message = message.clone();
        async move { Ok(peer.delete_topic(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

pub(super) async fn list(
    service: &AdminService,
    request: Request<ListTopicsRequest>,
) -> Answer<ListTopicsResponse> {
    let origin = Origin::of(request.metadata());
    let here = || async {
        let topics = service.group.metadata().topics.iter().map(convert::topic_to_wire).collect();
        Ok(ListTopicsResponse { topics })
    };
    let there = |mut peer: super::leaders::Peer| async move {
        Ok(peer.list_topics(passed_on(ListTopicsRequest {})).await?.into_inner())
    };
    service.at_leader(GroupId::METADATA, origin, here, there).await.map(Response::new)
}

/// The queues of all broker groups, or of this broker's own when another broker asks.
pub(super) async fn describe(
    service: &AdminService,
    request: Request<DescribeTopicRequest>,
) -> Answer<DescribeTopicResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    convert::topic_name(&message.name)?;
    let mut joined = DescribeTopicResponse::default();
    for group in service.groups_for(origin) {
        let part = describe_in(service, group, origin, &message).await?;
        joined.topic = joined.topic.or(part.topic);
        joined.queues.extend(part.queues);
    }
    Ok(Response::new(joined))
}

async fn describe_in(
    service: &AdminService,
    group: GroupId,
    origin: Origin,
    message: &DescribeTopicRequest,
) -> Result<DescribeTopicResponse, Status> {
    let there = |mut peer: super::leaders::Peer| {
        let message = message.clone();
        async move { Ok(peer.describe_topic(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(group, origin, || describe_here(service, &message.name), there).await
}

async fn describe_here(service: &AdminService, name: &str) -> Result<DescribeTopicResponse, Unanswered> {
    let group = service.config.group.0;
    let wanted = name.to_owned();
    let described = service.group.query(move |state| {
        let topic = convert::topic_to_wire(state.topic(&wanted)?);
        let queues = (0..state.local_queues(&wanted)?).filter_map(|queue| {
            let range = state.queue_range(&wanted, QueueId(queue))?;
            Some(QueueStatus { group, queue, min_offset: range.start.0, max_offset: range.end.0 })
        });
        Some(DescribeTopicResponse { topic: Some(topic), queues: queues.collect() })
    });
    let described = described.await.map_err(unanswered)?;
    described.ok_or_else(|| Status::not_found(format!("topic '{name}' does not exist")).into())
}

pub(super) fn unexpected(outcome: &Outcome) -> Status {
    Status::internal(format!("the command had the outcome of another: {outcome:?}"))
}
