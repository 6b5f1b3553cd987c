//! Index of one queue: for each offset where its message lies in the log, when it was stored and its tag, 16 bytes in
//! all. Kept in chunks, so that growing never moves more than one chunk.
//!
//! Offsets run without gaps; records and timestamps ascend with them.

use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::metadata::QueueOffset;
use crate::tags::{TagId, TagMatch};

const CHUNK_ENTRIES: usize = 1024;

/// Log index and timestamp are counted from those of the chunk's first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    index: u32,
    slot: u32,
    millis: u32,
    tag: TagId,
}

const _: () = assert!(size_of::<Entry>() == 16);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    first: u64,
    index: u64,
    millis: u64,
    entries: Vec<Entry>,
}

impl Chunk {
    /// The entry for this message in this chunk, if the chunk has room and its counts reach that far.
    fn entry(&self, record: RecordId, now: Timestamp, tag: TagId) -> Option<Entry> {
        if self.entries.len() >= CHUNK_ENTRIES {
            return None;
        }
        let index = u32::try_from(record.index.0.checked_sub(self.index)?).ok()?;
        let millis = u32::try_from(now.0.checked_sub(self.millis)?).ok()?;
        Some(Entry { index, slot: record.slot, millis, tag })
    }

    fn message(&self, entry: &Entry) -> Indexed {
        Indexed {
            record: RecordId { index: LogIndex(self.index + u64::from(entry.index)), slot: entry.slot },
            stored_at: Timestamp(self.millis + u64::from(entry.millis)),
            tag: entry.tag,
        }
    }
}

/// What the index knows of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) record: RecordId,
    pub(crate) stored_at: Timestamp,
    pub(crate) tag: TagId,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct QueueIndex {
    chunks: Vec<Chunk>,
    end: u64,
    /// Newest offset of each tag, so that a filter that nothing new matches is seen at once.
    newest_of_tag: foldhash::HashMap<TagId, u64>,
}

impl QueueIndex {
    /// The oldest offset kept.
    pub(crate) fn start(&self) -> u64 {
        self.chunks.first().map_or(self.end, |chunk| chunk.first)
    }

    /// After the newest offset.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn push(&mut self, record: RecordId, now: Timestamp, tag: TagId) -> QueueOffset {
        let offset = self.end;
        match self.chunks.last_mut().and_then(|chunk| Some((chunk.entry(record, now, tag)?, chunk))) {
            Some((entry, chunk)) => chunk.entries.push(entry),
            None => self.chunks.push(Chunk {
                first: offset,
                index: record.index.0,
                millis: now.0,
                entries: vec![Entry { index: 0, slot: record.slot, millis: 0, tag }],
            }),
        }
        if tag != TagId::NONE {
            self.newest_of_tag.insert(tag, offset);
        }
        self.end = offset + 1;
        QueueOffset(offset)
    }

    pub(crate) fn get(&self, offset: u64) -> Option<Indexed> {
        let chunk = self.chunks.get(self.chunk_of(offset)?)?;
        let entry = chunk.entries.get((offset - chunk.first) as usize)?;
        Some(chunk.message(entry))
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
        let from = self.chunk_of(offset)?;
        let mut skip = (offset - self.chunks.get(from)?.first) as usize;
        for chunk in &self.chunks[from..] {
            let found = chunk.entries.iter().enumerate().skip(skip).find(|(_, entry)| tags.takes(entry.tag));
            if let Some((at, entry)) = found {
                return Some((chunk.first + at as u64, chunk.message(entry)));
            }
            skip = 0;
        }
        None
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
        let starts_before =
            |chunk: &Chunk| chunk.entries.first().is_some_and(|entry| before(chunk.message(entry)));
        let chunks = self.chunks.partition_point(starts_before);
        let Some(chunk) = chunks.checked_sub(1).and_then(|last| self.chunks.get(last)) else {
            return self.start();
        };
        chunk.first + chunk.entries.partition_point(|entry| before(chunk.message(entry))) as u64
    }

    fn chunk_of(&self, offset: u64) -> Option<usize> {
        if offset >= self.end {
            return None;
        }
        self.chunks.partition_point(|chunk| chunk.first <= offset).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Filter;
    use crate::tags::TagTable;

    fn record(index: u64, slot: u32) -> RecordId {
        RecordId { index: LogIndex(index), slot }
    }

    /// Offset n lies at index 10 + n / 2, slot n % 2, stored at 1000 + n.
    fn filled(messages: u64, tag: impl Fn(u64) -> TagId) -> QueueIndex {
        let mut index = QueueIndex::default();
        for n in 0..messages {
            let offset = index.push(record(10 + n / 2, (n % 2) as u32), Timestamp(1000 + n), tag(n));
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
            index.push(record(at, 7), Timestamp(time), TagId::NONE);
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
