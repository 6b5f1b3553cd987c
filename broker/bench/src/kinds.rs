//! `mainstay-bench kinds`: what messages of each kind cost, beside the bare tonic call of the same run, and what the
//! broker's memory grows with.
//!
//! One broker, flush Sync. A transaction is two calls, a consumed message a share of a receive and of an
//! acknowledgement of 32.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::{CreateTopicRequest, Topic, TopicType};
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_proto::rocketmq::receive_message_response::Content;
use mainstay_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, Code, EndTransactionRequest, FilterExpression, FilterType, Message,
    MessageQueue, MessageType, ReceiveMessageRequest, Resource, SendMessageRequest, SystemProperties,
    TransactionResolution,
};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::config::Flush;
use crate::figures::{Figures, Latencies};
use crate::load::{self, Shape};
use crate::process::{self, BrokerProcess};

const QUEUES: u32 = 8;
/// Queues of the topic whose messages are all received and not acknowledged: the broker stops at 10,000 in each.
const WIDE_QUEUES: u32 = 128;
/// Messages of one receive.
const RECEIVE: i32 = 32;
/// Messages of one call where many are stored beforehand.
const BATCH: usize = 500;
const HOUR: Duration = Duration::from_secs(3600);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    /// Over so many message groups.
    Fifo(u32),
    Delay,
    /// And committed.
    Transaction,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Normal, Self::Fifo(1), Self::Fifo(100), Self::Fifo(10_000), Self::Delay, Self::Transaction];

    fn title(self) -> String {
        match self {
            Self::Normal => "NORMAL".to_owned(),
            Self::Fifo(1) => "FIFO, 1 message group".to_owned(),
            Self::Fifo(groups) => format!("FIFO, {groups} message groups"),
            Self::Delay => "DELAY, due in an hour".to_owned(),
            Self::Transaction => "TRANSACTION, sent and committed".to_owned(),
        }
    }

    const fn topic(self) -> (&'static str, TopicType) {
        match self {
            Self::Normal => ("bench", TopicType::Normal),
            Self::Fifo(_) => ("bench-fifo", TopicType::Fifo),
            Self::Delay => ("bench-delay", TopicType::Delay),
            Self::Transaction => ("bench-transaction", TopicType::Transaction),
        }
    }

    fn message(self, body: &Bytes) -> Message {
        let mut message = load::message(body);
        message.topic = Some(resource(self.topic().0));
        let system = message.system_properties.get_or_insert_default();
        match self {
            Self::Normal => {}
            Self::Fifo(groups) => {
                system.message_type = MessageType::Fifo.into();
                system.message_group = Some(format!("group-{}", rand::random::<u32>() % groups));
            }
            Self::Delay => {
                system.message_type = MessageType::Delay.into();
                let spread = Duration::from_millis(u64::from(rand::random::<u32>() % 3_600_000));
                system.delivery_timestamp = Some((SystemTime::now() + HOUR + spread).into());
            }
            Self::Transaction => system.message_type = MessageType::Transaction.into(),
        }
        message
    }
}

/// Rounds of every kind, then the memory.
pub(crate) async fn measure(
    program: &Path,
    directory: &Path,
    shape: &Shape,
    rounds: usize,
    thousands: usize,
) -> anyhow::Result<()> {
    let ceiling = process::start_ceiling().await?;
    let broker = BrokerProcess::start(program, directory, Flush::Sync).await?;
    let target = Target::of(&broker).await?;
    for kind in [Kind::Normal, Kind::Fifo(1), Kind::Delay, Kind::Transaction] {
        target.create_topic(kind.topic().0, kind.topic().1, QUEUES).await?;
    }
    let mut rows: Vec<(String, Vec<Figures>)> = Vec::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        note(
            &mut rows,
            "bare tonic call, answered at once".into(),
            load::send(ceiling.address(), shape).await?,
        );
        for kind in Kind::ALL {
            note(&mut rows, kind.title(), target.load(kind, shape).await?);
        }
        let figures = target.consume(shape, &format!("round-{round}")).await?;
        note(&mut rows, "received and acknowledged, 32 at a time".into(), figures);
    }
    print_rates(shape, &rows);
    drop(broker);
    memory(program, directory, thousands).await
}

