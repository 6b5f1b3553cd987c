//! Receives whose messages the leader looked into: what was found to match is delivered, what was not is settled, and
//! what nobody looked into stays. A filter on tags is judged like any other, and must then come to the same as it does
//! by itself.

use mainstay_messaging::{
    Candidate, Command, CreateGroup, CreateTopic, DeleteTopic, DeliveryOrder, Filter, MessageKind, Outcome,
    Publish, QueueCount, QueueId, QueueOffset, QueueSelection, ReceiptHandle, Receive, ResetGroup, ResetTo,
    TopicKind, Verdicts,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::log::{
    GROUP, INVISIBLE, Log, TOPIC, create_topic, defined_group, group, message, receive, tags, topic,
};

/// Looks into `look` messages at most, and judges them.
fn judged(log: &Log, receive: &Receive, look: usize, takes: impl Fn(&Candidate) -> bool) -> Filter {
    let candidates = log.state.candidates(receive, log.now, look);
    let verdicts = candidates.messages.iter().map(|seen| (seen.queue, seen.offset, takes(seen)));
    Filter::Judged(Verdicts::new(candidates.topic, verdicts))
}

fn even(seen: &Candidate) -> bool {
    seen.offset.0.is_multiple_of(2)
}

fn next(log: &Log, queue: usize) -> u64 {
    log.state.progress(GROUP, TOPIC).unwrap()[queue].next.0
}

#[test]
fn a_queue_is_taken_from_no_further_than_it_was_looked_into() {
    let mut log = Log::with_queues(2);
    log.publish_to([0, 0, 0, 1, 0, 0]);
    let filter = judged(&log, &receive(10), 4, even);
    assert_eq!(log.take(Receive { filter: filter.clone(), ..receive(10) }), [(0, 0, 1), (0, 2, 1)]);
    assert_eq!((next(&log, 0), next(&log, 1)), (4, 0));
    assert_eq!(log.take(Receive { filter, ..receive(10) }), [], "nobody has looked into the rest");
    assert_eq!((next(&log, 0), next(&log, 1)), (4, 0));
    let filter = judged(&log, &receive(10), 4, even);
    assert_eq!(log.take(Receive { filter, ..receive(10) }), [(1, 0, 1), (0, 4, 1)]);
    log.assert_replays(0, 1);
}

#[test]
fn a_look_at_messages_of_which_none_matches_settles_them() {
    let mut log = Log::with_queues(1);
    log.publish_to([0; 5]);
    let filter = judged(&log, &receive(1), 3, |_| false);
    assert_eq!(log.take(Receive { filter, ..receive(1) }), []);
    assert_eq!(next(&log, 0), 3);
    assert_eq!(log.take(receive(10)), [(0, 3, 1), (0, 4, 1)]);
}

#[test]
fn what_comes_back_is_judged_anew_and_what_comes_back_unseen_stays() {
    let mut log = Log::with_queues(1);
    log.publish_to([0; 4]);
    let deliveries = log.receive(receive(10));
    for (delivery, invisible) in deliveries.iter().zip([10, 20, 30, 40]) {
        log.change(delivery.handle, invisible).unwrap();
    }
    log.wait(30);
    let filter = judged(&log, &receive(10), 10, even);
    log.wait(10);
    assert_eq!(log.take(Receive { filter, ..receive(10) }), [(0, 0, 2), (0, 2, 2)]);
    assert_eq!(log.ack(deliveries[1].handle), Ok(()), "it was settled");
    assert_eq!(log.take(receive(10)), [(0, 3, 2)]);
}

#[test]
fn verdicts_on_a_topic_do_not_count_for_another_of_its_name() {
    let mut log = Log::with_queues(1);
    log.publish_to([0; 2]);
    let filter = judged(&log, &receive(10), 10, |_| false);
    log.apply(Command::DeleteTopic(DeleteTopic { name: topic(TOPIC) }));
    log.apply(create_topic(1));
    log.publish_to([0; 2]);
    assert_eq!(log.take(Receive { filter, ..receive(10) }), []);
    assert_eq!(log.take(receive(10)), [(0, 0, 1), (0, 1, 1)]);
}

#[test]
fn a_reset_between_look_and_receive_loses_nothing() {
    let mut log = Log::with_queues(1);
    log.publish_to([0; 4]);
    log.receive(receive(2));
    let filter = judged(&log, &receive(10), 10, even);
    let to = ResetTo::Earliest;
    log.apply(Command::ResetGroup(ResetGroup { group: group(GROUP), topic: topic(TOPIC), to }));
    assert_eq!(log.take(Receive { filter, ..receive(10) }), []);
    assert_eq!(log.take(receive(10)).len(), 4);
}

#[test]
fn nothing_to_look_into() {
    let mut log = Log::with_queues(2);
    let look = |log: &Log, receive: &Receive| log.state.candidates(receive, log.now, 10).messages.len();
    assert_eq!(look(&log, &receive(1)), 0);
    log.publish(1, None);
    assert_eq!(look(&log, &receive(1)), 1);
    let only = |queue| QueueSelection::Only(vec![QueueId(queue)]);
    assert_eq!(look(&log, &Receive { queues: only(0), ..receive(1) }), 0);
    assert_eq!(look(&log, &Receive { queues: only(7), ..receive(1) }), 0);
    assert_eq!(look(&log, &Receive { group: group("nobody"), ..receive(1) }), 0);
    assert_eq!(look(&log, &Receive { topic: topic("nothing"), ..receive(1) }), 0);
    assert_eq!(log.state.candidates(&receive(1), log.now, 0).messages.len(), 0);
    log.receive(receive(1));
    assert_eq!(look(&log, &receive(1)), 0);
    log.wait(INVISIBLE);
    let seen = log.state.candidates(&receive(1), log.now, 10).messages;
    let record = log.state.locate(TOPIC, QueueId(1), QueueOffset(0));
    assert_eq!(seen, [Candidate { queue: QueueId(1), offset: QueueOffset(0), record }]);
    assert!(record.is_some());
}

#[test]
fn a_message_group_waits_at_what_nobody_looked_into() {
    let mut log = Twins::new(&Setup::Ordered).judged;
    for (number, group) in ["g", "g", "h", "g"].into_iter().enumerate() {
        log.apply(Command::Publish(grouped(0, group, "a", number as u32)));
    }
    let only = |offsets: &'static [u64]| {
        let verdicts = offsets.iter().map(|at| (QueueId(0), QueueOffset(*at), true));
        Filter::Judged(Verdicts::new(log.state.topic(TOPIC).unwrap().revision, verdicts))
    };
    let (first, rest, again) = (only(&[0]), only(&[1, 2, 3]), only(&[1]));
    let taken = log.receive(Receive { filter: first, ..receive(10) });
    assert_eq!(taken.len(), 1);
    assert_eq!(
        log.take(Receive { filter: rest, ..receive(10) }),
        [(0, 2, 1)],
        "the group's first is in flight"
    );
    log.wait(INVISIBLE);
    assert_eq!(log.take(Receive { filter: again, ..receive(10) }), [], "its first was not looked into");
    assert_eq!(log.take(receive(10)), [(0, 0, 2), (0, 1, 1), (0, 3, 1), (0, 2, 2)]);
    log.assert_replays(0, 1);
}

