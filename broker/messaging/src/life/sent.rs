//! Messages with one id: which of them were stored, and which were dropped since the id was remembered.
//!
//! An id is remembered for a while, and until something newer is stored. What the state still knows of a message
//! decides; this is for those of which it knows nothing.

use mainstay_record::Timestamp;

use crate::metadata::names::TopicName;
use crate::publishing::SEEN;

/// Follows the messages of a log, for one id.
#[derive(Debug, Default)]
pub struct SentMessages {
    remembered: Vec<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    topic: TopicName,
    at: Timestamp,
    /// Messages stored since.
    others: usize,
}

/// What became of a message when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Stored,
    /// One with its id was stored lately.
    Dropped,
}

impl SentMessages {
    /// A message with another id, stamped `at`.
    pub fn other(&mut self, at: Timestamp) {
        self.remembered.retain_mut(|one| {
            one.others += 1;
            at.millis_since(one.at) < SEEN.millis && one.others < SEEN.entries
        });
    }

    /// A message with the id.
    pub fn this(&mut self, at: Timestamp, topic: &TopicName) -> Sent {
        if self.remembered.iter().any(|one| one.topic == *topic) {
            return Sent::Dropped;
        }
        self.other(at);
        self.remembered.push(Remembered { topic: topic.clone(), at, others: 0 });
        Sent::Stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forgotten_after_its_time_by_the_next_message_that_is_stored() {
        let (orders, bills) = (TopicName::new("orders").unwrap(), TopicName::new("bills").unwrap());
        let mut sent = SentMessages::default();
        assert_eq!(sent.this(Timestamp(0), &orders), Sent::Stored);
        assert_eq!(sent.this(Timestamp(1), &bills), Sent::Stored);
        sent.other(Timestamp(SEEN.millis - 1));
        assert_eq!(sent.this(Timestamp(SEEN.millis), &orders), Sent::Dropped, "nothing came in between");
        sent.other(Timestamp(SEEN.millis));
        assert_eq!(sent.this(Timestamp(SEEN.millis), &bills), Sent::Dropped);
        assert_eq!(sent.this(Timestamp(SEEN.millis), &orders), Sent::Stored);
        for _ in 0..SEEN.entries {
            sent.other(Timestamp(SEEN.millis + 1));
        }
        assert_eq!(sent.this(Timestamp(SEEN.millis + 1), &orders), Sent::Stored);
    }
}
