//! Index of one queue: for each offset where its message lies in the log, when it was stored and its tag, 16 bytes in
//! all. Kept in chunks, so that growing never moves more than one chunk.
//!
//! Offsets run without gaps; records and timestamps ascend with them.

use std::sync::Arc;

use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::chunk::Chunk;
use crate::metadata::QueueOffset;
use crate::tags::{TagId, TagMatch, TagTable};

pub(crate) use crate::chunk::Indexed;

/// Offsets that a queue can have at all: what clients take for one.
const MAX_OFFSET: u64 = i64::MAX as u64;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QueueIndex {
    /// A frozen state shares them; one that is pushed to while it is shared is copied first.
    chunks: Vec<Arc<Chunk>>,
    end: u64,
    /// Newest offset of each tag, so that a filter that nothing new matches is seen at once.
    newest_of_tag: foldhash::HashMap<TagId, u64>,
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
    pub(crate) fn push(
        &mut self,
        record: RecordId,
        now: Timestamp,
        tag: TagId,
        tags: &mut TagTable,
    ) -> QueueOffset {
        let offset = self.end;
        let message = Indexed { record, stored_at: now, tag };
        match self.chunks.last_mut() {
            Some(chunk) if chunk.takes(&message) => Arc::make_mut(chunk).push(&message),
            _ => self.chunks.push(Arc::new(Chunk::new(offset, message))),
        }
        if tag != TagId::NONE && self.newest_of_tag.insert(tag, offset).is_none() {
            tags.hold(tag);
        }
        self.end = offset + 1;
        QueueOffset(offset)
    }

    /// Forgets the messages of batches up to `through`, and tells how many they were.
    pub(crate) fn trim(&mut self, through: LogIndex, tags: &mut TagTable) -> u64 {
        let before = self.start();
        let start = self.first_after(RecordId { index: through, slot: u32::MAX });
        if start == before {
            return 0;
        }
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

    pub(crate) fn oldest(&self) -> Option<Indexed> {
        self.chunks.first()?.oldest()
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
            chunk.first() == self.end && chunk.oldest().is_some_and(|oldest| oldest.record > newest.record)
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

    /// Offset n lies at index 10 + n / 2, slot n % 2, stored at 1000 + n.
    fn filled(messages: u64, tag: impl Fn(u64) -> TagId) -> QueueIndex {
        let mut index = QueueIndex::default();
        for n in 0..messages {
            let offset = index.push(
                record(10 + n / 2, (n % 2) as u32),
                Timestamp(1000 + n),
                tag(n),
                &mut TagTable::default(),
            );
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
            index.push(record(at, 7), Timestamp(time), TagId::NONE, &mut TagTable::default());
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
