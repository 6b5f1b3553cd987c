//! SendMessage: each message checked by itself, a queue chosen by the server, one result for each, in order.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mainstay_messaging::{Command, Outcome, Place, Publish, QueueId, Topic, queue_share};
use mainstay_proto::rocketmq::{
    Code, Message, Resource, SendMessageRequest, SendMessageResponse, SendResultEntry, Status,
};
use mainstay_record::{GroupId, Timestamp};

use super::ClientApi;
use super::caller::{Caller, Dialect};
use super::limits::{self, MAX_MESSAGES_PER_SEND};
use super::message::{check_type, message_type, publish, unsent};
use super::outcome::{self, NotHere};
use super::refusal::{Checked, Refusal, combined, ok};
use crate::forward::{Call, Failure, Peer, Unanswered};
use crate::spans;

/// Client id of messages that are sent again.
const RESENDER: &str = "mainstay-republish";
/// Bytes of bodies that are proposed together.
const CHUNK_BYTES: usize = 8 << 20;

/// One call on its way to the leader.
struct Sending<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a SendMessageRequest,
    topic: Option<&'a Resource>,
    deadline: Instant,
}

impl Call for Sending<'_> {
    type Answer = SendMessageResponse;
    const REPEATABLE: bool = false;

    async fn here(&self) -> Result<SendMessageResponse, Unanswered> {
        self.api.send_here(self.caller, self.topic, &self.request.messages, self.deadline).await
    }

    async fn there(&self, mut peer: Peer) -> Result<SendMessageResponse, tonic::Status> {
        let request = self.caller.pass_on(self.request.clone(), self.deadline);
        Ok(peer.send_message(request).await?.into_inner())
    }
}

impl ClientApi {
    pub(super) async fn send(
        &self,
        caller: &Caller,
        request: &SendMessageRequest,
    ) -> Result<SendMessageResponse, Failure> {
        caller.require_client_id()?;
        let topic = common_topic(&request.messages)?;
        let deadline = caller.deadline();
        let target = match caller.hops {
            0 => self.group_for_sending(topic, deadline).await?,
            _ => self.inner.config.group,
        };
        let call = Sending { api: self, caller, request, topic, deadline };
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await
    }

    /// Sends messages of one topic that were stored once before; one status each, in order.
    pub(crate) async fn send_stored(&self, messages: Vec<Publish>) -> Vec<Status> {
        let caller = Caller::on_behalf_of(RESENDER);
        let request = SendMessageRequest { messages: messages.into_iter().map(unsent).collect() };
        let response = match self.send(&caller, &request).await {
            Ok(response) => response,
            Err(Failure::Refused(refusal)) => refused(&request, refusal.status(caller.dialect)),
            Err(Failure::NotLeader) => {
                let refusal = Refusal::new(Code::ProxyTimeout, "no leader was found; nothing was stored");
                refused(&request, refusal.status(caller.dialect))
            }
        };
        response.entries.into_iter().map(|entry| entry.status.unwrap_or_default()).collect()
    }

    /// This broker's group, unless the topic has queues in others only.
    async fn group_for_sending(&self, topic: Option<&Resource>, deadline: Instant) -> Checked<GroupId> {
        let own = self.inner.config.group;
        let groups = self.inner.config.groups.len() as u32;
        if groups == 1 {
            return Ok(own);
        }
        let topic = self.inner.catalog.topic(topic, deadline).await?;
        if queue_share(topic.queues, own, groups) > 0 {
            return Ok(own);
        }
        // Low groups have queues first.
        Ok(GroupId(self.inner.rotation.turn(topic.name.as_str(), 1) % topic.queues.get().min(groups)))
    }

