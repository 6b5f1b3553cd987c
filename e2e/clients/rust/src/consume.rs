//! Receives and acknowledges in several sessions, and writes down everything that came and how each call ended.
//!
//! The library cannot change how long a message is invisible. What is to be given back is not acknowledged: it comes again
//! when the time of its receive is over, whatever `--give-back` says.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rocketmq::SimpleConsumer;
use rocketmq::model::common::FilterExpression;
use rocketmq::model::message::{AckMessageEntry, MessageView};
use serde_json::json;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::history::{Fields, History, Outcome, checksum, fields};
use crate::kinds::{id_in, number_in};
use crate::library::close;
use crate::progress::Progress;
use crate::receipt;
use crate::stop::Stop;

const ACK_TRIES: u32 = 3;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// For acknowledgements under way at the end. A receive that waits for messages may take longer: nobody saw it end.
const LAST_CALLS: Duration = Duration::from_secs(1);

struct Receiving {
    arguments: Arc<Arguments>,
    expression: FilterExpression,
    history: History,
    progress: Arc<Progress>,
    consumer: SimpleConsumer,
    stop: Stop,
    began: Instant,
    seen: Mutex<Seen>,
}

/// What came so far.
struct Seen {
    ids: HashSet<String>,
    last_message: Instant,
}

/// A message that came, and what the history tells of it.
struct Came {
    message: MessageView,
    id: Option<String>,
    /// What names the delivery.
    which: Fields,
}

/// # Errors
/// When it cannot begin, when the library panicked, or when a receipt cannot be read.
pub(crate) async fn run(arguments: Arc<Arguments>, stop: Stop) -> Result<(), String> {
    let history = History::create(&arguments, "consumer").map_err(|error| error.to_string())?;
    history.start(told(&arguments)).map_err(|error| error.to_string())?;
    let progress = Progress::new(
        &history.client,
        &["received", "deliveries", "acknowledged", "receive_errors", "ack_errors"],
    );
    let printing = progress.print_every(arguments.progress);
    let began = Instant::now();
    let consumer = arguments
        .account()
        .consumer(&arguments.group, &arguments.topic, arguments.start_timeout)
        .await
        .map_err(|error| error.to_string())?;
    let expression = arguments.expression();
    let seen = Mutex::new(Seen { ids: HashSet::new(), last_message: Instant::now() });
    let receiving =
        Arc::new(Receiving { arguments, expression, history, progress, consumer, stop, began, seen });
    let reason = receiving.all().await?;
    receiving.history.end(reason, receiving.progress.all());
    receiving.progress.finish(printing);
    if let Some(receiving) = Arc::into_inner(receiving) {
        close(Box::pin(receiving.consumer.shutdown())).await;
    }
    Ok(())
}

fn told(arguments: &Arguments) -> Fields {
    let wants = if arguments.wants.is_empty() { &arguments.filter } else { &arguments.wants };
    fields(json!({
        "topic": arguments.topic,
        "group": arguments.group,
        "filter": wants,
        "sql": arguments.sql.then_some(&arguments.filter),
        "kind": "simple",
        "order": arguments.order,
        "max_attempts": (arguments.max_attempts > 0).then_some(arguments.max_attempts),
    }))
}

