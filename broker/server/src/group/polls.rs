//! Long polls that wait for messages, by what they wait for.
//!
//! Who came first is asked first. A poll is taken out to become a Receive in the log only when the state machine says
//! that something is there; while that Receive is on its way, no other poll takes from the same queues, since the
//! state does not show yet what it will take.
//!
//! A poll whose filter refuses all there is becomes a Receive as well, which settles that for its group: at once where
//! none did so just before, and else after a while or when it is much, so that what is refused costs the log little.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mainstay_messaging::{GroupName, QueueSelection, Receive, State, TopicName, Wake};
use mainstay_record::Timestamp;

use super::input::Poll;

/// Between two Receives of a consumer group that settle what their filter refuses, unless there is much of it.
const SETTLE_PAUSE_MS: u64 = 200;
/// Refused messages that are settled without a pause.
const SETTLE_AT_ONCE: u64 = 4096;

type Key = (TopicName, GroupName);

/// What a Receive would come to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finds {
    Nothing,
    /// It would settle so many messages, which its filter refuses.
    Refused(u64),
    Something,
}

impl Finds {
    pub(crate) fn of(receive: &Receive, state: &State, now: Timestamp) -> Self {
        let Receive { queues, filter, .. } = receive;
        let (group, topic) = (receive.group.as_str(), receive.topic.as_str());
        let repeats = |attempt_id: &String| state.repeats(group, topic, attempt_id, now);
        if state.ready(group, topic, queues, filter, now) || receive.attempt_id.as_ref().is_some_and(repeats)
        {
            return Self::Something;
        }
        match state.refused(group, topic, queues, filter) {
            0 => Self::Nothing,
            count => Self::Refused(count),
        }
    }
}

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
    /// When a poll last became a Receive only to settle.
    settled: Option<Timestamp>,
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

    /// Takes out the polls of woken subscriptions that `finds` says would be answered, or have to settle, in the order
    /// they came; each has to be followed by [`Self::taken`]. `next_due` tells when a subscription should be looked at
    /// again by itself.
    pub(crate) fn take_ready(
        &mut self,
        now: Timestamp,
        mut finds: impl FnMut(&Receive) -> Finds,
        mut next_due: impl FnMut(&TopicName, &GroupName) -> Option<Timestamp>,
    ) -> Vec<Waiting> {
        let mut taken = Vec::new();
        while let Some(key) = self.woken.pop_first() {
            let Some(subscription) = subscription_of(&mut self.topics, &key) else { continue };
            let settle_at = subscription.take_ready(now, &mut finds, &mut self.deadlines, &mut taken);
            if let Some(due) = subscription.due.take() {
                self.due.remove(&(due, key.clone()));
            }
            if !subscription.waiting.is_empty() {
                let due = next_due(&key.0, &key.1);
                if let Some(due) = due.into_iter().chain(settle_at).min() {
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
    /// Tells when what a poll refuses is to be settled, where that is later.
    fn take_ready(
        &mut self,
        now: Timestamp,
        finds: &mut impl FnMut(&Receive) -> Finds,
        deadlines: &mut BTreeMap<(Instant, u64), Key>,
        taken: &mut Vec<Waiting>,
    ) -> Option<Timestamp> {
        let mut leaving = Vec::new();
        let mut refuses = None;
        for (arrival, poll) in &self.waiting {
            if self.taking.contains(&QueueSelection::All) {
                break;
            }
            let queues = &poll.receive.queues;
            if poll.reply.is_closed() {
                leaving.push((*arrival, false));
            } else if !self.taking.iter().any(|other| overlap(other, queues)) {
                match finds(&poll.receive) {
                    Finds::Something => {
                        self.taking.push(queues.clone());
                        leaving.push((*arrival, true));
                    }
                    Finds::Refused(count) if refuses.is_none() => {
                        refuses = Some((*arrival, queues.clone(), count));
                    }
                    Finds::Refused(_) | Finds::Nothing => {}
                }
            }
        }
        let mut settle_at = None;
        // Only when nobody else of the group wants what it refuses, or may be about to take it.
        if let Some((arrival, queues, count)) = refuses.filter(|_| self.taking.is_empty()) {
            let rests_until = self.settled.map(|at| at.plus_millis(SETTLE_PAUSE_MS)).filter(|end| *end > now);
            if rests_until.is_none() || count >= SETTLE_AT_ONCE {
                self.settled = Some(now);
                self.taking.push(queues);
                leaving.push((arrival, true));
            } else {
                settle_at = rests_until;
            }
        }
        for (arrival, goes_on) in leaving {
            let Some(poll) = self.waiting.remove(&arrival) else { continue };
            deadlines.remove(&(poll.deadline, arrival));
            if goes_on {
                taken.push(Waiting { arrival, poll });
            }
        }
        settle_at
    }
}

#[cfg(test)]
mod tests;
