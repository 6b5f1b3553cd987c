//! EndTransaction: a producer's decision about its half message, whichever broker it is told to.

use std::time::Instant;

use mainstay_messaging::{Command, Decision, EndTransaction, Outcome, TransactionError, TransactionId};
use mainstay_proto::rocketmq::{Code, EndTransactionRequest, TransactionResolution};

use super::ClientApi;
use super::caller::Caller;
use super::outcome;
use super::refusal::{Checked, Refusal};
use crate::forward::{Call, Failure, Peer, Unanswered};

/// One decision on its way to the leader.
struct Ending<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a EndTransactionRequest,
    transaction: TransactionId,
    decision: Decision,
    deadline: Instant,
}

impl Call for Ending<'_> {
    type Answer = Checked<()>;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<Checked<()>, Unanswered> {
        self.api.end_here(self).await
    }

    async fn there(&self, mut peer: Peer) -> Result<Checked<()>, tonic::Status> {
        let request = self.caller.pass_on(self.request.clone(), self.deadline);
        let status = peer.end_transaction(request).await?.into_inner().status.unwrap_or_default();
        Ok(outcome::elsewhere(status))
    }
}

impl ClientApi {
    pub(super) async fn end_transaction(
        &self,
        caller: &Caller,
        request: &EndTransactionRequest,
    ) -> Result<(), Failure> {
        let client = &caller.require_client()?;
        let topic = self.inner.catalog.topic_name(request.topic.as_ref())?;
        let transaction = self.transaction(&request.transaction_id)?;
        if caller.hops == 0 {
            self.inner.producers.publishes(client, topic.as_str());
        }
        let decision = match TransactionResolution::try_from(request.resolution) {
            Ok(TransactionResolution::Commit) => Decision::Commit,
            Ok(TransactionResolution::Rollback) => Decision::Rollback,
            // The producer does not know yet: it is asked again.
            _ => return Ok(()),
        };
        let deadline = caller.deadline();
        let call = Ending { api: self, caller, request, transaction, decision, deadline };
        let target = transaction.broker_group();
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await?.map_err(Failure::from)
    }

    async fn end_here(&self, call: &Ending<'_>) -> Result<Checked<()>, Unanswered> {
        let end = EndTransaction {
            topic: self.inner.catalog.topic_name(call.request.topic.as_ref())?,
            transaction: call.transaction,
            decision: call.decision,
            by: call.caller.name(),
        };
        match self.propose(Command::EndTransaction(end), call.deadline).await? {
            Outcome::TransactionEnded(ended) => Ok(ended.map(drop).map_err(refused)),
            _ => Err(outcome::mismatched().into()),
        }
    }

    /// # Errors
    /// `INVALID_TRANSACTION_ID` for a text that is none, or one of a broker group that does not exist.
    fn transaction(&self, text: &str) -> Checked<TransactionId> {
        self.given_out(text, "transaction_id", Code::InvalidTransactionId, TransactionId::broker_group)
    }
}

fn refused(error: TransactionError) -> Refusal {
    let code = match error {
        TransactionError::Foreign | TransactionError::Unknown => Code::InvalidTransactionId,
        TransactionError::Contrary { .. } | TransactionError::Dropped => Code::PreconditionFailed,
    };
    Refusal::new(code, format!("transaction_id: {error}"))
}
