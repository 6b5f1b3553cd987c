//! Kinds of messages that a producer sends: what goes into the message, what the history tells, what follows a send.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rocketmq::Producer;
use rocketmq::error::ClientError;
use rocketmq::model::message::{MessageBuilder, MessageView};
use rocketmq::model::transaction::{Transaction, TransactionChecker, TransactionResolution};
use serde_json::json;

use crate::history::{Fields, History, Outcome, fields};
use crate::library::{NO_PRIORITY, NO_RECALL};
use crate::progress::Progress;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    /// Each session is a message group, and sends one after the other.
    Fifo,
    /// For a whole second, which is as fine as the library knows it.
    Delay,
    /// Every fourth message is rolled back; of the others every third is left to the broker's question.
    Transaction,
}

/// What is to become of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Commit,
    Rollback,
}

impl Verdict {
    fn of(number: Option<u64>) -> Self {
        if number.is_some_and(|number| number % 4 == 0) { Self::Rollback } else { Self::Commit }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        }
    }
}

/// The id in a body that one of our producers wrote.
pub(crate) fn id_in(body: &[u8]) -> Option<&str> {
    let head = &body[..body.len().min(256)];
    let end = head.iter().position(|byte| *byte == b'\n')?;
    std::str::from_utf8(&head[..end]).ok()
}

/// The number in an id.
pub(crate) fn number_in(id: &str) -> Option<u64> {
    id.rsplit('-').next()?.parse().ok()
}

impl Kind {
    /// # Errors
    /// Of a kind that does not exist, or that the library cannot send, with the reason.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "normal" => Ok(Self::Normal),
            "fifo" => Ok(Self::Fifo),
            "delay" => Ok(Self::Delay),
            "transaction" => Ok(Self::Transaction),
            "recall" => Err(NO_RECALL.to_owned()),
            "priority" => Err(NO_PRIORITY.to_owned()),
            _ => Err(format!("there is no --type {name}")),
        }
    }

    /// Makes the message one of this kind; also what the history tells about it.
    pub(crate) fn prepare(
        self,
        message: MessageBuilder,
        session: &str,
        delay: i64,
    ) -> (MessageBuilder, Fields) {
        match self {
            Self::Normal => (message, Fields::new()),
            Self::Fifo => (message.set_message_group(session), fields(json!({ "message_group": session }))),
            Self::Delay => {
                let due = in_seconds(delay);
                (message.set_delivery_timestamp(due), fields(json!({ "deliver_at": due * 1000 })))
            }
            Self::Transaction => (message.enable_transaction(), fields(json!({ "transaction": true }))),
        }
    }
}

/// The next whole second that is at least so far ahead, in seconds since 1970.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX - seconds - 1) + 1 + seconds
}

/// Answers the broker's questions about transactions.
pub(crate) fn checker(history: &Arc<History>, progress: &Arc<Progress>) -> Box<TransactionChecker> {
    let (history, progress) = (Arc::clone(history), Arc::clone(progress));
    Box::new(move |_, message: MessageView| {
        let id = id_in(message.body());
        let verdict = Verdict::of(id.and_then(number_in));
        let told = fields(json!({ "id": id, "verdict": verdict.name() }));
        let Some(call) = history.invoke("decide", told) else { return TransactionResolution::UNKNOWN };
        let told = fields(json!({ "error": "the library answers the broker's question" }));
        history.complete("decide", call, Outcome::Unknown, told);
        progress.add("asked", 1);
        match verdict {
            Verdict::Commit => TransactionResolution::COMMIT,
            Verdict::Rollback => TransactionResolution::ROLLBACK,
        }
    })
}

/// A half message that was stored, and is still to be ended unless the broker is to ask.
pub(crate) struct Half<T> {
    transaction: T,
    pub(crate) message_id: String,
}

/// Sends a half message.
pub(crate) async fn send_half(
    producer: &Producer,
    message: impl rocketmq::model::message::Message,
) -> Result<Half<impl Transaction>, ClientError> {
    let transaction = producer.send_transaction_message(message).await?;
    let message_id = transaction.message_id().to_owned();
    Ok(Half { transaction, message_id })
}

impl<T: Transaction> Half<T> {
    pub(crate) async fn commit(self) -> Result<(), ClientError> {
        self.transaction.commit().await
    }

    pub(crate) async fn rollback(self) -> Result<(), ClientError> {
        self.transaction.rollback().await
    }

    /// Ends it as its number says, or leaves it to the broker's question.
    pub(crate) async fn end(self, history: &History, id: &str) {
        let number = number_in(id);
        let verdict = Verdict::of(number);
        if verdict == Verdict::Commit && number.is_some_and(|number| number % 3 == 0) {
            return;
        }
        let told = fields(json!({ "id": id, "verdict": verdict.name() }));
        let Some(call) = history.invoke("decide", told) else { return };
        let ended = match verdict {
            Verdict::Commit => self.commit().await,
            Verdict::Rollback => self.rollback().await,
        };
        history.ended("decide", call, &ended);
    }
}
