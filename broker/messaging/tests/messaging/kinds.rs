//! Random histories of messages of every kind in one topic, with a group that gets them in order and one that does not,
//! held against lists after every step.

use std::collections::BTreeMap;

use mainstay_messaging::{
    Ack, ChangeInvisible, Check, Command, CreateTopic, DeadLetter, Decision, DeliveryOrder, Elapse,
    EndTransaction, Ended, MessageKind, NoteChecks, Outcome, Place, Publish, QueueCount, QueueId,
    QueueOffset, QueueSelection, Recall, RecallError, RecallHandle, ReceiptHandle, Receive, TopicKind,
    TopicName, TransactionError, TransactionId,
};
use mainstay_record::{RecordId, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::kinds_model::{Entry, Group, MAX_ATTEMPTS};
use crate::log::{Log, TOPIC, defined_group, group, message, receive, topic};

const QUEUES: usize = 2;
const NAMES: [&str; 2] = ["any", "in-order"];

#[derive(Debug, Clone)]
enum Step {
    Normal {
        queue: usize,
    },
    Fifo {
        lane: u8,
    },
    Delay {
        queue: usize,
        millis: u64,
    },
    Half {
        queue: usize,
    },
    /// Sends one of the messages again that were sent before.
    Again {
        which: Index,
    },
    Receive {
        in_order: bool,
        max: usize,
        invisible_ms: u64,
    },
    Ack {
        in_order: bool,
        handle: Index,
    },
    Change {
        in_order: bool,
        handle: Index,
        invisible_ms: u64,
    },
    DeadLetter {
        in_order: bool,
        handle: Index,
    },
    End {
        which: Index,
        commit: bool,
    },
    Check {
        asked: bool,
    },
    Recall {
        which: Index,
    },
    Elapse {
        max: u32,
    },
    Wait {
        millis: u64,
    },
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let order = any::<bool>();
    prop_oneof![
        20 => (0..QUEUES).prop_map(|queue| Step::Normal { queue }),
        30 => (0..3u8).prop_map(|lane| Step::Fifo { lane }),
        10 => (0..QUEUES, 0..30u64).prop_map(|(queue, millis)| Step::Delay { queue, millis }),
        10 => (0..QUEUES).prop_map(|queue| Step::Half { queue }),
        5 => any::<Index>().prop_map(|which| Step::Again { which }),
        40 => (order, 0..6usize, 0..20u64)
            .prop_map(|(in_order, max, invisible_ms)| Step::Receive { in_order, max, invisible_ms }),
        25 => (any::<bool>(), any::<Index>()).prop_map(|(in_order, handle)| Step::Ack { in_order, handle }),
        10 => (any::<bool>(), any::<Index>(), 0..20u64)
            .prop_map(|(in_order, handle, invisible_ms)| Step::Change { in_order, handle, invisible_ms }),
        4 => (any::<bool>(), any::<Index>())
            .prop_map(|(in_order, handle)| Step::DeadLetter { in_order, handle }),
        10 => (any::<Index>(), any::<bool>()).prop_map(|(which, commit)| Step::End { which, commit }),
        2 => any::<bool>().prop_map(|asked| Step::Check { asked }),
        4 => any::<Index>().prop_map(|which| Step::Recall { which }),
        12 => (0..5u32).prop_map(|max| Step::Elapse { max }),
        20 => (1..12u64).prop_map(|millis| Step::Wait { millis }),
        3 => Just(Step::Snapshot),
    ]
}

struct World {
    log: Log,
    queues: Vec<Vec<Entry>>,
    /// By number.
    sent: Vec<(Publish, Place)>,
    records: Vec<RecordId>,
    /// Not delivered yet: number and queue, by time and record.
    timers: BTreeMap<(Timestamp, RecordId), (usize, usize)>,
    recalls: Vec<RecallHandle>,
    /// With the queue, and what was decided.
    halves: Vec<(TransactionId, usize, usize, Option<Decision>)>,
    groups: [Group; 2],
    handles: [Vec<ReceiptHandle>; 2],
}

impl World {
    fn new() -> Self {
        let mut log = Log::empty(0, 1);
        let queues = QueueCount::new(QUEUES as u32).unwrap();
        log.apply(Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind: TopicKind::Mixed, queues }));
        for (name, order) in NAMES.into_iter().zip([DeliveryOrder::Concurrent, DeliveryOrder::Fifo]) {
            let create =
                mainstay_messaging::CreateGroup { order, max_attempts: MAX_ATTEMPTS, ..defined_group(name) };
            log.apply(Command::CreateGroup(create));
        }
        Self {
            log,
            queues: vec![Vec::new(); QUEUES],
            sent: Vec::new(),
            records: Vec::new(),
            timers: BTreeMap::new(),
            recalls: Vec::new(),
            halves: Vec::new(),
            groups: [Group::new(false, QUEUES), Group::new(true, QUEUES)],
            handles: [Vec::new(), Vec::new()],
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Normal { queue } => self.publish(*queue, MessageKind::Normal, None),
            Step::Fifo { lane } => {
                let kind = MessageKind::Fifo { message_group: lane.to_string() };
                self.publish(usize::from(*lane) % QUEUES, kind, Some(*lane));
            }
            Step::Delay { queue, millis } => {
                let deliver_at = self.log.now.plus_millis(*millis);
                self.publish(*queue, MessageKind::Delay { deliver_at }, None);
            }
            Step::Half { queue } => {
                self.publish(*queue, MessageKind::Transaction { check_after_ms: Some(5) }, None);
            }
            Step::Again { which } => self.publish_again(*which),
            Step::Receive { in_order, max, invisible_ms } => {
                self.receive(usize::from(*in_order), *max, *invisible_ms);
            }
            Step::Ack { in_order, handle } => self.ack(usize::from(*in_order), *handle),
            Step::Change { in_order, handle, invisible_ms } => {
                self.change(usize::from(*in_order), *handle, *invisible_ms);
            }
            Step::DeadLetter { in_order, handle } => self.dead_letter(usize::from(*in_order), *handle),
            Step::End { which, commit } => self.end(*which, *commit),
            Step::Check { asked } => self.check_producers(*asked),
            Step::Recall { which } => self.recall(*which),
            Step::Elapse { max } => self.elapse(*max),
            Step::Wait { millis } => self.log.wait(*millis),
            Step::Snapshot => {
                let restored = crate::snapshot::copy_of(&self.log.state);
                assert_eq!(restored, self.log.state);
                self.log.state = restored;
            }
        }
        self.check();
    }

    fn publish(&mut self, queue: usize, kind: MessageKind, lane: Option<u8>) {
        let number = self.sent.len();
        let publish = Publish { kind, message_id: number.to_string(), ..message(queue as u32, None) };
        let record = self.log.next_record();
        let outcome = self.log.apply(Command::Publish(publish.clone()));
        let Outcome::Published { place, duplicate: false } = outcome else { panic!("{outcome:?}") };
        self.records.push(record);
        match (place, &publish.kind) {
            (Place::Queue { queue: found, offset }, _) => {
                assert_eq!((found.0 as usize, offset.0 as usize), (queue, self.queues[queue].len()));
                self.enter(queue, Entry { number, lane });
            }
            (Place::Timer(handle), MessageKind::Delay { deliver_at }) => {
                assert!(*deliver_at > self.log.now && handle.deliver_at() == *deliver_at);
                self.timers.insert((*deliver_at, record), (number, queue));
                self.recalls.push(handle);
            }
            (Place::Half(transaction), MessageKind::Transaction { .. }) => {
                self.halves.push((transaction, number, queue, None));
            }
            other => panic!("{other:?}"),
        }
        self.sent.push((publish, place));
    }

    fn enter(&mut self, queue: usize, entry: Entry) {
        self.queues[queue].push(entry);
        self.groups.iter_mut().for_each(|group| group.grew(queue));
    }

    fn publish_again(&mut self, which: Index) {
        if self.sent.is_empty() {
            return;
        }
        let (publish, place) = self.sent[which.index(self.sent.len())].clone();
        // The server may have chosen another queue.
        let queue = QueueId((publish.queue.0 + 1) % QUEUES as u32);
        let outcome = self.log.apply(Command::Publish(Publish { queue, ..publish }));
        assert_eq!(outcome, Outcome::Published { place, duplicate: true });
    }

    fn receive(&mut self, which: usize, max: usize, invisible_ms: u64) -> usize {
        let now = self.log.now;
        let (name, all) = (NAMES[which], QueueSelection::All);
        let ready = self.log.state.ready(name, TOPIC, &all, &mainstay_messaging::Filter::All, now);
        assert_eq!(ready, self.groups[which].is_ready(&self.queues, now));
        let outcome = self.log.apply(Command::Receive(Receive {
            group: group(name),
            invisible_ms,
            ..receive(max as u32)
        }));
        let Outcome::Received { deliveries, dead_letters } = outcome else { panic!("{outcome:?}") };
        let buried = self.letters(which).split_off(self.groups[which].dead.len());
        assert_eq!(buried.len(), dead_letters as usize);
        self.groups[which].received(&self.queues, &self.records, max, now, &deliveries, &buried);
        self.handles[which].extend(deliveries.iter().map(|delivery| delivery.handle));
        deliveries.len()
    }

    /// The numbers of the group's dead letters.
    fn letters(&self, which: usize) -> Vec<usize> {
        let letters = TopicName::dead_letters_of(&group(NAMES[which]));
        let at = |n| self.log.state.locate(letters.as_str(), QueueId(0), QueueOffset(n)).unwrap();
        let count = self.log.state.queue_range(letters.as_str(), QueueId(0)).unwrap().end.0;
        (0..count).map(|n| self.records.iter().position(|record| *record == at(n)).unwrap()).collect()
    }

    fn handle(&self, which: usize, handle: Index) -> Option<ReceiptHandle> {
        let handles = &self.handles[which];
        (!handles.is_empty()).then(|| handles[handle.index(handles.len())])
    }

    fn ack(&mut self, which: usize, handle: Index) {
        let Some(handle) = self.handle(which, handle) else { return };
        let (group, topic, handles, by) = (group(NAMES[which]), topic(TOPIC), vec![handle], String::new());
        let outcome = self.log.apply(Command::Ack(Ack { group, topic, handles, by }));
        let Outcome::Acked(results) = outcome else { panic!("{outcome:?}") };
        self.groups[which].acked(handle, self.log.now, results[0]);
    }

    fn change(&mut self, which: usize, handle: Index, invisible_ms: u64) {
        let Some(handle) = self.handle(which, handle) else { return };
        let outcome = self.log.apply(Command::ChangeInvisible(ChangeInvisible {
            group: group(NAMES[which]),
            topic: topic(TOPIC),
            handle,
            invisible_ms,
            at_least_retry_delay: false,
            by: String::new(),
        }));
        let Outcome::Changed(result) = outcome else { panic!("{outcome:?}") };
        self.groups[which].changed(handle, self.log.now, invisible_ms, result);
        self.handles[which].extend(result);
    }

    fn dead_letter(&mut self, which: usize, handle: Index) {
        let Some(handle) = self.handle(which, handle) else { return };
        let (group, topic, by) = (group(NAMES[which]), topic(TOPIC), String::new());
        let outcome = self.log.apply(Command::DeadLetter(DeadLetter { group, topic, handle, by }));
        let Outcome::DeadLettered(result) = outcome else { panic!("{outcome:?}") };
        self.groups[which].dead_lettered(&self.queues, handle, self.log.now, result);
    }

    fn end(&mut self, which: Index, commit: bool) {
        if self.halves.is_empty() {
            return;
        }
        let at = which.index(self.halves.len());
        let (transaction, number, queue, before) = self.halves[at];
        let decision = if commit { Decision::Commit } else { Decision::Rollback };
        let (topic, by) = (topic(TOPIC), String::new());
        let outcome =
            self.log.apply(Command::EndTransaction(EndTransaction { topic, transaction, decision, by }));
        let Outcome::TransactionEnded(result) = outcome else { panic!("{outcome:?}") };
        match before {
            None => {
                if commit {
                    let (queue, offset) =
                        (QueueId(queue as u32), QueueOffset(self.queues[queue].len() as u64));
                    assert_eq!(result, Ok(Ended::Committed { queue, offset }));
                    self.enter(queue.0 as usize, Entry { number, lane: None });
                } else {
                    assert_eq!(result, Ok(Ended::RolledBack));
                }
                self.halves[at].3 = Some(decision);
            }
            Some(before) if before == decision => {
                assert_eq!(matches!(result, Ok(Ended::Committed { .. })), commit);
                assert!(result.is_ok());
            }
            Some(before) => assert_eq!(result, Err(TransactionError::Contrary { before })),
        }
    }

    fn check_producers(&mut self, asked: bool) {
        let due = self.log.state.due_checks(self.log.now, 100);
        let check = |half: &mainstay_messaging::HalfMessage| Check { transaction: half.transaction, asked };
        for half in &due {
            let known =
                self.halves.iter().find(|(transaction, ..)| *transaction == half.transaction).unwrap();
            assert_eq!(known.3, None, "asked about one that was decided");
        }
        let note = NoteChecks { topic: topic(TOPIC), checks: due.iter().map(check).collect() };
        assert_eq!(self.log.apply(Command::NoteChecks(note)), Outcome::ChecksNoted);
        assert_eq!(self.log.state.due_checks(self.log.now, 100), []);
    }

    fn recall(&mut self, which: Index) {
        if self.recalls.is_empty() {
            return;
        }
        let handle = self.recalls[which.index(self.recalls.len())];
        let outcome =
            self.log.apply(Command::Recall(Recall { topic: topic(TOPIC), handle, by: String::new() }));
        let expected = match self.timers.remove(&(handle.deliver_at(), handle.record())) {
            Some((number, _)) => Ok(self.records[number]),
            None => Err(RecallError::NotPending),
        };
        assert_eq!(outcome, Outcome::Recalled(expected));
    }

    fn elapse(&mut self, max: u32) {
        let due = self.timers.keys().take_while(|(at, _)| *at <= self.log.now).take(max as usize);
        let due: Vec<(Timestamp, RecordId)> = due.copied().collect();
        let topics: Vec<TopicName> = due.first().map(|_| topic(TOPIC)).into_iter().collect();
        let released = due.len() as u32;
        let outcome = self.log.apply(Command::Elapse(Elapse { max }));
        assert_eq!(outcome, Outcome::Elapsed { released, dropped: 0, topics });
        for key in due {
            if let Some((number, queue)) = self.timers.remove(&key) {
                self.enter(queue, Entry { number, lane: None });
            }
        }
    }

    fn check(&self) {
        let state = &self.log.state;
        assert_eq!(state.pending_timers(), self.timers.len());
        let next = self.timers.keys().next().map(|(at, _)| *at);
        assert!(next.is_none_or(|next| state.next_elapse() == Some(next)));
        let pending = self.halves.iter().filter(|(.., decision)| decision.is_none());
        let pending: Vec<TransactionId> = pending.map(|(transaction, ..)| *transaction).collect();
        let known = state.half_messages(TOPIC).into_iter().map(|half| half.transaction);
        assert!(known.eq(pending.iter().copied()));
        for (which, (name, group)) in NAMES.iter().zip(&self.groups).enumerate() {
            for (queue, progress) in state.progress(name, TOPIC).unwrap().iter().enumerate() {
                assert_eq!((progress.in_flight, progress.lag), group.progress(queue));
                assert_eq!(progress.end.0, self.queues[queue].len() as u64);
            }
            assert_eq!(self.letters(which), group.dead);
        }
    }

    /// Everything that is in a queue can be consumed to the end.
    fn drain(&mut self) {
        self.log.wait(1000);
        for which in [0, 1] {
            let most = (MAX_ATTEMPTS as usize + 1) * self.sent.len() + 2;
            for _ in 0..most {
                let first = self.handles[which].len();
                if self.receive(which, 4, 1000) == 0 && self.groups[which].is_settled() {
                    break;
                }
                for handle in self.handles[which].split_off(first) {
                    let (group, topic, by) = (group(NAMES[which]), topic(TOPIC), String::new());
                    let ack = Ack { group, topic, handles: vec![handle], by };
                    assert_eq!(self.log.apply(Command::Ack(ack)), Outcome::Acked(vec![Ok(())]));
                    self.groups[which].acked(handle, self.log.now, Ok(()));
                }
            }
            assert!(self.groups[which].is_settled());
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_of_every_kind_agree_with_the_lists(steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.drain();
        world.log.assert_replays(0, 1);
    }
}
