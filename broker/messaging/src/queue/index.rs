//! Index of one queue: for each offset where its message lies in the log, when it was stored and its tag, 16 bytes in
//! all. Kept in chunks, so that growing never moves more than one chunk. FIFO messages cost 16 bytes more: their lanes,
//! and the lanes' messages.
//!
//! Offsets run without gaps; records and timestamps ascend with them, since both are those of the record that put the
//! message into the queue.

use std::collections::VecDeque;
use std::sync::Arc;

use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::metadata::QueueOffset;
use crate::queue::chunk::Chunk;
use crate::queue::lane::Lane;
use crate::queue::tags::{TagId, TagMatch, TagTable};

pub(crate) use crate::queue::chunk::Indexed;

/// Offsets that a queue can have at all: what clients take for one.
const MAX_OFFSET: u64 = i64::MAX as u64;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QueueIndex {
    /// A frozen state shares them; one that is pushed to while it is shared is copied first.
    chunks: Vec<Arc<Chunk>>,
    end: u64,
    /// Newest offset of each tag, so that a filter that nothing new matches is seen at once.
    newest_of_tag: foldhash::HashMap<TagId, u64>,
    /// The offsets of each lane, ascending.
    lanes: foldhash::HashMap<Lane, VecDeque<u64>>,
}

impl QueueIndex {
    /// The oldest offset kept.
    pub(crate) fn start(&self) -> u64 {
        self.chunks.first().map_or(self.end, |chunk| chunk.first())
    }

