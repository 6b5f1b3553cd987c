//! Looking on: the brokers of the cluster, messages without consuming them, metadata for those who follow it.

use std::time::{Duration, Instant};

use mainstay_messaging::{MessageKind, QueueId, QueueOffset};
use mainstay_proto::control::{
    BrokerStatus, ClusterStatusResponse, PeekMessagesRequest, PeekMessagesResponse, PeekedMessage,
    StatusRequest, WatchMetadataRequest, WatchMetadataResponse,
};
use mainstay_record::GroupId;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on, unanswered};
use super::{AdminService, Answer, convert};
use crate::cluster::clients;
use crate::config::Member;

/// How long one broker may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Messages that one look shows at most.
const MAX_PEEK: u32 = 256;
/// Longest that a watcher is kept waiting.
const MAX_WATCH: Duration = Duration::from_secs(30);
/// How often applied metadata is looked at while somebody watches it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Asks all brokers at once.
pub(super) async fn cluster_status(service: &AdminService) -> Answer<ClusterStatusResponse> {
    let asked =
        service.config.groups.iter().flat_map(|group| {
            group.members.iter().map(move |member| broker_status(service, group.id, member))
        });
    let brokers = futures::future::join_all(asked).await;
    Ok(Response::new(ClusterStatusResponse { brokers }))
}

async fn broker_status(service: &AdminService, group: GroupId, member: &Member) -> BrokerStatus {
    let mut broker = BrokerStatus {
        group: group.0,
        member: member.name.clone(),
        address: member.address.clone(),
        ..BrokerStatus::default()
    };
    let Some(channel) = service.cluster.member(&member.name) else { return broker };
    let mut client = clients::control(channel);
    match tokio::time::timeout(STATUS_TIMEOUT, client.status(StatusRequest {})).await {
        Ok(Ok(status)) => broker.status = Some(status.into_inner()),
        Ok(Err(status)) => broker.error = status.message().to_owned(),
        Err(_) => broker.error = format!("no answer within {STATUS_TIMEOUT:?}"),
    }
    broker
}

pub(super) async fn peek(
    service: &AdminService,
    request: Request<PeekMessagesRequest>,
) -> Answer<PeekMessagesResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    convert::topic_name(&message.topic)?;
    let group = GroupId(message.group);
    if !service.all_groups().any(|known| known == group) {
        return Err(Status::not_found(format!("there is no broker group {group}")));
    }
    let there = |mut peer: Peer| {
        let message = message.clone();
        async move { Ok(peer.peek_messages(passed_on(message)).await?.into_inner()) }
    };
    service.at_leader(group, origin, || peek_here(service, &message), there).await.map(Response::new)
}

async fn peek_here(
    service: &AdminService,
    request: &PeekMessagesRequest,
) -> Result<PeekMessagesResponse, Unanswered> {
    let (topic, queue) = (request.topic.clone(), QueueId(request.queue));
    let (offset, limit) = (request.offset, u64::from(request.limit.min(MAX_PEEK)));
    let located = service.group.query(move |state| {
        let range = state.queue_range(&topic, queue)?;
        let from = offset.max(range.start.0);
        let until = from.saturating_add(limit).min(range.end.0);
        let located = (from..until).filter_map(|offset| {
            state.locate(&topic, queue, QueueOffset(offset)).map(|record| (offset, record))
        });
        Some(located.collect::<Vec<_>>())
    });
    let located = located.await.map_err(unanswered)?.ok_or_else(|| {
        Status::not_found(format!(
            "topic '{}' has no queue {} in this broker group",
            request.topic, request.queue
        ))
    })?;
    let mut messages = Vec::with_capacity(located.len());
    for (offset, record) in located {
        let publish =
            service.group.load(record).await.map_err(|error| Status::internal(error.to_string()))?;
        messages.push(PeekedMessage {
            offset,
            topic: publish.topic.to_string(),
            born_at_ms: publish.born_at.0,
            message_group: match publish.kind {
                MessageKind::Fifo { message_group } => message_group,
                _ => String::new(),
            },
            message_id: publish.message_id,
            tag: publish.tag.unwrap_or_default(),
            keys: publish.keys,
            properties: publish.properties.into_iter().collect(),
            body: publish.body,
        });
    }
    Ok(PeekMessagesResponse { messages })
}

/// Answers when the metadata is newer than what the caller has, else empty-handed when it has waited long enough. Only
/// the metadata group's leader knows what is newest.
pub(super) async fn watch_metadata(
    service: &AdminService,
    request: Request<WatchMetadataRequest>,
) -> Answer<WatchMetadataResponse> {
    let message = request.into_inner();
    let view = service.group.watch();
    let until = Instant::now() + Duration::from_millis(message.wait_ms).min(MAX_WATCH);
    loop {
        if service.config.group != GroupId::METADATA || !view.borrow().is_leader() {
            return Err(Status::unavailable(format!(
                "{} does not lead the metadata group",
                service.config.member
            )));
        }
        let metadata = service.group.metadata();
        if metadata.version.0 > message.after_version {
            return Ok(Response::new(convert::metadata_to_wire(&metadata)));
        }
        if Instant::now() >= until {
            let version = metadata.version.0;
            return Ok(Response::new(WatchMetadataResponse { version, ..WatchMetadataResponse::default() }));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
