//! A producer: numbered messages from several sessions, each request sent once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use bytes::Bytes;
use mainstay_checker::Moment;
use mainstay_proto::rocketmq::{Encoding, Message, MessageType, SendMessageRequest, SystemProperties};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::connect::{ANSWER, Brokers, answered, broken, late, resource};
use super::history::{Ended, Writer, checksum};
use super::progress::Progress;

/// After a send that went wrong, so that a broken group is not flooded.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a producer tells the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honesty {
    Honest,
    /// Says that a message was acknowledged before it is even sent: the checker must notice.
    AcknowledgesEarly,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) topic: String,
    /// Calls in flight.
    pub(crate) sessions: usize,
    /// Messages a second at most, by all sessions together.
    pub(crate) rate: u32,
    /// Bytes of a body.
    pub(crate) size: usize,
    pub(crate) honesty: Honesty,
    /// Messages are delivered so much later.
    pub(crate) delay: Option<Duration>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            topic: "orders".to_owned(),
            sessions: 8,
            rate: 400,
            size: 300,
            honesty: Honesty::Honest,
            delay: None,
        }
    }
}

/// One producer; its sessions share it.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) brokers: Brokers,
    pub(crate) history: Writer,
    pub(crate) progress: Arc<Progress>,
    pub(crate) shape: Shape,
    pub(crate) numbers: AtomicU64,
}

impl Producer {
    /// Sends until told to stop. Begins with the broker of number `session`.
    pub(crate) async fn session(
        self: Arc<Self>,
        session: usize,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut broker = session;
        let period = Duration::from_secs(1) * self.shape.sessions as u32 / self.shape.rate;
        let mut pace = tokio::time::interval(period);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = pace.tick() => {}
            }
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let id = format!("{}-{number}", self.history.client());
            if !self.send(&id, broker).await? {
                broker += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Sends one message; false when it was not acknowledged.
    async fn send(&self, id: &str, broker: usize) -> Result<bool> {
        let body = body(id, self.shape.size);
        let invoked = Moment::now();
        let deliver_at = self.shape.delay.map(|delay| SystemTime::now() + delay);
        let call = self.history.invoke(
            "send",
            json!({"id": id, "checksum": checksum(&body), "deliver_at": deliver_at.map(milliseconds)}),
        )?;
        let early = self.shape.honesty == Honesty::AcknowledgesEarly;
        if early {
            self.history.complete("send", call, &Ended::Ok, json!({"message_id": id, "tries": 1}))?;
            self.progress.acknowledged(id, invoked);
        }
        let request = SendMessageRequest { messages: vec![message(&self.shape.topic, id, body, deliver_at)] };
        let request = self.brokers.request(request, ANSWER);
        let mut client = self.brokers.client(broker);
        let answer =
            tokio::time::timeout(ANSWER + Duration::from_millis(200), client.send_message(request)).await;
        let (ended, offset) = match answer {
            Err(_) => (late(), None),
            Ok(Err(status)) => (broken(&status), None),
            Ok(Ok(response)) => {
                let entry = response.into_inner().entries.into_iter().next().unwrap_or_default();
                (
                    answered(&entry.status.unwrap_or_default()),
                    self.shape.delay.is_none().then_some(entry.offset),
                )
            }
        };
        if early {
            return Ok(ended == Ended::Ok);
        }
        let receipt = match ended {
            Ended::Ok => json!({"message_id": id, "offset": offset, "tries": 1}),
            _ => json!({"tries": 1, "broker": broker % 3}),
        };
        self.history.complete("send", call, &ended, receipt)?;
        match &ended {
            Ended::Ok => self.progress.acknowledged(id, invoked),
            Ended::Failed(why) => self.progress.refused(why),
            Ended::Unknown(_) => self.progress.unknown(),
        }
        Ok(ended == Ended::Ok)
    }
}

/// The id, a line end, and filler that differs between messages.
fn body(id: &str, size: usize) -> Bytes {
    let mut body = format!("{id}\n").into_bytes();
    let seed = id.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    let filler = size.saturating_sub(body.len());
    body.extend((0..filler).map(|at| b' ' + (seed.wrapping_add(at as u8) % 95)));
    body.into()
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn message(topic: &str, id: &str, body: Bytes, deliver_at: Option<SystemTime>) -> Message {
    let kind = if deliver_at.is_some() { MessageType::Delay } else { MessageType::Normal };
    Message {
        topic: Some(resource(topic)),
        system_properties: Some(SystemProperties {
            message_id: id.to_owned(),
            body_encoding: Encoding::Identity.into(),
            message_type: kind.into(),
            delivery_timestamp: deliver_at.map(Into::into),
            born_timestamp: Some(SystemTime::now().into()),
            born_host: "faults".to_owned(),
            ..SystemProperties::default()
        }),
        body,
        ..Message::default()
    }
}

/// Describes a message that came, as the history wants it.
pub(super) fn described(message: &Message, invisible: Duration) -> (Option<String>, Value) {
    let system = message.system_properties.clone().unwrap_or_default();
    let id = super::history::id_in(&message.body).map(str::to_owned);
    let fields = json!({
        "id": id,
        "checksum": checksum(&message.body),
        "message_id": system.message_id,
        "queue": format!("group/{}", system.queue_id),
        "offset": system.queue_offset,
        "attempt": system.delivery_attempt.unwrap_or(0),
        "invisible_ms": invisible.as_millis() as u64,
    });
    (id, fields)
}
