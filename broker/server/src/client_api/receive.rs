//! ReceiveMessage: a long poll at the leader, answered by a stream of a status, the messages, and the delivery time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::Stream;
use mainstay_messaging::{Delivery, Filter, QueueSelection, ReceiptHandle, Receive, TopicName};
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::{
    Code, Message, ReceiveMessageRequest, ReceiveMessageResponse, Resource, Status,
};
use tonic::Streaming;
use tracing::error;

use super::ClientApi;
use super::caller::Caller;
use super::clients::ClientKey;
use super::filter::Wanted;
use super::handover::{Edge, HandOver, KeepsLeases, Relay};
use super::leases::{Holder, LEASE};
use super::limits::check_attempt;
use super::message::{delivered, is_delivered};
use super::outcome;
use super::refusal::Refusal;
use super::route::group_of_broker;
use super::settings::MAX_RECEIVE_BATCH;
use super::times::{poll_until, receive_invisible, wire_duration};
use crate::forward::{Call, Failure, Peer, Unanswered};

/// For the answer of a poll that ended elsewhere to come back.
const WAY_BACK: Duration = Duration::from_secs(2);
/// For looking up what a call names, where it may not wait for messages at all.
const LOOKUP_TIME: Duration = Duration::from_secs(1);

/// Answer to a receive call.
pub(super) type ReceiveStream =
    Pin<Box<dyn Stream<Item = Result<ReceiveMessageResponse, tonic::Status>> + Send>>;

enum Answer {
    Here(HandOver),
    There(Streaming<ReceiveMessageResponse>),
}

/// One call on its way to the leader.
struct Polling<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a ReceiveMessageRequest,
    poll_end: Instant,
    until: Instant,
}

impl Call for Polling<'_> {
    type Answer = Answer;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<Answer, Unanswered> {
        self.api.receive_here(self.caller, self.request, self.poll_end).await.map(Answer::Here)
    }

    async fn there(&self, mut peer: Peer) -> Result<Answer, tonic::Status> {
        let left = self.poll_end.saturating_duration_since(Instant::now());
        let mut request = self.request.clone();
        request.long_polling_timeout = Some(wire_duration(left));
        let answer = peer.receive_message(self.caller.pass_on(request, self.until)).await?;
        Ok(Answer::There(answer.into_inner()))
    }
}

impl ClientApi {
    pub(super) async fn receive(
        &self,
        caller: &Caller,
        request: &ReceiveMessageRequest,
    ) -> Result<ReceiveStream, Failure> {
        let client = &caller.require_client()?;
        let poll_end = poll_until(caller, request.long_polling_timeout.as_ref())?;
        let at_edge = caller.hops == 0;
        if at_edge {
            self.inner.clients.receives(client, request.auto_renew, Instant::now());
        }
        let until = caller.poll_deadline().map_or(poll_end + WAY_BACK, |end| end.min(poll_end + WAY_BACK));
        let broker = request.message_queue.as_ref().and_then(|queue| queue.broker.as_ref());
        let target = broker
            .and_then(|broker| group_of_broker(&self.inner.config, &broker.name))
            .unwrap_or(self.inner.config.group);
        let call = Polling { api: self, caller, request, poll_end, until };
        let answer = tokio::select! {
            biased;
            answer = self.inner.forwarder.at_leader(target, caller, until, &call) => answer?,
            // The client asks again, and finds another broker.
            () = self.inner.stop.cancelled() => return Ok(refused(empty())),
        };
        if !at_edge {
            return Ok(match answer {
                Answer::Here(hand_over) => Box::pin(hand_over),
                Answer::There(stream) => Box::pin(stream),
            });
        }
        let edge = self.edge(caller, client, request);
        let stream: ReceiveStream = match answer {
            Answer::Here(hand_over) => Box::pin(hand_over.at(edge)),
            Answer::There(stream) => Box::pin(Relay::new(stream, edge)),
        };
        if let Some(permit) = &caller.permit {
            // What was delivered while the right was taken away is given back with the stream.
            permit.check(request)?;
        }
        // Its call stood open until now.
        self.inner.clients.receives(client, request.auto_renew, Instant::now());
        Ok(stream)
    }

