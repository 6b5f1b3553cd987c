//! Forgetting old messages, and what must not be forgotten yet.

use mainstay_planted::{Fault, planted};
use mainstay_record::LogIndex;

use crate::index::QueueIndex;
use crate::outcome::Outcome;
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

    /// The lowest batch of the log that holds a message still kept; `None` when none is kept. What lies below it is
    /// needed only until a snapshot covers it. Looks at one message of each queue.
    pub fn first_needed(&self) -> Option<LogIndex> {
        self.topics.values().filter_map(oldest).min()
    }

    /// The lowest batch of the log that holds a message which a group has not consumed: any of the groups that have
    /// received from its topic or were reset on it, whatever their filters. A topic that no group has read yet is
    /// unconsumed from its first message on. `None` when everything is consumed. Looks at one message for each
    /// queue and group.
    pub fn unconsumed_from(&self) -> Option<LogIndex> {
        self.topics.values().filter_map(unconsumed).min()
    }
}

fn oldest(topic: &TopicState) -> Option<LogIndex> {
    topic.queues.iter().filter_map(QueueIndex::oldest).map(|message| message.record.index).min()
}

fn unconsumed(topic: &TopicState) -> Option<LogIndex> {
    if topic.subscriptions.is_empty() {
        return oldest(topic);
    }
    let places = topic.subscriptions.values().flat_map(|subscription| {
        let cursors = subscription.cursors().iter().zip(&topic.queues);
        cursors.filter_map(|(cursor, index)| index.get(cursor.unconsumed()))
    });
    places.map(|message| message.record.index).min()
}
