//! Closed-loop senders: a fixed number of calls in flight, each sent again as soon as it is answered.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use bytes::Bytes;
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_proto::rocketmq::{
    Code, Encoding, Message, MessageType, Resource, SendMessageRequest, SystemProperties,
};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::figures::{Figures, Latencies};

const TOPIC: &str = "bench";

/// What is sent and how.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) batch: usize,
    pub(crate) duration: Duration,
}

/// Sends for a quarter of the duration unmeasured, then for the duration; any refusal ends the run.
pub(crate) async fn send(address: &str, shape: &Shape) -> anyhow::Result<Figures> {
    let mut channels = Vec::new();
    for _ in 0..shape.connections {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        channels.push(endpoint.connect().await.with_context(|| format!("cannot connect to {address}"))?);
    }
    let measured_from = Instant::now() + shape.duration / 4;
    let until = measured_from + shape.duration;
    let senders: Vec<_> = (0..shape.in_flight)
        .map(|number| {
            let channel = channels[number % channels.len()].clone();
            tokio::spawn(sender(channel, shape.clone(), measured_from, until))
        })
        .collect();
    let mut latencies = Latencies::new()?;
    for sender in senders {
        latencies.add(&sender.await??)?;
    }
    Ok(latencies.figures(shape.batch, shape.duration))
}

async fn sender(
    channel: Channel,
    shape: Shape,
    measured_from: Instant,
    until: Instant,
) -> anyhow::Result<Latencies> {
    let mut client = MessagingServiceClient::new(channel);
    let body = Bytes::from(vec![0x5a; shape.size]);
    let mut latencies = Latencies::new()?;
    loop {
        let before = Instant::now();
        if before >= until {
            return Ok(latencies);
        }
        let messages = (0..shape.batch).map(|_| message(&body)).collect();
        let mut request = Request::new(SendMessageRequest { messages });
        request.metadata_mut().insert("x-mq-client-id", MetadataValue::from_static("mainstay-bench"));
        let response = client.send_message(request).await?.into_inner();
        if let Some(status) = response.status.filter(|status| status.code() != Code::Ok) {
            bail!("refused: {} {}", status.code, status.message);
        }
        let answered = Instant::now();
        if before >= measured_from && answered <= until {
            latencies.record(answered - before)?;
        }
    }
}

pub(crate) fn message(body: &Bytes) -> Message {
    Message {
        topic: Some(Resource { resource_namespace: String::new(), name: TOPIC.into() }),
        user_properties: std::collections::HashMap::new(),
        system_properties: Some(SystemProperties {
            message_id: format!("01{:032X}", rand::random::<u128>()),
            body_encoding: Encoding::Identity.into(),
            message_type: MessageType::Normal.into(),
            born_timestamp: Some(SystemTime::now().into()),
            born_host: "bench".into(),
            ..SystemProperties::default()
        }),
        body: body.clone(),
    }
}
