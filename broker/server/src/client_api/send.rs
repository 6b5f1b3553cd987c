//! SendMessage: each message checked by itself, a queue chosen by the server, one result for each, in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mainstay_messaging::{Command, MessageKind, Outcome, Place, Publish, QueueId, Topic, queue_share};
use mainstay_proto::rocketmq::{
    Code, Message, MessageType, Resource, SendMessageRequest, SendMessageResponse, SendResultEntry, Status,
};
use mainstay_record::{GroupId, Timestamp};

use super::ClientApi;
use super::caller::{Caller, Dialect};
use super::kind::{check_type, message_kind, message_type};
use super::limits::{self, MAX_MESSAGES_PER_SEND};
use super::message::{publish, unsent};
use super::names::full_name;
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
        let client = &caller.require_client()?;
        let topic = common_topic(&request.messages)?;
        let deadline = caller.deadline();
        if caller.hops > 0 {
            return self.send_to(self.inner.config.group, caller, request, topic, deadline).await;
        }
        if request.messages.iter().any(is_transactional) {
            // Who sends half messages can be asked about them.
            self.inner.producers.publishes(client, &full_name(topic));
        }
        let homes = self.homes(topic, &request.messages, deadline).await?;
        match homes.first() {
            Some(first) if homes.iter().any(|home| home != first) => {
                self.send_apart(&homes, caller, request, topic, deadline).await
            }
            first => {
                let target = first.copied().unwrap_or(self.inner.config.group);
                self.send_to(target, caller, request, topic, deadline).await
            }
        }
    }

    async fn send_to(
        &self,
        target: GroupId,
        caller: &Caller,
        request: &SendMessageRequest,
        topic: Option<&Resource>,
        deadline: Instant,
    ) -> Result<SendMessageResponse, Failure> {
        let call = Sending { api: self, caller, request, topic, deadline };
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await
    }

    /// Sends each message to its own broker group. A part that fails is the result of its messages, not of the others'.
    async fn send_apart(
        &self,
        homes: &[GroupId],
        caller: &Caller,
        request: &SendMessageRequest,
        topic: Option<&Resource>,
        deadline: Instant,
    ) -> Result<SendMessageResponse, Failure> {
        let mut results = Results::new(&request.messages, caller.dialect);
        let targets: BTreeSet<GroupId> = homes.iter().copied().collect();
        for target in targets {
            let places: Vec<usize> = (0..homes.len()).filter(|at| homes[*at] == target).collect();
            let messages = places.iter().map(|at| request.messages[*at].clone()).collect();
            let part = SendMessageRequest { messages };
            let answer = match self.send_to(target, caller, &part, topic, deadline).await {
                Ok(answer) => answer,
                Err(Failure::Refused(refusal)) => refused(&part, refusal.status(caller.dialect)),
                Err(Failure::NotLeader) => return Err(Failure::NotLeader),
            };
            for (at, entry) in places.into_iter().zip(answer.entries) {
                results.entries[at] = entry;
            }
        }
        Ok(results.response())
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

    /// The broker group of each message: where its message group has its queue; for those without one this broker's,
    /// unless the topic has queues in others only.
    async fn homes(
        &self,
        topic: Option<&Resource>,
        messages: &[Message],
        deadline: Instant,
    ) -> Checked<Vec<GroupId>> {
        let own = self.inner.config.group;
        let groups = self.inner.config.groups.len() as u32;
        if groups == 1 {
            return Ok(vec![own]);
        }
        let topic = self.inner.catalog.topic(topic, deadline).await?;
        let any = if queue_share(topic.queues, own, groups) > 0 {
            own
        } else {
            // Low groups have queues first.
            GroupId(self.inner.rotation.turn(topic.name.as_str(), 1) % topic.queues.get().min(groups))
        };
        let home = |message: &Message| match message_group(message) {
            Some(message_group) => topic.home_of(message_group, groups).0,
            None => any,
        };
        Ok(messages.iter().map(home).collect())
    }

    async fn send_here(
        &self,
        caller: &Caller,
        topic: Option<&Resource>,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<SendMessageResponse, Unanswered> {
        let topic = self.inner.catalog.topic(topic, deadline).await?;
        let groups = self.inner.config.groups.len() as u32;
        let queues = queue_share(topic.queues, self.inner.config.group, groups);
        if queues == 0 {
            let text = format!("topic '{}' has no queue in this broker group", topic.name);
            return Err(Refusal::new(Code::Forbidden, text).into());
        }
        let turn = self.inner.rotation.turn(topic.name.as_str(), messages.len() as u32);
        let here = Here { own: self.inner.config.group, groups, queues, now: wall_clock() };
        let max_delay = self.inner.config.limits.max_delay;
        let mut results = Results::new(messages, caller.dialect);
        for (at, message) in messages.iter().enumerate() {
            match prepare(message, &topic, here, turn.wrapping_add(at as u32), max_delay) {
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
            // A repeated message has the answer of the first.
            Some(Outcome::Published { place, .. }) => {
                entry.status = Some(ok());
                match place {
                    Place::Queue { offset, .. } => entry.offset = i64::try_from(offset.0).unwrap_or(i64::MAX),
                    Place::Timer(handle) => entry.recall_handle = handle.to_string(),
                    Place::Half(transaction) => entry.transaction_id = transaction.to_string(),
                }
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

/// Where messages are stored, and when.
#[derive(Debug, Clone, Copy)]
struct Here {
    own: GroupId,
    /// How many broker groups there are.
    groups: u32,
    /// Of the topic in this one.
    queues: u32,
    now: Timestamp,
}

fn prepare(message: &Message, topic: &Topic, here: Here, turn: u32, max_delay: Duration) -> Checked<Command> {
    let system = limits::check(message)?;
    spans::link(system.trace_context.as_deref());
    check_type(topic.kind, &topic.name, message_type(system))?;
    let kind = message_kind(system, here.now, max_delay)?;
    let queue = match &kind {
        MessageKind::Fifo { message_group } => {
            let (home, queue) = topic.home_of(message_group, here.groups);
            if home != here.own {
                let text = format!("message_group belongs to broker group {home}, not to {}", here.own);
                return Err(Refusal::new(Code::InternalServerError, text));
            }
            queue
        }
        // As many levels as queues, the last one the highest.
        MessageKind::Priority { priority } => QueueId((*priority).min(here.queues - 1)),
        _ => QueueId(turn % here.queues),
    };
    Ok(Command::Publish(publish(message, system, &topic.name, queue, kind, here.now)))
}

fn message_group(message: &Message) -> Option<&str> {
    let system = message.system_properties.as_ref()?;
    system.message_group.as_deref().filter(|_| message_type(system) == MessageType::Fifo)
}

fn is_transactional(message: &Message) -> bool {
    message.system_properties.as_ref().is_some_and(|system| message_type(system) == MessageType::Transaction)
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