    /// After the newest offset.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Appends a message whose tag, if it has one, `tags` knows.
    pub(crate) fn push(&mut self, message: Indexed, tags: &mut TagTable) -> QueueOffset {
        let offset = self.end;
        let tag = message.tag;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.takes(&message) => Arc::make_mut(chunk).push(&message),
            _ => self.chunks.push(Arc::new(Chunk::new(offset, message))),
        }
        if tag != TagId::NONE && self.newest_of_tag.insert(tag, offset).is_none() {
            tags.hold(tag);
        }
        if let Some(lane) = message.lane {
            self.lanes.entry(lane).or_default().push_back(offset);
        }
        self.end = offset + 1;
        QueueOffset(offset)
    }

    /// Forgets the messages of batches up to `through`, and tells how many they were.
    pub(crate) fn trim(&mut self, through: LogIndex, tags: &mut TagTable) -> u64 {
        let before = self.start();
        let start = self.first_after_batch(through);
        if start == before {
            return 0;
        }
        self.trim_lanes(start);
        self.chunks.drain(..self.chunks.partition_point(|chunk| chunk.end() <= start));
        if let Some(first) = self.chunks.first_mut()
            && first.first() < start
        {
            *first = Arc::new(first.tail(start));
        }
        for (tag, _) in self.newest_of_tag.extract_if(|_, newest| *newest < start) {
            tags.release(tag);
        }
        start - before
    }

    fn trim_lanes(&mut self, start: u64) {
        let gone = self.chunks.iter().take_while(|chunk| chunk.first() < start);
        let gone: Vec<Lane> = gone
            .flat_map(|chunk| chunk.lanes_from(chunk.first()).take_while(|(offset, _)| *offset < start))
            .map(|(_, lane)| lane)
            .collect();
        for lane in gone {
            if let Some(offsets) = self.lanes.get_mut(&lane) {
                offsets.pop_front();
                if offsets.is_empty() {
                    self.lanes.remove(&lane);
                }
            }
        }
    }

    /// The first message of the lane from `offset` on.
    pub(crate) fn next_in_lane(&self, lane: Lane, offset: u64) -> Option<u64> {
        let offsets = self.lanes.get(&lane)?;
        offsets.get(offsets.partition_point(|other| *other < offset)).copied()
    }

    /// The offsets whose message was published in `record`.
    pub(crate) fn places_of(&self, record: RecordId) -> Vec<u64> {
        let mut places: Vec<u64> = self.chunks.iter().flat_map(|chunk| chunk.moved_from(record)).collect();
        let own = self.first_after(record).checked_sub(1);
        let is_it = |offset: &u64| self.get(*offset).is_some_and(|message| message.body == record);
        places.extend(own.filter(is_it));
        places.sort_unstable();
        places.dedup();
        places
    }

    /// How many messages of the lane are from `from` on and before `end`.
    pub(crate) fn lane_between(&self, lane: Lane, from: u64, end: u64) -> u64 {
        let Some(offsets) = self.lanes.get(&lane) else { return 0 };
        let before = |end: u64| offsets.partition_point(|other| *other < end) as u64;
        before(end).saturating_sub(before(from))
    }

    /// The lowest batch of the log with the body of a message from `offset` on, where that is not the batch that put
    /// it here.
    pub(crate) fn lowest_moved(&self, offset: u64) -> Option<LogIndex> {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= offset);
        self.chunks.get(first..)?.iter().filter_map(|chunk| chunk.lowest_moved(offset)).min()
    }

    pub(crate) fn get(&self, offset: u64) -> Option<Indexed> {
        self.chunks.get(self.chunk_of(offset)?)?.get(offset)
    }

    /// In order, without gaps.
    pub(crate) fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Puts a chunk of a snapshot behind those that are there. False when it cannot stand there.
    #[must_use]
    pub(crate) fn restore_chunk(&mut self, chunk: Chunk) -> bool {
        let newest = self.chunks.last().and_then(|last| last.newest());
        let follows = newest.is_none_or(|newest| {
            chunk.first() == self.end && chunk.oldest().is_some_and(|oldest| oldest.record >= newest.record)
        });
        if !follows || chunk.end() > MAX_OFFSET {
            return false;
        }
        let mut tags = chunk.tags_from(chunk.first()).peekable();
        while let Some((offset, tag)) = tags.next() {
            let again = tags.peek().is_some_and(|(_, next)| *next == tag);
            if tag != TagId::NONE && !again {
                self.newest_of_tag.insert(tag, offset);
            }
        }
        drop(tags);
        for (offset, lane) in chunk.lanes_from(chunk.first()) {
            self.lanes.entry(lane).or_default().push_back(offset);
        }
        self.end = chunk.end();
        self.chunks.push(Arc::new(chunk));
        true
    }

    /// Ends a snapshot's queue. False when its chunks end elsewhere.
    #[must_use]
    pub(crate) fn restore_end(&mut self, end: u64, tags: &mut TagTable) -> bool {
        if end > MAX_OFFSET || !self.chunks.is_empty() && self.end != end {
            return false;
        }
        self.end = end;
        self.newest_of_tag.keys().for_each(|tag| tags.hold(*tag));
        true
    }

    /// Whether a message from `offset` on has a tag that the filter takes.
    pub(crate) fn has_match(&self, offset: u64, tags: &TagMatch) -> bool {
        match tags {
            TagMatch::All => offset < self.end,
            TagMatch::AnyOf(ids) => {
                ids.iter().any(|id| self.newest_of_tag.get(id).is_some_and(|newest| *newest >= offset))
            }
        }
    }

    /// The first message from `offset` on that the filter takes.
    pub(crate) fn next_match(&self, offset: u64, tags: &TagMatch) -> Option<(u64, Indexed)> {
        if !self.has_match(offset, tags) {
            return None;
        }
        let offset = offset.max(self.start());
        self.chunks[self.chunk_of(offset)?..].iter().find_map(|chunk| {
            let (found, _) = chunk.tags_from(offset).find(|(_, tag)| tags.takes(*tag))?;
            Some((found, chunk.get(found)?))
        })
    }

    /// The first offset whose message came after `record`.
    pub(crate) fn first_after(&self, record: RecordId) -> u64 {
        self.partition_point(|message| message.record <= record)
    }

    /// The first offset whose message came after the batch.
    pub(crate) fn first_after_batch(&self, batch: LogIndex) -> u64 {
        self.first_after(RecordId { index: batch, slot: u32::MAX })
    }

    /// The first offset whose message was stored at `time` or later.
    pub(crate) fn first_stored_since(&self, time: Timestamp) -> u64 {
        self.partition_point(|message| message.stored_at < time)
    }

    /// The first offset whose message is not `before`, which holds for a leading part of the queue.
    fn partition_point(&self, before: impl Fn(Indexed) -> bool) -> u64 {
        let starts_before = |chunk: &Arc<Chunk>| chunk.oldest().is_some_and(&before);
        let chunks = self.chunks.partition_point(starts_before);
        let Some(chunk) = chunks.checked_sub(1).and_then(|last| self.chunks.get(last)) else {
            return self.start();
        };
        chunk.partition_point(before)
    }

    fn chunk_of(&self, offset: u64) -> Option<usize> {
        if offset >= self.end {
            return None;
        }
        self.chunks.partition_point(|chunk| chunk.first() <= offset).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Filter;

    fn record(index: u64, slot: u32) -> RecordId {
        RecordId { index: LogIndex(index), slot }
    }

    fn message(record: RecordId, stored_at: Timestamp, tag: TagId) -> Indexed {
        Indexed { record, stored_at, tag, lane: None, body: record }
    }

    /// Offset n lies at index 10 + n / 2, slot n % 2, stored at 1000 + n.
    fn filled(messages: u64, tag: impl Fn(u64) -> TagId) -> QueueIndex {
        let mut index = QueueIndex::default();
        for n in 0..messages {
            let message = message(record(10 + n / 2, (n % 2) as u32), Timestamp(1000 + n), tag(n));
            let offset = index.push(message, &mut TagTable::default());
            assert_eq!(offset, QueueOffset(n));
        }
        index
    }

    #[test]
    fn finds_every_message_across_chunks() {
        let index = filled(5000, |_| TagId::NONE);
        assert_eq!((index.start(), index.end()), (0, 5000));
        for n in 0..5000 {
            let message = index.get(n).unwrap();
            assert_eq!(message.record, record(10 + n / 2, (n % 2) as u32));
            assert_eq!(message.stored_at, Timestamp(1000 + n));
            assert_eq!(index.first_after(message.record), n + 1);
            assert_eq!(index.first_stored_since(message.stored_at), n);
        }
        assert_eq!(index.get(5000), None);
        assert_eq!((index.first_after(record(0, 0)), index.first_stored_since(Timestamp(0))), (0, 0));
        assert_eq!(index.first_stored_since(Timestamp(10_000)), 5000);
    }

    #[test]
    fn far_jumps_of_index_and_time_are_kept_exactly() {
        let mut index = QueueIndex::default();
        let places =
            [(1, 0), (u64::from(u32::MAX) + 2, 5), (u64::from(u32::MAX) + 3, 1 << 40), (u64::MAX, u64::MAX)];
        for (at, time) in places {
            index.push(message(record(at, 7), Timestamp(time), TagId::NONE), &mut TagTable::default());
        }
        for (offset, (at, time)) in places.into_iter().enumerate() {
            let message = index.get(offset as u64).unwrap();
            assert_eq!((message.record, message.stored_at), (record(at, 7), Timestamp(time)));
        }
    }

    #[test]
    fn an_empty_queue_has_nothing() {
        let index = QueueIndex::default();
        assert_eq!((index.start(), index.end(), index.get(0)), (0, 0, None));
        assert_eq!((index.first_after(record(9, 9)), index.first_stored_since(Timestamp(9))), (0, 0));
        assert!(!index.has_match(0, &TagMatch::All) && index.next_match(0, &TagMatch::All).is_none());
    }

    #[test]
    fn matches_are_found_by_tag_and_not_after_the_newest() {
        let mut table = TagTable::default();
        let rare = table.intern("rare").unwrap();
        let common = table.intern("common").unwrap();
        let index = filled(4000, |n| if n == 3000 { rare } else { common });
        let wanted = table.resolve(&Filter::Tags(vec!["rare".into()]));
        assert_eq!(index.next_match(0, &wanted).map(|(offset, _)| offset), Some(3000));
        assert_eq!(index.next_match(3000, &wanted).map(|(offset, _)| offset), Some(3000));
        assert!(!index.has_match(3001, &wanted) && index.next_match(3001, &wanted).is_none());
        assert!(index.has_match(3999, &TagMatch::All) && !index.has_match(4000, &TagMatch::All));
    }
}