fn note(rows: &mut Vec<(String, Vec<Figures>)>, title: String, figures: Figures) {
    match rows.iter_mut().find(|(other, _)| *other == title) {
        Some((_, all)) => all.push(figures),
        None => rows.push((title, vec![figures])),
    }
}

fn print_rates(shape: &Shape, rows: &[(String, Vec<Figures>)]) {
    println!(
        "{} in flight, bodies of {} bytes, one broker, flush Sync; medians",
        shape.in_flight, shape.size
    );
    println!("{:<44} {:>12} {:>10} {:>10} {:>16}", "", "per second", "p50 us", "p99 us", "of the bare call");
    let median = |figures: &[Figures], of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let bare = rows.first().map_or(f64::NAN, |(_, figures)| median(figures, |f| f.per_second));
    for (title, figures) in rows {
        let rate = median(figures, |f| f.per_second);
        let p50 = median(figures, |f| f.p50.as_secs_f64() * 1e6);
        let p99 = median(figures, |f| f.p99.as_secs_f64() * 1e6);
        println!("{title:<44} {rate:>12.0} {p50:>10.0} {p99:>10.0} {:>16.2}", rate / bare);
    }
}

/// Each state has a broker of its own: what it holds resident before and with it.
async fn memory(program: &Path, directory: &Path, thousands: usize) -> anyhow::Result<()> {
    println!("\nresident memory, bodies of 16 bytes");
    let messages = thousands * 1000;
    for (what, count) in [
        ("topics of one queue", 10_000),
        ("stored", messages),
        ("delayed", messages),
        ("unacknowledged", messages),
    ] {
        let broker = BrokerProcess::start(program, directory, Flush::Async).await?;
        let target = Target::of(&broker).await?;
        match what {
            "topics of one queue" => target.many_topics(count).await?,
            "delayed" => {
                target.create_topic(Kind::Delay.topic().0, TopicType::Delay, QUEUES).await?;
                target.store(Kind::Delay, count).await?;
            }
            _ => {
                target.create_topic(Kind::Normal.topic().0, TopicType::Normal, WIDE_QUEUES).await?;
                target.store(Kind::Normal, count).await?;
                if what == "unacknowledged" {
                    target.hold(count).await?;
                }
            }
        }
        let (idle, now) = (broker.idle_kib() as f64 / 1024.0, broker.resident_kib()? as f64 / 1024.0);
        let each = (now - idle) * 1024.0 * 1024.0 / count as f64;
        println!(
            "{count:>9} {what:<22} {idle:>7.1} MiB idle, {now:>7.1} MiB with them, {each:>6.0} bytes each"
        );
    }
    Ok(())
}

/// A broker under test and a connection to it.
struct Target {
    client: MessagingServiceClient<Channel>,
    admin: AdminClient<Channel>,
}

