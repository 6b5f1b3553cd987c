//! How half messages end: by their producer's decision, which holds once for all, or by being dropped.

use mainstay_planted::{Fault, planted};
use mainstay_record::{RecordId, Timestamp};

use crate::command::{Decision, EndTransaction, NoteChecks};
use crate::metadata::names::TopicName;
use crate::metadata::{QueueId, QueueOffset};
use crate::outcome::{Ended, Outcome, Refusal, TransactionError};
use crate::pending::ticket::{Ticket, TransactionId};
use crate::queue::index::Indexed;
use crate::state::{State, TopicState, find_topic_mut};
use crate::window::Span;

/// How long the end of a transaction is remembered, for those who end it again.
pub(crate) const ENDED: Span = Span { millis: 3_600_000, entries: 1 << 18 };

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Committed(QueueId, QueueOffset),
    RolledBack,
    Dropped,
}

/// A half message, for people and for those who ask its producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfMessage {
    pub topic: TopicName,
    pub transaction: TransactionId,
    pub stored_at: Timestamp,
    /// When a producer is asked next, or, after the last check, when it is dropped.
    pub check_at: Timestamp,
    /// How often a producer was asked.
    pub checks: u32,
}

impl End {
    fn answer(self, decision: Decision) -> Result<Ended, TransactionError> {
        match (self, decision) {
            (Self::Committed(queue, offset), Decision::Commit) => Ok(Ended::Committed { queue, offset }),
            (Self::RolledBack, Decision::Rollback) => Ok(Ended::RolledBack),
            (Self::Committed(..), Decision::Rollback) => {
                Err(TransactionError::Contrary { before: Decision::Commit })
            }
            (Self::RolledBack, Decision::Commit) => {
                Err(TransactionError::Contrary { before: Decision::Rollback })
            }
            (Self::Dropped, Decision::Rollback) => Ok(Ended::RolledBack),
            (Self::Dropped, Decision::Commit) => Err(TransactionError::Dropped),
        }
    }
}

impl State {
    pub(crate) fn end_transaction(
        &mut self,
        record: RecordId,
        now: Timestamp,
        end: &EndTransaction,
    ) -> Result<Outcome, Refusal> {
        let TopicState { topic, queues, tags, .. } = find_topic_mut(&mut self.topics, end.topic.as_str())?;
        let ticket = end.transaction.0;
        if (ticket.broker_group, ticket.topic) != (self.broker_group, topic.revision) {
            return Ok(Outcome::TransactionEnded(Err(TransactionError::Foreign)));
        }
        if let Some(before) = self.ended.get(&ticket) {
            return Ok(Outcome::TransactionEnded(before.answer(end.decision)));
        }
        let half = self.halves.get(ticket.record).filter(|half| half.stored_at == ticket.at);
        let Some(half) = half else {
            return Ok(Outcome::TransactionEnded(Err(TransactionError::Unknown)));
        };
        self.halves.remove(ticket.record);
        let commit = match end.decision {
            Decision::Commit => true,
            Decision::Rollback => planted(Fault::CommitRolledBack),
        };
        let ended = match queues.get_mut(half.queue.0 as usize).filter(|_| commit) {
            Some(index) => {
                let body = ticket.record;
                let message = Indexed { record, stored_at: now, tag: half.tag, lane: None, body };
                End::Committed(half.queue, index.push(message, tags))
            }
            None => End::RolledBack,
        };
        tags.release(half.tag);
        self.ended.insert(now, ticket, ended);
        Ok(Outcome::TransactionEnded(ended.answer(end.decision)))
    }

    pub(crate) fn note_checks(&mut self, now: Timestamp, note: &NoteChecks) -> Result<Outcome, Refusal> {
        let topic = find_topic_mut(&mut self.topics, note.topic.as_str())?.topic.revision;
        for check in &note.checks {
            let ticket = check.transaction.0;
            let half = self.halves.get(ticket.record);
            let is_it = half.is_some_and(|half| half.topic == topic && half.stored_at == ticket.at);
            if ticket.broker_group == self.broker_group && is_it {
                self.halves.note(ticket.record, now, check.asked);
            }
        }
        Ok(Outcome::ChecksNoted)
    }

    /// Drops half messages that are given up, at most `max`, and tells how many they were.
    pub(crate) fn drop_halves(&mut self, now: Timestamp, max: usize) -> u32 {
        let dropped = self.halves.take_dropped(now, max);
        let count = dropped.len() as u32;
        for (record, half) in dropped {
            if let Some(topic) = self.names.get(&half.topic).and_then(|name| self.topics.get_mut(name)) {
                topic.tags.release(half.tag);
            }
            let ticket =
                Ticket { broker_group: self.broker_group, topic: half.topic, record, at: half.stored_at };
            if self.ended.get(&ticket).is_none() {
                self.ended.insert(now, ticket, End::Dropped);
            }
        }
        count
    }

    /// When [`Self::due_checks`] has something.
    pub fn next_check(&self) -> Option<Timestamp> {
        self.halves.next_check()
    }

    /// Half messages whose producers are to be asked now, longest overdue first, at most `max`. They stay due until
    /// that is noted in the log.
    pub fn due_checks(&self, now: Timestamp, max: usize) -> Vec<HalfMessage> {
        self.halves.due(now).filter_map(|record| self.half(record)).take(max).collect()
    }

    /// The half messages of a topic, oldest first.
    pub fn half_messages(&self, topic: &str) -> Vec<HalfMessage> {
        let all = self.halves.by_record().keys().filter_map(|record| self.half(*record));
        all.filter(|half| half.topic.as_str() == topic).collect()
    }

    /// Half messages of a topic that were given up lately, and when; oldest first. Their bodies may be gone.
    pub fn dropped_transactions(&self, topic: &str) -> Vec<(TransactionId, Timestamp)> {
        let Some(revision) = self.topic(topic).map(|topic| topic.revision) else { return Vec::new() };
        let of_topic = |ticket: &Ticket, end: &End| *end == End::Dropped && ticket.topic == revision;
        let dropped = self.ended.entries().filter(|(_, ticket, end)| of_topic(ticket, end));
        dropped.map(|(at, ticket, _)| (TransactionId(*ticket), *at)).collect()
    }

    /// Half messages of all topics.
    pub fn half_count(&self) -> usize {
        self.halves.by_record().len()
    }

    fn half(&self, record: RecordId) -> Option<HalfMessage> {
        let half = self.halves.get(record)?;
        let ticket =
            Ticket { broker_group: self.broker_group, topic: half.topic, record, at: half.stored_at };
        Some(HalfMessage {
            topic: self.names.get(&half.topic)?.clone(),
            transaction: TransactionId(ticket),
            stored_at: half.stored_at,
            check_at: half.check_at,
            checks: half.checks,
        })
    }
}
