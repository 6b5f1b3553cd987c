//! What consumers do: receive, settle, put off, give up; and where their groups stand.

use mainstay_planted::{Fault, planted};
use mainstay_record::{GroupId, RecordId, Timestamp};

use crate::command::{
    Ack, ChangeInvisible, DeadLetter, Filter, QueueSelection, Receive, ResetGroup, ResetTo, SetOffset,
};
use crate::delivery::cursor::{Changed, Cursor, Taking, held};
use crate::delivery::handle::{ReceiptHandle, Token};
use crate::delivery::subscription::{Precedence, Subscription};
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{ConsumerGroup, QueueId, Revision};
use crate::outcome::{AckError, Outcome, Refusal};
use crate::queue::index::{Indexed, QueueIndex};
use crate::queue::tags::TagId;
use crate::state::{State, TopicState, find_group, find_topic_mut, unknown_queue};

impl State {
    pub(crate) fn receive(
        &mut self,
        record: RecordId,
        now: Timestamp,
        receive: &Receive,
    ) -> Result<Outcome, Refusal> {
        let group = find_group(&self.groups, &receive.group)?;
        let TopicState { topic, queues, tags, subscriptions } =
            find_topic_mut(&mut self.topics, receive.topic.as_str())?;
        if let QueueSelection::Only(selected) = &receive.queues {
            let count = queues.len() as u32;
            if let Some(queue) = selected.iter().find(|queue| queue.0 >= count) {
                return Err(unknown_queue(topic, *queue, count));
            }
        }
        let taking = Taking {
            broker_group: self.broker_group,
            topic: topic.revision,
            group: group.group.revision,
            token: Token { record, made_at: now },
            expires_at: now.plus_millis(receive.invisible_ms),
            tags: tags.resolve(&receive.filter),
            verdicts: match &receive.filter {
                Filter::Judged(verdicts) => Some(verdicts),
                Filter::All | Filter::Tags(_) => None,
            },
            max: receive.max as usize,
            max_attempts: attempts_of(&group.group),
        };
        let order = group.group.order;
        let subscription = subscriptions
            .entry(group.group.revision)
            .or_insert_with(|| Subscription::new(order, queues, |index| group.start(index)));
        if let Some(attempt_id) = receive.attempt_id.as_deref().filter(|_| order.is_fifo()) {
            let again = subscription.repeat(queues, attempt_id, &taking);
            if !again.deliveries.is_empty() {
                return Ok(Outcome::Received { deliveries: again.deliveries, dead_letters: 0 });
            }
        }
        let precedence = Precedence::of(topic.kind);
        let taken = subscription.receive(queues, &receive.queues, precedence, &taking);
        let dead_letters = taken.dead.len() as u32;
        self.bury(record, now, &receive.group, &receive.topic, &taken.dead);
        Ok(Outcome::Received { deliveries: taken.deliveries, dead_letters })
    }

    /// Makes settled messages of `from` dead letters of the group.
    fn bury(
        &mut self,
        record: RecordId,
        now: Timestamp,
        group: &GroupName,
        from: &TopicName,
        dead: &[Indexed],
    ) {
        for message in dead {
            let tag = self.topics.get(from).and_then(|topic| topic.tags.text(message.tag));
            let Some(letters) = self.topics.get_mut(&TopicName::dead_letters_of(group)) else { return };
            // Without its tag rather than not at all.
            let tag = tag.and_then(|tag| letters.tags.intern(&tag)).unwrap_or(TagId::NONE);
            let Some(index) = letters.queues.first_mut() else { return };
            let message = Indexed { record, stored_at: now, tag, lane: None, body: message.body };
            index.push(message, &mut letters.tags);
            if planted(Fault::BuryTwice) {
                index.push(message, &mut letters.tags);
            }
        }
    }

    pub(crate) fn ack(&mut self, now: Timestamp, ack: &Ack) -> Result<Outcome, Refusal> {
        let mut subscription = self.held(&ack.group, &ack.topic)?;
        let results = ack.handles.iter().map(|handle| {
            let (cursor, index) = subscription.cursor(handle)?;
            cursor.acknowledge(index, handle.offset.0, handle.token, now).map(drop)
        });
        Ok(Outcome::Acked(results.collect()))
    }

