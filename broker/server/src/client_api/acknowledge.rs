//! AckMessage and ChangeInvisibleDuration: what consumers do with the handles of their deliveries.
//!
//! One result for each entry, in order, always. A change that fails gives the handle of the request back.

use std::time::{Duration, Instant};

use mainstay_messaging::{Ack, ChangeInvisible, Command, Outcome, ReceiptHandle};
use mainstay_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, AckMessageResponse, AckMessageResultEntry,
    ChangeInvisibleDurationRequest, ClientType, Code, Status,
};
use mainstay_record::GroupId;
use tonic::metadata::MetadataValue;

use super::ClientApi;
use super::caller::Caller;
use super::clients::ClientKey;
use super::outcome;
use super::refusal::{Checked, Refusal, combined, ok};
use super::times::{change_invisible, wire_duration};
use crate::forward::{Call, Failure, Peer, Unanswered};

/// Marks a change that was passed on by a broker whose client could not consume the message.
const FAILED_HEADER: &str = "x-mainstay-failed";

/// Acknowledgements of one broker group on their way to its leader.
struct Acknowledging<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a AckMessageRequest,
    entries: &'a [Waiting],
    deadline: Instant,
}

impl Call for Acknowledging<'_> {
    /// One status for each entry.
    type Answer = Vec<Status>;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<Vec<Status>, Unanswered> {
        self.api.acknowledge_here(self.caller, self.request, self.entries, self.deadline).await
    }

    async fn there(&self, mut peer: Peer) -> Result<Vec<Status>, tonic::Status> {
        let request = self.caller.pass_on(part_of(self.request, self.entries), self.deadline);
        let answer = peer.ack_message(request).await?.into_inner();
        let top = answer.status.unwrap_or_default();
        let mut statuses = answer.entries.into_iter().map(|entry| entry.status);
        Ok(self.entries.iter().map(|_| statuses.next().flatten().unwrap_or_else(|| top.clone())).collect())
    }
}

/// A change of one handle on its way to the leader.
struct Changing<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a ChangeInvisibleDurationRequest,
    shown: ReceiptHandle,
    put_off: PutOff,
    deadline: Instant,
}

impl Call for Changing<'_> {
    type Answer = Checked<ReceiptHandle>;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<Checked<ReceiptHandle>, Unanswered> {
        self.api.change_here(self).await
    }

    async fn there(&self, mut peer: Peer) -> Result<Checked<ReceiptHandle>, tonic::Status> {
        let mut request = self.request.clone();
        request.receipt_handle = self.shown.to_string();
        request.invisible_duration = Some(wire_duration(self.put_off.wait()));
        let mut request = self.caller.pass_on(request, self.deadline);
        if let PutOff::Failed(_) = self.put_off {
            request.metadata_mut().insert(FAILED_HEADER, MetadataValue::from_static("1"));
        }
        let answer = peer.change_invisible_duration(request).await?.into_inner();
        Ok(changed_elsewhere(answer.status.unwrap_or_default(), &answer.receipt_handle))
    }
}

impl ClientApi {
    pub(super) async fn acknowledge(
        &self,
        caller: &Caller,
        request: &AckMessageRequest,
    ) -> Result<AckMessageResponse, Failure> {
        let client = &caller.require_client()?;
        if request.entries.is_empty() {
            return Err(Refusal::new(Code::BadRequest, "entries is empty").into());
        }
        self.inner.catalog.topic_name(request.topic.as_ref())?;
        self.inner.catalog.group_name(request.group.as_ref())?;
        let mut results: Vec<_> = request.entries.iter().map(result_entry).collect();
        let mut waiting: Vec<Waiting> = Vec::with_capacity(results.len());
        for (at, entry) in request.entries.iter().enumerate() {
            match self.handle(&entry.receipt_handle) {
                Ok(given) => waiting.push(Waiting { at, given, shown: self.current(caller, client, given) }),
                Err(refusal) => results[at].status = Some(refusal.status(caller.dialect)),
            }
        }
        while let Some(first) = waiting.first() {
            let target = first.given.broker_group();
            let (here, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|entry| entry.given.broker_group() == target);
            waiting = rest;
            let mut statuses = self.acknowledge_at(caller, request, target, &here).await?;
            self.try_renewed(caller, client, request, target, &here, &mut statuses).await?;
            for (entry, status) in here.iter().zip(statuses) {
                if caller.hops == 0 && final_for_lease(&status) {
                    self.inner.leases.end(client, entry.given);
                }
                results[entry.at].status = Some(status);
            }
        }
        let status = combined(results.iter().filter_map(|entry| entry.status.as_ref()));
        Ok(AckMessageResponse { status: Some(status), entries: results })
    }