const QUEUES: usize = 3;
const TAGS: [&str; 3] = ["a", "b", "c"];
const MESSAGE_GROUPS: [&str; 3] = ["g", "h", "i"];

/// How the messages are delivered.
#[derive(Debug, Clone)]
enum Setup {
    Concurrent,
    Ordered,
    Priority,
}

#[derive(Debug, Clone)]
enum Step {
    Publish(usize, usize, usize),
    Receive(Vec<usize>, u32, u64),
    Ack(Index),
    Change(Index, u64),
    Wait(u64),
    Reset(ResetTo),
}

fn wanted() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence((0..TAGS.len()).collect::<Vec<_>>(), 0..=TAGS.len())
}

fn step() -> impl Strategy<Value = Step> {
    let to = prop::sample::select(vec![ResetTo::Earliest, ResetTo::Latest]);
    prop_oneof![
        40 => (0..QUEUES, 0..TAGS.len(), 0..MESSAGE_GROUPS.len())
            .prop_map(|(queue, tag, group)| Step::Publish(queue, tag, group)),
        30 => (wanted(), 0..5u32, 0..20u64)
            .prop_map(|(wanted, max, invisible)| Step::Receive(wanted, max, invisible)),
        15 => any::<Index>().prop_map(Step::Ack),
        10 => (any::<Index>(), 0..20u64).prop_map(|(handle, invisible)| Step::Change(handle, invisible)),
        20 => (1..12u64).prop_map(Step::Wait),
        1 => to.prop_map(Step::Reset),
    ]
}

