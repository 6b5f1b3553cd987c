use std::time::Duration;

use mainstay_messaging::{Filter, QueueId};
use tokio::sync::oneshot;

use super::*;
use crate::group::error::ReceiveError;

type Answer = oneshot::Receiver<Result<Vec<mainstay_messaging::Delivery>, ReceiveError>>;

fn poll(queues: QueueSelection, deadline: Instant) -> (Poll, Answer) {
    let (reply, answer) = oneshot::channel();
    let receive = Receive {
        group: GroupName::new("readers").unwrap(),
        topic: TopicName::new("letters").unwrap(),
        queues,
        max: 1,
        filter: Filter::All,
        invisible_ms: 1000,
        attempt_id: None,
        by: String::new(),
    };
    (Poll { receive, condition: None, deadline, reply }, answer)
}

fn only(queue: u32) -> QueueSelection {
    QueueSelection::Only(vec![QueueId(queue)])
}

fn take(polls: &mut Polls) -> Vec<Waiting> {
    polls.take_ready(Timestamp(0), |_| Finds::Something, |_, _| None)
}

#[test]
fn one_receive_at_a_time_takes_from_a_queue_and_the_first_comer_is_first() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let mut answers = Vec::new();
    for queues in [only(0), only(0), only(1), QueueSelection::All] {
        let (poll, answer) = poll(queues, end);
        polls.add(poll);
        answers.push(answer);
    }
    let first = take(&mut polls);
    assert_eq!(first.iter().map(|w| w.arrival).collect::<Vec<_>>(), [1, 3]);
    assert!(take(&mut polls).is_empty(), "nobody was woken");
    for waiting in first {
        polls.taken(&waiting.poll.receive);
    }
    let second = take(&mut polls);
    assert_eq!(second.iter().map(|w| w.arrival).collect::<Vec<_>>(), [2]);
    polls.taken(&second[0].poll.receive);
    assert_eq!(take(&mut polls).iter().map(|w| w.arrival).collect::<Vec<_>>(), [4]);
    assert_eq!(polls.len(), 0);
}

#[test]
fn a_poll_that_found_nothing_keeps_its_place() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let (one, _one) = poll(QueueSelection::All, end);
    let (two, _two) = poll(QueueSelection::All, end);
    polls.add(one);
    polls.add(two);
    let first = take(&mut polls).pop().unwrap();
    polls.taken(&first.poll.receive);
    polls.park(first);
    assert_eq!(take(&mut polls)[0].arrival, 1);
}

#[test]
fn those_who_hung_up_get_nothing() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let (one, answer) = poll(QueueSelection::All, end);
    let (two, _two) = poll(QueueSelection::All, end);
    polls.add(one);
    polls.add(two);
    drop(answer);
    assert_eq!(take(&mut polls)[0].arrival, 2);
}

#[test]
fn due_messages_and_deadlines_come_by_time() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let (one, _one) = poll(only(0), end);
    polls.add(one);
    let none = polls.take_ready(Timestamp(0), |_| Finds::Nothing, |_, _| Some(Timestamp(500)));
    assert!(none.is_empty());
    assert_eq!((polls.next_due(), polls.next_deadline()), (Some(Timestamp(500)), Some(end)));
    polls.wake_due(Timestamp(499));
    assert!(take(&mut polls).is_empty());
    polls.wake_due(Timestamp(500));
    let taken = take(&mut polls);
    assert_eq!(taken.len(), 1);
    polls.taken(&taken[0].poll.receive);
    let (two, _two) = poll(only(0), end);
    polls.add(two);
    assert!(polls.expired(end - Duration::from_millis(1)).is_empty());
    assert_eq!(polls.expired(end).len(), 1);
    assert!(take(&mut polls).is_empty());
}

#[test]
fn a_publish_wakes_the_groups_of_its_topic_only() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let (one, _one) = poll(only(0), end);
    polls.add(one);
    assert!(polls.take_ready(Timestamp(0), |_| Finds::Nothing, |_, _| None).is_empty());
    polls.wake(Wake::Topic(&TopicName::new("parcels").unwrap()));
    assert!(take(&mut polls).is_empty());
    polls.wake(Wake::Topic(&TopicName::new("letters").unwrap()));
    assert_eq!(take(&mut polls).len(), 1);
}

/// Takes what is ready at `now` when the filters refuse `count` messages.
fn take_refusing(polls: &mut Polls, now: u64, count: u64) -> Vec<Waiting> {
    polls.take_ready(Timestamp(now), |_| Finds::Refused(count), |_, _| None)
}

#[test]
fn what_is_refused_is_settled_at_once_and_then_after_a_pause_or_when_it_is_much() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let (one, _one) = poll(QueueSelection::All, end);
    polls.add(one);
    let letters = TopicName::new("letters").unwrap();
    let mut settle = |now, count| {
        polls.wake(Wake::Topic(&letters));
        polls.wake_due(Timestamp(now));
        let taken = take_refusing(&mut polls, now, count).pop();
        let settles = taken.is_some();
        if let Some(waiting) = taken {
            polls.taken(&waiting.poll.receive);
            polls.park(waiting);
            polls.take_ready(Timestamp(now), |_| Finds::Nothing, |_, _| None);
        }
        (settles, polls.next_due())
    };
    let rests_until = |at: u64| Some(Timestamp(at + SETTLE_PAUSE_MS));
    assert_eq!(settle(1000, 1), (true, None));
    assert_eq!(settle(1001, 1), (false, rests_until(1000)), "looked at again by itself");
    assert_eq!(settle(1000 + SETTLE_PAUSE_MS - 1, SETTLE_AT_ONCE - 1), (false, rests_until(1000)));
    assert_eq!(settle(1000 + SETTLE_PAUSE_MS, 1), (true, None));
    assert_eq!(settle(1001 + SETTLE_PAUSE_MS, SETTLE_AT_ONCE), (true, None));
}

#[test]
fn whoever_takes_a_message_comes_before_those_who_refuse_it() {
    let (mut polls, end) = (Polls::default(), Instant::now() + Duration::from_secs(9));
    let (refusing, _refusing) = poll(QueueSelection::All, end);
    let (mut taking, _taking) = poll(QueueSelection::All, end);
    taking.receive.max = 2;
    polls.add(refusing);
    polls.add(taking);
    let finds = |receive: &Receive| if receive.max == 2 { Finds::Something } else { Finds::Refused(1) };
    let first = polls.take_ready(Timestamp(0), finds, |_, _| None);
    assert_eq!(first.iter().map(|w| w.arrival).collect::<Vec<_>>(), [2]);
    assert!(take_refusing(&mut polls, 0, 1).is_empty(), "nobody was woken");
    polls.taken(&first[0].poll.receive);
    assert_eq!(take_refusing(&mut polls, 0, 1)[0].arrival, 1);
}
