//! A consumer: receives in several sessions and acknowledges everything it gets.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, Address, AddressScheme, Broker, Code, Endpoints, FilterExpression,
    FilterType, Message, MessageQueue, QueryRouteRequest, ReceiveMessageRequest,
};
use serde_json::json;
use tokio::sync::watch;

use super::connect::{ANSWER, Brokers, answered, broken, late, names_the_group, resource};
use super::history::{Ended, Writer};
use super::produce::described;
use super::progress::Progress;

/// The shortest that is allowed: what a lost answer took away comes again soon.
const INVISIBLE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
const ACK_TRIES: usize = 3;
const BATCH: i32 = 32;

/// One consumer; its sessions share it.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) brokers: Brokers,
    pub(crate) history: Writer,
    pub(crate) progress: Arc<Progress>,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Consumer {
    /// Receives until told to stop.
    pub(crate) async fn session(
        self: Arc<Self>,
        session: usize,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut at = session;
        let mut route = None;
        loop {
            if *stop.borrow() {
                return Ok(());
            }
            let Some(broker) = &route else {
                route = self.route(at).await;
                at += 1;
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                    () = tokio::time::sleep(PAUSE) => {}
                }
                continue;
            };
            // A poll that waits for messages when it is over ends without an end: nobody knows what it would have brought.
            let (ended, messages) = tokio::select! {
                received = self.receive(broker, at) => received?,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            if ended != Ended::Ok {
                at += 1;
                tokio::time::sleep(PAUSE).await;
            }
            if !messages.is_empty() {
                at = self.acknowledge_all(messages, at).await?;
            }
        }
    }

    /// The broker group that has the topic's queues, by any broker's word.
    async fn route(&self, at: usize) -> Option<Broker> {
        let endpoints = Endpoints {
            scheme: AddressScheme::DomainName.into(),
            addresses: vec![Address { host: crate::broker::ROUTE_HOST.to_owned(), port: 8081 }],
        };
        let request = QueryRouteRequest { topic: Some(resource(&self.topic)), endpoints: Some(endpoints) };
        let mut client = self.brokers.client(at);
        let answer = tokio::time::timeout(ANSWER, client.query_route(self.brokers.request(request, ANSWER)));
        let queues = answer.await.ok()?.ok()?.into_inner().message_queues;
        let broker = queues.into_iter().next()?.broker?;
        let host = &broker.endpoints.as_ref()?.addresses.first()?.host;
        names_the_group(host).then_some(broker)
    }

    async fn receive(&self, broker: &Broker, at: usize) -> Result<(Ended, Vec<Message>)> {
        let call = self.history.invoke("receive", json!({}))?;
        let mut messages = Vec::new();
        let limit = POLL + ANSWER;
        let ended = match tokio::time::timeout(limit, self.poll(broker, at, &mut messages)).await {
            Ok(ended) => ended,
            Err(_) => late(),
        };
        for message in &messages {
            let (id, fields) = described(message, INVISIBLE);
            self.history.message(call, fields)?;
            if let Some(id) = id {
                self.progress.received(&self.group, id);
            }
        }
        self.history.complete("receive", call, &ended, json!({"count": messages.len()}))?;
        Ok((ended, messages))
    }

    async fn poll(&self, broker: &Broker, at: usize, messages: &mut Vec<Message>) -> Ended {
        let request = ReceiveMessageRequest {
            group: Some(resource(&self.group)),
            message_queue: Some(MessageQueue {
                topic: Some(resource(&self.topic)),
                id: -1,
                broker: Some(broker.clone()),
                ..MessageQueue::default()
            }),
            filter_expression: Some(FilterExpression {
                r#type: FilterType::Tag.into(),
                expression: "*".to_owned(),
            }),
            batch_size: BATCH,
            invisible_duration: INVISIBLE.try_into().ok(),
            auto_renew: false,
            long_polling_timeout: POLL.try_into().ok(),
            attempt_id: None,
        };
        let mut client = self.brokers.client(at);
        let mut stream = match client.receive_message(self.brokers.request(request, POLL + ANSWER)).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return broken(&status),
        };
        let mut ended = Ended::Unknown("the stream ended without a status".to_owned());
        loop {
            match stream.message().await {
                Ok(Some(part)) => match part.content {
                    Some(Content::Status(status)) if status.code() == Code::MessageNotFound => {
                        ended = Ended::Ok
                    }
                    Some(Content::Status(status)) => ended = answered(&status),
                    Some(Content::Message(message)) => messages.push(message),
                    Some(Content::DeliveryTimestamp(_)) => return ended,
                    None => {}
                },
                Ok(None) => return Ended::Unknown("the stream broke off".to_owned()),
                Err(status) => return Ended::Unknown(status.to_string()),
            }
        }
    }

    /// Acknowledges what came, several times where the outcome is not known; gives the broker to go on with.
    async fn acknowledge_all(&self, mut messages: Vec<Message>, mut at: usize) -> Result<usize> {
        for _ in 0..ACK_TRIES {
            messages = self.acknowledge(messages, at).await?;
            if messages.is_empty() {
                break;
            }
            at += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(at)
    }

    /// Gives the messages back whose acknowledgement has no known outcome.
    async fn acknowledge(&self, messages: Vec<Message>, at: usize) -> Result<Vec<Message>> {
        let mut calls = Vec::with_capacity(messages.len());
        let mut entries = Vec::with_capacity(messages.len());
        for message in &messages {
            let (_, fields) = described(message, INVISIBLE);
            calls.push(self.history.invoke("ack", fields)?);
            let system = message.system_properties.clone().unwrap_or_default();
            entries.push(AckMessageEntry {
                message_id: system.message_id,
                receipt_handle: system.receipt_handle.unwrap_or_default(),
                lite_topic: None,
            });
        }
        let request = AckMessageRequest {
            group: Some(resource(&self.group)),
            topic: Some(resource(&self.topic)),
            entries,
        };
        let mut client = self.brokers.client(at);
        let limit = ANSWER + Duration::from_millis(200);
        let answer = tokio::time::timeout(limit, client.ack_message(self.brokers.request(request, ANSWER)));
        let outcomes: Vec<Ended> = match answer.await {
            Err(_) => vec![late(); messages.len()],
            Ok(Err(status)) => vec![broken(&status); messages.len()],
            Ok(Ok(response)) => {
                let response = response.into_inner();
                let top = response.status.unwrap_or_default();
                let mut statuses = response.entries.into_iter().map(|entry| entry.status.unwrap_or_default());
                messages.iter().map(|_| answered(&statuses.next().unwrap_or_else(|| top.clone()))).collect()
            }
        };
        let mut again = Vec::new();
        for ((message, call), ended) in messages.into_iter().zip(calls).zip(outcomes) {
            self.history.complete("ack", call, &ended, json!({}))?;
            match ended {
                Ended::Ok => self.progress.confirmed(),
                // A handle that is worth nothing stays so; anything else can be tried again.
                Ended::Failed(why) if why.starts_with("InvalidReceiptHandle") => {}
                Ended::Failed(_) | Ended::Unknown(_) => again.push(message),
            }
        }
        Ok(again)
    }
}
