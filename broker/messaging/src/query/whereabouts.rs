//! Where one message is, for people who ask what became of it.

use mainstay_record::{RecordId, Timestamp};

use crate::delivery::handle::ReceiptHandle;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{QueueId, QueueOffset, Revision};
use crate::state::{State, TopicState};

/// What waits for a message that is in no queue yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Its time.
    Delayed { deliver_at: Timestamp },
    /// Its producer's decision.
    Half { checks: u32, check_at: Timestamp },
}

/// What a consumer group has done with a message in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not delivered yet.
    Waiting,
    /// Delivered by the receive `record` and not acknowledged; given to another from `until` on.
    InFlight { record: RecordId, at: Timestamp, attempt: u32, until: Timestamp },
    /// Acknowledged, given up, or passed over by a filter.
    Settled,
}

/// A place of the message in a queue: its own, or one among the dead letters of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlace {
    pub topic: TopicName,
    revision: Revision,
    pub queue: QueueId,
    pub offset: QueueOffset,
    /// The record that put it there, and when.
    pub record: RecordId,
    pub since: Timestamp,
    /// Of each group that has received from the topic, sorted by name.
    pub groups: Vec<(GroupName, Progress)>,
}

impl QueuePlace {
    /// Whether the handle is of a delivery from there.
    pub fn gave(&self, handle: &ReceiptHandle) -> bool {
        (self.revision, self.queue, self.offset) == (handle.topic, handle.queue, handle.offset)
    }
}

/// Everything that the state knows of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    pub waiting: Option<Waiting>,
    /// In the order it came there.
    pub places: Vec<QueuePlace>,
}

impl State {
    /// Where the message is that was published in `record`. Looks at every queue, and at all messages whose body is
    /// not where they came into their queue.
    pub fn whereabouts(&self, record: RecordId) -> Whereabouts {
        let half = self.halves.get(record);
        let half = half.map(|half| Waiting::Half { checks: half.checks, check_at: half.check_at });
        let timer = || self.timers.iter().find(|timer| timer.record == record);
        let waiting = half.or_else(|| timer().map(|timer| Waiting::Delayed { deliver_at: timer.at }));
        let mut places: Vec<QueuePlace> =
            self.topics.values().flat_map(|topic| self.places_in(topic, record)).collect();
        places.sort_unstable_by(|a, b| (a.record, &a.topic).cmp(&(b.record, &b.topic)));
        Whereabouts { waiting, places }
    }

    fn places_in<'a>(
        &'a self,
        topic: &'a TopicState,
        record: RecordId,
    ) -> impl Iterator<Item = QueuePlace> + 'a {
        (0..).zip(&topic.queues).flat_map(move |(queue, index)| {
            index.places_of(record).into_iter().filter_map(move |offset| {
                let message = index.get(offset)?;
                Some(QueuePlace {
                    topic: topic.topic.name.clone(),
                    revision: topic.topic.revision,
                    queue: QueueId(queue),
                    offset: QueueOffset(offset),
                    record: message.record,
                    since: message.stored_at,
                    groups: self.groups_at(topic, queue, offset),
                })
            })
        })
    }

    fn groups_at(&self, topic: &TopicState, queue: u32, offset: u64) -> Vec<(GroupName, Progress)> {
        let mut groups: Vec<(GroupName, Progress)> = self
            .groups
            .iter()
            .filter_map(|(name, group)| {
                let subscription = topic.subscriptions.get(&group.group.revision)?;
                let (cursor, index) = (subscription.cursor(queue)?, topic.queues.get(queue as usize)?);
                let progress = match cursor.leases().get(&offset) {
                    Some(lease) => Progress::InFlight {
                        record: lease.token.record,
                        at: lease.token.made_at,
                        attempt: lease.attempt,
                        until: lease.expires_at,
                    },
                    None if cursor.is_unseen(index, offset) => Progress::Waiting,
                    None => Progress::Settled,
                };
                Some((name.clone(), progress))
            })
            .collect();
        groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        groups
    }
}
