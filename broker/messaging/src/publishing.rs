//! Publishing: into a queue, or first among what waits for its time or for its producer's decision. Once for each
//! message id, as far back as is remembered.

use std::hash::Hasher;

use mainstay_planted::{Fault, planted};
use mainstay_record::{GroupId, RecordId, Timestamp};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::codec::{PublishRoute, RoutedKind};
use crate::metadata::{QueueId, QueueOffset, Revision};
use crate::outcome::{Outcome, Place, Refusal};
use crate::pending::halves::Half;
use crate::pending::ticket::{RecallHandle, Ticket, TransactionId};
use crate::pending::timers::Timer;
use crate::queue::index::Indexed;
use crate::queue::lane::Lane;
use crate::queue::tags::TagId;
use crate::state::{State, TopicState, find_topic_mut, unknown_queue};
use crate::window::Span;

/// How long a message id is remembered, in milliseconds: one that is published again within this time is stored once.
pub const REMEMBERED_MS: u64 = 60_000;

/// How far back message ids are remembered: by time, and by number. One costs about 85 bytes. The table of their numbers
/// doubles at seven eighths of a power of two, so the number stays below that.
pub(crate) const SEEN: Span = Span { millis: REMEMBERED_MS, entries: 900_000 };

/// A topic's revision and a message id, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MessageKey(pub(crate) u64, pub(crate) u64);

/// Where a message went when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    Queue(QueueId, QueueOffset),
    Timer { deliver_at: Timestamp, record: RecordId },
    Half { stored_at: Timestamp, record: RecordId },
}

impl MessageKey {
    fn of(topic: Revision, message_id: &str) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(topic.0.to_le());
        hasher.write(message_id.as_bytes());
        let hash = hasher.finish128();
        Self(hash.h1, hash.h2)
    }
}

impl Went {
    fn place(self, broker_group: GroupId, topic: Revision) -> Place {
        let ticket = |record, at| Ticket { broker_group, topic, record, at };
        match self {
            Self::Queue(queue, offset) => Place::Queue { queue, offset },
            Self::Timer { deliver_at, record } => Place::Timer(RecallHandle(ticket(record, deliver_at))),
            Self::Half { stored_at, record } => Place::Half(TransactionId(ticket(record, stored_at))),
        }
    }
}

impl State {
    pub(crate) fn publish(
        &mut self,
        record: RecordId,
        now: Timestamp,
        route: &PublishRoute<'_>,
    ) -> Result<Outcome, Refusal> {
        let TopicState { topic, queues, tags, .. } = find_topic_mut(&mut self.topics, route.topic)?;
        if topic.name.is_derived() {
            return Err(Refusal::DerivedTopic(topic.name.clone()));
        }
        if let Some(refusal) = Refusal::of_kind(&topic.name, topic.kind, route.kind.topic_kind()) {
            return Err(refusal);
        }
        let count = queues.len() as u32;
        let Some(index) = queues.get_mut(route.queue.0 as usize) else {
            return Err(unknown_queue(topic, route.queue, count));
        };
        let revision = topic.revision;
        let key = (!route.message_id.is_empty()).then(|| MessageKey::of(revision, route.message_id));
        if let Some(went) = key.and_then(|key| self.seen.get(&key))
            && !planted(Fault::StoreTwice)
        {
            return Ok(Outcome::Published {
                place: went.place(self.broker_group, revision),
                duplicate: true,
            });
        }
        let tag = match route.tag {
            None => TagId::NONE,
            Some(tag) => {
                tags.intern(tag).ok_or_else(|| Refusal::TooManyTags { topic: topic.name.clone() })?
            }
        };
        let went = match route.kind {
            RoutedKind::Delay { deliver_at } if deliver_at > now => {
                let timer = Timer { at: deliver_at, record, topic: revision, queue: route.queue, tag };
                self.timers.insert(timer);
                tags.hold(tag);
                Went::Timer { deliver_at, record }
            }
            RoutedKind::Transaction { check_after_ms } => {
                let half = Half::new(revision, route.queue, tag, now, check_after_ms);
                self.halves.insert(record, half);
                tags.hold(tag);
                Went::Half { stored_at: now, record }
            }
            kind => {
                let lane = match kind {
                    RoutedKind::Fifo { message_group } => Some(Lane::of(message_group)),
                    _ => None,
                };
                let message = Indexed { record, stored_at: now, tag, lane, body: record };
                Went::Queue(route.queue, index.push(message, tags))
            }
        };
        if let Some(key) = key
            && self.seen.get(&key).is_none()
        {
            self.seen.insert(now, key, went);
        }
        Ok(Outcome::Published { place: went.place(self.broker_group, revision), duplicate: false })
    }
}
