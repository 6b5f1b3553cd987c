//! RecallMessage: takes a delayed message back before it is delivered.

use std::time::Instant;

use mainstay_messaging::{Command, Outcome, Recall, RecallError, RecallHandle};
use mainstay_proto::rocketmq::{Code, RecallMessageRequest};

use super::ClientApi;
use super::caller::Caller;
use super::outcome;
use super::refusal::{Checked, Refusal};
use crate::forward::{Call, Failure, Peer, Unanswered};

/// One recall on its way to the leader.
struct Recalling<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a RecallMessageRequest,
    handle: RecallHandle,
    deadline: Instant,
}

impl Call for Recalling<'_> {
    /// The id of the message.
    type Answer = Checked<String>;
    /// The second one would find nothing to take back.
    const REPEATABLE: bool = false;

    async fn here(&self) -> Result<Checked<String>, Unanswered> {
        self.api.recall_here(self).await
    }

    async fn there(&self, mut peer: Peer) -> Result<Checked<String>, tonic::Status> {
        let request = self.caller.pass_on(self.request.clone(), self.deadline);
        let answer = peer.recall_message(request).await?.into_inner();
        Ok(outcome::elsewhere(answer.status.unwrap_or_default()).map(|()| answer.message_id))
    }
}

impl ClientApi {
    /// The id of the message.
    pub(super) async fn recall(
        &self,
        caller: &Caller,
        request: &RecallMessageRequest,
    ) -> Result<String, Failure> {
        caller.require_client_id()?;
        self.inner.catalog.topic_name(request.topic.as_ref())?;
        let handle = self.recall_handle(&request.recall_handle)?;
        let deadline = caller.deadline();
        let call = Recalling { api: self, caller, request, handle, deadline };
        let target = handle.broker_group();
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await?.map_err(Failure::from)
    }

    async fn recall_here(&self, call: &Recalling<'_>) -> Result<Checked<String>, Unanswered> {
        let recall = Recall {
            topic: self.inner.catalog.topic_name(call.request.topic.as_ref())?,
            handle: call.handle,
            by: call.caller.name(),
        };
        match self.propose(Command::Recall(recall), call.deadline).await? {
            Outcome::Recalled(Ok(record)) => {
                // It is taken back, whether its id can be told or not.
                let stored = self.inner.group.load(record).await;
                Ok(Ok(stored.map(|stored| stored.message_id).unwrap_or_default()))
            }
            Outcome::Recalled(Err(error)) => Ok(Err(refused(error))),
            _ => Err(outcome::mismatched().into()),
        }
    }

    /// # Errors
    /// `BAD_REQUEST` for a text that is none, or one of a broker group that does not exist.
    fn recall_handle(&self, text: &str) -> Checked<RecallHandle> {
        self.given_out(text, "recall_handle", Code::BadRequest, RecallHandle::broker_group)
    }
}

fn refused(error: RecallError) -> Refusal {
    let code = match error {
        RecallError::Foreign => Code::BadRequest,
        RecallError::NotPending => Code::PreconditionFailed,
    };
    Refusal::new(code, format!("recall_handle: {error}"))
}
