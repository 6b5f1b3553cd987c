//! Long polls whose filter asks for the properties of messages, which the state does not keep.
//!
//! When the state says that there is something for such a poll, the next messages are looked into on a thread that may
//! block, and the poll's Receive goes into the log with the verdicts. So every replica takes and settles the same, and
//! none but the leader needs to read a message for it. A look of which nothing matches settles all it saw; then the
//! poll waits again, or looks further.
//!
//! What always holds: a poll being looked into counts as one whose Receive is on its way, so that nobody else takes
//! from its queues, and it is answered or proposed exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mainstay_messaging::sql::{Expression, Properties};
use mainstay_messaging::{Candidates, Command, Filter, Publish, Receive, Verdicts};
use mainstay_record::{Batch, RecordId, Timestamp};
use mainstay_storage::Log;
use tokio::sync::mpsc;

use super::driver::Driver;
use super::error::{ProposeError, ReceiveError};
use super::input::{Input, Poll};
use super::polls::Waiting;

/// Messages looked into at first, for each that is asked for.
const LOOK_AHEAD: usize = 2;
/// Messages looked into at once, at most.
const LONGEST_LOOK: usize = 1024;
/// Bytes of batches after which a look ends.
const LOOK_BYTES: usize = 16 << 20;

/// A filter on properties, and how far it looks the next time.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    expression: Arc<Expression>,
    look: usize,
}

impl Condition {
    /// For a poll of `max` messages.
    pub(crate) fn new(expression: Arc<Expression>, max: u32) -> Self {
        Self { expression, look: (LOOK_AHEAD * max as usize).clamp(1, LONGEST_LOOK) }
    }

    /// Nothing matched: the rest may be as rare.
    pub(crate) fn look_further(&mut self) {
        self.look = (2 * self.look).min(LONGEST_LOOK);
    }
}

/// Polls whose messages are being looked into.
#[derive(Default)]
pub(super) struct Judging {
    polls: BTreeMap<u64, Waiting>,
    begun: u64,
}

impl Judging {
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Poll> + use<> {
        std::mem::take(&mut self.polls).into_values().map(|waiting| waiting.poll)
    }
}

/// What a look found; `None` when it broke off.
#[derive(Debug)]
pub(crate) struct Judged {
    look: u64,
    verdicts: Option<Verdicts>,
}

/// Tells the driver when it is dropped, so that a look always has an end.
struct Report {
    inputs: mpsc::WeakUnboundedSender<Input>,
    look: u64,
    verdicts: Option<Verdicts>,
}

impl Report {
    fn tell(&self, input: Input) {
        // A driver that has ended waits for nothing.
        if let Some(inputs) = self.inputs.upgrade() {
            let _ = inputs.send(input);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let verdicts = self.verdicts.take();
        self.tell(Input::Judged(Judged { look: self.look, verdicts }));
    }
}

impl Driver {
    /// Begins to look into the next messages for a poll that was taken out to be answered.
    pub(super) fn look_into(&mut self, waiting: Waiting, condition: &Condition, stamp: Timestamp) {
        let candidates = self.state.candidates(&waiting.poll.receive, stamp, condition.look);
        self.judging.begun += 1;
        let look = self.judging.begun;
        self.judging.polls.insert(look, waiting);
        let mut report = Report { inputs: self.snapshots.inputs(), look, verdicts: None };
        let (log, expression) = (self.log.clone(), Arc::clone(&condition.expression));
        tokio::task::spawn_blocking(move || {
            let (verdicts, readable) = judge(&log, &candidates, &expression);
            if !readable {
                report.tell(Input::Unreadable);
            }
            report.verdicts.replace(verdicts);
        });
    }

    pub(super) fn take_judged(&mut self, judged: Judged, now: Instant) {
        // Those of an earlier reign have their answer.
        let Some(waiting) = self.judging.polls.remove(&judged.look) else { return };
        let refusal = match self.refusal() {
            Some(error) => Some(error),
            None if !self.vouched_for(&self.view) => Some(ProposeError::NotServing),
            None => None,
        };
        match (judged.verdicts, refusal) {
            (Some(verdicts), None) if !waiting.poll.reply.is_closed() => {
                let receive = waiting.poll.receive.clone();
                let receive = Receive { filter: Filter::Judged(verdicts), ..receive };
                self.proposals.add_poll(waiting, receive, now);
            }
            (_, refusal) => {
                self.polls.taken(&waiting.poll.receive);
                let error = refusal.map_or(ReceiveError::NotJudged, ReceiveError::Propose);
                let _ = waiting.poll.reply.send(Err(error));
            }
        }
    }
}

/// The verdicts on the candidates, or on the first of them, and whether all could be read. One that cannot be read is
/// taken, as by a poll without a filter: its consumer is told, and it comes to rest as a dead letter.
fn judge(log: &Log, candidates: &Candidates, expression: &Expression) -> (Verdicts, bool) {
    let (mut readable, mut bytes) = (true, 0);
    let mut last: Option<Batch> = None;
    let mut judged = Vec::with_capacity(candidates.messages.len());
    for candidate in &candidates.messages {
        let taken = candidate.record.is_some_and(|record| {
            if last.as_ref().is_none_or(|batch| batch.index() != record.index) {
                last = log.batch(record.index).ok();
                bytes += last.as_ref().map_or(0, |batch| batch.bytes().len());
                readable &= last.is_some();
            }
            let message = last.as_ref().and_then(|batch| message_of(batch, record));
            message.is_none_or(|message| meets(expression, &message))
        });
        judged.push((candidate.queue, candidate.offset, taken));
        if bytes >= LOOK_BYTES {
            break;
        }
    }
    (Verdicts::new(candidates.topic, judged), readable)
}

fn message_of(batch: &Batch, record: RecordId) -> Option<Publish> {
    match Command::decode(&batch.record(record.slot)?) {
        Ok(Command::Publish(publish)) => Some(publish),
        _ => None,
    }
}

/// Whether a message is what the expression asks for.
pub(crate) fn meets(expression: &Expression, message: &Publish) -> bool {
    expression.matches(&Content::new(message, expression.names(KEYS)))
}

const TAGS: &str = "TAGS";
const KEYS: &str = "KEYS";

/// What an expression sees of a message: its properties, its tag as `TAGS`, and its keys, joined by spaces, as `KEYS`.
struct Content<'a> {
    message: &'a Publish,
    keys: Option<String>,
}

impl<'a> Content<'a> {
    fn new(message: &'a Publish, needs_keys: bool) -> Self {
        let keys = (needs_keys && !message.keys.is_empty()).then(|| message.keys.join(" "));
        Self { message, keys }
    }
}

impl Properties for Content<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        match name {
            TAGS => self.message.tag.as_deref(),
            KEYS => self.keys.as_deref(),
            _ => {
                let mut properties = self.message.properties.iter();
                properties.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
            }
        }
    }
}
