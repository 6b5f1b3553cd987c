//! What calls that end in one command share: the way through the log, ids that name their broker group, and handles
//! that a renewal may replace while they are on their way.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Instant;

use mainstay_messaging::{Command, GroupName, Outcome, ReceiptHandle, Refusal as StateRefusal, TopicName};
use mainstay_proto::rocketmq::Code;
use mainstay_record::GroupId;

use super::ClientApi;
use super::caller::Caller;
use super::clients::ClientKey;
use super::outcome;
use super::refusal::{Checked, Refusal};
use crate::forward::{Failure, Unanswered};

impl ClientApi {
    /// Puts a command through this broker's log. What the state machine refuses is a refusal.
    pub(super) async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, Unanswered> {
        self.propose_or(outcome::state, command, deadline).await
    }

    /// As [`Self::propose`], with what the caller makes of a refusal of the state machine.
    async fn propose_or(
        &self,
        refused: fn(&StateRefusal) -> Refusal,
        command: Command,
        deadline: Instant,
    ) -> Result<Outcome, Unanswered> {
        match self.inner.group.propose(command, deadline).await {
            Ok(Outcome::Refused(refusal)) => Err(refused(&refusal).into()),
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(outcome::proposal(&error)?.into()),
        }
    }

    /// As [`Self::propose`], for a command about handles of `group` on `topic`. Where one of the two is gone, so is all
    /// that was in flight: the handles are void, which is the one answer that ends a client's attempts, and what can be
    /// said at once costs no record.
    pub(super) async fn propose_about_handles(
        &self,
        group: &GroupName,
        topic: &TopicName,
        command: Command,
        deadline: Instant,
    ) -> Result<Outcome, Unanswered> {
        // Only then has it applied all that it may have given handles out for.
        if self.inner.group.view().serving {
            let metadata = self.inner.group.metadata();
            let gone = match (metadata.topic(topic.as_str()), metadata.group(group.as_str())) {
                (None, _) => Some(StateRefusal::UnknownTopic(topic.to_string())),
                (_, None) => Some(StateRefusal::UnknownGroup(group.to_string())),
                _ => None,
            };
            if let Some(gone) = gone {
                return Err(outcome::about_handles(&gone).into());
            }
        }
        self.propose_or(outcome::about_handles, command, deadline).await
    }

    /// An id that a broker gave out, from `field`.
    ///
    /// # Errors
    /// `code` for a text that is none, or one of a broker group that does not exist.
    pub(super) fn given_out<T: FromStr<Err: Display>>(
        &self,
        text: &str,
        field: &'static str,
        code: Code,
        broker_group: impl FnOnce(&T) -> GroupId,
    ) -> Checked<T> {
        let invalid = |why: &str| Refusal::new(code, format!("{field} {why}"));
        if text.trim().is_empty() {
            return Err(invalid("is blank"));
        }
        let id = text.parse().map_err(|error| invalid(&format!("is not one of this broker: {error}")))?;
        match self.inner.config.broker_group(broker_group(&id)) {
            Some(_) => Ok(id),
            None => Err(invalid("belongs to a broker group that does not exist")),
        }
    }

    /// Does something with the handle that counts now, and once more where a renewal had replaced it.
    pub(super) async fn with_current<R, Doing>(
        &self,
        caller: &Caller,
        client: &ClientKey<'_>,
        given: ReceiptHandle,
        act: impl Fn(ReceiptHandle) -> Doing,
    ) -> Result<R, Failure>
    where
        Doing: Future<Output = Result<R, Failure>>,
    {
        let shown = self.current(caller, client, given);
        let done = act(shown).await;
        let now_shown = self.current(caller, client, given);
        if now_shown != shown && is_void(&done) { act(now_shown).await } else { done }
    }
}

/// Whether the handle was not good any more.
pub(super) fn is_void<R>(done: &Result<R, Failure>) -> bool {
    matches!(done, Err(Failure::Refused(refusal)) if refusal.code == Code::InvalidReceiptHandle)
}
