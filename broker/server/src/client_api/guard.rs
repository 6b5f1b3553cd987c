//! The client port's door: every call is checked here before the service behind it sees it. Calls that other brokers pass on
//! have been checked where they came in.

use std::sync::Arc;

use mainstay_proto::rocketmq::Status as WireStatus;
use mainstay_proto::rocketmq::messaging_service_server::MessagingService;
use mainstay_proto::rocketmq::*;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::access::{Access, Allowed, Guarded, Permit};
use super::caller::{Caller, Origin};
use super::service::ClientService;
use super::{acknowledge, pull, receive, send};

/// The service with access control, or without where there is none.
#[derive(Debug, Clone)]
pub struct GuardedService {
    behind: ClientService,
    access: Option<Arc<Access>>,
}

type Answer<T> = Result<Response<T>, Status>;

impl GuardedService {
    pub(super) fn new(behind: ClientService, access: Option<Arc<Access>>) -> Self {
        Self { behind, access }
    }

    /// `None` when the call may go on, with whose it is beside it; else what it is answered with.
    async fn refusal<T: Guarded>(&self, request: &mut Request<T>) -> Option<WireStatus> {
        match self.admit(request).await {
            Ok(permit) => {
                permit.and_then(|permit| request.extensions_mut().insert(permit));
                None
            }
            Err(status) => Some(status),
        }
    }

