//! `mainstay message …`: sending and receiving as an official client does, and peeking without consuming.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use mainstay_proto::control::{PeekMessagesRequest, PeekedMessage};
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, Code, Encoding, FilterExpression, FilterType, Message, MessageQueue,
    MessageType, QueryRouteRequest, ReceiveMessageRequest, Resource, SendMessageRequest, Status,
    SystemProperties,
};
use serde::Serialize;
use tonic::Request;

use crate::connect::{Messaging, Target, refused};
use crate::output::{Format, Row, print_rows};
use crate::times;

/// Characters of a body that a table shows.
const SHOWN_BODY: usize = 80;
/// How long one call waits for messages.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Where several broker groups are asked by turns.
const SHORT_POLL: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum MessageCommand {
    /// Send one message (or the same several times) and wait for the acknowledgement.
    Send(Send),
    /// Receive messages and acknowledge them.
    Receive(Receive),
    /// Look at committed messages of one queue without consuming them.
    Peek(Peek),
    /// Tell the life of a message from the log: stored, delivered, acknowledged, retried, dead-lettered, by whom, when.
    Trace { message_id: String },
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    topic: String,
    /// The message itself, as text.
    body: String,
    /// What consumers may choose by.
    #[arg(long)]
    tag: Option<String>,
    /// Key of the message, for people; may be given several times.
    #[arg(long = "key")]
    keys: Vec<String>,
    /// User property as name=value; may be given several times.
    #[arg(long = "property", value_parser = parse_property)]
    properties: Vec<(String, String)>,
    /// Deliver it after this time: 10s, 5m, 2h, 7d.
    #[arg(long, value_parser = times::duration, group = "sort")]
    delay: Option<Duration>,
    /// Deliver it at this time: 2026-01-01T00:00:00Z.
    #[arg(long, value_parser = times::instant, group = "sort")]
    at: Option<SystemTime>,
    /// Deliver it after the messages of this message group that were sent before.
    #[arg(long, group = "sort")]
    message_group: Option<String>,
    /// Deliver it before messages of lower priority.
    #[arg(long, group = "sort")]
    priority: Option<u16>,
    /// How many such messages.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

impl Send {
    fn message(&self) -> Message {
        let now = SystemTime::now();
        let deliver_at = self.at.or_else(|| self.delay.and_then(|delay| now.checked_add(delay)));
        let kind = match (deliver_at, &self.message_group, self.priority) {
            (Some(_), _, _) => MessageType::Delay,
            (None, Some(_), _) => MessageType::Fifo,
            (None, None, Some(_)) => MessageType::Priority,
            (None, None, None) => MessageType::Normal,
        };
        Message {
            topic: Some(resource(&self.topic)),
            user_properties: self.properties.iter().cloned().collect(),
            system_properties: Some(SystemProperties {
                tag: self.tag.clone(),
                keys: self.keys.clone(),
                message_id: new_message_id(),
                body_encoding: Encoding::Identity.into(),
                message_type: kind.into(),
                born_timestamp: Some(now.into()),
                born_host: "mainstay-cli".into(),
                delivery_timestamp: deliver_at.map(Into::into),
                message_group: self.message_group.clone(),
                priority: self.priority.map(i32::from),
                ..SystemProperties::default()
            }),
            body: self.body.clone().into_bytes().into(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    topic: String,
    /// Consumer group that receives.
    #[arg(long)]
    group: String,
    /// Stop after this many messages.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Seconds to wait for them. With 0 those that are there are taken.
    #[arg(long, default_value_t = 10)]
    wait: u64,
    /// Tag expression: `*` or `a || b`.
    #[arg(long, default_value = "*", group = "choice")]
    filter: String,
    /// SQL92 expression over properties, such as `number > 5 AND TAGS = 'even'`, in place of tags.
    #[arg(long, group = "choice")]
    sql: Option<String>,
    /// Seconds until an unacknowledged message is delivered again.
    #[arg(long, default_value_t = 30)]
    invisible: u64,
    /// Do not acknowledge: the messages come back.
    #[arg(long)]
    no_ack: bool,
}

impl Receive {
    fn filter_expression(&self) -> FilterExpression {
        let (kind, expression) = match &self.sql {
            Some(sql) => (FilterType::Sql, sql),
            None => (FilterType::Tag, &self.filter),
        };
        FilterExpression { r#type: kind.into(), expression: expression.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Peek {
    topic: String,
    /// Broker group that has the queue.
    #[arg(long, default_value_t = 0)]
    broker_group: u32,
    /// Queue, counted from 0 within its broker group.
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// Where to begin.
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// Messages at most.
    #[arg(long, default_value_t = 10)]
    limit: u32,
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("'{text}' is not name=value"))
}

#[derive(Debug, Serialize)]
struct SentRow {
    message_id: String,
    offset: i64,
    /// Of a delayed message: it is in no queue yet, and can be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_handle: Option<String>,
}

impl Row for SentRow {
    const COLUMNS: &'static [&'static str] = &["message id", "offset"];

    fn cells(&self) -> Vec<String> {
        let place = if self.recall_handle.is_some() { "not yet".to_owned() } else { self.offset.to_string() };
        vec![self.message_id.clone(), place]
    }
}

#[derive(Debug, Serialize)]
struct MessageRow {
    queue: i32,
    offset: u64,
    message_id: String,
    attempt: i32,
    tag: String,
    keys: Vec<String>,
    properties: HashMap<String, String>,
    body: String,
}

impl Row for MessageRow {
    const COLUMNS: &'static [&'static str] = &["queue", "offset", "message id", "attempt", "tag", "body"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.to_string(),
            self.offset.to_string(),
            self.message_id.clone(),
            self.attempt.to_string(),
            self.tag.clone(),
            shortened(&self.body),
        ]
    }
}

/// What fits a line of a table; `--output json` has all of it.
fn shortened(body: &str) -> String {
    let mut shown: String =
        body.chars().take(SHOWN_BODY).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if body.chars().nth(SHOWN_BODY).is_some() {
        shown.push('…');
    }
    shown
}

impl MessageRow {
    fn received(message: &Message) -> Self {
        let system = message.system_properties.clone().unwrap_or_default();
        Self {
            queue: system.queue_id,
            offset: system.queue_offset.unwrap_or_default().try_into().unwrap_or_default(),
            message_id: system.message_id,
            attempt: system.delivery_attempt.unwrap_or_default(),
            tag: system.tag.unwrap_or_default(),
            keys: system.keys,
            properties: message.user_properties.clone(),
            body: String::from_utf8_lossy(&message.body).into_owned(),
        }
    }

    fn peeked(queue: u32, message: PeekedMessage) -> Self {
        Self {
            queue: queue.try_into().unwrap_or_default(),
            offset: message.offset,
            message_id: message.message_id,
            attempt: 0,
            tag: message.tag,
            keys: message.keys,
            properties: message.properties,
            body: String::from_utf8_lossy(&message.body).into_owned(),
        }
    }
}

pub(crate) async fn run(command: MessageCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    match command {
        MessageCommand::Send(send) => print_rows(format, &send_messages(send, target).await?),
        MessageCommand::Trace { message_id } => crate::trace::run(message_id, target, format).await,
        MessageCommand::Receive(receive) => print_rows(format, &receive_messages(receive, target).await?),
        MessageCommand::Peek(peek) => {
            let request = PeekMessagesRequest {
                topic: peek.topic,
                group: peek.broker_group,
                queue: peek.queue,
                offset: peek.offset,
                limit: peek.limit,
            };
            let response = target.admin().await?.peek_messages(request).await.map_err(|s| refused(&s))?;
            let rows = response.into_inner().messages.into_iter().map(|m| MessageRow::peeked(peek.queue, m));
            print_rows(format, &rows.collect::<Vec<_>>())
        }
    }
}

async fn send_messages(send: Send, target: &Target) -> anyhow::Result<Vec<SentRow>> {
    let mut client = target.messaging().await?;
    let mut rows = Vec::new();
    for _ in 0..send.count {
        let message = send.message();
        let request = deadline(SendMessageRequest { messages: vec![message] }, Duration::from_secs(10));
        let response = client.send_message(request).await.map_err(|s| refused(&s))?.into_inner();
        let entry = response.entries.into_iter().next();
        check(entry.as_ref().and_then(|entry| entry.status.as_ref()).or(response.status.as_ref()))?;
        let entry = entry.context("the broker answered without a result")?;
        rows.push(SentRow {
            message_id: entry.message_id,
            offset: entry.offset,
            recall_handle: Some(entry.recall_handle).filter(|handle| !handle.is_empty()),
        });
    }
    Ok(rows)
}

async fn receive_messages(receive: Receive, target: &Target) -> anyhow::Result<Vec<MessageRow>> {
    let mut client = target.messaging().await?;
    let queues = route(&mut client, &receive.topic).await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(receive.wait);
    let mut rows = Vec::new();
    // One queue of each broker group: the broker serves any of its own for it. Each is asked whatever time there is.
    for queue in &queues {
        while rows.len() < receive.count as usize
            && take(&mut client, &receive, queue, Duration::ZERO, &mut rows).await?
        {}
    }
    let turn = if queues.len() > 1 { SHORT_POLL } else { LONG_POLL };
    for queue in queues.iter().cycle() {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() || rows.len() >= receive.count as usize {
            break;
        }
        take(&mut client, &receive, queue, left.min(turn), &mut rows).await?;
    }
    Ok(rows)
}

/// Receives once and acknowledges. False when there was nothing within `poll`.
async fn take(
    client: &mut Messaging,
    receive: &Receive,
    queue: &MessageQueue,
    poll: Duration,
    rows: &mut Vec<MessageRow>,
) -> anyhow::Result<bool> {
    let wanted = receive.count - u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let messages = receive_from(client, receive, queue, wanted, poll).await?;
    if !receive.no_ack && !messages.is_empty() {
        acknowledge(client, receive, &messages).await?;
    }
    rows.extend(messages.iter().map(MessageRow::received));
    Ok(!messages.is_empty())
}

async fn route(client: &mut Messaging, topic: &str) -> anyhow::Result<Vec<MessageQueue>> {
    let request = QueryRouteRequest { topic: Some(resource(topic)), endpoints: None };
    let response = client.query_route(request).await.map_err(|s| refused(&s))?.into_inner();
    check(response.status.as_ref())?;
    let mut queues = response.message_queues;
    queues.dedup_by_key(|queue| queue.broker.as_ref().map(|broker| broker.name.clone()));
    Ok(queues)
}

async fn receive_from(
    client: &mut Messaging,
    receive: &Receive,
    queue: &MessageQueue,
    wanted: u32,
    poll: Duration,
) -> anyhow::Result<Vec<Message>> {
    let invisible = prost_types::Duration { seconds: receive.invisible.try_into()?, nanos: 0 };
    let request = ReceiveMessageRequest {
        group: Some(resource(&receive.group)),
        message_queue: Some(queue.clone()),
        filter_expression: Some(receive.filter_expression()),
        batch_size: wanted.min(32).try_into()?,
        invisible_duration: Some(invisible),
        auto_renew: false,
        long_polling_timeout: Some(poll.try_into()?),
        attempt_id: None,
    };
    let request = deadline(request, poll + Duration::from_secs(3));
    let mut stream = client.receive_message(request).await.map_err(|s| refused(&s))?.into_inner();
    let mut messages = Vec::new();
    while let Some(part) = stream.message().await.map_err(|s| refused(&s))? {
        match part.content {
            Some(Content::Status(status)) if status.code() == Code::MessageNotFound => {}
            Some(Content::Status(status)) => check(Some(&status))?,
            Some(Content::Message(message)) => messages.push(message),
            Some(Content::DeliveryTimestamp(_)) | None => {}
        }
    }
    Ok(messages)
}

async fn acknowledge(client: &mut Messaging, receive: &Receive, messages: &[Message]) -> anyhow::Result<()> {
    let entries = messages.iter().filter_map(|message| message.system_properties.as_ref()).map(|system| {
        AckMessageEntry {
            message_id: system.message_id.clone(),
            receipt_handle: system.receipt_handle.clone().unwrap_or_default(),
            lite_topic: None,
        }
    });
    let request = AckMessageRequest {
        group: Some(resource(&receive.group)),
        topic: Some(resource(&receive.topic)),
        entries: entries.collect(),
    };
    let request = deadline(request, Duration::from_secs(10));
    let response = client.ack_message(request).await.map_err(|s| refused(&s))?.into_inner();
    response.entries.iter().try_for_each(|entry| check(entry.status.as_ref()))
}

fn check(status: Option<&Status>) -> anyhow::Result<()> {
    let status = status.context("the broker answered without a status")?;
    if status.code() == Code::Ok {
        return Ok(());
    }
    bail!("{} ({} {})", status.message, status.code().as_str_name(), status.code)
}

fn deadline<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

/// 34 hexadecimal digits starting with the version, as the official clients make them.
fn new_message_id() -> String {
    format!("01{:032X}", rand::random::<u128>())
}