/// A FIFO message, or any other one, of this tag.
fn grouped(queue: usize, message_group: &str, tag: &str, number: u32) -> Publish {
    Publish {
        kind: MessageKind::Fifo { message_group: message_group.to_owned() },
        message_id: format!("{message_group}-{number}"),
        ..message(queue as u32, Some(tag))
    }
}

/// Two logs of the same messages: in one the state filters by tag itself, in the other it is told verdicts.
struct Twins {
    setup: Setup,
    by_tag: Log,
    judged: Log,
    /// Tag and message group of each message by queue.
    messages: Vec<Vec<(usize, usize)>>,
}

impl Twins {
    fn new(setup: &Setup) -> Self {
        let log = || {
            let mut log = Log::empty(0, 1);
            let kind = match setup {
                Setup::Concurrent => TopicKind::Normal,
                Setup::Ordered => TopicKind::Fifo,
                Setup::Priority => TopicKind::Priority,
            };
            let queues = QueueCount::new(QUEUES as u32).unwrap();
            log.apply(Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind, queues }));
            let order = match setup {
                Setup::Ordered => DeliveryOrder::Fifo,
                Setup::Concurrent | Setup::Priority => DeliveryOrder::Concurrent,
            };
            log.apply(Command::CreateGroup(CreateGroup { order, max_attempts: 4, ..defined_group(GROUP) }));
            log
        };
        Self { setup: setup.clone(), by_tag: log(), judged: log(), messages: vec![Vec::new(); QUEUES] }
    }

    fn both(&mut self, command: &Command) -> Result<(), TestCaseError> {
        let outcome = self.by_tag.apply(command.clone());
        prop_assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        prop_assert_eq!(&self.judged.apply(command.clone()), &outcome);
        Ok(())
    }

    fn publish(&mut self, queue: usize, tag: usize, group: usize) -> Result<(), TestCaseError> {
        let number = self.messages.iter().map(Vec::len).sum::<usize>();
        let fifo = grouped(queue, MESSAGE_GROUPS[group], TAGS[tag], number as u32);
        let publish = match self.setup {
            Setup::Ordered => fifo,
            Setup::Concurrent => Publish { kind: MessageKind::Normal, ..fifo },
            Setup::Priority => Publish { kind: MessageKind::Priority { priority: queue as u32 }, ..fifo },
        };
        self.messages[queue].push((tag, group));
        self.both(&Command::Publish(publish))
    }

    fn takes<'a>(&'a self, wanted: &'a [usize]) -> impl Fn(&Candidate) -> bool + 'a {
        |seen| wanted.contains(&self.messages[seen.queue.0 as usize][seen.offset.0 as usize].0)
    }

    fn step(&mut self, step: Step, handles: &mut Vec<ReceiptHandle>) -> Result<(), TestCaseError> {
        match step {
            Step::Publish(queue, tag, group) => self.publish(queue, tag, group)?,
            Step::Receive(wanted, max, invisible_ms) => {
                let plain = Receive { invisible_ms, ..receive(max) };
                let names: Vec<_> = wanted.iter().map(|tag| TAGS[*tag]).collect();
                let filter = judged(&self.judged, &plain, usize::MAX, self.takes(&wanted));
                let by_tag = Command::Receive(Receive { filter: tags(&names), ..plain.clone() });
                let outcome = self.by_tag.apply(by_tag);
                let by_verdict = Command::Receive(Receive { filter, ..plain });
                prop_assert_eq!(&self.judged.apply(by_verdict), &outcome);
                let Outcome::Received { deliveries, .. } = outcome else { panic!("{outcome:?}") };
                handles.extend(deliveries.iter().map(|delivery| delivery.handle));
            }
            Step::Ack(_) | Step::Change(..) if handles.is_empty() => {}
            Step::Ack(index) => {
                let handle = handles[index.index(handles.len())];
                prop_assert_eq!(self.by_tag.ack(handle), self.judged.ack(handle));
            }
            Step::Change(index, invisible_ms) => {
                let handle = handles[index.index(handles.len())];
                let changed = self.by_tag.change(handle, invisible_ms);
                prop_assert_eq!(&changed, &self.judged.change(handle, invisible_ms));
                handles.extend(changed);
            }
            Step::Wait(millis) => {
                self.by_tag.wait(millis);
                self.judged.wait(millis);
            }
            Step::Reset(to) => {
                self.both(&Command::ResetGroup(ResetGroup { group: group(GROUP), topic: topic(TOPIC), to }))?;
            }
        }
        prop_assert_eq!(&self.by_tag.state, &self.judged.state);
        Ok(())
    }

    /// Acknowledges all there is, in the order of delivery, however little is looked into at a time.
    fn drain_judged(&mut self, wanted: &[usize], look: usize) -> Vec<(u32, u64)> {
        let mut found = Vec::new();
        for _ in 0..2000 {
            let receive = receive(2);
            if self.judged.state.candidates(&receive, self.judged.now, 1).messages.is_empty() {
                assert!(!self.judged.is_ready(&Filter::All), "it would be waited for in vain");
                return found;
            }
            let filter = judged(&self.judged, &receive, look, self.takes(wanted));
            for delivery in self.judged.receive(Receive { filter, ..receive }) {
                found.push((delivery.queue.0, delivery.offset.0));
                self.judged.ack(delivery.handle).unwrap();
            }
        }
        panic!("it goes on for ever");
    }

    fn drain_by_tag(&mut self, wanted: &[usize]) -> Vec<(u32, u64)> {
        let names: Vec<_> = wanted.iter().map(|tag| TAGS[*tag]).collect();
        let mut found = Vec::new();
        loop {
            let deliveries = self.by_tag.receive(Receive { filter: tags(&names), ..receive(2) });
            if deliveries.is_empty() {
                return found;
            }
            for delivery in deliveries {
                found.push((delivery.queue.0, delivery.offset.0));
                self.by_tag.ack(delivery.handle).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn judging_tags_comes_to_the_same_as_filtering_by_them(
        setup in prop::sample::select(vec![Setup::Concurrent, Setup::Ordered, Setup::Ordered, Setup::Priority]),
        steps in prop::collection::vec(step(), 1..80),
        wanted in wanted(),
        look in 1..6usize,
    ) {
        let mut twins = Twins::new(&setup);
        let mut handles = Vec::new();
        for step in steps {
            twins.step(step, &mut handles)?;
        }
        twins.by_tag.wait(INVISIBLE);
        twins.judged.wait(INVISIBLE);
        let mut expected = twins.drain_by_tag(&wanted);
        let mut found = twins.drain_judged(&wanted, look);
        if matches!(setup, Setup::Ordered) {
            let lane = |(queue, at): &(u32, u64)| (*queue, twins.messages[*queue as usize][*at as usize].1);
            for (n, one) in found.iter().enumerate() {
                let overtaken = found[n..].iter().any(|other| lane(other) == lane(one) && other < one);
                prop_assert!(!overtaken, "{one:?} before an earlier one of its message group");
            }
        }
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
        twins.judged.assert_replays(0, 1);
    }
}
