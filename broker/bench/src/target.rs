//! The calls of the measurements of kinds: a broker under test, and connections that send, receive and acknowledge.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::{CreateTopicRequest, Topic, TopicType};
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, Code, EndTransactionRequest, FilterExpression, MessageQueue,
    ReceiveMessageRequest, Resource, SendMessageRequest, SystemProperties, TransactionResolution,
};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::consuming::Consumption;
use crate::figures::{Figures, Latencies};
use crate::kinds::Kind;
use crate::load::Shape;
use crate::process::BrokerProcess;

/// Messages of one receive.
pub(crate) const RECEIVE: i32 = 32;
/// Messages of one call where many are stored beforehand.
const BATCH: usize = 500;

/// A broker under test and a connection to it.
pub(crate) struct Target {
    client: MessagingServiceClient<Channel>,
    admin: AdminClient<Channel>,
}

impl Target {
    pub(crate) async fn of(broker: &BrokerProcess) -> anyhow::Result<Self> {
        let connect = |port| async move {
            let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
            anyhow::Ok(endpoint.connect().await?)
        };
        Ok(Self {
            client: MessagingServiceClient::new(connect(broker.ports().client).await?)
                .max_decoding_message_size(usize::MAX),
            admin: AdminClient::new(connect(broker.ports().internal).await?),
        })
    }

    pub(crate) fn client(&self) -> MessagingServiceClient<Channel> {
        self.client.clone()
    }

