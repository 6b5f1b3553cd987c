//! A message that is in no queue yet: its time, its producer's decision, its recall.
//!
//! Where the message came into its queue, the record that put it there decides what is a guess otherwise: a record that
//! releases or drops takes no more than so many messages.

use mainstay_record::{GroupId, RecordId, Timestamp};

use super::{Asked, LifeEvent, What, Why};
use crate::command::{Command, Decision, EndTransaction, MessageKind, NoteChecks, Publish, Recall};
use crate::metadata::names::TopicName;
use crate::metadata::{QueueId, Revision};
use crate::outcome::{RecallError, TransactionError};
use crate::pending::halves::Half;
use crate::query::whereabouts::Whereabouts;
use crate::queue::tags::TagId;

/// What it waits for.
#[derive(Debug)]
enum Stage {
    Time {
        deliver_at: Timestamp,
    },
    Decision(Half),
    Ended(Decision),
    Dropped,
    /// In its queue, or recalled.
    Over,
}

#[derive(Debug)]
pub(super) struct Pending {
    broker_group: GroupId,
    topic: TopicName,
    published: RecordId,
    stored_at: Timestamp,
    stage: Stage,
    /// The record that put it into its queue, where that is known.
    queued_by: Option<RecordId>,
    /// It waits to this day.
    waits: bool,
}

impl Pending {
    pub(super) fn new(
        broker_group: GroupId,
        published: RecordId,
        stored_at: Timestamp,
        publish: &Publish,
        whereabouts: &Whereabouts,
    ) -> Self {
        let stage = match publish.kind {
            MessageKind::Delay { deliver_at } if deliver_at > stored_at => Stage::Time { deliver_at },
            MessageKind::Transaction { check_after_ms } => {
                Stage::Decision(Half::new(Revision(0), QueueId(0), TagId::NONE, stored_at, check_after_ms))
            }
            _ => Stage::Over,
        };
        let queued = whereabouts.places.iter().find(|place| place.topic == publish.topic);
        Self {
            broker_group,
            topic: publish.topic.clone(),
            published,
            stored_at,
            stage,
            queued_by: queued.map(|place| place.record),
            waits: whereabouts.waiting.is_some(),
        }
    }

    pub(super) fn look(
        &mut self,
        record: RecordId,
        at: Timestamp,
        command: &Command,
    ) -> impl Iterator<Item = LifeEvent> + use<> {
        let (whats, by) = match command {
            Command::EndTransaction(end) if end.transaction.record() == self.published => {
                (vec![self.end(end)], end.by.clone())
            }
            Command::NoteChecks(note) => (self.note(at, note), String::new()),
            Command::Recall(recall) if recall.handle.record() == self.published => {
                (vec![self.recall(recall)], recall.by.clone())
            }
            Command::Elapse(_) => (self.elapse(record, at).into_iter().collect(), String::new()),
            _ => (Vec::new(), String::new()),
        };
        whats.into_iter().map(move |what| LifeEvent { record, at, what, group: None, by: by.clone() })
    }

    fn end(&mut self, end: &EndTransaction) -> What {
        let (asked, done) = match end.decision {
            Decision::Commit => (Asked::Commit, What::Committed),
            Decision::Rollback => (Asked::Rollback, What::RolledBack),
        };
        let refused = |why| What::Refused(asked, Why::Transaction(why));
        let ticket = end.transaction.0;
        if ticket.broker_group != self.broker_group || end.topic != self.topic {
            return refused(TransactionError::Foreign);
        }
        match (&self.stage, end.decision) {
            (_, _) if ticket.at != self.stored_at => refused(TransactionError::Unknown),
            (Stage::Decision(_), decision) => {
                self.stage = Stage::Ended(decision);
                done
            }
            (Stage::Ended(before), decision) if *before == decision => What::Repeated(asked),
            (Stage::Ended(before), _) => refused(TransactionError::Contrary { before: *before }),
            (Stage::Dropped, Decision::Rollback) => What::Repeated(asked),
            (Stage::Dropped, Decision::Commit) => refused(TransactionError::Dropped),
            (Stage::Time { .. } | Stage::Over, _) => refused(TransactionError::Unknown),
        }
    }

    fn note(&mut self, at: Timestamp, note: &NoteChecks) -> Vec<What> {
        let mut whats = Vec::new();
        for check in note.checks.iter().filter(|check| check.transaction.record() == self.published) {
            if let Stage::Decision(half) = &self.stage
                && check.transaction.stored_at() == self.stored_at
            {
                self.stage = Stage::Decision(half.noted(at, check.asked));
                whats.push(What::Checked { asked: check.asked });
            }
        }
        whats
    }

    fn recall(&mut self, recall: &Recall) -> What {
        let ticket = recall.handle.0;
        let refused = |why| What::Refused(Asked::Recall, Why::Recall(why));
        if ticket.broker_group != self.broker_group || recall.topic != self.topic {
            return refused(RecallError::Foreign);
        }
        match self.stage {
            Stage::Time { deliver_at } if deliver_at == ticket.at => {
                self.stage = Stage::Over;
                What::Recalled
            }
            _ => refused(RecallError::NotPending),
        }
    }

    fn elapse(&mut self, record: RecordId, at: Timestamp) -> Option<What> {
        if self.waits || self.queued_by.is_some_and(|queued| queued != record) {
            return None;
        }
        match &self.stage {
            Stage::Time { deliver_at } if *deliver_at <= at => {
                self.stage = Stage::Over;
                None
            }
            Stage::Decision(half) if half.drop_at() <= at => {
                self.stage = Stage::Dropped;
                Some(What::Dropped)
            }
            _ => None,
        }
    }
}