impl Receiving {
    /// Why enough was received, once it was.
    async fn all(self: &Arc<Self>) -> Result<&'static str, String> {
        let mut sessions = JoinSet::new();
        for number in 0..self.arguments.in_flight {
            let own = Arc::clone(self);
            sessions.spawn(async move { own.session(&format!("r{number}")).await });
        }
        let reason = loop {
            if let Some(reason) = self.reason() {
                break reason;
            }
            tokio::select! {
                Some(ended) = sessions.join_next() => ended.map_err(|panic| panic.to_string())??,
                () = self.stop.or_after(LOOK_AGAIN) => {}
            }
        };
        tokio::time::sleep(LAST_CALLS).await;
        Ok(reason)
    }

    async fn session(&self, session: &str) -> Result<(), String> {
        while self.reason().is_none() {
            let came = self.receive(session).await?;
            for one in &came {
                if !self.is_given_back(one) {
                    self.acknowledge(session, one).await;
                }
                self.postpone();
            }
            if !came.is_empty() {
                tokio::time::sleep(self.arguments.rest).await;
            }
        }
        Ok(())
    }

    async fn receive(&self, session: &str) -> Result<Vec<Came>, String> {
        let Some(call) = self.history.invoke("receive", fields(json!({ "session": session }))) else {
            return Ok(Vec::new());
        };
        let (topic, batch, invisible) =
            (&self.arguments.topic, self.arguments.batch, self.arguments.invisible);
        match self.consumer.receive_with(topic, &self.expression, batch, invisible).await {
            Ok(messages) => {
                let came = messages.into_iter().map(Came::new).collect::<Result<Vec<_>, _>>()?;
                let described = came.iter().map(|one| one.described(invisible)).collect();
                let count = fields(json!({ "count": came.len() }));
                self.history.complete_with("receive", call, Outcome::Ok, count, described);
                self.note(&came);
                Ok(came)
            }
            Err(error) => {
                let (outcome, told) = Outcome::of(&error);
                self.history.complete("receive", call, outcome, told);
                self.progress.add("receive_errors", 1);
                self.postpone();
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                Ok(Vec::new())
            }
        }
    }

    async fn acknowledge(&self, session: &str, came: &Came) {
        let mut which = came.which.clone();
        which.insert("session".to_owned(), json!(session));
        for _ in 0..ACK_TRIES {
            let Some(call) = self.history.invoke("ack", which.clone()) else { return };
            let acked = self.consumer.ack(&came.message).await;
            match self.history.ended("ack", call, &acked) {
                Outcome::Ok => {
                    self.progress.add("acknowledged", 1);
                    return;
                }
                Outcome::Fail => {
                    self.progress.add("ack_errors", 1);
                    return;
                }
                Outcome::Unknown => self.progress.add("ack_errors", 1),
            }
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }

    /// Some messages are to come again.
    fn is_given_back(&self, came: &Came) -> bool {
        let number = came.id.as_deref().and_then(number_in);
        let early = came.message.delivery_attempt() <= self.arguments.give_back_times;
        !self.arguments.give_back.is_zero() && early && number.is_some_and(|number| number % 5 == 0)
    }

    fn note(&self, came: &[Came]) {
        if came.is_empty() {
            return;
        }
        let mut seen = self.seen();
        seen.ids.extend(came.iter().filter_map(|one| one.id.clone()));
        seen.last_message = Instant::now();
        self.progress.raise("received", seen.ids.len() as u64);
        self.progress.add("deliveries", came.len() as u64);
    }

    /// A session that is busy, a broker that cannot be asked: no sign that there is no more.
    fn postpone(&self) {
        self.seen().last_message = Instant::now();
    }

    /// Why enough has been received.
    fn reason(&self) -> Option<&'static str> {
        let arguments = &self.arguments;
        let seen = self.seen();
        let patience = if seen.ids.is_empty() {
            arguments.until_idle.max(arguments.first_within)
        } else {
            arguments.until_idle
        };
        if self.stop.is_requested() {
            Some("signal")
        } else if arguments.count > 0 && seen.ids.len() as u64 >= arguments.count {
            Some("count")
        } else if !arguments.duration.is_zero() && self.began.elapsed() >= arguments.duration {
            Some("duration")
        } else if !arguments.until_idle.is_zero() && seen.last_message.elapsed() >= patience {
            Some("idle")
        } else {
            None
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Came {
    fn new(message: MessageView) -> Result<Self, String> {
        let id = id_in(message.body()).map(str::to_owned);
        let place = receipt::place(&message.receipt_handle())?;
        let which = fields(json!({
            "id": id,
            "message_id": message.message_id(),
            "queue": place.queue,
            "offset": place.offset,
            "attempt": message.delivery_attempt(),
        }));
        Ok(Self { message, id, which })
    }

    /// Whether the library found it corrupted it does not say: it does not look.
    fn described(&self, invisible: Duration) -> Fields {
        let mut described = self.which.clone();
        described.extend(fields(json!({
            "checksum": checksum(self.message.body()),
            "invisible_ms": invisible.as_millis() as u64,
            "tag": self.message.tag(),
            "message_group": self.message.message_group(),
            "deliver_at": self.message.delivery_timestamp().map(|seconds| seconds * 1000),
        })));
        described
    }
}