    pub(crate) async fn create_topic(&self, name: &str, kind: TopicType, queues: u32) -> anyhow::Result<()> {
        let topic = Topic { name: name.to_owned(), r#type: kind.into(), queues, ..Topic::default() };
        let request = CreateTopicRequest { topic: Some(topic) };
        self.admin.clone().create_topic(request).await.with_context(|| format!("create topic {name}"))?;
        Ok(())
    }

    pub(crate) async fn many_topics(&self, count: usize) -> anyhow::Result<()> {
        for first in (0..count).step_by(64) {
            let names: Vec<String> = (first..(first + 64).min(count)).map(|n| format!("topic-{n}")).collect();
            let created = names.iter().map(|name| self.create_topic(name, TopicType::Normal, 1));
            futures::future::try_join_all(created).await?;
        }
        Ok(())
    }

    /// As [`load::send`] does, messages of `kind`.
    pub(crate) async fn load(&self, kind: Kind, shape: &Shape) -> anyhow::Result<Figures> {
        let measured_from = Instant::now() + shape.duration / 4;
        let until = measured_from + shape.duration;
        let body = Bytes::from(vec![0x5a; shape.size]);
        let workers = (0..shape.in_flight).map(|_| {
            let (mut client, body) = (self.client.clone(), body.clone());
            tokio::spawn(async move {
                let mut latencies = Latencies::new()?;
                loop {
                    let before = Instant::now();
                    if before >= until {
                        return anyhow::Ok(latencies);
                    }
                    one(&mut client, kind, &body).await?;
                    let answered = Instant::now();
                    if before >= measured_from && answered <= until {
                        latencies.record(answered - before)?;
                    }
                }
            })
        });
        joined(workers.collect(), 1, shape.duration).await
    }

    /// Stores messages as fast as it goes.
    pub(crate) async fn store(&self, kind: Kind, count: usize) -> anyhow::Result<()> {
        let body = Bytes::from_static(&[0x5a; 16]);
        let calls = count.div_ceil(BATCH);
        let workers = (0..8).map(|worker| {
            let (mut client, body) = (self.client.clone(), body.clone());
            tokio::spawn(async move {
                for _ in (worker..calls).step_by(8) {
                    let messages = (0..BATCH).map(|_| kind.message(&body)).collect();
                    let answer =
                        client.send_message(call(SendMessageRequest { messages })).await?.into_inner();
                    check(answer.status.as_ref())?;
                }
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await??;
        }
        Ok(())
    }

    /// Receives so many messages and keeps them.
    pub(crate) async fn hold(&self, count: usize) -> anyhow::Result<()> {
        let mut client = self.client.clone();
        let mut held = 0;
        while held < count {
            let got = receive(&mut client, Kind::Normal.topic().0, "keepers", Consumption::All.filter())
                .await?
                .len();
            ensure!(got > 0, "only {held} messages were delivered");
            held += got;
        }
        Ok(())
    }

    /// How late delayed messages are received after their time. One that is early is an error.
    pub(crate) async fn lateness(&self, count: u32) -> anyhow::Result<Figures> {
        let first = SystemTime::now() + Duration::from_secs(3);
        let due = |n: u32| {
            let mut message = Kind::Delay.message(&Bytes::from_static(b"late"));
            let system = message.system_properties.get_or_insert_default();
            system.delivery_timestamp = Some((first + Duration::from_millis(2) * n).into());
            message
        };
        let request = SendMessageRequest { messages: (0..count).map(due).collect() };
        check(self.client.clone().send_message(call(request)).await?.into_inner().status.as_ref())?;
        let mut latencies = Latencies::new()?;
        let mut seen = 0;
        while seen < count as usize {
            let got = receive(&mut self.client(), Kind::Delay.topic().0, "timers", Consumption::All.filter())
                .await?;
            let now = SystemTime::now();
            for system in &got {
                let due = SystemTime::try_from(system.delivery_timestamp.context("no delivery time")?)?;
                latencies.record(now.duration_since(due).context("a delayed message came early")?)?;
            }
            ensure!(
                !got.is_empty() || now < first + Duration::from_secs(30),
                "only {seen} delayed messages came"
            );
            seen += got.len();
        }
        Ok(latencies.figures(1, Duration::from_secs(1)))
    }
}

async fn joined(
    workers: Vec<tokio::task::JoinHandle<anyhow::Result<Latencies>>>,
    messages: usize,
    elapsed: Duration,
) -> anyhow::Result<Figures> {
    let mut latencies = Latencies::new()?;
    for worker in workers {
        latencies.add(&worker.await??)?;
    }
    let address = "the broker under test";
    ensure!(latencies.figures(messages, elapsed).per_second > 0.0, "{address} did nothing in time");
    Ok(latencies.figures(messages, elapsed))
}

async fn one(client: &mut MessagingServiceClient<Channel>, kind: Kind, body: &Bytes) -> anyhow::Result<()> {
    let message = kind.message(body);
    let message_id = message.system_properties.as_ref().map(|s: &SystemProperties| s.message_id.clone());
    let answer =
        client.send_message(call(SendMessageRequest { messages: vec![message] })).await?.into_inner();
    check(answer.status.as_ref())?;
    if kind == Kind::Transaction {
        let entry = answer.entries.into_iter().next().context("no entry")?;
        let end = EndTransactionRequest {
            topic: Some(resource(kind.topic().0)),
            message_id: message_id.unwrap_or_default(),
            transaction_id: entry.transaction_id,
            resolution: TransactionResolution::Commit.into(),
            ..EndTransactionRequest::default()
        };
        check(client.end_transaction(call(end)).await?.into_inner().status.as_ref())?;
    }
    Ok(())
}

pub(crate) async fn receive(
    client: &mut MessagingServiceClient<Channel>,
    topic: &str,
    group: &str,
    filter: FilterExpression,
) -> anyhow::Result<Vec<SystemProperties>> {
    let request = ReceiveMessageRequest {
        group: Some(resource(group)),
        message_queue: Some(MessageQueue { topic: Some(resource(topic)), id: -1, ..MessageQueue::default() }),
        filter_expression: Some(filter),
        batch_size: RECEIVE,
        invisible_duration: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        long_polling_timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..ReceiveMessageRequest::default()
    };
    let mut stream = client.receive_message(call(request)).await?.into_inner();
    let mut received = Vec::new();
    while let Some(response) = stream.message().await? {
        match response.content {
            Some(Content::Message(message)) => received.extend(message.system_properties),
            Some(Content::Status(status)) if status.code() != Code::MessageNotFound => check(Some(&status))?,
            _ => {}
        }
    }
    Ok(received)
}

pub(crate) async fn acknowledge(
    client: &mut MessagingServiceClient<Channel>,
    topic: &str,
    group: &str,
    handles: Vec<String>,
) -> anyhow::Result<()> {
    if handles.is_empty() {
        return Ok(());
    }
    let entry = |receipt_handle| AckMessageEntry { receipt_handle, ..AckMessageEntry::default() };
    let request = AckMessageRequest {
        group: Some(resource(group)),
        topic: Some(resource(topic)),
        entries: handles.into_iter().map(entry).collect(),
    };
    check(client.ack_message(call(request)).await?.into_inner().status.as_ref())
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-mq-client-id", MetadataValue::from_static("mainstay-bench"));
    request
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

fn check(status: Option<&mainstay_proto::rocketmq::Status>) -> anyhow::Result<()> {
    match status {
        Some(status) if status.code() != Code::Ok => bail!("refused: {} {}", status.code, status.message),
        _ => Ok(()),
    }
}
