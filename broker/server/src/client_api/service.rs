//! The gRPC surface: takes calls apart, and puts answers and refusals into the form each call wants.

use std::time::Instant;

use mainstay_proto::rocketmq::Status as WireStatus;
use mainstay_proto::rocketmq::messaging_service_server::MessagingService;
use mainstay_proto::rocketmq::*;
use tonic::{Request, Response, Status, Streaming};

use super::access::Permit;
use super::caller::{Caller, Dialect, Origin};
use super::pull::PullStream;
use super::receive::ReceiveStream;
use super::refusal::{Checked, Refusal, ok};
use super::telemetry::TelemetryStream;
use super::{ClientApi, acknowledge, pull, receive, route, send};
use crate::forward::{Failure, not_leader};
use crate::listen::PeerInfo;

/// The service behind one port.
#[derive(Debug, Clone)]
pub struct ClientService {
    api: ClientApi,
    origin: Origin,
}

type Answer<T> = Result<Response<T>, Status>;

impl ClientService {
    pub(super) fn new(api: ClientApi, origin: Origin) -> Self {
        Self { api, origin }
    }

    /// For a call that must not create the topic it names.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND` when there is none and another user would create it by this call.
    pub(super) async fn without_creating(
        &self,
        caller: &Caller,
        topic: &Resource,
        user: &str,
    ) -> Checked<()> {
        if !self.api.inner.config.topics.auto_create
            || self.api.inner.catalog.topic_name(Some(topic)).is_err()
        {
            return Ok(());
        }
        self.api.inner.catalog.existing_topic(topic, caller.deadline()).await.map_err(|refusal| match refusal
            .code
        {
            Code::TopicNotFound => {
                let text = format!("{}, and user '{user}' may not manage it", refusal.message);
                Refusal::new(Code::TopicNotFound, text)
            }
            _ => refusal,
        })
    }

    fn open<T>(&self, request: Request<T>) -> (Caller, T) {
        let (metadata, mut extensions, message) = request.into_parts();
        let mut caller = Caller::new(metadata, self.origin);
        caller.connection = extensions.get::<PeerInfo>().map(PeerInfo::connection);
        caller.permit = extensions.remove::<Permit>();
        (caller, message)
    }
}

/// The answer, or what `refused` makes of a refusal.
fn answer<T>(
    outcome: Result<T, Failure>,
    dialect: Dialect,
    refused: impl FnOnce(WireStatus) -> T,
) -> Answer<T> {
    match outcome {
        Ok(answer) => Ok(Response::new(answer)),
        Err(Failure::Refused(refusal)) => Ok(Response::new(refused(refusal.status(dialect)))),
        Err(Failure::NotLeader) => Err(not_leader()),
    }
}

fn dead_letter_answer(status: WireStatus) -> ForwardMessageToDeadLetterQueueResponse {
    ForwardMessageToDeadLetterQueueResponse { status: Some(status) }
}

fn status_of(outcome: Checked<()>, dialect: Dialect) -> Option<WireStatus> {
    Some(outcome.map_or_else(|refusal| refusal.status(dialect), |()| ok()))
}

impl ClientApi {
    async fn route(
        &self,
        caller: &Caller,
        request: &QueryRouteRequest,
    ) -> Result<QueryRouteResponse, Failure> {
        let client = &caller.require_client()?;
        let topic = self.inner.catalog.topic(request.topic.as_ref(), caller.deadline()).await?;
        if self.inner.clients.kind(client) == ClientType::Producer {
            self.inner.producers.publishes(client, topic.name.as_str());
        }
        let name = request.topic.clone().unwrap_or_default();
        let message_queues = route::queues(&self.inner.config, &topic, &name, request.endpoints.as_ref());
        Ok(QueryRouteResponse { status: Some(ok()), message_queues })
    }

