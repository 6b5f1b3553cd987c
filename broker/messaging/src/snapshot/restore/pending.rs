//! What is not in a queue: each item belongs to a topic that is there, and holds its tag.

use super::{At, Builder, SnapshotError, invalid, read};
use crate::metadata::{QueueId, Revision};
use crate::queue::tags::TagId;
use crate::snapshot::pending::{ended, half, seen, timer};
use crate::wire::Reader;

impl Builder {
    /// Takes an item of this sort, after which none of the sorts before may come.
    pub(super) fn pending(&mut self, at: At, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        self.close_topic()?;
        self.at = at;
        match at {
            At::Timers => self.timer(input),
            At::Halves => self.half(input),
            At::Ended => self.ended(input),
            _ => self.seen(input),
        }
    }

    fn timer(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        const ITEM: &str = "delayed message";
        let timer = read(ITEM, input, timer)?;
        self.hold(ITEM, timer.topic, timer.queue, timer.tag)?;
        if self.state.timers.insert(timer) { Ok(()) } else { Err(invalid(ITEM, "record")) }
    }

    fn half(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        const ITEM: &str = "half message";
        let (record, half) = read(ITEM, input, half)?;
        self.hold(ITEM, half.topic, half.queue, half.tag)?;
        if self.state.halves.get(record).is_some() {
            return Err(invalid(ITEM, "record"));
        }
        self.state.halves.insert(record, half);
        Ok(())
    }

    fn hold(
        &mut self,
        item: &'static str,
        topic: Revision,
        queue: QueueId,
        tag: TagId,
    ) -> Result<(), SnapshotError> {
        let name = self.state.names.get(&topic).ok_or(invalid(item, "topic"))?;
        let topic = self.state.topics.get_mut(name).ok_or(invalid(item, "topic"))?;
        if queue.0 as usize >= topic.queues.len() {
            return Err(invalid(item, "queue"));
        }
        if tag != TagId::NONE && !topic.tags.knows(tag) {
            return Err(invalid(item, "tag"));
        }
        topic.tags.hold(tag);
        Ok(())
    }

    fn ended(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        const ITEM: &str = "ended transaction";
        let (at, ticket, end) = read(ITEM, input, ended)?;
        if self.state.ended.restore(at, ticket, end) { Ok(()) } else { Err(invalid(ITEM, "place")) }
    }

    fn seen(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        const ITEM: &str = "remembered message";
        let (at, key, went) = read(ITEM, input, seen)?;
        if self.state.seen.restore(at, key, went) { Ok(()) } else { Err(invalid(ITEM, "place")) }
    }
}
