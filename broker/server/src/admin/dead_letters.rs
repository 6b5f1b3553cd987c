//! Dead letters of consumer groups: how many there are, and sending them to where they came from.

use futures::StreamExt;
use futures::stream::BoxStream;
use mainstay_messaging::{GroupName, QueueId, Refusal, State, TopicName};
use mainstay_proto::control::resend_dead_letters_response::Content;
use mainstay_proto::control::{
    DeadLetters, ListDeadLettersRequest, ListDeadLettersResponse, ResendDeadLettersRequest,
    ResendDeadLettersResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on, unanswered};
use super::{AdminService, Answer, convert};
use crate::client_api::resend::RESENDERS;

pub(super) type Resending = BoxStream<'static, Result<ResendDeadLettersResponse, Status>>;

/// Results that may wait for a slow reader.
const RESULTS_AHEAD: usize = 256;

/// Of all broker groups, or of this broker's own when another broker asks.
pub(super) async fn list(
    service: &AdminService,
    request: Request<ListDeadLettersRequest>,
) -> Answer<ListDeadLettersResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    let wanted = match message.consumer_group.as_str() {
        "" => None,
        name => Some(convert::group_name(name)?),
    };
    let (mut groups, mut unknown) = (Vec::new(), None);
    for broker_group in service.groups_for(origin) {
        let there = |mut peer: Peer| {
            let message = message.clone();
            async move { Ok(peer.list_dead_letters(passed_on(message)).await?.into_inner()) }
        };
        let here = || list_here(service, wanted.clone());
        match service.at_leader(broker_group, origin, here, there).await {
            Ok(found) => groups.extend(found.groups),
            // A broker group that does not follow the consumer group yet has no dead letters of it.
            Err(status) if status.code() == tonic::Code::NotFound => unknown = Some(status),
            Err(status) => return Err(status),
        }
    }
    if let Some(status) = unknown.filter(|_| groups.is_empty()) {
        return Err(status);
    }
    groups.sort_by(|a, b| (&a.consumer_group, a.group).cmp(&(&b.consumer_group, b.group)));
    Ok(Response::new(ListDeadLettersResponse { groups }))
}

/// Refuses where a consumer group has dead letters, in any broker group, that nobody has consumed.
pub(super) async fn require_none(service: &AdminService, group: &GroupName) -> Result<(), Status> {
    let request = ListDeadLettersRequest { consumer_group: group.to_string() };
    let counted = list(service, Request::new(request)).await?.into_inner().groups;
    match counted.iter().map(|letters| letters.unconsumed).sum() {
        0 => Ok(()),
        letters => Err(convert::refused(&Refusal::DeadLetters { group: group.clone(), letters })),
    }
}

async fn list_here(
    service: &AdminService,
    wanted: Option<GroupName>,
) -> Result<ListDeadLettersResponse, Unanswered> {
    let names = match wanted {
        Some(name) => vec![name],
        None => service.group.metadata().groups.iter().map(|group| group.name.clone()).collect(),
    };
    let broker_group = service.config.group.0;
    let counted = service.group.query(move |state| {
        names.iter().map(|name| counted(state, name, broker_group).ok_or(name.clone())).collect()
    });
    let groups: Result<Vec<_>, GroupName> = counted.await.map_err(unanswered)?;
    match groups {
        Ok(groups) => Ok(ListDeadLettersResponse { groups }),
        Err(name) => Err(Status::not_found(format!("consumer group '{name}' does not exist")).into()),
    }
}

/// `None` when there is no such consumer group.
fn counted(state: &State, name: &GroupName, broker_group: u32) -> Option<DeadLetters> {
    state.group(name.as_str())?;
    let topic = TopicName::dead_letters_of(name);
    let range = state.queue_range(topic.as_str(), QueueId(0))?;
    let unsettled = match state.progress(RESENDERS, topic.as_str()) {
        Some(queues) => queues.iter().map(|queue| queue.lag + queue.in_flight).sum(),
        None => range.end.0 - range.start.0,
    };
    Some(DeadLetters {
        consumer_group: name.to_string(),
        group: broker_group,
        min_offset: range.start.0,
        max_offset: range.end.0,
        unsettled,
        unconsumed: state.unconsumed_letters(name),
    })
}

pub(super) async fn resend(
    service: &AdminService,
    request: Request<ResendDeadLettersRequest>,
) -> Answer<Resending> {
    let message = request.into_inner();
    let group = convert::group_name(&message.consumer_group)?;
    if service.group.metadata().group(group.as_str()).is_none() {
        return Err(Status::not_found(format!("consumer group '{group}' does not exist")));
    }
    let (results, told) = mpsc::channel(RESULTS_AHEAD);
    let api = service.api.clone();
    tokio::spawn(async move {
        let outcome = api.resend_dead_letters(&group, message.limit, &results).await;
        let last = outcome
            .map(|summary| ResendDeadLettersResponse { content: Some(Content::Summary(summary)) })
            .map_err(|refusal| Status::unavailable(refusal.to_string()));
        // Whoever asked may have gone away.
        let _ = results.send(last).await;
    });
    Ok(Response::new(ReceiverStream::new(told).boxed()))
}
