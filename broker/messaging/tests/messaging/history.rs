//! Random histories of publishing and consuming, held against the naive model after every step.

use mainstay_messaging::{
    Ack, ChangeInvisible, Command, Filter, Outcome, QueueId, QueueOffset, QueueSelection, ReceiptHandle,
    Receive, ResetGroup, ResetTo, StartPosition, Trim,
};
use mainstay_record::LogIndex;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::log::{GROUP, Log, TOPIC, create_group, group, tags, topic};
use crate::model::{Message, Model};

const QUEUES: usize = 3;
const LATE_GROUP: &str = "late";
const TAGS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("c")];

fn filters() -> [Filter; 5] {
    [Filter::All, tags(&["a"]), tags(&["c", "a"]), tags(&["unseen"]), tags(&[])]
}

#[derive(Debug, Clone)]
enum Step {
    Publish {
        queue: usize,
        tag: usize,
    },
    Receive {
        late: bool,
        queues: Option<Vec<usize>>,
        max: usize,
        filter: usize,
        invisible_ms: u64,
    },
    Ack {
        late: bool,
        handle: Index,
    },
    Change {
        late: bool,
        handle: Index,
        invisible_ms: u64,
    },
    Wait {
        millis: u64,
    },
    Reset {
        late: bool,
        to: StartPosition,
    },
    /// Of all messages there were, these many thousandths.
    Trim {
        thousandths: usize,
    },
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let queues = prop::option::of(prop::sample::subsequence((0..QUEUES).collect::<Vec<_>>(), 0..=QUEUES));
    // All messages most of the time, or little would ever be redelivered.
    let filter = prop_oneof![4 => Just(0usize), 1 => 0..5usize];
    let to = prop::sample::select(vec![StartPosition::Earliest, StartPosition::Latest]);
    prop_oneof![
        40 => (0..QUEUES, 0..TAGS.len()).prop_map(|(queue, tag)| Step::Publish { queue, tag }),
        30 => (any::<bool>(), queues, 0..5usize, filter, 0..20u64).prop_map(
            |(late, queues, max, filter, invisible_ms)| {
                Step::Receive { late, queues, max, filter, invisible_ms }
            }
        ),
        20 => (any::<bool>(), any::<Index>()).prop_map(|(late, handle)| Step::Ack { late, handle }),
        10 => (any::<bool>(), any::<Index>(), 0..20u64)
            .prop_map(|(late, handle, invisible_ms)| Step::Change { late, handle, invisible_ms }),
        20 => (1..12u64).prop_map(|millis| Step::Wait { millis }),
        1 => (any::<bool>(), to).prop_map(|(late, to)| Step::Reset { late, to }),
        3 => (0..=1000usize).prop_map(|thousandths| Step::Trim { thousandths }),
        3 => Just(Step::Snapshot),
    ]
}

struct Consumer {
    name: &'static str,
    model: Model,
    /// Every handle ever given out that can still be told from the others.
    handles: Vec<ReceiptHandle>,
}

struct World {
    log: Log,
    queues: Vec<Vec<Message>>,
    /// The oldest offset kept of each queue.
    starts: Vec<usize>,
    consumers: Vec<Consumer>,
}

impl World {
    fn new() -> Self {
        let log = Log::with_queues(QUEUES as u32);
        let mut world =
            Self { log, queues: vec![Vec::new(); QUEUES], starts: vec![0; QUEUES], consumers: Vec::new() };
        world.join(GROUP, StartPosition::Earliest);
        world
    }