    /// A renewal may have replaced a handle while it was on its way: those are shown once more.
    async fn try_renewed(
        &self,
        caller: &Caller,
        client: &ClientKey<'_>,
        request: &AckMessageRequest,
        target: GroupId,
        entries: &[Waiting],
        statuses: &mut [Status],
    ) -> Result<(), Failure> {
        for (entry, status) in entries.iter().zip(statuses) {
            let shown = self.current(caller, client, entry.given);
            if status.code == Code::InvalidReceiptHandle as i32 && shown != entry.shown {
                let again = [Waiting { shown, ..*entry }];
                if let Some(again) = self.acknowledge_at(caller, request, target, &again).await?.pop() {
                    *status = again;
                }
            }
        }
        Ok(())
    }

    /// One status for each of `entries`, which all belong to `target`.
    async fn acknowledge_at(
        &self,
        caller: &Caller,
        request: &AckMessageRequest,
        target: GroupId,
        entries: &[Waiting],
    ) -> Result<Vec<Status>, Failure> {
        let deadline = caller.deadline();
        let call = Acknowledging { api: self, caller, request, entries, deadline };
        let statuses = self.inner.forwarder.at_leader(target, caller, deadline, &call).await;
        match statuses {
            // A part that failed is the result of its entries, not of the others'.
            Err(Failure::Refused(refusal)) => Ok(vec![refusal.status(caller.dialect); entries.len()]),
            other => other,
        }
    }

    async fn acknowledge_here(
        &self,
        caller: &Caller,
        request: &AckMessageRequest,
        entries: &[Waiting],
        deadline: Instant,
    ) -> Result<Vec<Status>, Unanswered> {
        let group = self.inner.catalog.group_name(request.group.as_ref())?;
        let topic = self.inner.catalog.topic_name(request.topic.as_ref())?;
        let ack = Command::Ack(Ack {
            group: group.clone(),
            topic: topic.clone(),
            handles: entries.iter().map(|entry| entry.shown).collect(),
            by: caller.name(),
        });
        match self.propose_about_handles(&group, &topic, ack, deadline).await? {
            Outcome::Acked(results) if results.len() == entries.len() => Ok(results
                .into_iter()
                .map(|result| {
                    result.map_or_else(|error| outcome::handle(error).status(caller.dialect), |()| ok())
                })
                .collect()),
            _ => Err(outcome::mismatched().into()),
        }
    }

    /// The new handle.
    pub(super) async fn change_invisible(
        &self,
        caller: &Caller,
        request: &ChangeInvisibleDurationRequest,
    ) -> Result<ReceiptHandle, Failure> {
        let client = &caller.require_client()?;
        let invisible = change_invisible(request.invisible_duration.as_ref())?;
        self.inner.catalog.topic_name(request.topic.as_ref())?;
        self.inner.catalog.group_name(request.group.as_ref())?;
        let given = self.handle(&request.receipt_handle)?;
        // A push consumer puts a message off because it failed, and Node asks for no wait at all then.
        let failed = match caller.hops {
            0 => self.inner.clients.kind(client) == ClientType::PushConsumer,
            _ => caller.says(FAILED_HEADER),
        };
        let put_off = if failed { PutOff::Failed(invisible) } else { PutOff::For(invisible) };
        let change = |shown| self.change_at_leader(caller, request, shown, put_off);
        let changed = self.with_current(caller, client, given, change).await;
        if caller.hops == 0 && changed.is_ok() {
            self.inner.leases.end(client, given);
        }
        changed
    }

