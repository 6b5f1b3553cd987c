//! Whatever happened, a snapshot can be restored and is the same state: random histories of every kind with retention in
//! between, judged by nothing but that.

use mainstay_messaging::{
    Ack, Command, CreateTopic, DeadLetter, DeliveryOrder, Elapse, Filter, MessageKind, Outcome, Publish,
    QueueCount, ReceiptHandle, Receive, ResetGroup, ResetTo, TopicKind, Trim,
};
use mainstay_record::{LogIndex, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::log::{Log, TOPIC, defined_group, group, message, receive, tags, topic};
use crate::snapshot::copy_of;

const QUEUES: u32 = 2;
const NAMES: [&str; 2] = ["any", "in-order"];

#[derive(Debug, Clone)]
enum Step {
    Publish { queue: u32, kind: MessageKind, red: bool },
    Receive { name: &'static str, max: u32, red: bool, invisible_ms: u64, repeat: bool },
    Settle { handle: Index, bury: bool },
    Elapse,
    Trim { thousandths: u64 },
    Reset { name: &'static str, thousandths: u64 },
    Wait { millis: u64 },
}

fn kind() -> impl Strategy<Value = MessageKind> {
    prop_oneof![
        2 => Just(MessageKind::Normal),
        6 => (0..3u8).prop_map(|lane| MessageKind::Fifo { message_group: lane.to_string() }),
        1 => (0..50u64).prop_map(|ms| MessageKind::Delay { deliver_at: Timestamp(1_000_000 + ms) }),
        1 => Just(MessageKind::Transaction { check_after_ms: None }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        12 => (0..QUEUES, kind(), any::<bool>()).prop_map(|(queue, kind, red)| Step::Publish { queue, kind, red }),
        10 => (name(), 0..5u32, any::<bool>(), 0..20u64, any::<bool>()).prop_map(
            |(name, max, red, invisible_ms, repeat)| Step::Receive { name, max, red, invisible_ms, repeat }),
        12 => (any::<Index>(), prop::bool::weighted(0.1)).prop_map(|(handle, bury)| Step::Settle { handle, bury }),
        3 => Just(Step::Elapse),
        3 => (0..=1000u64).prop_map(|thousandths| Step::Trim { thousandths }),
        1 => (name(), 0..=1000u64).prop_map(|(name, thousandths)| Step::Reset { name, thousandths }),
        5 => (1..12u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

struct World {
    log: Log,
    /// With the group that has them.
    handles: Vec<(&'static str, ReceiptHandle)>,
}

impl World {
    fn new() -> Self {
        let mut log = Log::empty(0, 1);
        let queues = QueueCount::new(QUEUES).unwrap();
        log.apply(Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind: TopicKind::Mixed, queues }));
        for (name, order) in NAMES.into_iter().zip([DeliveryOrder::Concurrent, DeliveryOrder::Fifo]) {
            let create = mainstay_messaging::CreateGroup { order, max_attempts: 3, ..defined_group(name) };
            log.apply(Command::CreateGroup(create));
        }
        Self { log, handles: Vec::new() }
    }

    fn part_of_the_log(&self, thousandths: u64) -> LogIndex {
        LogIndex(self.log.next_record().index.0 * thousandths / 1000)
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Publish { queue, kind, red } => {
                let message_id = format!("{:?}", self.log.next_record());
                let message = message(*queue, red.then_some("red"));
                self.log.apply(Command::Publish(Publish { message_id, kind: kind.clone(), ..message }));
            }
            Step::Receive { name, max, red, invisible_ms, repeat } => {
                let filter = if *red { tags(&["red"]) } else { Filter::All };
                let attempt_id = repeat.then(|| "again".to_owned());
                let group = group(name);
                let receive =
                    Receive { group, filter, attempt_id, invisible_ms: *invisible_ms, ..receive(*max) };
                let got = self.log.receive(receive);
                self.handles.extend(got.iter().map(|delivery| (*name, delivery.handle)));
            }
            Step::Settle { handle, bury } if !self.handles.is_empty() => {
                let (name, handle) = *handle.get(&self.handles);
                let (group, topic, by) = (group(name), topic(TOPIC), String::new());
                let bury_it = Command::DeadLetter(DeadLetter {
                    group: group.clone(),
                    topic: topic.clone(),
                    handle,
                    by: by.clone(),
                });
                let ack = Command::Ack(Ack { group, topic, handles: vec![handle], by });
                self.log.apply(if *bury { bury_it } else { ack });
            }
            Step::Settle { .. } => {}
            Step::Elapse => {
                self.log.apply(Command::Elapse(Elapse { max: 3 }));
            }
            Step::Trim { thousandths } => {
                let through = self.part_of_the_log(*thousandths);
                let outcome = self.log.apply(Command::Trim(Trim { through }));
                assert!(matches!(outcome, Outcome::Trimmed { .. }), "{outcome:?}");
            }
            Step::Reset { name, thousandths } => {
                let at = Timestamp(
                    1_000_000 + self.log.now.millis_since(Timestamp(1_000_000)) * thousandths / 1000,
                );
                let (group, topic) = (group(name), topic(TOPIC));
                self.log.apply(Command::ResetGroup(ResetGroup { group, topic, to: ResetTo::Time(at) }));
            }
            Step::Wait { millis } => self.log.wait(*millis),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_state_can_be_restored(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            let copy = copy_of(&world.log.state);
            prop_assert!(copy == world.log.state, "after {step:?}");
        }
    }
}