    /// Whose call it is, where there is access control.
    ///
    /// # Errors
    /// What the call is answered with.
    async fn admit<T: Guarded>(&self, request: &Request<T>) -> Result<Option<Permit>, WireStatus> {
        let Some(access) = &self.access else { return Ok(None) };
        let refusal = match access.allow(request.metadata(), request.get_ref()) {
            Ok(Allowed { permit, without_creating: None }) => return Ok(Some(permit)),
            Ok(Allowed { permit, without_creating: Some(topic) }) => {
                let caller = Caller::new(request.metadata().clone(), Origin::Client);
                match self.behind.without_creating(&caller, topic, permit.user()).await {
                    Ok(()) => return Ok(Some(permit)),
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        let caller = Caller::new(request.metadata().clone(), Origin::Client);
        debug!(client = caller.client_id(), %refusal, "call refused");
        Err(refusal.status(caller.dialect))
    }
}

#[tonic::async_trait]
impl MessagingService for GuardedService {
    type ReceiveMessageStream = <ClientService as MessagingService>::ReceiveMessageStream;
    type PullMessageStream = <ClientService as MessagingService>::PullMessageStream;
    type TelemetryStream = <ClientService as MessagingService>::TelemetryStream;

    async fn query_route(&self, mut request: Request<QueryRouteRequest>) -> Answer<QueryRouteResponse> {
        match self.refusal(&mut request).await {
            Some(status) => {
                Ok(Response::new(QueryRouteResponse { status: Some(status), message_queues: Vec::new() }))
            }
            None => self.behind.query_route(request).await,
        }
    }

    async fn heartbeat(&self, mut request: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(HeartbeatResponse { status: Some(status) })),
            None => self.behind.heartbeat(request).await,
        }
    }

    async fn send_message(&self, mut request: Request<SendMessageRequest>) -> Answer<SendMessageResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(send::refused(request.get_ref(), status))),
            None => self.behind.send_message(request).await,
        }
    }

    async fn query_assignment(
        &self,
        mut request: Request<QueryAssignmentRequest>,
    ) -> Answer<QueryAssignmentResponse> {
        match self.refusal(&mut request).await {
            Some(status) => {
                Ok(Response::new(QueryAssignmentResponse { status: Some(status), assignments: Vec::new() }))
            }
            None => self.behind.query_assignment(request).await,
        }
    }

    async fn receive_message(
        &self,
        mut request: Request<ReceiveMessageRequest>,
    ) -> Answer<Self::ReceiveMessageStream> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(receive::refused(status))),
            None => self.behind.receive_message(request).await,
        }
    }

    async fn ack_message(&self, mut request: Request<AckMessageRequest>) -> Answer<AckMessageResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(acknowledge::refused(request.get_ref(), status))),
            None => self.behind.ack_message(request).await,
        }
    }

    async fn change_invisible_duration(
        &self,
        mut request: Request<ChangeInvisibleDurationRequest>,
    ) -> Answer<ChangeInvisibleDurationResponse> {
        match self.refusal(&mut request).await {
            // Clients keep the handle of the answer, whatever its code.
            Some(status) => Ok(Response::new(ChangeInvisibleDurationResponse {
                status: Some(status),
                receipt_handle: request.into_inner().receipt_handle,
            })),
            None => self.behind.change_invisible_duration(request).await,
        }
    }

    async fn telemetry(
        &self,
        mut request: Request<Streaming<TelemetryCommand>>,
    ) -> Answer<Self::TelemetryStream> {
        if let Some(access) = &self.access {
            match access.open(request.metadata()) {
                Ok(permit) => drop(request.extensions_mut().insert(permit)),
                Err(refusal) => {
                    debug!(%refusal, "stream refused");
                    return Err(Status::unauthenticated(refusal.to_string()));
                }
            }
        }
        self.behind.telemetry(request).await
    }

    async fn notify_client_termination(
        &self,
        mut request: Request<NotifyClientTerminationRequest>,
    ) -> Answer<NotifyClientTerminationResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(NotifyClientTerminationResponse { status: Some(status) })),
            None => self.behind.notify_client_termination(request).await,
        }
    }

    async fn forward_message_to_dead_letter_queue(
        &self,
        mut request: Request<ForwardMessageToDeadLetterQueueRequest>,
    ) -> Answer<ForwardMessageToDeadLetterQueueResponse> {
        match self.refusal(&mut request).await {
            Some(status) => {
                Ok(Response::new(ForwardMessageToDeadLetterQueueResponse { status: Some(status) }))
            }
            None => self.behind.forward_message_to_dead_letter_queue(request).await,
        }
    }

    async fn end_transaction(
        &self,
        mut request: Request<EndTransactionRequest>,
    ) -> Answer<EndTransactionResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(EndTransactionResponse { status: Some(status) })),
            None => self.behind.end_transaction(request).await,
        }
    }

    async fn recall_message(
        &self,
        mut request: Request<RecallMessageRequest>,
    ) -> Answer<RecallMessageResponse> {
        match self.refusal(&mut request).await {
            Some(status) => {
                Ok(Response::new(RecallMessageResponse { status: Some(status), message_id: String::new() }))
            }
            None => self.behind.recall_message(request).await,
        }
    }

    async fn sync_lite_subscription(
        &self,
        mut request: Request<SyncLiteSubscriptionRequest>,
    ) -> Answer<SyncLiteSubscriptionResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(SyncLiteSubscriptionResponse { status: Some(status) })),
            None => self.behind.sync_lite_subscription(request).await,
        }
    }

    async fn pull_message(
        &self,
        mut request: Request<PullMessageRequest>,
    ) -> Answer<Self::PullMessageStream> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(pull::refused(status))),
            None => self.behind.pull_message(request).await,
        }
    }

    async fn update_offset(&self, mut request: Request<UpdateOffsetRequest>) -> Answer<UpdateOffsetResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(UpdateOffsetResponse { status: Some(status) })),
            None => self.behind.update_offset(request).await,
        }
    }

    async fn get_offset(&self, mut request: Request<GetOffsetRequest>) -> Answer<GetOffsetResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(GetOffsetResponse { status: Some(status), offset: 0 })),
            None => self.behind.get_offset(request).await,
        }
    }

    async fn query_offset(&self, mut request: Request<QueryOffsetRequest>) -> Answer<QueryOffsetResponse> {
        match self.refusal(&mut request).await {
            Some(status) => Ok(Response::new(QueryOffsetResponse { status: Some(status), offset: 0 })),
            None => self.behind.query_offset(request).await,
        }
    }
}