    fn join(&mut self, name: &'static str, start: StartPosition) {
        let model = Model::new(&self.queues, start);
        self.consumers.push(Consumer { name, model, handles: Vec::new() });
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Publish { queue, tag } => self.publish(*queue, TAGS[*tag]),
            Step::Receive { late, queues, max, filter, invisible_ms } => {
                let selected = queues.clone().unwrap_or_else(|| (0..QUEUES).collect());
                let ids = selected.iter().map(|queue| QueueId(*queue as u32)).collect();
                let queues = if queues.is_some() { QueueSelection::Only(ids) } else { QueueSelection::All };
                self.receive(*late, &selected, queues, *max, &filters()[*filter], *invisible_ms);
            }
            Step::Ack { late, handle } => self.ack(*late, *handle),
            Step::Change { late, handle, invisible_ms } => self.change(*late, *handle, *invisible_ms),
            Step::Wait { millis } => self.log.wait(*millis),
            Step::Reset { late, to } => self.reset(*late, *to),
            Step::Trim { thousandths } => self.trim(*thousandths),
            Step::Snapshot => self.snapshot(),
        }
        self.check();
    }

    fn publish(&mut self, queue: usize, tag: Option<&str>) {
        let record = self.log.next_record();
        let offset = self.log.publish(queue as u32, tag);
        assert_eq!(offset, self.queues[queue].len() as u64);
        let stored_at = self.log.now;
        self.queues[queue].push(Message { tag: tag.map(str::to_owned), record, stored_at });
        self.consumers.iter_mut().for_each(|consumer| consumer.model.published(queue));
    }

    fn receive(
        &mut self,
        late: bool,
        selected: &[usize],
        queues: QueueSelection,
        max: usize,
        filter: &Filter,
        invisible_ms: u64,
    ) -> usize {
        let consumer = &mut self.consumers[usize::from(late)];
        let now = self.log.now;
        let ready = self.log.state.ready(consumer.name, TOPIC, &queues, filter, now);
        assert_eq!(ready, consumer.model.is_ready(&self.queues, selected, filter, now));
        let deliveries = self.log.receive(Receive {
            group: group(consumer.name),
            topic: topic(TOPIC),
            queues,
            max: max as u32,
            filter: filter.clone(),
            invisible_ms,
            attempt_id: None,
            by: String::new(),
        });
        assert!(ready || deliveries.is_empty());
        assert!(deliveries.iter().all(|d| d.expires_at == now.plus_millis(invisible_ms)));
        consumer.model.received(&self.queues, selected, filter, max, now, &deliveries);
        consumer.handles.extend(deliveries.iter().map(|delivery| delivery.handle));
        deliveries.len()
    }

    fn ack(&mut self, late: bool, handle: Index) {
        let consumer = &mut self.consumers[usize::from(late)];
        if consumer.handles.is_empty() {
            return;
        }
        let handle = consumer.handles[handle.index(consumer.handles.len())];
        let ack = Ack {
            group: group(consumer.name),
            topic: topic(TOPIC),
            handles: vec![handle],
            by: String::new(),
        };
        let Outcome::Acked(results) = self.log.apply(Command::Ack(ack)) else { panic!("refused") };
        consumer.model.acked(handle, self.log.now, results[0]);
    }

    fn change(&mut self, late: bool, handle: Index, invisible_ms: u64) {
        let consumer = &mut self.consumers[usize::from(late)];
        if consumer.handles.is_empty() {
            return;
        }
        let handle = consumer.handles[handle.index(consumer.handles.len())];
        let change = ChangeInvisible {
            group: group(consumer.name),
            topic: topic(TOPIC),
            handle,
            invisible_ms,
            at_least_retry_delay: false,
            by: String::new(),
        };
        let Outcome::Changed(result) = self.log.apply(Command::ChangeInvisible(change)) else {
            panic!("refused")
        };
        consumer.model.changed(handle, self.log.now, invisible_ms, result);
        consumer.handles.extend(result);
    }

    fn reset(&mut self, late: bool, to: StartPosition) {
        let consumer = &mut self.consumers[usize::from(late)];
        let place = match to {
            StartPosition::Earliest => ResetTo::Earliest,
            StartPosition::Latest => ResetTo::Latest,
        };
        let reset = ResetGroup { group: group(consumer.name), topic: topic(TOPIC), to: place };
        assert_eq!(self.log.apply(Command::ResetGroup(reset)), Outcome::GroupReset);
        consumer.model.reset(&self.queues, to);
        consumer.model.trimmed(&self.starts);
    }

    fn trim(&mut self, thousandths: usize) {
        let mut indexes: Vec<LogIndex> = self.queues.iter().flatten().map(|m| m.record.index).collect();
        indexes.sort_unstable();
        let at = (indexes.len() * thousandths / 1000).min(indexes.len().saturating_sub(1));
        let through = indexes.get(at).copied().unwrap_or(LogIndex(1));
        let mut gone = 0;
        for (queue, start) in self.queues.iter().zip(&mut self.starts) {
            let kept = queue.iter().position(|message| message.record.index > through);
            let moved = kept.unwrap_or(queue.len()).max(*start);
            gone += moved - *start;
            *start = moved;
        }
        let trimmed = Outcome::Trimmed { messages: gone as u64 };
        assert_eq!(self.log.apply(Command::Trim(Trim { through })), trimmed);
        self.consumers.iter_mut().for_each(|consumer| consumer.model.trimmed(&self.starts));
        assert_eq!(self.log.apply(Command::Trim(Trim { through })), Outcome::Trimmed { messages: 0 });
    }

    /// From here on everything happens to a restored state.
    fn snapshot(&mut self) {
        let restored = crate::snapshot::copy_of(&self.log.state);
        assert_eq!(restored, self.log.state);
        self.log.state = restored;
    }

    fn check(&self) {
        self.check_kept();
        for consumer in &self.consumers {
            let due = self.log.state.next_due(consumer.name, TOPIC, self.log.now);
            assert_eq!(due, consumer.model.next_due(self.log.now));
            for (queue, progress) in self.log.state.progress(consumer.name, TOPIC).unwrap().iter().enumerate()
            {
                let found = (progress.next.0, progress.in_flight, progress.lag);
                assert_eq!(found, consumer.model.progress(queue));
                assert_eq!(progress.end.0, self.queues[queue].len() as u64);
            }
        }
    }

    /// Every message kept is found, no other is, and what of the log is needed agrees with them.
    fn check_kept(&self) {
        let read: Vec<&Model> = self.consumers.iter().map(|c| &c.model).filter(|m| m.has_read()).collect();
        let (mut needed, mut unconsumed) = (None, None);
        for (queue, messages) in self.queues.iter().enumerate() {
            let id = QueueId(queue as u32);
            let range = self.log.state.queue_range(TOPIC, id).unwrap();
            assert_eq!((range.start.0, range.end.0), (self.starts[queue] as u64, messages.len() as u64));
            for (offset, message) in messages.iter().enumerate() {
                let found = self.log.state.locate(TOPIC, id, QueueOffset(offset as u64));
                let kept = offset >= self.starts[queue];
                assert_eq!(found, kept.then_some(message.record));
                if kept {
                    let index = message.record.index;
                    needed = Some(needed.map_or(index, |least: LogIndex| least.min(index)));
                    if read.is_empty() || read.iter().any(|model| !model.is_consumed(queue, offset)) {
                        unconsumed = Some(unconsumed.map_or(index, |least: LogIndex| least.min(index)));
                    }
                }
            }
        }
        assert_eq!(self.log.state.first_needed(), needed);
        assert_eq!(self.log.state.unconsumed_from(), unconsumed);
    }

    /// Consumes until nothing is left: nothing may be stuck or missing.
    fn drain(&mut self) {
        self.log.wait(1000);
        let everything: Vec<usize> = (0..QUEUES).collect();
        for late in [false, true] {
            let left = self.queues.iter().map(Vec::len).sum::<usize>();
            for _ in 0..=left {
                let first = self.consumers[usize::from(late)].handles.len();
                if self.receive(late, &everything, QueueSelection::All, 4, &Filter::All, 1000) == 0 {
                    break;
                }
                for handle in self.consumers[usize::from(late)].handles.split_off(first) {
                    let name = self.consumers[usize::from(late)].name;
                    let ack = Ack {
                        group: group(name),
                        topic: topic(TOPIC),
                        handles: vec![handle],
                        by: String::new(),
                    };
                    assert_eq!(self.log.apply(Command::Ack(ack)), Outcome::Acked(vec![Ok(())]));
                    self.consumers[usize::from(late)].model.acked(handle, self.log.now, Ok(()));
                }
            }
            assert!(self.consumers[usize::from(late)].model.is_settled());
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_agrees_with_the_model(
        before in prop::collection::vec((0..QUEUES, 0..TAGS.len()), 0..10),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for (queue, tag) in before {
            world.publish(queue, TAGS[tag]);
        }
        world.log.apply(create_group(LATE_GROUP, StartPosition::Latest));
        world.join(LATE_GROUP, StartPosition::Latest);
        for step in &steps {
            world.run(step);
        }
        world.drain();
        world.log.assert_replays(0, 1);
    }
}
