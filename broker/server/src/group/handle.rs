//! The way to the group's driver: cheap to clone, usable from any task.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use mainstay_messaging::sql::Expression;
use mainstay_messaging::{
    Command, Delivery, GroupName, Metadata, Outcome, Publish, ReceiptHandle, Receive, State, TopicName,
};
use mainstay_record::{Batch, LogIndex, RecordId, Timestamp};
use mainstay_storage::Log;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

use super::batches::Batches;
use super::clock::Clock;
use super::error::{LoadError, ProposeError, ReceiveError};
use super::input::{InFlight, Input, Poll, Proposal, Undelivered};
use super::judging::Condition;
use super::receiving::Receiving;
use super::view::GroupView;
use crate::spans;

/// What a record costs in a batch besides its bytes.
const RECORD_OVERHEAD: usize = 16;

#[derive(Clone)]
pub struct GroupHandle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    pub(super) in_flight: InFlight,
    pub(super) view: watch::Receiver<GroupView>,
    pub(super) applied: watch::Receiver<LogIndex>,
    pub(super) metadata: Arc<ArcSwap<Metadata>>,
    pub(super) log: Log,
    pub(super) clock: Clock,
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").field("view", &*self.shared.view.borrow()).finish_non_exhaustive()
    }
}

impl GroupHandle {
    /// Puts one command through the log: the outcome is that of the committed and applied record.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Outcome, ProposeError> {
        let mut outcomes = self.propose_many(vec![command], deadline).await?;
        outcomes.pop().ok_or(ProposeError::ShuttingDown)
    }

    /// Puts commands through the log in one batch, so that all are stored or none; one outcome each, in order.
    pub async fn propose_many(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, ProposeError> {
        let bytes = commands.iter().map(|command| command.encoded_len_hint() + RECORD_OVERHEAD).sum();
        if bytes > super::MAX_BATCH_RECORD_BYTES {
            return Err(ProposeError::TooLarge);
        }
        let room = self.shared.in_flight.reserve(bytes).ok_or(ProposeError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let span = spans::of_proposal(commands.len());
        self.send(Input::Propose(Proposal { commands, since, deadline, reply, room }))?;
        // A driver that ended without an answer may have stored it.
        let outcomes = answer.instrument(span).await;
        outcomes.unwrap_or(Err(ProposeError::LeadershipLost))
    }

    /// Long poll: waits until there is something to deliver, or gives an empty answer at the deadline. Dropping the
    /// future gives up the wait; what was delivered meanwhile is delivered again soon.
    pub async fn receive(&self, receive: Receive, deadline: Instant) -> Result<Vec<Delivery>, ReceiveError> {
        self.poll(receive, None, deadline).await
    }

    /// As [`Self::receive`], of messages whose properties meet a condition. The receive's own filter has to take all.
    pub async fn receive_where(
        &self,
        receive: Receive,
        condition: Arc<Expression>,
        deadline: Instant,
    ) -> Result<Vec<Delivery>, ReceiveError> {
        let condition = Condition::new(condition, receive.max);
        self.poll(receive, Some(condition), deadline).await
    }

    async fn poll(
        &self,
        receive: Receive,
        condition: Option<Condition>,
        deadline: Instant,
    ) -> Result<Vec<Delivery>, ReceiveError> {
        if receive.encoded_len_hint() + RECORD_OVERHEAD > super::MAX_BATCH_RECORD_BYTES {
            return Err(ProposeError::TooLarge.into());
        }
        let (reply, answer) = oneshot::channel();
        let receiving = Receiving::new(self, &receive, answer);
        self.send(Input::Receive(Poll { receive, condition, deadline, reply }))?;
        receiving.answer().await
    }

    /// Has deliveries that could not be handed over made again soon.
    pub fn give_back(&self, group: GroupName, topic: TopicName, handles: Vec<ReceiptHandle>) {
        // A driver that has ended delivers nothing any more.
        let _ = self.send(Input::GiveBack(Undelivered { group, topic, handles }));
    }

    /// The message of a delivery: from memory, or from the disk on a thread that may block.
    pub async fn load(&self, record: RecordId) -> Result<Publish, LoadError> {
        self.load_many(&[record]).await.pop().unwrap_or(Err(LoadError::Missing(record)))
    }

    /// The messages of these records, in order. A batch that several are in is read once.
    pub async fn load_many(&self, records: &[RecordId]) -> Vec<Result<Publish, LoadError>> {
        let stored = self.load_stored(records).await;
        stored.into_iter().map(|stored| stored.map(|stored| stored.publish)).collect()
    }

    /// As [`Self::load_many`], with when each was stored.
    pub async fn load_stored(&self, records: &[RecordId]) -> Vec<Result<Stored, LoadError>> {
        let batches = Batches::read(&self.shared.log, records).await;
        if batches.any_unreadable() {
            // Whoever comes next may ask somebody who can read it.
            let _ = self.send(Input::Unreadable);
        }
        records.iter().map(|record| stored_in(batches.of(*record)?, *record)).collect()
    }

    /// Topics and consumer groups as last applied on this broker.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.shared.metadata.load_full()
    }

    pub fn view(&self) -> GroupView {
        self.shared.view.borrow().clone()
    }

    /// Changes with elections, leases and connections, never with messages.
    pub fn watch(&self) -> watch::Receiver<GroupView> {
        self.shared.view.clone()
    }

    /// The last batch applied on this broker; changes with every few batches of whatever kind.
    pub(crate) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied.clone()
    }

    /// Runs `ask` on the state as last applied on this broker; it must be short, since everything else waits for it.
    pub async fn query<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&State) -> R + Send + 'static,
    ) -> Result<R, ProposeError> {
        self.query_at(|state, _| ask(state)).await
    }

    /// As [`Self::query`], with the stamp that a batch made now would have.
    pub async fn query_at<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&State, Timestamp) -> R + Send + 'static,
    ) -> Result<R, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Query(Box::new(move |state, now| {
            let _ = reply.send(ask(state, now));
        })))?;
        answer.await.map_err(|_| ProposeError::ShuttingDown)
    }

    fn send(&self, input: Input) -> Result<(), ProposeError> {
        self.shared.inputs.send(input).map_err(|_| ProposeError::ShuttingDown)
    }
}

/// A message in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub publish: Publish,
    /// The stamp of its batch.
    pub stored_at: Timestamp,
}

fn stored_in(batch: &Batch, record: RecordId) -> Result<Stored, LoadError> {
    let bytes = batch.record(record.slot).ok_or(LoadError::Missing(record))?;
    match Command::decode(&bytes) {
        Ok(Command::Publish(publish)) => Ok(Stored { publish, stored_at: batch.header().timestamp }),
        Ok(_) => Err(LoadError::NotAMessage { record }),
        Err(error) => Err(LoadError::Unreadable { record, error: error.to_string().into() }),
    }
}
