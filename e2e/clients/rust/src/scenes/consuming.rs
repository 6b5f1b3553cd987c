//! Ways to consume, and what becomes of messages that nobody can consume.
//!
//! The library has simple consumers only: who cannot consume a message does not acknowledge it, and it comes again when its
//! invisible time is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rocketmq::model::message::MessageView;
use serde_json::json;
use tokio::task::JoinSet;

use crate::history::{Fields, fields};
use crate::stage::{Consumer, Ending, INVISIBLE, Played, Stage, expect, refused, text};

const WHOLE: [u32; 6] = [0, 1, 2, 3, 4, 5];
/// Clocks of two processes, and the way between them.
const ALMOST: Duration = Duration::from_millis(100);
/// How long a message of a message group is worked at, so that another could overlap.
const WORK: Duration = Duration::from_millis(50);
const WORKERS: usize = 4;

/// The consumer chooses, when it receives a message, when it comes again; the receipt of the earlier delivery is void
/// then.
pub(super) async fn simple(stage: &Stage) -> Played {
    let consumer = stage.consumer().await?;
    let producer = stage.producer().await?;
    stage.send(&producer, stage.message("once more")).await?;
    let one = stage.next(&consumer, "the message").await?;
    let received = Instant::now();
    expect("attempt", one.delivery_attempt(), 1)?;
    let two = stage.next(&consumer, "the message again").await?;
    let away = received.elapsed();
    if away < INVISIBLE - ALMOST {
        return Err(Ending::Failed(format!(
            "the message came again after {away:?} instead of {INVISIBLE:?}"
        )));
    }
    expect("attempt", two.delivery_attempt(), 2)?;
    let stale = consumer.library.ack(&one).await;
    refused("an acknowledgement of the first delivery", "INVALID_RECEIPT_HANDLE", stale)?;
    consumer.library.ack(&two).await?;
    Ok(fields(json!({ "away_ms": away.as_millis() as u64 })))
}

/// What several consumers of ordered messages were given, by message group.
#[derive(Default)]
struct Seen {
    came: BTreeMap<String, Vec<u32>>,
    busy: BTreeSet<String>,
    overlap: Option<String>,
}

/// Plays three message groups.
struct Ordered {
    stage: Arc<Stage>,
    consumer: Consumer,
    /// Whether the message with this body cannot be consumed, when it comes for the so-manieth time.
    fails: fn(&str, usize) -> bool,
    seen: Mutex<Seen>,
}

impl Ordered {
    async fn play(stage: &Arc<Stage>, fails: fn(&str, usize) -> bool, of_a: &[u32]) -> Played<()> {
        let wanted = BTreeMap::from([
            ("a".to_owned(), of_a.to_vec()),
            ("b".to_owned(), WHOLE.to_vec()),
            ("c".to_owned(), WHOLE.to_vec()),
        ]);
        let producer = stage.producer().await?;
        for number in WHOLE {
            for group in wanted.keys() {
                let message = stage.message(&format!("{group}-{number}")).set_message_group(group);
                stage.send(&producer, message).await?;
            }
        }
        let consumer = stage.consumer().await?;
        let seen = Mutex::default();
        let ordered = Arc::new(Self { stage: Arc::clone(stage), consumer, fails, seen });
        let count = wanted.values().map(Vec::len).sum();
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let own = Arc::clone(&ordered);
            workers.spawn(async move { own.work(count).await });
        }
        // The first that sees that all came ends; the others only wait for more.
        if let Some(ended) = workers.join_next().await {
            ended.map_err(|panic| panic.to_string())??;
        }
        let seen = ordered.seen();
        expect("what came", &seen.came, &wanted)?;
        expect("overlap", &seen.overlap, &None)
    }

    /// One message after the other, until so many came.
    async fn work(&self, count: usize) -> Played<()> {
        loop {
            if self.seen().came.values().map(Vec::len).sum::<usize>() >= count {
                return Ok(());
            }
            self.stage.still(format!("{count} messages, came {:?}", self.seen().came))?;
            for message in self.consumer.receive(1).await? {
                self.consume(&message).await?;
            }
        }
    }

    async fn consume(&self, message: &MessageView) -> Played<()> {
        let body = text(message);
        let (group, number) = body.split_once('-').unwrap_or((&body, ""));
        let number = number.parse().map_err(|_| format!("what is {body}?"))?;
        let times = {
            let mut seen = self.seen();
            if !seen.busy.insert(group.to_owned()) {
                let what = "came while another message of its group was being consumed";
                seen.overlap = Some(format!("{body} {what}"));
            }
            let came = seen.came.entry(group.to_owned()).or_default();
            came.push(number);
            came.iter().filter(|other| **other == number).count()
        };
        tokio::time::sleep(WORK).await;
        self.seen().busy.remove(group);
        if !(self.fails)(&body, times) {
            self.consumer.library.ack(message).await?;
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each message group in its order, one at a time, whatever fails in between; others go on meanwhile.
pub(super) async fn fifo(stage: &Arc<Stage>) -> Played {
    let fails = |body: &str, times| body == "a-2" && times == 1;
    Ordered::play(stage, fails, &[0, 1, 2, 2, 3, 4, 5]).await?;
    Ok(Fields::new())
}

/// A message that always fails goes to the dead letters after its last attempt, and the next of its group come.
pub(super) async fn fifo_dead_letter(stage: &Arc<Stage>) -> Played {
    let dead = stage.dead_letters().await?;
    Ordered::play(stage, |body, _| body == "a-2", &[0, 1, 2, 2, 2, 3, 4, 5]).await?;
    stage.collect(&dead, &["a-2"]).await?;
    Ok(Fields::new())
}

/// Receives until something comes that should not.
async fn nothing_more(consumer: &Consumer) -> Ending {
    loop {
        match consumer.receive(1).await.map(|mut messages| messages.pop()) {
            Ok(None) => {}
            Ok(Some(message)) => return Ending::Failed(format!("{} came once more", text(&message))),
            Err(error) => return error.into(),
        }
    }
}

/// A message that always fails comes as often as its group allows, then it is a dead letter, as it was sent. It becomes one
/// when its group asks for messages after its last attempt.
pub(super) async fn dead_letter(stage: &Stage) -> Played {
    let dead = stage.dead_letters().await?;
    let consumer = stage.consumer().await?;
    let producer = stage.producer().await?;
    let properties = HashMap::from([("number", "1")]);
    let message = stage.message("hopeless").set_tag("blue").set_properties(properties);
    let receipt = stage.send(&producer, message).await?;
    for attempt in 1..=3 {
        let came = stage.next(&consumer, &format!("attempt {attempt}")).await?;
        expect("attempt", came.delivery_attempt(), attempt)?;
    }
    let letters = tokio::select! {
        letters = stage.collect(&dead, &["hopeless"]) => letters?,
        ending = nothing_more(&consumer) => return Err(ending),
    };
    let letter = &letters["hopeless"];
    expect("message id", letter.message_id(), receipt.message_id())?;
    expect("tag", letter.tag(), Some("blue"))?;
    expect("property", letter.properties().get("number").map(String::as_str), Some("1"))?;
    Ok(Fields::new())
}
