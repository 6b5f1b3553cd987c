//! One topic: its tags, queues and subscriptions, each complete before the next begins.

use super::{SnapshotError, invalid, read};
use crate::delivery::concurrent::Concurrent;
use crate::delivery::cursor::Cursor;
use crate::delivery::handle::Token;
use crate::delivery::ordered::Ordered;
use crate::delivery::subscription::Subscription;
use crate::metadata::{DeliveryOrder, Revision, Topic};
use crate::queue::chunk::Chunk;
use crate::queue::index::QueueIndex;
use crate::queue::tags::TagTable;
use crate::snapshot::item;
use crate::state::TopicState;
use crate::wire::Reader;

/// A subscription whose cursors are not all there yet.
#[derive(Debug)]
struct Open {
    group: Revision,
    order: DeliveryOrder,
    turn: u32,
    attempts: Vec<(u64, Token)>,
    cursors: Vec<Cursor>,
}

/// A topic with the queue or subscription that is not complete yet.
#[derive(Debug)]
pub(super) struct TopicBuilder {
    state: TopicState,
    share: usize,
    queue: Option<(QueueIndex, u64)>,
    subscription: Option<Open>,
    last_subscription: Option<Revision>,
}

impl TopicBuilder {
    pub(super) fn new(topic: Topic, share: usize) -> Self {
        let state = TopicState {
            topic,
            queues: Vec::new(),
            tags: TagTable::default(),
            subscriptions: foldhash::HashMap::default(),
        };
        Self { state, share, queue: None, subscription: None, last_subscription: None }
    }

    pub(super) fn tag(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let text = read("tag", input, |input| input.text("text"))?;
        if self.state.tags.restore(text) { Ok(()) } else { Err(invalid("tag", "text")) }
    }

    pub(super) fn free_tag(&mut self) -> Result<(), SnapshotError> {
        if self.state.tags.restore_free() { Ok(()) } else { Err(invalid("tag", "number")) }
    }

    pub(super) fn queue(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let end = read("queue", input, |input| input.u64_le("end"))?;
        self.close_queue()?;
        if self.state.queues.len() == self.share {
            return Err(SnapshotError::Misplaced { item: "queue" });
        }
        self.queue = Some((QueueIndex::default(), end));
        Ok(())
    }

    pub(super) fn chunk(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let tags = &self.state.tags;
        let chunk = read("chunk", input, |input| Chunk::decode(input, tags))?;
        let (index, _) = self.queue.as_mut().ok_or(SnapshotError::Misplaced { item: "chunk" })?;
        if index.restore_chunk(chunk) { Ok(()) } else { Err(invalid("chunk", "place in its queue")) }
    }

    fn close_queue(&mut self) -> Result<(), SnapshotError> {
        if let Some((mut index, end)) = self.queue.take() {
            if !index.restore_end(end, &mut self.state.tags) {
                return Err(invalid("queue", "end"));
            }
            self.state.queues.push(index);
        }
        Ok(())
    }

    pub(super) fn subscription(
        &mut self,
        group: Revision,
        order: DeliveryOrder,
        turn: u32,
        attempts: Vec<(u64, Token)>,
    ) -> Result<(), SnapshotError> {
        self.close_queues()?;
        self.close_subscription()?;
        if self.last_subscription.is_some_and(|last| last >= group) {
            return Err(invalid("subscription", "place in the order of revisions"));
        }
        if turn as usize > self.share {
            return Err(invalid("subscription", "turn"));
        }
        self.last_subscription = Some(group);
        if !attempts.is_empty() && !order.is_fifo() {
            return Err(invalid("subscription", "attempts"));
        }
        self.subscription = Some(Open { group, order, turn, attempts, cursors: Vec::new() });
        Ok(())
    }

    pub(super) fn cursor(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        const MISPLACED: SnapshotError = SnapshotError::Misplaced { item: "cursor" };
        let open = self.subscription.as_mut().ok_or(MISPLACED)?;
        let index = self.state.queues.get(open.cursors.len()).ok_or(MISPLACED)?;
        let next = read("cursor", input, |input| input.u64_le("next offset"))?;
        if next < index.start() || next > index.end() {
            return Err(invalid("cursor", "next offset"));
        }
        let leases = read("cursor", input, |input| item::leases(input, index.start(), next))?;
        let lanes = read("cursor", input, item::lanes)?;
        open.cursors.push(match open.order {
            DeliveryOrder::Concurrent if lanes.is_empty() => {
                Cursor::Concurrent(Concurrent::restored(next, leases))
            }
            DeliveryOrder::Concurrent => return Err(invalid("cursor", "lane")),
            DeliveryOrder::Fifo => {
                let cursor = Ordered::restored(next, leases, lanes, index);
                Cursor::Ordered(cursor.ok_or(invalid("cursor", "lane"))?)
            }
        });
        Ok(())
    }

    fn close_queues(&mut self) -> Result<(), SnapshotError> {
        self.close_queue()?;
        if self.state.queues.len() == self.share { Ok(()) } else { Err(invalid("topic", "number of queues")) }
    }

    fn close_subscription(&mut self) -> Result<(), SnapshotError> {
        if let Some(Open { group, order: _, turn, attempts, cursors }) = self.subscription.take() {
            if cursors.len() != self.share {
                return Err(invalid("subscription", "number of cursors"));
            }
            self.state.subscriptions.insert(group, Subscription::restored(cursors, turn, attempts.into()));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<TopicState, SnapshotError> {
        self.close_queues()?;
        self.close_subscription()?;
        Ok(self.state)
    }
}