    /// Hides what `shown` stands for.
    pub(super) async fn change_at_leader(
        &self,
        caller: &Caller,
        request: &ChangeInvisibleDurationRequest,
        shown: ReceiptHandle,
        put_off: PutOff,
    ) -> Result<ReceiptHandle, Failure> {
        let deadline = caller.deadline();
        let call = Changing { api: self, caller, request, shown, put_off, deadline };
        let target = shown.broker_group();
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await?.map_err(Failure::from)
    }

    async fn change_here(&self, call: &Changing<'_>) -> Result<Checked<ReceiptHandle>, Unanswered> {
        let group = self.inner.catalog.group_name(call.request.group.as_ref())?;
        let topic = self.inner.catalog.topic_name(call.request.topic.as_ref())?;
        let change = Command::ChangeInvisible(ChangeInvisible {
            group: group.clone(),
            topic: topic.clone(),
            handle: call.shown,
            invisible_ms: u64::try_from(call.put_off.wait().as_millis()).unwrap_or(u64::MAX),
            at_least_retry_delay: matches!(call.put_off, PutOff::Failed(_)),
            by: call.caller.name(),
        });
        match self.propose_about_handles(&group, &topic, change, call.deadline).await? {
            Outcome::Changed(changed) => Ok(changed.map_err(outcome::handle)),
            _ => Err(outcome::mismatched().into()),
        }
    }

    /// # Errors
    /// `INVALID_RECEIPT_HANDLE` for a text that is no handle, or one of a broker group that does not exist.
    pub(super) fn handle(&self, text: &str) -> Checked<ReceiptHandle> {
        let invalid = |why: String| Refusal::new(Code::InvalidReceiptHandle, why);
        let handle: ReceiptHandle =
            text.parse().map_err(|error| invalid(format!("receipt_handle: {error}")))?;
        match self.inner.config.broker_group(handle.broker_group()) {
            Some(_) => Ok(handle),
            None => Err(invalid("receipt_handle belongs to a broker group that does not exist".to_owned())),
        }
    }

    pub(super) fn current(
        &self,
        caller: &Caller,
        client: &ClientKey<'_>,
        given: ReceiptHandle,
    ) -> ReceiptHandle {
        if caller.hops == 0 { self.inner.leases.current(client, given) } else { given }
    }
}

/// How long a delivered message is hidden from now on.
#[derive(Debug, Clone, Copy)]
pub(super) enum PutOff {
    For(Duration),
    /// It was not consumed: its group's own wait is the least.
    Failed(Duration),
}

impl PutOff {
    const fn wait(self) -> Duration {
        match self {
            Self::For(wait) | Self::Failed(wait) => wait,
        }
    }
}

/// An entry of an acknowledgement on its way.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    at: usize,
    /// As the consumer knows it.
    given: ReceiptHandle,
    /// What renewals made of it.
    shown: ReceiptHandle,
}

/// The answer to a call that was refused as a whole: one result for each entry all the same.
pub(super) fn refused(request: &AckMessageRequest, status: Status) -> AckMessageResponse {
    let with_status = |entry| AckMessageResultEntry { status: Some(status.clone()), ..result_entry(entry) };
    AckMessageResponse { entries: request.entries.iter().map(with_status).collect(), status: Some(status) }
}

fn result_entry(entry: &AckMessageEntry) -> AckMessageResultEntry {
    AckMessageResultEntry {
        message_id: entry.message_id.clone(),
        receipt_handle: entry.receipt_handle.clone(),
        status: None,
    }
}

/// The request with these entries only, under the handles that count now.
fn part_of(request: &AckMessageRequest, entries: &[Waiting]) -> AckMessageRequest {
    let entry = |waiting: &Waiting| AckMessageEntry {
        receipt_handle: waiting.shown.to_string(),
        ..request.entries[waiting.at].clone()
    };
    AckMessageRequest {
        group: request.group.clone(),
        topic: request.topic.clone(),
        entries: entries.iter().map(entry).collect(),
    }
}

/// Nothing is left to renew: acknowledged, or void.
fn final_for_lease(status: &Status) -> bool {
    status.code == Code::Ok as i32 || status.code == Code::InvalidReceiptHandle as i32
}

fn changed_elsewhere(status: Status, handle: &str) -> Checked<ReceiptHandle> {
    outcome::elsewhere(status)?;
    handle.parse().map_err(|_| outcome::mismatched())
}
