//! ForwardMessageToDeadLetterQueue: a consumer gives a message up, which settles it.

use std::time::Instant;

use mainstay_messaging::{Command, DeadLetter, Outcome, ReceiptHandle};
use mainstay_proto::rocketmq::ForwardMessageToDeadLetterQueueRequest;

use super::ClientApi;
use super::caller::Caller;
use super::commands::is_void;
use super::outcome;
use super::refusal::Checked;
use crate::forward::{Call, Failure, Peer, Unanswered};

/// One message on its way to the leader.
struct Burying<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a ForwardMessageToDeadLetterQueueRequest,
    shown: ReceiptHandle,
    deadline: Instant,
}

impl Call for Burying<'_> {
    type Answer = Checked<()>;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<Checked<()>, Unanswered> {
        self.api.bury_here(self).await
    }

    async fn there(&self, mut peer: Peer) -> Result<Checked<()>, tonic::Status> {
        let mut request = self.request.clone();
        request.receipt_handle = self.shown.to_string();
        let request = self.caller.pass_on(request, self.deadline);
        let answer = peer.forward_message_to_dead_letter_queue(request).await?.into_inner();
        Ok(outcome::elsewhere(answer.status.unwrap_or_default()))
    }
}

impl ClientApi {
    pub(super) async fn bury(
        &self,
        caller: &Caller,
        request: &ForwardMessageToDeadLetterQueueRequest,
    ) -> Result<(), Failure> {
        let client = &caller.require_client()?;
        self.inner.catalog.topic_name(request.topic.as_ref())?;
        self.inner.catalog.group_name(request.group.as_ref())?;
        let given = self.handle(&request.receipt_handle)?;
        let bury = |shown| self.bury_at_leader(caller, request, shown);
        let buried = self.with_current(caller, client, given, bury).await;
        if caller.hops == 0 && (buried.is_ok() || is_void(&buried)) {
            self.inner.leases.end(client, given);
        }
        buried
    }

    async fn bury_at_leader(
        &self,
        caller: &Caller,
        request: &ForwardMessageToDeadLetterQueueRequest,
        shown: ReceiptHandle,
    ) -> Result<(), Failure> {
        let deadline = caller.deadline();
        let call = Burying { api: self, caller, request, shown, deadline };
        let target = shown.broker_group();
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await?.map_err(Failure::from)
    }

    async fn bury_here(&self, call: &Burying<'_>) -> Result<Checked<()>, Unanswered> {
        let group = self.inner.catalog.group_name(call.request.group.as_ref())?;
        let topic = self.inner.catalog.topic_name(call.request.topic.as_ref())?;
        let dead = Command::DeadLetter(DeadLetter {
            group: group.clone(),
            topic: topic.clone(),
            handle: call.shown,
            by: call.caller.name(),
        });
        match self.propose_about_handles(&group, &topic, dead, call.deadline).await? {
            Outcome::DeadLettered(buried) => Ok(buried.map_err(outcome::handle)),
            _ => Err(outcome::mismatched().into()),
        }
    }
}
