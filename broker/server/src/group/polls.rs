//! Long polls that wait for messages, by what they wait for.
//!
//! Who came first is asked first. A poll is taken out to become a Receive in the log only when the state machine says
//! that something is there; while that Receive is on its way, no other poll takes from the same queues, since the
//! state does not show yet what it will take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mainstay_messaging::{GroupName, QueueSelection, Receive, TopicName, Wake};
use mainstay_record::Timestamp;

use super::input::Poll;

type Key = (TopicName, GroupName);

/// A poll with its place in the order of arrival, kept when it has to wait again.
pub(crate) struct Waiting {
    arrival: u64,
    pub(crate) poll: Poll,
}

#[derive(Default)]
struct Subscription {
    waiting: BTreeMap<u64, Poll>,
    /// Queues of the Receives that are on their way through the log.
    taking: Vec<QueueSelection>,
    due: Option<Timestamp>,
}

#[derive(Default)]
pub(crate) struct Polls {
    topics: BTreeMap<TopicName, BTreeMap<GroupName, Subscription>>,
    /// Those to look at again.
    woken: BTreeSet<Key>,
    due: BTreeSet<(Timestamp, Key)>,
    deadlines: BTreeMap<(Instant, u64), Key>,
    arrivals: u64,
}

fn key_of(receive: &Receive) -> Key {
    (receive.topic.clone(), receive.group.clone())
}

fn overlap(one: &QueueSelection, other: &QueueSelection) -> bool {
    match (one, other) {
        (QueueSelection::Only(one), QueueSelection::Only(other)) => one.iter().any(|q| other.contains(q)),
        _ => true,
    }
}

impl Polls {
    pub(crate) fn add(&mut self, poll: Poll) {
        self.arrivals += 1;
        self.park(Waiting { arrival: self.arrivals, poll });
    }

    /// Takes back a poll whose Receive found nothing.
    pub(crate) fn park(&mut self, Waiting { arrival, poll }: Waiting) {
        let (topic, group) = key_of(&poll.receive);
        self.deadlines.insert((poll.deadline, arrival), (topic.clone(), group.clone()));
        let groups = self.topics.entry(topic.clone()).or_default();
        groups.entry(group.clone()).or_default().waiting.insert(arrival, poll);
        self.woken.insert((topic, group));
    }

    pub(crate) fn wake(&mut self, wake: Wake<'_>) {
        match wake {
            Wake::Subscription(group, topic) => {
                if self.topics.get(topic).is_some_and(|groups| groups.contains_key(group)) {
                    self.woken.insert((topic.clone(), group.clone()));
                }
            }
            Wake::Topic(topic) => {
                if let Some(groups) = self.topics.get(topic) {
                    self.woken.extend(groups.keys().map(|group| (topic.clone(), group.clone())));
                }
            }
            Wake::Topics(topics) => topics.iter().for_each(|topic| self.wake(Wake::Topic(topic))),
            Wake::DeadLetters(group) => {
                // The name is made only where somebody may wait for it.
                if !self.topics.is_empty() {
                    self.wake(Wake::Topic(&TopicName::dead_letters_of(group)));
                }
            }
            Wake::Group(group) => {
                let topics = self.topics.iter().filter(|(_, groups)| groups.contains_key(group));
                self.woken.extend(topics.map(|(topic, _)| (topic.clone(), group.clone())));
            }
            Wake::All => {
                for (topic, groups) in &self.topics {
                    self.woken.extend(groups.keys().map(|group| (topic.clone(), group.clone())));
                }
            }
        }
    }