impl Target {
    async fn of(broker: &BrokerProcess) -> anyhow::Result<Self> {
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

    async fn create_topic(&self, name: &str, kind: TopicType, queues: u32) -> anyhow::Result<()> {
        let topic = Topic { name: name.to_owned(), r#type: kind.into(), queues, ..Topic::default() };
        let request = CreateTopicRequest { topic: Some(topic) };
        self.admin.clone().create_topic(request).await.with_context(|| format!("create topic {name}"))?;
        Ok(())
    }

    async fn many_topics(&self, count: usize) -> anyhow::Result<()> {
        for first in (0..count).step_by(64) {
            let names: Vec<String> = (first..(first + 64).min(count)).map(|n| format!("topic-{n}")).collect();
            let created = names.iter().map(|name| self.create_topic(name, TopicType::Normal, 1));
            futures::future::try_join_all(created).await?;
        }
        Ok(())
    }

    /// As [`load::send`] does, messages of `kind`.
    async fn load(&self, kind: Kind, shape: &Shape) -> anyhow::Result<Figures> {
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
    async fn store(&self, kind: Kind, count: usize) -> anyhow::Result<()> {
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
    async fn hold(&self, count: usize) -> anyhow::Result<()> {
        let mut client = self.client.clone();
        let mut held = 0;
        while held < count {
            let got = receive(&mut client, "keepers").await?.len();
            ensure!(got > 0, "only {held} messages were delivered");
            held += got;
        }
        Ok(())
    }

    /// Receives and acknowledges what is stored in the topic of normal messages.
    async fn consume(&self, shape: &Shape, group: &str) -> anyhow::Result<Figures> {
        let messages = (shape.duration.as_secs() as usize + 1) * 200_000;
        self.store(Kind::Normal, messages).await?;
        let until = Instant::now() + shape.duration;
        let workers = (0..shape.in_flight / 8).map(|_| {
            let (mut client, group) = (self.client.clone(), group.to_owned());
            tokio::spawn(async move {
                let mut latencies = Latencies::new()?;
                while Instant::now() < until {
                    let before = Instant::now();
                    let handles = receive(&mut client, &group).await?;
                    let full = handles.len() == RECEIVE as usize;
                    acknowledge(&mut client, &group, handles).await?;
                    // A batch that is not full says that the stored ones were too few; it is no measure.
                    if full {
                        latencies.record(before.elapsed())?;
                    }
                }
                anyhow::Ok(latencies)
            })
        });
        joined(workers.collect(), RECEIVE as usize, shape.duration).await
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

async fn receive(client: &mut MessagingServiceClient<Channel>, group: &str) -> anyhow::Result<Vec<String>> {
    let request = ReceiveMessageRequest {
        group: Some(resource(group)),
        message_queue: Some(MessageQueue {
            topic: Some(resource(Kind::Normal.topic().0)),
            id: -1,
            ..MessageQueue::default()
        }),
        filter_expression: Some(FilterExpression {
            r#type: FilterType::Tag.into(),
            expression: "*".to_owned(),
        }),
        batch_size: RECEIVE,
        invisible_duration: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        long_polling_timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..ReceiveMessageRequest::default()
    };
    let mut stream = client.receive_message(call(request)).await?.into_inner();
    let mut handles = Vec::new();
    while let Some(response) = stream.message().await? {
        match response.content {
            Some(Content::Message(message)) => {
                let system = message.system_properties.unwrap_or_default();
                handles.push(system.receipt_handle.unwrap_or_default());
            }
            Some(Content::Status(status)) if status.code() != Code::MessageNotFound => check(Some(&status))?,
            _ => {}
        }
    }
    Ok(handles)
}

async fn acknowledge(
    client: &mut MessagingServiceClient<Channel>,
    group: &str,
    handles: Vec<String>,
) -> anyhow::Result<()> {
    if handles.is_empty() {
        return Ok(());
    }
    let entry = |receipt_handle| AckMessageEntry { receipt_handle, ..AckMessageEntry::default() };
    let request = AckMessageRequest {
        group: Some(resource(group)),
        topic: Some(resource(Kind::Normal.topic().0)),
        entries: handles.into_iter().map(entry).collect(),
    };
    check(client.ack_message(call(request)).await?.into_inner().status.as_ref())
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-mq-client-id", MetadataValue::from_static("mainstay-bench"));
    request
}

fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

fn check(status: Option<&mainstay_proto::rocketmq::Status>) -> anyhow::Result<()> {
    match status {
        Some(status) if status.code() != Code::Ok => bail!("refused: {} {}", status.code, status.message),
        _ => Ok(()),
    }
}
