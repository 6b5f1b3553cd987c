//! Forgetting old messages, and what must not be forgotten yet.
//!
//! A message goes with the batch that put it into its queue. The log is needed from its body on, which may have come long
//! before, and from what waits for its time or for its producer's decision.

use mainstay_planted::{Fault, planted};
use mainstay_record::LogIndex;

use crate::outcome::Outcome;
use crate::queue::index::QueueIndex;
use crate::state::{State, TopicState};

impl State {
    pub(crate) fn trim(&mut self, through: LogIndex) -> Outcome {
        let mut messages = 0;
        let through = if planted(Fault::TrimOneTooMany) { through.next() } else { through };
        for TopicState { queues, tags, subscriptions, .. } in self.topics.values_mut() {
            let trimmed: u64 = queues.iter_mut().map(|index| index.trim(through, tags)).sum();
            if trimmed > 0 {
                subscriptions.values_mut().for_each(|subscription| subscription.trim(queues));
            }
            messages += trimmed;
        }
        Outcome::Trimmed { messages }
    }

    /// Whether a trim through there would forget anything. Looks at one message of each queue.
    pub fn trims(&self, through: LogIndex) -> bool {
        let queues = self.topics.values().flat_map(|topic| &topic.queues);
        queues
            .into_iter()
            .any(|index| index.get(index.start()).is_some_and(|oldest| oldest.record.index <= through))
    }

    /// The lowest batch of the log that holds a message still kept; `None` when none is kept. What lies below it is
    /// needed only until a snapshot covers it. Looks at one message of each queue, at each chunk of 1024 messages, and at
    /// what is pending in runs of 512.
    pub fn first_needed(&self) -> Option<LogIndex> {
        let kept = self.topics.values().filter_map(oldest).min();
        [kept, self.timers.lowest(), self.halves.lowest()].into_iter().flatten().min()
    }

    /// The lowest batch of the log that holds a message which a group has not consumed: any of the groups that have
    /// received from its topic or were reset on it, whatever their filters. A topic that no group has read yet is
    /// unconsumed from its first message on, and so is what is pending. `None` when everything is consumed.
    pub fn unconsumed_from(&self) -> Option<LogIndex> {
        let queued = self.topics.values().filter_map(unconsumed).min();
        [queued, self.timers.lowest(), self.halves.lowest()].into_iter().flatten().min()
    }
}

fn oldest(topic: &TopicState) -> Option<LogIndex> {
    topic.queues.iter().filter_map(|index| from(index, index.start())).min()
}

fn unconsumed(topic: &TopicState) -> Option<LogIndex> {
    if topic.subscriptions.is_empty() {
        return oldest(topic);
    }
    let places = topic.subscriptions.values().flat_map(|subscription| {
        let cursors = subscription.cursors().iter().zip(&topic.queues);
        cursors.filter_map(|(cursor, index)| from(index, cursor.unconsumed(index)))
    });
    places.min()
}

/// The lowest batch with what is in the queue from `offset` on.
fn from(index: &QueueIndex, offset: u64) -> Option<LogIndex> {
    let first = index.get(offset)?.record.index;
    Some(index.lowest_moved(offset).map_or(first, |moved| moved.min(first)))
}