    async fn send_here(
        &self,
        caller: &Caller,
        topic: Option<&Resource>,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<SendMessageResponse, Unanswered> {
        let topic = self.inner.catalog.topic(topic, deadline).await?;
        let queues =
            queue_share(topic.queues, self.inner.config.group, self.inner.config.groups.len() as u32);
        if queues == 0 {
            let text = format!("topic '{}' has no queue in this broker group", topic.name);
            return Err(Refusal::new(Code::Forbidden, text).into());
        }
        let turn = self.inner.rotation.turn(topic.name.as_str(), messages.len() as u32);
        let now = wall_clock();
        let mut results = Results::new(messages, caller.dialect);
        for (at, message) in messages.iter().enumerate() {
            let queue = QueueId(turn.wrapping_add(at as u32) % queues);
            match prepare(message, &topic, queue, now) {
                Ok(command) => {
                    if results.pending_bytes + message.body.len() > CHUNK_BYTES {
                        self.store(&mut results, deadline).await?;
                    }
                    results.push(at, command, message.body.len());
                }
                Err(refusal) => results.entries[at].status = Some(refusal.status(caller.dialect)),
            }
        }
        self.store(&mut results, deadline).await?;
        Ok(results.response())
    }

    /// Puts what is pending through the log.
    async fn store(&self, results: &mut Results, deadline: Instant) -> Result<(), NotHere> {
        if results.pending.is_empty() {
            return Ok(());
        }
        results.pending_bytes = 0;
        let commands = std::mem::take(&mut results.pending);
        let outcomes = self.inner.group.propose_many(commands, deadline).await;
        let places = std::mem::take(&mut results.places);
        match outcomes {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for at in places {
                    results.note(at, outcomes.next());
                }
            }
            Err(error) => {
                let refusal = match outcome::proposal(&error) {
                    Ok(refusal) => refusal,
                    // What is stored already must not be stored again by another broker.
                    Err(NotHere) if results.stored => Refusal::new(
                        Code::ProxyTimeout,
                        "the leader changed before this message; nothing was stored of it",
                    ),
                    Err(NotHere) => return Err(NotHere),
                };
                for at in places {
                    results.entries[at].status = Some(refusal.status(results.dialect));
                }
            }
        }
        results.stored = true;
        Ok(())
    }
}

/// The results of one call while they come in.
struct Results {
    dialect: Dialect,
    entries: Vec<SendResultEntry>,
    pending: Vec<Command>,
    /// Which entries the pending commands belong to.
    places: Vec<usize>,
    pending_bytes: usize,
    /// Something of this call was proposed already.
    stored: bool,
}

impl Results {
    fn new(messages: &[Message], dialect: Dialect) -> Self {
        Self {
            dialect,
            entries: messages.iter().map(entry).collect(),
            pending: Vec::with_capacity(messages.len()),
            places: Vec::with_capacity(messages.len()),
            pending_bytes: 0,
            stored: false,
        }
    }

    fn push(&mut self, at: usize, command: Command, bytes: usize) {
        self.pending.push(command);
        self.places.push(at);
        self.pending_bytes += bytes;
    }

    fn note(&mut self, at: usize, outcome: Option<Outcome>) {
        let entry = &mut self.entries[at];
        let refusal = match outcome {
            Some(Outcome::Published { place: Place::Queue { offset, .. }, .. }) => {
                entry.status = Some(ok());
                entry.offset = i64::try_from(offset.0).unwrap_or(i64::MAX);
                return;
            }
            Some(Outcome::Refused(refusal)) => outcome::state(&refusal),
            _ => outcome::mismatched(),
        };
        entry.status = Some(refusal.status(self.dialect));
    }

    fn response(self) -> SendMessageResponse {
        let status = combined(self.entries.iter().filter_map(|entry| entry.status.as_ref()));
        SendMessageResponse { status: Some(status), entries: self.entries }
    }
}

/// The answer to a call that was refused as a whole: clients want an entry for each message all the same.
pub(super) fn refused(request: &SendMessageRequest, status: Status) -> SendMessageResponse {
    let with_status = |message| SendResultEntry { status: Some(status.clone()), ..entry(message) };
    SendMessageResponse { entries: request.messages.iter().map(with_status).collect(), status: Some(status) }
}

fn entry(message: &Message) -> SendResultEntry {
    let id = message.system_properties.as_ref().map(|system| system.message_id.clone());
    SendResultEntry { message_id: id.unwrap_or_default(), ..SendResultEntry::default() }
}

fn prepare(message: &Message, topic: &Topic, queue: QueueId, now: Timestamp) -> Checked<Command> {
    let system = limits::check(message)?;
    spans::link(system.trace_context.as_deref());
    check_type(topic.kind, &topic.name, message_type(system))?;
    Ok(Command::Publish(publish(message, system, &topic.name, queue, now)))
}

/// The one topic of all messages.
fn common_topic(messages: &[Message]) -> Checked<Option<&Resource>> {
    let Some(first) = messages.first() else {
        return Err(Refusal::new(Code::MessageCorrupted, "messages is empty"));
    };
    if messages.len() > MAX_MESSAGES_PER_SEND {
        let text =
            format!("messages has {} entries, at most {MAX_MESSAGES_PER_SEND} are allowed", messages.len());
        return Err(Refusal::new(Code::PayloadTooLarge, text));
    }
    if messages.iter().any(|message| message.topic != first.topic) {
        return Err(Refusal::new(Code::MessageCorrupted, "messages go to different topics"));
    }
    Ok(first.topic.as_ref())
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