    pub(crate) fn change_invisible(
        &mut self,
        record: RecordId,
        now: Timestamp,
        change: &ChangeInvisible,
    ) -> Result<Outcome, Refusal> {
        let mut subscription = self.held(&change.group, &change.topic)?;
        let (handle, retry) = (&change.handle, subscription.group.retry.clone());
        let token = Token { record, made_at: now };
        let changed = subscription.cursor(handle).and_then(|(cursor, index)| {
            let lease = held(cursor.leases(), handle.offset.0, handle.token, now)?;
            let mut invisible_ms = change.invisible_ms;
            if change.at_least_retry_delay {
                invisible_ms = invisible_ms.max(retry.delay(lease.attempt).as_millis() as u64);
            }
            let changed = Changed { token, expires_at: now.plus_millis(invisible_ms) };
            cursor.change(index, handle.offset.0, lease, changed);
            Ok(ReceiptHandle { token, ..*handle })
        });
        Ok(Outcome::Changed(changed))
    }

    pub(crate) fn dead_letter(
        &mut self,
        record: RecordId,
        now: Timestamp,
        dead: &DeadLetter,
    ) -> Result<Outcome, Refusal> {
        let mut subscription = self.held(&dead.group, &dead.topic)?;
        let handle = &dead.handle;
        let settled = subscription.cursor(handle).and_then(|(cursor, index)| {
            let was_in_flight = cursor.acknowledge(index, handle.offset.0, handle.token, now)?;
            Ok(index.get(handle.offset.0).filter(|_| was_in_flight))
        });
        if let Ok(Some(message)) = settled {
            self.bury(record, now, &dead.group, &dead.topic, &[message]);
        }
        Ok(Outcome::DeadLettered(settled.map(drop)))
    }

    pub(crate) fn reset_group(&mut self, reset: &ResetGroup) -> Result<Outcome, Refusal> {
        let group = find_group(&self.groups, &reset.group)?;
        let topic = find_topic_mut(&mut self.topics, reset.topic.as_str())?;
        let place = |index: &QueueIndex| match reset.to {
            ResetTo::Earliest => index.start(),
            ResetTo::Latest => index.end(),
            ResetTo::Time(time) => index.first_stored_since(time),
        };
        let subscription = Subscription::new(group.group.order, &topic.queues, place);
        topic.subscriptions.insert(group.group.revision, subscription);
        Ok(Outcome::GroupReset)
    }

    pub(crate) fn set_offset(&mut self, set: &SetOffset) -> Result<Outcome, Refusal> {
        let group = find_group(&self.groups, &set.group)?;
        let TopicState { topic, queues, subscriptions, .. } =
            find_topic_mut(&mut self.topics, set.topic.as_str())?;
        let count = queues.len() as u32;
        let Some(index) = queues.get(set.queue.0 as usize) else {
            return Err(unknown_queue(topic, set.queue, count));
        };
        let order = group.group.order;
        let subscription = subscriptions
            .entry(group.group.revision)
            .or_insert_with(|| Subscription::new(order, queues, |index| group.start(index)));
        if let Some(cursor) = subscription.cursor_mut(set.queue.0) {
            *cursor = Cursor::new(order, set.offset.0.clamp(index.start(), index.end()));
        }
        Ok(Outcome::OffsetSet)
    }

    fn held(&mut self, group: &GroupName, topic: &TopicName) -> Result<Held<'_>, Refusal> {
        let group = &find_group(&self.groups, group)?.group;
        let topic = find_topic_mut(&mut self.topics, topic.as_str())?;
        Ok(Held {
            broker_group: self.broker_group,
            topic: topic.topic.revision,
            group,
            queues: &topic.queues,
            subscription: topic.subscriptions.get_mut(&group.revision),
        })
    }
}

/// A message is delivered once at least.
fn attempts_of(group: &ConsumerGroup) -> u32 {
    if planted(Fault::OneAttemptLess) { group.max_attempts - 1 } else { group.max_attempts }.max(1)
}

/// What a consumer group holds of a topic, looked up by receipt handles.
struct Held<'a> {
    broker_group: GroupId,
    topic: Revision,
    group: &'a ConsumerGroup,
    queues: &'a [QueueIndex],
    subscription: Option<&'a mut Subscription>,
}

impl Held<'_> {
    fn cursor(&mut self, handle: &ReceiptHandle) -> Result<(&mut Cursor, &QueueIndex), AckError> {
        let ours = (self.broker_group, self.topic, self.group.revision);
        if ours != (handle.broker_group, handle.topic, handle.group) {
            return Err(AckError::Foreign);
        }
        let QueueId(queue) = handle.queue;
        let subscription = self.subscription.as_deref_mut().ok_or(AckError::NotInFlight)?;
        let cursor = subscription.cursor_mut(queue).ok_or(AckError::NotInFlight)?;
        let index = self.queues.get(queue as usize).ok_or(AckError::NotInFlight)?;
        Ok((cursor, index))
    }
}
