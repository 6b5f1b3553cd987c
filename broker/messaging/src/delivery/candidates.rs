//! Which messages a receive would come to next, for whoever has to look into them beforehand.

use mainstay_record::{RecordId, Timestamp};

use crate::command::Receive;
use crate::delivery::subscription::{Precedence, Subscription};
use crate::metadata::{QueueId, QueueOffset, Revision};
use crate::state::State;

/// The next messages for a receive, in the order in which it would come to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Of the topic.
    pub topic: Revision,
    pub messages: Vec<Candidate>,
}

/// A message that a receive would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub queue: QueueId,
    pub offset: QueueOffset,
    /// Where its content is; `None` when it is not kept any more, and the receive only settles it.
    pub record: Option<RecordId>,
}

impl State {
    /// What `receive` would come to at `now`, whatever its filter: `max` messages at most. Where it is empty
    /// the receive needs no look, or there is no such topic or consumer group.
    pub fn candidates(&self, receive: &Receive, now: Timestamp, max: usize) -> Candidates {
        let none = Candidates { topic: Revision(0), messages: Vec::new() };
        let Some(group) = self.groups.get(&receive.group) else { return none };
        let Some(topic) = self.topics.get(&receive.topic) else { return none };
        let fresh;
        let subscription = match topic.subscriptions.get(&group.group.revision) {
            Some(subscription) => subscription,
            None => {
                fresh = Subscription::new(group.group.order, &topic.queues, |index| group.start(index));
                &fresh
            }
        };
        let precedence = Precedence::of(topic.topic.kind);
        let messages = subscription.candidates(&topic.queues, &receive.queues, precedence, now, max);
        Candidates { topic: topic.topic.revision, messages }
    }
}
