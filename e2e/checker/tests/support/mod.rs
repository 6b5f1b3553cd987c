//! Histories made by hand: a producer and a consumer on one clock, and a broker without faults between them.

#![allow(dead_code, unused_imports, unused_macros, reason = "every test file uses its own part")]

use std::time::Duration;

use mainstay_checker::{
    Ack, Client, Delivery, Filter, History, Interval, Kind, Moment, Order, Outcome, Position, Receipt,
    Receive, Report, Role, Send, Settling, check,
};

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;
pub(crate) const INVISIBLE: Duration = Duration::from_secs(30);

pub(crate) fn client(name: &str, role: Role) -> Client {
    Client { name: name.to_owned(), clock: "boot".to_owned(), topic: "orders".to_owned(), role }
}

pub(crate) fn consumer(name: &str, group: &str) -> History {
    History::new(client(name, reader(group, Filter::All)))
}

/// A consumer in no particular order, of which nobody knows when it gives up.
pub(crate) fn reader(group: &str, filter: Filter) -> Role {
    Role::Consumer { group: group.to_owned(), filter, order: Order::Concurrent, max_attempts: None }
}

pub(crate) fn producer(name: &str) -> History {
    History::new(client(name, Role::Producer))
}

pub(crate) fn call(invoked: u64, completed: u64) -> Interval {
    Interval { invoked: Moment(invoked), completed: Some(Moment(completed)) }
}

pub(crate) fn place(queue: &str, offset: u64) -> Position {
    Position { queue: Some(queue.to_owned()), offset }
}

pub(crate) fn send(id: &str, at: u64, offset: u64) -> Send {
    Send {
        id: id.to_owned(),
        checksum: format!("sum of {id}"),
        tag: None,
        kind: Kind::Normal,
        call: call(at, at + MILLISECOND),
        outcome: Outcome::Ok(Receipt { message_id: format!("M-{id}"), offset: Some(offset) }),
        tries: Some(1),
    }
}

pub(crate) fn receive(invoked: u64, completed: u64) -> Receive {
    Receive { call: call(invoked, completed), outcome: Outcome::Ok(()) }
}

pub(crate) fn delivery(id: &str, position: Position, attempt: u32, at: u64, receive: usize) -> Delivery {
    Delivery {
        id: Some(id.to_owned()),
        checksum: format!("sum of {id}"),
        message_id: format!("M-{id}"),
        position,
        attempt,
        invisible: Some(INVISIBLE),
        at: Moment(at),
        receive: Some(receive),
        corrupted: false,
    }
}

pub(crate) fn ack(id: &str, position: Position, attempt: u32, at: u64) -> Ack {
    Ack {
        how: Settling::Acknowledge,
        id: Some(id.to_owned()),
        position,
        attempt,
        call: call(at, at + MILLISECOND),
        outcome: Outcome::Ok(()),
    }
}

/// A producer that sent a, b and c into queue q one after the other, and a consumer that received and acknowledged them.
pub(crate) struct Scenario {
    pub(crate) producer: History,
    pub(crate) consumer: History,
}

pub(crate) const IDS: [&str; 3] = ["a", "b", "c"];

impl Scenario {
    pub(crate) fn clean() -> Self {
        let mut producer = producer("producer");
        let mut consumer = consumer("consumer", "readers");
        for (number, id) in IDS.into_iter().enumerate() {
            let offset = number as u64;
            let sent = SECOND + offset * 10 * MILLISECOND;
            let received = 2 * SECOND + offset * 100 * MILLISECOND;
            producer.sends.push(send(id, sent, offset));
            consumer.receives.push(receive(received, received + 10 * MILLISECOND));
            let arrived = received + 5 * MILLISECOND;
            consumer.deliveries.push(delivery(id, place("q", offset), 1, arrived, number));
            consumer.acks.push(ack(id, place("q", offset), 1, received + 20 * MILLISECOND));
        }
        consumer.drained = Some(Moment(100 * SECOND));
        Self { producer, consumer }
    }

    /// Brings `id` once more, in a call of its own.
    pub(crate) fn again(&mut self, id: &str, position: Position, attempt: u32, at: u64) {
        self.consumer.receives.push(receive(at, at + 10 * MILLISECOND));
        let receive = self.consumer.receives.len() - 1;
        let arrived = at + 5 * MILLISECOND;
        self.consumer.deliveries.push(delivery(id, position, attempt, arrived, receive));
    }

    pub(crate) fn histories(self) -> Vec<History> {
        vec![self.producer, self.consumer]
    }
}

/// Exactly one violation, and which.
macro_rules! assert_only {
    ($report:expr, $pattern:pat $(if $guard:expr)?) => {
        let report = $report;
        assert!(
            matches!(report.violations.as_slice(), [$pattern] $(if $guard)?),
            "expected just {}, found:\n{report}", stringify!($pattern)
        );
    };
}
pub(crate) use assert_only;

#[track_caller]
pub(crate) fn assert_clean(report: &Report) {
    assert!(report.passed(), "{report}");
}

/// The clean scenario changed by `plant`.
pub(crate) fn report(plant: impl FnOnce(&mut Scenario)) -> Report {
    let mut scenario = Scenario::clean();
    plant(&mut scenario);
    check(&scenario.histories())
}
