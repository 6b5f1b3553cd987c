//! The life of a message, told from the log, says what the state machine did: by hand, and over random histories.

use std::collections::{BTreeMap, HashMap};

use mainstay_messaging::{
    Ack, AckError, Asked, ChangeInvisible, Command, CreateGroup, CreateTopic, DeadLetter, Decision,
    DeliveryOrder, Elapse, EndTransaction, LifeEvent, MessageKind, Outcome, Place, Publish, QueueCount,
    QueueId, QueueOffset, Recall, RecallError, ReceiptHandle, Receive, ResetGroup, ResetTo, RetryPolicy,
    SetOffset, StartPosition, TopicKind, TransactionError, What, Why,
};
use mainstay_record::{RecordId, Timestamp};
use proptest::prelude::*;

use crate::log::{
    GROUP, INVISIBLE, Log, TOPIC, create_group, create_topic, defined_group, group, message, receive, topic,
};

/// What is told of the message that `record` published.
fn life(log: &Log, record: RecordId) -> Vec<LifeEvent> {
    let all = log.records();
    let decoded = |record: RecordId| {
        let (_, at, bytes, _) = all.iter().find(|(other, ..)| *other == record).unwrap();
        (*at, Command::decode(bytes).unwrap())
    };
    let (at, Command::Publish(publish)) = decoded(record) else { panic!("{record:?} is no message") };
    let mut life = log.state.life(record, at, &publish);
    for (record, at, bytes, _) in all.iter().filter(|(other, ..)| *other >= record) {
        life.look(*record, *at, &Command::decode(bytes).unwrap());
    }
    let receives = life.receives().into_iter().filter_map(|record| match decoded(record) {
        (at, Command::Receive(receive)) => Some((record, (at, receive))),
        _ => None,
    });
    let receives: BTreeMap<RecordId, (Timestamp, Receive)> = receives.collect();
    life.told(&receives)
}

fn whats(log: &Log, record: RecordId) -> Vec<What> {
    life(log, record).into_iter().map(|event| event.what).collect()
}

fn refused(asked: Asked, why: AckError) -> What {
    What::Refused(asked, Why::Handle(why))
}

#[test]
fn a_late_acknowledgement_is_told_as_refused_and_the_next_consumers_as_done() {
    let mut log = Log::with_queues(1);
    let record = log.next_record();
    log.publish(0, None);
    let start = log.now;
    let late = log.receive(receive(1))[0].handle;
    log.wait(INVISIBLE);
    assert_eq!(log.ack(late), Err(AckError::Expired));
    let next = log.receive(receive(1))[0].handle;
    assert_eq!(log.ack(late), Err(AckError::Replaced));
    log.ack(next).unwrap();
    log.ack(next).unwrap();
    assert_eq!(
        whats(&log, record),
        [
            What::Delivered { until: start.plus_millis(INVISIBLE) },
            refused(Asked::Acknowledge, AckError::Expired),
            What::Delivered { until: start.plus_millis(2 * INVISIBLE) },
            refused(Asked::Acknowledge, AckError::Replaced),
            What::Acknowledged,
            What::Repeated(Asked::Acknowledge),
        ]
    );
}

#[test]
fn renewals_in_a_row_are_one_event_and_a_failure_is_another() {
    let mut log = Log::with_queues(1);
    let record = log.next_record();
    log.publish(0, None);
    let mut handle = log.receive(receive(1))[0].handle;
    for _ in 0..3 {
        log.wait(INVISIBLE / 2);
        handle = log.change(handle, INVISIBLE).unwrap();
    }
    let held = log.now.plus_millis(INVISIBLE);
    log.wait(1);
    log.change(handle, 0).unwrap();
    let again = log.receive(receive(1))[0].handle;
    log.apply(Command::ChangeInvisible(ChangeInvisible {
        group: group(GROUP),
        topic: topic(TOPIC),
        handle: again,
        invisible_ms: 0,
        at_least_retry_delay: true,
        by: String::new(),
    }));
    // Of the second attempt, though nothing but the deliveries says that it is.
    let delay = RetryPolicy::default().delay(2).as_millis() as u64;
    assert_eq!(
        whats(&log, record)[1..],
        [
            What::Held { times: 3, until: held },
            What::PutOff { failed: false, until: log.now },
            What::Delivered { until: log.now.plus_millis(INVISIBLE) },
            What::PutOff { failed: true, until: log.now.plus_millis(delay) },
        ]
    );
}

#[test]
fn what_a_reset_voids_is_refused_or_settled() {
    let mut log = Log::with_queues(1);
    let record = log.next_record();
    log.publish(0, None);
    let handle = log.receive(receive(1))[0].handle;
    let reset = |to| Command::ResetGroup(ResetGroup { group: group(GROUP), topic: topic(TOPIC), to });
    log.apply(reset(ResetTo::Earliest));
    assert_eq!(log.ack(handle), Err(AckError::NotInFlight));
    log.apply(reset(ResetTo::Latest));
    assert_eq!(log.ack(handle), Ok(()));
    let expected = [refused(Asked::Acknowledge, AckError::NotInFlight), What::Repeated(Asked::Acknowledge)];
    assert_eq!(whats(&log, record)[1..], expected);
}