    /// For an answer to a client of this broker.
    fn edge(&self, caller: &Caller, client: &ClientKey<'_>, request: &ReceiveMessageRequest) -> Edge {
        let topic = request.message_queue.as_ref().and_then(|queue| queue.topic.clone());
        let holder = Holder {
            client: client.to_owned(),
            group: request.group.clone().unwrap_or_default(),
            topic: topic.unwrap_or_default(),
            connection: caller.connection.clone(),
            permit: caller.permit.clone(),
        };
        let leases = if request.auto_renew { KeepsLeases::Yes } else { KeepsLeases::No };
        Edge { api: self.clone(), holder: Arc::new(holder), leases }
    }

    async fn receive_here(
        &self,
        caller: &Caller,
        request: &ReceiveMessageRequest,
        poll_end: Instant,
    ) -> Result<HandOver, Unanswered> {
        let topic_resource = request.message_queue.as_ref().and_then(|queue| queue.topic.as_ref());
        let invisible =
            if request.auto_renew { LEASE } else { receive_invisible(request.invisible_duration.as_ref())? };
        check_attempt(request.attempt_id.as_deref())?;
        let wanted = self.inner.filters.parse(request.filter_expression.as_ref())?;
        let lookup_end = poll_end.max(Instant::now() + LOOKUP_TIME);
        let topic = self.inner.catalog.topic(topic_resource, lookup_end).await?;
        let group = self.inner.catalog.group(request.group.as_ref(), &topic, lookup_end).await?.name;
        let topic = topic.name;
        let receive = Receive {
            group: group.clone(),
            topic: topic.clone(),
            queues: QueueSelection::All,
            max: u32::try_from(request.batch_size).unwrap_or(0).clamp(1, MAX_RECEIVE_BATCH),
            filter: match &wanted {
                Wanted::Filtered(filter) => filter.clone(),
                Wanted::Where(_) => Filter::All,
            },
            invisible_ms: u64::try_from(invisible.as_millis()).unwrap_or(u64::MAX),
            attempt_id: request.attempt_id.clone(),
            by: caller.name(),
        };
        let answer = match wanted {
            Wanted::Filtered(_) => self.inner.group.receive(receive, poll_end).await,
            Wanted::Where(condition) => self.inner.group.receive_where(receive, condition, poll_end).await,
        };
        let deliveries = match answer {
            Ok(deliveries) => deliveries,
            Err(error) => return Err(outcome::receive(&error)?.into()),
        };
        let hand_over = HandOver::new(self.inner.group.clone(), group, topic.clone(), &deliveries);
        let wire_topic = topic_resource.cloned().unwrap_or_default();
        let hand_over = hand_over.with(self.load(&deliveries, &topic, wire_topic, invisible).await);
        if !hand_over.is_empty() {
            Ok(hand_over)
        } else if deliveries.is_empty() {
            Ok(hand_over.with_status(empty()))
        } else {
            let text = "the messages delivered cannot be read from the log";
            Err(Refusal::new(Code::InternalServerError, text).into())
        }
    }

    /// The messages of `deliveries`, less those that cannot be read.
    async fn load(
        &self,
        deliveries: &[Delivery],
        topic: &TopicName,
        named: Resource,
        invisible: Duration,
    ) -> Vec<(ReceiptHandle, Message)> {
        let records: Vec<_> = deliveries.iter().map(|delivery| delivery.record).collect();
        let loaded = self.inner.group.load_stored(&records).await;
        let host = &self.inner.store_host;
        let mut messages = Vec::with_capacity(deliveries.len());
        for (delivery, loaded) in deliveries.iter().zip(loaded) {
            match loaded {
                Ok(stored) if !is_delivered(&stored, delivery, topic) => {
                    error!(record = ?delivery.record, "another record stands where a delivered message was");
                }
                Ok(stored) => {
                    let message = delivered(stored.publish, delivery, named.clone(), invisible, host);
                    messages.push((delivery.handle, message));
                }
                Err(error) => error!(%error, "cannot load a message that was delivered"),
            }
        }
        messages
    }
}

/// The answer to a call that got no messages.
pub(super) fn refused(status: Status) -> ReceiveStream {
    let items = [Content::Status(status), Content::DeliveryTimestamp(SystemTime::now().into())];
    Box::pin(futures::stream::iter(items.map(|content| Ok(content_of(content)))))
}

fn empty() -> Status {
    Refusal::new(Code::MessageNotFound, "no message within the polling time")
        .status(super::caller::Dialect::Current)
}

fn content_of(content: Content) -> ReceiveMessageResponse {
    ReceiveMessageResponse { content: Some(content) }
}
