//! What the clients are asked to show, and what each scenario needs from the broker beforehand. The steps themselves are
//! in the clients' own programs.

use std::time::Duration;

use mainstay_proto::control::{DeliveryOrder, TopicType};

/// Attempts of messages in scenarios with dead letters; the programs know this number.
pub(crate) const ATTEMPTS: u32 = 3;

/// Deliveries that a message has when nothing limits them earlier, as brokers have it by default.
const MANY: u32 = 17;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) topic: TopicType,
    pub(crate) order: DeliveryOrder,
    pub(crate) attempts: u32,
    /// Whether another group reads what nobody could consume.
    pub(crate) dead_letters: bool,
    /// Whether it plays at the broker that asks for credentials.
    pub(crate) guarded: bool,
}

/// Between the attempts of all groups here: real ones would take too long.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Nothing special.
pub(crate) const PLAIN: Scenario = Scenario {
    name: "",
    topic: TopicType::Normal,
    order: DeliveryOrder::Concurrent,
    attempts: MANY,
    dead_letters: false,
    guarded: false,
};

pub(crate) const FIFO: Scenario =
    Scenario { name: "fifo", topic: TopicType::Fifo, order: DeliveryOrder::InOrder, ..PLAIN };

pub(crate) const FIFO_DEAD_LETTER: Scenario =
    Scenario { name: "fifo-dead-letter", attempts: ATTEMPTS, dead_letters: true, ..FIFO };

/// All, in the order in which they run and are printed.
pub(crate) const ALL: [Scenario; 17] = [
    Scenario { name: "normal", ..PLAIN },
    Scenario { name: "async", ..PLAIN },
    Scenario { name: "one-way", ..PLAIN },
    FIFO,
    FIFO_DEAD_LETTER,
    Scenario { name: "delay", topic: TopicType::Delay, ..PLAIN },
    Scenario { name: "recall", topic: TopicType::Delay, ..PLAIN },
    Scenario { name: "commit", topic: TopicType::Transaction, ..PLAIN },
    Scenario { name: "rollback", topic: TopicType::Transaction, ..PLAIN },
    Scenario { name: "check-back", topic: TopicType::Transaction, ..PLAIN },
    Scenario { name: "push", ..PLAIN },
    Scenario { name: "simple", ..PLAIN },
    Scenario { name: "tag", ..PLAIN },
    Scenario { name: "sql", ..PLAIN },
    Scenario { name: "dead-letter", attempts: ATTEMPTS, dead_letters: true, ..PLAIN },
    Scenario { name: "priority", topic: TopicType::Priority, ..PLAIN },
    Scenario { name: "access", guarded: true, ..PLAIN },
];