fn mixed() -> Log {
    let mut log = Log::empty(0, 1);
    let queues = QueueCount::new(1).unwrap();
    log.apply(Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind: TopicKind::Mixed, queues }));
    log.apply(create_group(GROUP, StartPosition::Earliest));
    log
}

fn publish(log: &mut Log, kind: MessageKind) -> (RecordId, Place) {
    let record = log.next_record();
    let message_id = format!("{record:?}");
    match log.apply(Command::Publish(Publish { kind, message_id, ..message(0, None) })) {
        Outcome::Published { place, .. } => (record, place),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_decision_holds_and_one_that_is_too_late_is_refused() {
    let mut log = mixed();
    let kind = MessageKind::Transaction { check_after_ms: None };
    let (record, Place::Half(transaction)) = publish(&mut log, kind.clone()) else { panic!() };
    let (dropped, Place::Half(nobodys)) = publish(&mut log, kind) else { panic!() };
    let end = |transaction, decision| {
        let (topic, by) = (topic(TOPIC), String::new());
        Command::EndTransaction(EndTransaction { topic, transaction, decision, by })
    };
    for decision in [Decision::Commit, Decision::Rollback, Decision::Commit] {
        log.apply(end(transaction, decision));
    }
    log.wait(mainstay_messaging::MAX_HALF_AGE_MS);
    log.apply(Command::Elapse(Elapse { max: 10 }));
    log.apply(end(nobodys, Decision::Commit));
    let contrary = TransactionError::Contrary { before: Decision::Commit };
    assert_eq!(
        whats(&log, record),
        [
            What::Committed,
            What::Refused(Asked::Rollback, Why::Transaction(contrary)),
            What::Repeated(Asked::Commit),
        ]
    );
    let too_late = What::Refused(Asked::Commit, Why::Transaction(TransactionError::Dropped));
    assert_eq!(whats(&log, dropped), [What::Dropped, too_late]);
}

#[test]
fn a_recall_has_an_effect_before_the_release_only() {
    let mut log = mixed();
    let deliver_at = log.now.plus_millis(10);
    let (early, Place::Timer(first)) = publish(&mut log, MessageKind::Delay { deliver_at }) else { panic!() };
    let (late, Place::Timer(second)) = publish(&mut log, MessageKind::Delay { deliver_at }) else { panic!() };
    let recall = |handle| Command::Recall(Recall { topic: topic(TOPIC), handle, by: String::new() });
    log.apply(recall(first));
    log.wait(10);
    log.apply(Command::Elapse(Elapse { max: 10 }));
    log.apply(recall(second));
    log.apply(recall(first));
    let refused = What::Refused(Asked::Recall, Why::Recall(RecallError::NotPending));
    assert_eq!(whats(&log, early), [What::Recalled, refused]);
    assert_eq!(whats(&log, late), [refused]);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Publish,
    Receive {
        second: bool,
        max: u32,
    },
    /// A handle that was given before, the newest being 0.
    Ack(usize),
    Change {
        handle: usize,
        invisible_ms: u64,
        failed: bool,
    },
    GiveUp(usize),
    Reset(bool, ResetTo),
    SetOffset(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let to = prop_oneof![
        Just(ResetTo::Earliest),
        Just(ResetTo::Latest),
        (1_000_000..1_010_000u64).prop_map(|at| ResetTo::Time(Timestamp(at))),
    ];
    prop_oneof![
        6 => (0..800u64).prop_map(Step::Wait),
        2 => Just(Step::Publish),
        6 => (any::<bool>(), 1..4u32).prop_map(|(second, max)| Step::Receive { second, max }),
        6 => (0..6usize).prop_map(Step::Ack),
        3 => (0..4usize, 0..2000u64, any::<bool>())
            .prop_map(|(handle, invisible_ms, failed)| Step::Change { handle, invisible_ms, failed }),
        2 => (0..4usize).prop_map(Step::GiveUp),
        1 => (any::<bool>(), to).prop_map(|(second, to)| Step::Reset(second, to)),
        1 => (0..6u64).prop_map(Step::SetOffset),
    ]
}

const SECOND: &str = "second";

/// Whose handle it is, and of which message.
type Handles = Vec<(ReceiptHandle, &'static str, RecordId)>;

fn take_step(log: &mut Log, step: &Step, handles: &mut Handles) {
    let name = |second: bool| if second { SECOND } else { GROUP };
    let shown = |back: usize| handles.len().checked_sub(back + 1).map(|at| handles[at]);
    let (topic, by) = (topic(TOPIC), String::new());
    match *step {
        Step::Wait(millis) => log.wait(millis),
        Step::Publish => drop(log.publish(0, None)),
        Step::Receive { second, max } => {
            let name = name(second);
            let taken = log.receive(Receive { group: group(name), ..receive(max) });
            handles.extend(taken.iter().map(|delivery| (delivery.handle, name, delivery.record)));
        }
        Step::Ack(back) => {
            let Some((handle, name, _)) = shown(back) else { return };
            log.apply(Command::Ack(Ack { group: group(name), topic, handles: vec![handle], by }));
        }
        Step::Change { handle, invisible_ms, failed: at_least_retry_delay } => {
            let Some((handle, name, record)) = shown(handle) else { return };
            let group = group(name);
            let change = ChangeInvisible { group, topic, handle, invisible_ms, at_least_retry_delay, by };
            if let Outcome::Changed(Ok(handle)) = log.apply(Command::ChangeInvisible(change)) {
                handles.push((handle, name, record));
            }
        }
        Step::GiveUp(back) => {
            let Some((handle, name, _)) = shown(back) else { return };
            log.apply(Command::DeadLetter(DeadLetter { group: group(name), topic, handle, by }));
        }
        Step::Reset(second, to) => {
            log.apply(Command::ResetGroup(ResetGroup { group: group(name(second)), topic, to }));
        }
        Step::SetOffset(offset) => {
            let (group, offset) = (group(GROUP), QueueOffset(offset));
            log.apply(Command::SetOffset(SetOffset { group, topic, queue: QueueId(0), offset }));
        }
    }
}

/// Whether the command had the effect it asked for, as its client was told; of the message that it is about.
fn answers(log: &Log, handles: &Handles) -> HashMap<RecordId, BTreeMap<RecordId, bool>> {
    let of: HashMap<ReceiptHandle, RecordId> =
        handles.iter().map(|(handle, _, record)| (*handle, *record)).collect();
    let mut answers: HashMap<RecordId, BTreeMap<RecordId, bool>> = HashMap::new();
    for (record, _, bytes, outcome) in log.records() {
        let (handle, done) = match (Command::decode(bytes).unwrap(), outcome) {
            (Command::Ack(ack), Outcome::Acked(results)) => (ack.handles[0], results[0].is_ok()),
            (Command::ChangeInvisible(change), Outcome::Changed(result)) => (change.handle, result.is_ok()),
            (Command::DeadLetter(dead), Outcome::DeadLettered(result)) => (dead.handle, result.is_ok()),
            _ => continue,
        };
        answers.entry(of[&handle]).or_default().insert(*record, done);
    }
    answers
}

proptest! {
    #[test]
    fn what_is_told_is_what_was_answered(
        steps in prop::collection::vec(step(), 1..120),
        fifo in any::<bool>(),
        max_attempts in 1..6u32,
    ) {
        let mut log = Log::empty(0, 1);
        log.apply(create_topic(1));
        for name in [GROUP, SECOND] {
            let order = if fifo { DeliveryOrder::Fifo } else { DeliveryOrder::Concurrent };
            // The same whatever the attempt, which the log does not say of deliveries that nobody answered.
            let retry = RetryPolicy::Customized(vec![700]);
            log.apply(Command::CreateGroup(CreateGroup { max_attempts, order, retry, ..defined_group(name) }));
        }
        let mut handles = Handles::new();
        for step in &steps {
            take_step(&mut log, step, &mut handles);
        }
        let answers = answers(&log, &handles);
        for (record, _, bytes, _) in log.records() {
            let Ok(Command::Publish(_)) = Command::decode(bytes) else { continue };
            let (mut told, mut delivered) = (BTreeMap::new(), Vec::new());
            for event in life(&log, *record) {
                match event.what {
                    What::Delivered { .. } => delivered.push(event.record),
                    What::Refused(..) => drop(told.insert(event.record, false)),
                    // Several renewals are one event, the first of them.
                    What::Held { .. } => {}
                    _ => drop(told.insert(event.record, true)),
                }
            }
            let mut answered = answers.get(record).cloned().unwrap_or_default();
            answered.retain(|at, done| told.contains_key(at) || !*done || !is_change(&log, *at));
            prop_assert_eq!(told, answered, "{:?}", life(&log, *record));
            for at in delivered {
                let by = handles.iter().any(|(handle, _, of)| of == record && handle.made_by() == at);
                prop_assert!(by, "{:?} did not deliver {:?}", at, record);
            }
        }
    }
}

fn is_change(log: &Log, record: RecordId) -> bool {
    let found = log.records().iter().find(|(other, ..)| *other == record);
    found.is_some_and(|(_, _, bytes, _)| matches!(Command::decode(bytes), Ok(Command::ChangeInvisible(_))))
}
