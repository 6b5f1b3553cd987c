//! Consumer groups: which there are, what each asks for, and who reads the dead letters of whom.

use mainstay_checker::Order;
use mainstay_messaging::{CreateGroup, DeliveryOrder, RetryPolicy, StartPosition, TopicKind, TopicName};

use super::{group, topic_name};

/// Short, so that a message has all its attempts within a run.
const RETRY_DELAYS_MS: [u64; 3] = [100, 400, 1000];
/// Nothing of theirs is to become a dead letter.
const UNDERTAKERS: Group =
    Group { name: "undertakers", tag: None, order: Order::Concurrent, consumers: 1, max_attempts: u32::MAX };

/// A consumer group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// What it asks for.
    pub(crate) tag: Option<&'static str>,
    pub(crate) order: Order,
    /// Consumers on each topic.
    pub(crate) consumers: usize,
    pub(crate) max_attempts: u32,
}

/// A group that receives from a topic.
#[derive(Debug, Clone)]
pub(crate) struct Subscribed {
    pub(crate) topic: String,
    pub(crate) group: Group,
    /// It reads dead letters.
    pub(crate) is_undertaker: bool,
}

impl Group {
    pub(super) fn command(&self) -> CreateGroup {
        CreateGroup {
            name: group(self.name),
            start: StartPosition::Earliest,
            order: match self.order {
                Order::Concurrent => DeliveryOrder::Concurrent,
                Order::Fifo => DeliveryOrder::Fifo,
            },
            max_attempts: self.max_attempts,
            retry: RetryPolicy::Customized(RETRY_DELAYS_MS.to_vec()),
        }
    }
}

/// All subscriptions to these topics, and to the dead letters of those who subscribe.
pub(crate) fn subscriptions(topics: &[TopicKind], max_attempts: u32) -> Vec<Subscribed> {
    let readers = Group { name: "readers", tag: None, order: Order::Concurrent, consumers: 2, max_attempts };
    let orderly = Group { name: "orderly", order: Order::Fifo, ..readers };
    let painters = Group { name: "painters", tag: Some("red"), consumers: 1, ..readers };
    let mut all = Vec::new();
    for (number, kind) in topics.iter().enumerate() {
        let everything = if *kind == TopicKind::Fifo { orderly } else { readers };
        for group in [everything, painters] {
            all.push(Subscribed { topic: topic_name(number), group, is_undertaker: false });
        }
    }
    for buried in groups(&all) {
        let topic = TopicName::dead_letters_of(&group(buried.name)).to_string();
        all.push(Subscribed { topic, group: UNDERTAKERS, is_undertaker: true });
    }
    all
}

/// The groups among the subscribers, each once.
pub(crate) fn groups(subscriptions: &[Subscribed]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for Subscribed { group, .. } in subscriptions {
        if groups.iter().all(|known| known.name != group.name) {
            groups.push(*group);
        }
    }
    groups
}
