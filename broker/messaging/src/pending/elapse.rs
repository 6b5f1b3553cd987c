//! What time does: delayed messages come into their queues, half messages are given up. Only a record says how late it
//! is, so nothing happens between two of them.

use mainstay_planted::{Fault, planted};
use mainstay_record::{RecordId, Timestamp};

use crate::command::{Elapse, Recall};
use crate::outcome::{Outcome, RecallError, Refusal};
use crate::queue::index::Indexed;
use crate::state::{State, find_topic_mut};

impl State {
    pub(crate) fn elapse(&mut self, record: RecordId, now: Timestamp, elapse: &Elapse) -> Outcome {
        let max = elapse.max as usize;
        let until = if planted(Fault::DeliverEarly) { now.plus_millis(1000) } else { now };
        let due = self.timers.take_due(until, max);
        let mut topics = Vec::new();
        let mut released = 0;
        for timer in due {
            let Some(topic) = self.names.get(&timer.topic).and_then(|name| self.topics.get_mut(name)) else {
                continue;
            };
            let Some(index) = topic.queues.get_mut(timer.queue.0 as usize) else { continue };
            let message = Indexed { record, stored_at: now, tag: timer.tag, lane: None, body: timer.record };
            index.push(message, &mut topic.tags);
            topic.tags.release(timer.tag);
            topics.push(topic.topic.name.clone());
            released += 1;
        }
        topics.sort_unstable();
        topics.dedup();
        let dropped = self.drop_halves(now, max);
        Outcome::Elapsed { released, dropped, topics }
    }

    pub(crate) fn recall(&mut self, recall: &Recall) -> Result<Outcome, Refusal> {
        let topic = find_topic_mut(&mut self.topics, recall.topic.as_str())?;
        let ticket = recall.handle.0;
        if (ticket.broker_group, ticket.topic) != (self.broker_group, topic.topic.revision) {
            return Ok(Outcome::Recalled(Err(RecallError::Foreign)));
        }
        if planted(Fault::IgnoreRecall) {
            return Ok(Outcome::Recalled(Ok(ticket.record)));
        }
        let taken = self.timers.take(ticket.at, ticket.record, ticket.topic);
        if let Some(timer) = taken {
            topic.tags.release(timer.tag);
        }
        Ok(Outcome::Recalled(taken.map(|timer| timer.record).ok_or(RecallError::NotPending)))
    }

    /// When an [`Elapse`] would do something.
    pub fn next_elapse(&self) -> Option<Timestamp> {
        [self.timers.next(), self.halves.next_drop()].into_iter().flatten().min()
    }

    /// Delayed messages that are not due yet.
    pub const fn pending_timers(&self) -> usize {
        self.timers.len()
    }
}