    async fn assignment(
        &self,
        caller: &Caller,
        request: &QueryAssignmentRequest,
    ) -> Result<QueryAssignmentResponse, Failure> {
        caller.require_client_id()?;
        self.inner.catalog.group_name(request.group.as_ref())?;
        let topic = self.inner.catalog.topic(request.topic.as_ref(), caller.deadline()).await?;
        let name = request.topic.clone().unwrap_or_default();
        let assignments = route::assignments(&self.inner.config, &topic, &name, request.endpoints.as_ref());
        Ok(QueryAssignmentResponse { status: Some(ok()), assignments })
    }

    /// Answered from here alone. One without a client id says nothing and is fine: Go sends such.
    fn heartbeat(&self, caller: &Caller, request: &HeartbeatRequest) -> Checked<()> {
        let Some(client) = &caller.client() else { return Ok(()) };
        let kind = ClientType::try_from(request.client_type).map_err(|unknown| {
            Refusal::new(Code::UnrecognizedClientType, format!("client_type: {unknown}"))
        })?;
        if request.group.is_some() {
            self.inner.catalog.group_name(request.group.as_ref())?;
        }
        self.inner.clients.heard(client, kind, Instant::now());
        Ok(())
    }

    fn terminate(&self, caller: &Caller) -> Checked<()> {
        let client = &caller.require_client()?;
        self.inner.clients.ended(client);
        let due = self.inner.leases.release(client);
        if !due.is_empty() {
            let api = self.clone();
            tokio::spawn(async move { api.attend(due).await });
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl MessagingService for ClientService {
    type ReceiveMessageStream = ReceiveStream;
    type PullMessageStream = PullStream;
    type TelemetryStream = TelemetryStream;

    async fn query_route(&self, request: Request<QueryRouteRequest>) -> Answer<QueryRouteResponse> {
        let (caller, request) = self.open(request);
        answer(self.api.route(&caller, &request).await, caller.dialect, |status| QueryRouteResponse {
            status: Some(status),
            message_queues: Vec::new(),
        })
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        let (caller, request) = self.open(request);
        let status = status_of(self.api.heartbeat(&caller, &request), caller.dialect);
        Ok(Response::new(HeartbeatResponse { status }))
    }

    async fn send_message(&self, request: Request<SendMessageRequest>) -> Answer<SendMessageResponse> {
        let (caller, request) = self.open(request);
        let outcome = self.api.send(&caller, &request).await;
        answer(outcome, caller.dialect, |status| send::refused(&request, status))
    }

    async fn query_assignment(
        &self,
        request: Request<QueryAssignmentRequest>,
    ) -> Answer<QueryAssignmentResponse> {
        let (caller, request) = self.open(request);
        answer(self.api.assignment(&caller, &request).await, caller.dialect, |status| {
            QueryAssignmentResponse { status: Some(status), assignments: Vec::new() }
        })
    }

    async fn receive_message(&self, request: Request<ReceiveMessageRequest>) -> Answer<ReceiveStream> {
        let (caller, request) = self.open(request);
        answer(self.api.receive(&caller, &request).await, caller.dialect, receive::refused)
    }

    async fn ack_message(&self, request: Request<AckMessageRequest>) -> Answer<AckMessageResponse> {
        let (caller, request) = self.open(request);
        let outcome = self.api.acknowledge(&caller, &request).await;
        answer(outcome, caller.dialect, |status| acknowledge::refused(&request, status))
    }

    async fn change_invisible_duration(
        &self,
        request: Request<ChangeInvisibleDurationRequest>,
    ) -> Answer<ChangeInvisibleDurationResponse> {
        let (caller, request) = self.open(request);
        let changed = self.api.change_invisible(&caller, &request).await;
        let changed = changed.map(|handle| ChangeInvisibleDurationResponse {
            status: Some(ok()),
            receipt_handle: handle.to_string(),
        });
        answer(changed, caller.dialect, |status| ChangeInvisibleDurationResponse {
            status: Some(status),
            receipt_handle: request.receipt_handle.clone(),
        })
    }

    async fn telemetry(&self, request: Request<Streaming<TelemetryCommand>>) -> Answer<TelemetryStream> {
        let (caller, commands) = self.open(request);
        let stream = self.api.telemetry(&caller, commands);
        stream.map(Response::new).map_err(|refusal| Status::invalid_argument(refusal.to_string()))
    }

    async fn notify_client_termination(
        &self,
        request: Request<NotifyClientTerminationRequest>,
    ) -> Answer<NotifyClientTerminationResponse> {
        let (caller, _) = self.open(request);
        let status = status_of(self.api.terminate(&caller), caller.dialect);
        Ok(Response::new(NotifyClientTerminationResponse { status }))
    }

    async fn forward_message_to_dead_letter_queue(
        &self,
        request: Request<ForwardMessageToDeadLetterQueueRequest>,
    ) -> Answer<ForwardMessageToDeadLetterQueueResponse> {
        let (caller, request) = self.open(request);
        let buried = self.api.bury(&caller, &request).await.map(|()| ok());
        answer(buried.map(dead_letter_answer), caller.dialect, dead_letter_answer)
    }

    async fn end_transaction(
        &self,
        request: Request<EndTransactionRequest>,
    ) -> Answer<EndTransactionResponse> {
        let (caller, request) = self.open(request);
        let ended = self.api.end_transaction(&caller, &request).await.map(|()| ok());
        let response = |status| EndTransactionResponse { status: Some(status) };
        answer(ended.map(response), caller.dialect, response)
    }

    async fn recall_message(&self, request: Request<RecallMessageRequest>) -> Answer<RecallMessageResponse> {
        let (caller, request) = self.open(request);
        let recalled = self.api.recall(&caller, &request).await;
        let recalled = recalled.map(|message_id| RecallMessageResponse { status: Some(ok()), message_id });
        answer(recalled, caller.dialect, |status| RecallMessageResponse {
            status: Some(status),
            message_id: String::new(),
        })
    }

    async fn sync_lite_subscription(
        &self,
        request: Request<SyncLiteSubscriptionRequest>,
    ) -> Answer<SyncLiteSubscriptionResponse> {
        let (caller, _) = self.open(request);
        let refusal = Refusal::new(Code::Unsupported, "lite topics are not supported by this broker");
        Ok(Response::new(SyncLiteSubscriptionResponse { status: Some(refusal.status(caller.dialect)) }))
    }

    async fn pull_message(&self, request: Request<PullMessageRequest>) -> Answer<Self::PullMessageStream> {
        let (caller, request) = self.open(request);
        answer(self.api.pull(&caller, &request).await, caller.dialect, pull::refused)
    }

    async fn update_offset(&self, request: Request<UpdateOffsetRequest>) -> Answer<UpdateOffsetResponse> {
        let (caller, request) = self.open(request);
        let response = |status| UpdateOffsetResponse { status: Some(status) };
        let updated = self.api.update_offset(&caller, &request).await.map(|()| response(ok()));
        answer(updated, caller.dialect, response)
    }

    async fn get_offset(&self, request: Request<GetOffsetRequest>) -> Answer<GetOffsetResponse> {
        let (caller, request) = self.open(request);
        let found = self.api.get_offset(&caller, &request).await;
        let found = found.map(|offset| GetOffsetResponse { status: Some(ok()), offset });
        answer(found, caller.dialect, |status| GetOffsetResponse { status: Some(status), offset: 0 })
    }

    async fn query_offset(&self, request: Request<QueryOffsetRequest>) -> Answer<QueryOffsetResponse> {
        let (caller, request) = self.open(request);
        let found = self.api.query_offset(&caller, &request).await;
        let found = found.map(|offset| QueryOffsetResponse { status: Some(ok()), offset });
        answer(found, caller.dialect, |status| QueryOffsetResponse { status: Some(status), offset: 0 })
    }
}
