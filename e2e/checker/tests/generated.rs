//! Whatever a correct broker does under clients that time out, die and come back, the checker has no complaint; and
//! when one message is taken out of what such clients saw, it has.

mod support;

use std::collections::BTreeMap;

use mainstay_checker::{History, Moment, Outcome, Receipt, Receive, Violation, check};
use proptest::prelude::*;
use support::{INVISIBLE, MILLISECOND, SECOND, ack, call, consumer, delivery, place, producer};

const QUEUES: u64 = 3;
const CONSUMERS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Step {
    Send { queue: u64, fate: SendFate },
    Receive { consumer: usize, most: usize, seen: bool, acknowledged: AckFate },
    Wait { seconds: u64 },
}

#[derive(Debug, Clone, Copy)]
enum SendFate {
    Stored,
    /// The library repeated its request; the second one was answered as the first.
    SentTwice,
    /// Nobody answered.
    Unanswered {
        stored: bool,
    },
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum AckFate {
    None,
    Confirmed,
    Unanswered { applied: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(SendFate::Stored),
        1 => Just(SendFate::SentTwice),
        1 => any::<bool>().prop_map(|stored| SendFate::Unanswered { stored }),
        1 => Just(SendFate::Refused),
    ];
    let ack = prop_oneof![
        4 => Just(AckFate::Confirmed),
        1 => Just(AckFate::None),
        1 => any::<bool>().prop_map(|applied| AckFate::Unanswered { applied }),
    ];
    let step = prop_oneof![
        4 => (0..QUEUES, fate).prop_map(|(queue, fate)| Step::Send { queue, fate }),
        4 => (0..CONSUMERS, 1..5_usize, prop::bool::weighted(0.8), ack).prop_map(
            |(consumer, most, seen, acknowledged)| Step::Receive { consumer, most, seen, acknowledged }
        ),
        1 => (1..40_u64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..120)
}

struct Stored {
    id: String,
    attempt: u32,
    visible_at: u64,
    done: bool,
}

/// A broker that does everything right, and the histories of its clients.
struct World {
    now: u64,
    queues: BTreeMap<u64, Vec<Stored>>,
    producer: History,
    consumers: Vec<History>,
}

impl World {
    fn run(steps: &[Step]) -> Vec<History> {
        let consumers =
            (0..CONSUMERS).map(|number| consumer(&format!("consumer-{number}"), "readers")).collect();
        let mut world = Self { now: SECOND, queues: BTreeMap::new(), producer: producer("p"), consumers };
        for step in steps {
            world.now += 10 * MILLISECOND;
            match *step {
                Step::Send { queue, fate } => world.send(queue, fate),
                Step::Receive { consumer, most, seen, acknowledged } => {
                    world.receive(consumer, most, seen, acknowledged);
                }
                Step::Wait { seconds } => world.now += seconds * SECOND,
            }
        }
        world.drain();
        world.consumers.push(world.producer);
        world.consumers
    }

    fn store(&mut self, queue: u64, id: &str) -> u64 {
        let queue = self.queues.entry(queue).or_default();
        queue.push(Stored { id: id.to_owned(), attempt: 0, visible_at: 0, done: false });
        queue.len() as u64 - 1
    }

    fn send(&mut self, queue: u64, fate: SendFate) {
        let id = format!("m{}", self.producer.sends.len());
        let began = self.now;
        self.now += 3 * MILLISECOND;
        let mut send = support::send(&id, began, 0);
        send.call = call(began, self.now);
        let receipt = |offset| Outcome::Ok(Receipt { message_id: format!("M-{id}"), offset: Some(offset) });
        match fate {
            SendFate::Stored => send.outcome = receipt(self.store(queue, &id)),
            SendFate::SentTwice => {
                send.outcome = receipt(self.store(queue, &id));
                send.tries = Some(2);
            }
            SendFate::Unanswered { stored } => {
                if stored {
                    self.store(queue, &id);
                }
                send.outcome = Outcome::Unknown("timeout".to_owned());
                send.call.completed = None;
            }
            SendFate::Refused => send.outcome = Outcome::Failed("ILLEGAL_TOPIC".to_owned()),
        }
        self.producer.sends.push(send);
    }

    /// What the broker hands out now, at most `most` messages: queue, offset, id and attempt.
    fn hand_out(&mut self, most: usize) -> Vec<(u64, u64, String, u32)> {
        let now = self.now;
        let mut given = Vec::new();
        for (queue, messages) in &mut self.queues {
            for (offset, stored) in (0_u64..).zip(messages.iter_mut()) {
                if given.len() < most && !stored.done && stored.visible_at <= now {
                    stored.attempt += 1;
                    stored.visible_at = now + INVISIBLE.as_nanos() as u64;
                    given.push((*queue, offset, stored.id.clone(), stored.attempt));
                }
            }
        }
        given
    }

    fn receive(&mut self, consumer: usize, most: usize, seen: bool, acknowledged: AckFate) -> usize {
        let began = self.now;
        self.now += 2 * MILLISECOND;
        let given = self.hand_out(most);
        self.now += 2 * MILLISECOND;
        let history = &mut self.consumers[consumer];
        let outcome = if seen { Outcome::Ok(()) } else { Outcome::Unknown("reset".to_owned()) };
        history.receives.push(Receive { call: call(began, self.now), outcome });
        let number = history.receives.len() - 1;
        if seen {
            for (queue, offset, id, attempt) in &given {
                let position = place(&format!("q{queue}"), *offset);
                history.deliveries.push(delivery(id, position, *attempt, self.now, number));
            }
            for one in &given {
                self.acknowledge(consumer, one, acknowledged);
            }
        }
        given.len()
    }

    fn acknowledge(
        &mut self,
        consumer: usize,
        (queue, offset, id, attempt): &(u64, u64, String, u32),
        fate: AckFate,
    ) {
        let mut ack = ack(id, place(&format!("q{queue}"), *offset), *attempt, self.now);
        self.now += 2 * MILLISECOND;
        let applied = match fate {
            AckFate::None => return,
            AckFate::Confirmed => true,
            AckFate::Unanswered { applied } => {
                ack.outcome = Outcome::Unknown("timeout".to_owned());
                ack.call.completed = None;
                applied
            }
        };
        if applied && let Some(queue) = self.queues.get_mut(queue) {
            queue[*offset as usize].done = true;
        }
        self.consumers[consumer].acks.push(ack);
    }

    fn drain(&mut self) {
        loop {
            self.now += 31 * SECOND;
            if self.receive(0, 1000, true, AckFate::Confirmed) == 0 {
                break;
            }
        }
        self.consumers[0].drained = Some(Moment(self.now));
    }
}

proptest! {
    #[test]
    fn a_correct_broker_is_never_accused(steps in steps()) {
        let histories = World::run(&steps);
        let acknowledged = histories.iter().flat_map(|history| &history.sends).any(|send| send.outcome.ok().is_some());
        prop_assume!(acknowledged);
        let report = check(&histories);
        prop_assert!(report.passed(), "{report}");
    }

    #[test]
    fn a_message_that_vanishes_is_missed(steps in steps(), which in any::<prop::sample::Index>()) {
        let mut histories = World::run(&steps);
        let sends = &histories[CONSUMERS].sends;
        let acknowledged: Vec<String> =
            sends.iter().filter(|send| send.outcome.ok().is_some()).map(|send| send.id.clone()).collect();
        prop_assume!(!acknowledged.is_empty());
        let victim = which.get(&acknowledged).clone();
        for history in &mut histories {
            history.deliveries.retain(|delivery| delivery.id.as_ref() != Some(&victim));
            history.acks.retain(|ack| ack.id.as_ref() != Some(&victim));
        }
        let report = check(&histories);
        prop_assert_eq!(report.lost(), [victim.as_str()]);
    }

    #[test]
    fn an_acknowledgement_that_is_forgotten_is_seen(steps in steps(), which in any::<prop::sample::Index>()) {
        let mut histories = World::run(&steps);
        let end = histories[0].drained.map_or(0, |moment| moment.0) + 60 * SECOND;
        let confirmed: Vec<_> = histories.iter().flat_map(|history| &history.acks)
            .filter(|ack| ack.outcome.ok().is_some()).cloned().collect();
        prop_assume!(!confirmed.is_empty());
        let ack = which.get(&confirmed).clone();
        let id = ack.id.clone().unwrap_or_default();
        histories[0].receives.push(support::receive(end, end + MILLISECOND));
        let number = histories[0].receives.len() - 1;
        let again = delivery(&id, ack.position.clone(), ack.attempt + 1, end + MILLISECOND, number);
        histories[0].deliveries.push(again);
        let report = check(&histories);
        let seen = report.violations.iter().any(|violation| matches!(violation,
            Violation::RedeliveredAfterAck { id: again, .. } if *again == id));
        prop_assert!(seen, "{report}");
    }
}