    /// Wakes those whose next invisible message has come back.
    pub(crate) fn wake_due(&mut self, now: Timestamp) {
        while let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((_, key)) = self.due.pop_first()
        {
            if let Some(subscription) = subscription_of(&mut self.topics, &key) {
                subscription.due = None;
                self.woken.insert(key);
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes out the polls of woken subscriptions that `ready` says would be answered, in the order they came; each has to be
    /// followed by [`Self::taken`]. `next_due` tells when a subscription should be looked at again by itself.
    pub(crate) fn take_ready(
        &mut self,
        mut ready: impl FnMut(&Receive) -> bool,
        mut next_due: impl FnMut(&TopicName, &GroupName) -> Option<Timestamp>,
    ) -> Vec<Waiting> {
        let mut taken = Vec::new();
        while let Some(key) = self.woken.pop_first() {
            let Some(subscription) = subscription_of(&mut self.topics, &key) else { continue };
            subscription.take_ready(&mut ready, &mut self.deadlines, &mut taken);
            if let Some(due) = subscription.due.take() {
                self.due.remove(&(due, key.clone()));
            }
            if !subscription.waiting.is_empty() {
                if let Some(due) = next_due(&key.0, &key.1) {
                    subscription.due = Some(due);
                    self.due.insert((due, key));
                }
            } else if subscription.taking.is_empty() {
                self.forget(&key);
            }
        }
        taken
    }

    fn forget(&mut self, (topic, group): &Key) {
        if let Some(groups) = self.topics.get_mut(topic) {
            groups.remove(group);
            if groups.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// The Receive of a poll is no longer on its way: those who wait for its queues look again.
    pub(crate) fn taken(&mut self, receive: &Receive) {
        let key = key_of(receive);
        let Some(subscription) = subscription_of(&mut self.topics, &key) else { return };
        if let Some(at) = subscription.taking.iter().position(|queues| *queues == receive.queues) {
            subscription.taking.swap_remove(at);
        }
        self.woken.insert(key);
    }

    /// Takes out those whose deadline has come.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Poll> {
        let mut expired = Vec::new();
        while let Some(entry) = self.deadlines.first_entry()
            && entry.key().0 <= now
        {
            let ((_, arrival), key) = entry.remove_entry();
            if let Some(subscription) = subscription_of(&mut self.topics, &key) {
                expired.extend(subscription.waiting.remove(&arrival));
                self.woken.insert(key);
            }
        }
        expired
    }

    /// Takes out all that wait, and forgets what is on its way.
    pub(crate) fn drain(&mut self) -> Vec<Poll> {
        let all = std::mem::take(self);
        self.arrivals = all.arrivals;
        let subscriptions = all.topics.into_values().flat_map(BTreeMap::into_values);
        let mut polls: Vec<_> = subscriptions.flat_map(|subscription| subscription.waiting).collect();
        polls.sort_by_key(|(arrival, _)| *arrival);
        polls.into_iter().map(|(_, poll)| poll).collect()
    }

    /// True when nobody waits and nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.topics.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }
}

fn subscription_of<'a>(
    topics: &'a mut BTreeMap<TopicName, BTreeMap<GroupName, Subscription>>,
    (topic, group): &Key,
) -> Option<&'a mut Subscription> {
    topics.get_mut(topic)?.get_mut(group)
}

impl Subscription {
    fn take_ready(
        &mut self,
        ready: &mut impl FnMut(&Receive) -> bool,
        deadlines: &mut BTreeMap<(Instant, u64), Key>,
        taken: &mut Vec<Waiting>,
    ) {
        let mut leaving = Vec::new();
        for (arrival, poll) in &self.waiting {
            if self.taking.contains(&QueueSelection::All) {
                break;
            }
            let queues = &poll.receive.queues;
            if poll.reply.is_closed() {
                leaving.push((*arrival, false));
            } else if !self.taking.iter().any(|other| overlap(other, queues)) && ready(&poll.receive) {
                self.taking.push(queues.clone());
                leaving.push((*arrival, true));
            }
        }
        for (arrival, goes_on) in leaving {
            let Some(poll) = self.waiting.remove(&arrival) else { continue };
            deadlines.remove(&(poll.deadline, arrival));
            if goes_on {
                taken.push(Waiting { arrival, poll });
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        polls.take_ready(|_| true, |_, _| None)
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
        let none = polls.take_ready(|_| false, |_, _| Some(Timestamp(500)));
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
        assert!(polls.take_ready(|_| false, |_, _| None).is_empty());
        polls.wake(Wake::Topic(&TopicName::new("parcels").unwrap()));
        assert!(take(&mut polls).is_empty());
        polls.wake(Wake::Topic(&TopicName::new("letters").unwrap()));
        assert_eq!(take(&mut polls).len(), 1);
    }
}
