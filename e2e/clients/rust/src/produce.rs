//! Sends numbered messages in several sessions, and writes down how each send ended.
//!
//! The library sends each message once: what failed is not repeated, the next message is another one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rocketmq::Producer;
use rocketmq::error::ClientError;
use rocketmq::model::message::MessageBuilder;
use serde_json::json;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::history::{Fields, History, Outcome, checksum, fields};
use crate::kinds::{Kind, checker, send_half};
use crate::library::close;
use crate::progress::Progress;
use crate::stop::Stop;

/// An unreachable broker must not use up all messages in a moment.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// For calls under way at the end; each has three seconds.
const LAST_CALLS: Duration = Duration::from_secs(10);

struct Sending {
    arguments: Arc<Arguments>,
    kind: Kind,
    history: Arc<History>,
    progress: Arc<Progress>,
    producer: Producer,
    stop: Stop,
    next: AtomicU64,
    began: Instant,
}

/// # Errors
/// When it cannot begin, or when the library panicked.
pub(crate) async fn run(arguments: Arc<Arguments>, stop: Stop) -> Result<(), String> {
    let kind = Kind::named(&arguments.kind)?;
    let history = Arc::new(History::create(&arguments, "producer").map_err(|error| error.to_string())?);
    let told = fields(json!({ "topic": arguments.topic }));
    history.start(told).map_err(|error| error.to_string())?;
    let progress = Progress::new(&history.client, &["sent", "acknowledged", "unknown", "failed", "asked"]);
    let printing = progress.print_every(arguments.progress);
    let producer =
        producer(&arguments, kind, &history, &progress).await.map_err(|error| error.to_string())?;
    let began = Instant::now();
    let sending = Arc::new(Sending {
        arguments,
        kind,
        history,
        progress,
        producer,
        stop,
        next: AtomicU64::new(0),
        began,
    });
    let ended = sending.all().await;
    let reason = if sending.stop.is_requested() { "signal" } else { "count" };
    sending.history.end(reason, sending.progress.all());
    sending.progress.finish(printing);
    if let Some(sending) = Arc::into_inner(sending) {
        close(Box::pin(sending.producer.shutdown())).await;
    }
    ended
}

async fn producer(
    arguments: &Arguments,
    kind: Kind,
    history: &Arc<History>,
    progress: &Arc<Progress>,
) -> Result<Producer, ClientError> {
    let (account, limit) = (arguments.account(), arguments.start_timeout);
    if kind == Kind::Transaction {
        account.transaction_producer(&arguments.topic, limit, || checker(history, progress)).await
    } else {
        account.producer(&arguments.topic, limit).await
    }
}

impl Sending {
    /// Returns when every session has ended, or long enough after it was told to stop.
    async fn all(self: &Arc<Self>) -> Result<(), String> {
        let mut sessions = JoinSet::new();
        for number in 0..self.arguments.in_flight {
            let own = Arc::clone(self);
            sessions.spawn(async move { own.session(&format!("s{number}")).await });
        }
        let late = async {
            self.stop.requested().await;
            tokio::time::sleep(LAST_CALLS).await;
        };
        tokio::pin!(late);
        loop {
            tokio::select! {
                ended = sessions.join_next() => match ended {
                    None => return Ok(()),
                    Some(ended) => ended.map_err(|panic| panic.to_string())?,
                },
                () = &mut late => return Ok(()),
            }
        }
    }

    async fn session(&self, session: &str) {
        while let Some(number) = self.take().await {
            if !self.send_one(session, number).await {
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// Hands out the numbers of messages at the wanted rate until there are enough.
    async fn take(&self) -> Option<u64> {
        if self.stop.is_requested() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.arguments.count > 0 && number >= self.arguments.count {
            return None;
        }
        if self.arguments.rate > 0.0 {
            let due = Duration::from_secs_f64(number as f64 / self.arguments.rate);
            self.stop.or_after(due.saturating_sub(self.began.elapsed())).await;
        }
        (!self.stop.is_requested()).then_some(number)
    }

    /// Whether it was acknowledged.
    async fn send_one(&self, session: &str, number: u64) -> bool {
        let id = format!("{}-{number}", self.history.client);
        let body = body(&id, self.arguments.size);
        let mut told = fields(json!({ "session": session, "id": id, "checksum": checksum(&body) }));
        let (builder, more) = self.kind.prepare(self.message(body, number), session, self.arguments.delay);
        told.extend(more);
        if number.is_multiple_of(2) {
            told.insert("tag".to_owned(), json!("even"));
        }
        let Some(call) = self.history.invoke("send", told) else { return false };
        self.progress.add("sent", 1);
        let sent = match builder.build() {
            Err(error) => Err(error),
            Ok(message) if self.kind == Kind::Transaction => match send_half(&self.producer, message).await {
                Err(error) => Err(error),
                Ok(half) => {
                    self.acknowledged(call, &half.message_id);
                    half.end(&self.history, &id).await;
                    return true;
                }
            },
            Ok(message) => self.producer.send(message).await,
        };
        match sent {
            Ok(receipt) => self.acknowledged(call, receipt.message_id()),
            Err(error) => {
                self.failed(call, &error);
                return false;
            }
        }
        true
    }

    /// The library does not tell where the message is.
    fn acknowledged(&self, call: u64, message_id: &str) {
        let told = fields(json!({ "message_id": message_id, "tries": 1 }));
        self.history.complete("send", call, Outcome::Ok, told);
        self.progress.add("acknowledged", 1);
    }

    fn failed(&self, call: u64, error: &ClientError) {
        let (outcome, mut told): (Outcome, Fields) = Outcome::of(error);
        told.insert("tries".to_owned(), json!(1));
        self.history.complete("send", call, outcome, told);
        self.progress.add(if outcome == Outcome::Fail { "failed" } else { "unknown" }, 1);
    }

    fn message(&self, body: Vec<u8>, number: u64) -> MessageBuilder {
        let mut message = MessageBuilder::builder().set_topic(&self.arguments.topic).set_body(body);
        if number.is_multiple_of(2) {
            message = message.set_tag("even");
        }
        if number.is_multiple_of(3) {
            message = message.set_keys(vec![format!("key-{number}")]);
        }
        let mut properties = HashMap::from([("quarter", (number % 4).to_string())]);
        if number.is_multiple_of(5) {
            properties.insert("number", number.to_string());
        }
        message.set_properties(properties)
    }
}

/// The id, a line end, and filler that differs between messages.
fn body(id: &str, size: usize) -> Vec<u8> {
    let mut body = format!("{id}\n").into_bytes();
    let missing = size.saturating_sub(body.len());
    body.extend(id.bytes().cycle().take(missing));
    body
}
