//! A part of one queue's index: up to 1024 messages in a row, 16 bytes each.
//!
//! Log index and timestamp are counted from those of the first message that the chunk was made for, so that both fit
//! into four bytes.

use bytes::{BufMut, BytesMut};
use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::tags::{TagId, TagTable};
use crate::wire::{DecodeError, Reader};

pub(crate) const CHUNK_ENTRIES: usize = 1024;
const ENTRY_LEN: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    index: u32,
    slot: u32,
    millis: u32,
    tag: TagId,
}

const _: () = assert!(size_of::<Entry>() == ENTRY_LEN);

/// Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    first: u64,
    index: u64,
    millis: u64,
    entries: Vec<Entry>,
}

/// What the index knows of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) record: RecordId,
    pub(crate) stored_at: Timestamp,
    pub(crate) tag: TagId,
}

impl Chunk {
    pub(crate) fn new(offset: u64, message: Indexed) -> Self {
        let Indexed { record, stored_at, tag } = message;
        let entry = Entry { index: 0, slot: record.slot, millis: 0, tag };
        Self { first: offset, index: record.index.0, millis: stored_at.0, entries: vec![entry] }
    }

    /// Whether the message fits: the chunk has room and its counts reach that far.
    pub(crate) fn takes(&self, message: &Indexed) -> bool {
        self.entry(message).is_some()
    }

    /// Appends a message that [`Self::takes`] has said to fit; another one changes nothing.
    pub(crate) fn push(&mut self, message: &Indexed) {
        self.entries.extend(self.entry(message));
    }

    fn entry(&self, message: &Indexed) -> Option<Entry> {
        if self.entries.len() >= CHUNK_ENTRIES {
            return None;
        }
        let index = u32::try_from(message.record.index.0.checked_sub(self.index)?).ok()?;
        let millis = u32::try_from(message.stored_at.0.checked_sub(self.millis)?).ok()?;
        Some(Entry { index, slot: message.record.slot, millis, tag: message.tag })
    }

    /// The offset of the first message.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// After the offset of the last message.
    pub(crate) const fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn get(&self, offset: u64) -> Option<Indexed> {
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.entries.get(at).map(|entry| self.message(entry))
    }

    pub(crate) fn oldest(&self) -> Option<Indexed> {
        self.entries.first().map(|entry| self.message(entry))
    }

    pub(crate) fn newest(&self) -> Option<Indexed> {
        self.entries.last().map(|entry| self.message(entry))
    }

    /// The tags in order, from `offset` on, each with its offset.
    pub(crate) fn tags_from(&self, offset: u64) -> impl Iterator<Item = (u64, TagId)> + '_ {
        let skip = offset.saturating_sub(self.first) as usize;
        (self.first..).zip(&self.entries).skip(skip).map(|(offset, entry)| (offset, entry.tag))
    }

    /// The first offset whose message is not `before`, which holds for a leading part of the chunk.
    pub(crate) fn partition_point(&self, before: impl Fn(Indexed) -> bool) -> u64 {
        self.first + self.entries.partition_point(|entry| before(self.message(entry))) as u64
    }

    /// The messages from `offset` on; all of them when it is before the first.
    pub(crate) fn tail(&self, offset: u64) -> Self {
        let skip = (offset.saturating_sub(self.first) as usize).min(self.entries.len());
        Self { first: self.first + skip as u64, entries: self.entries[skip..].to_vec(), ..*self }
    }

    fn message(&self, entry: &Entry) -> Indexed {
        Indexed {
            record: RecordId { index: LogIndex(self.index + u64::from(entry.index)), slot: entry.slot },
            stored_at: Timestamp(self.millis + u64::from(entry.millis)),
            tag: entry.tag,
        }
    }

    /// Appends first offset, index and time as they are counted from, the number of messages, and the messages.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.first);
        out.put_u64_le(self.index);
        out.put_u64_le(self.millis);
        out.put_u32_le(self.entries.len() as u32);
        out.reserve(self.entries.len() * ENTRY_LEN);
        for entry in &self.entries {
            let mut raw = [0; ENTRY_LEN];
            raw[..4].copy_from_slice(&entry.index.to_le_bytes());
            raw[4..8].copy_from_slice(&entry.slot.to_le_bytes());
            raw[8..12].copy_from_slice(&entry.millis.to_le_bytes());
            raw[12..].copy_from_slice(&entry.tag.get().to_le_bytes());
            out.put_slice(&raw);
        }
    }

    /// Takes a chunk whose messages have no tags but those of their topic.
    pub(crate) fn decode(input: &mut Reader<'_>, tags: &TagTable) -> Result<Self, DecodeError> {
        let first = input.u64_le("first offset")?;
        let index = input.u64_le("first index")?;
        let millis = input.u64_le("first time")?;
        let count = input.u32_le("number of messages")? as usize;
        if count == 0 || count > CHUNK_ENTRIES || first.checked_add(count as u64).is_none() {
            return Err(DecodeError::Invalid("number of messages"));
        }
        let (raw, _) = input.bytes(count * ENTRY_LEN, "messages")?.as_chunks::<ENTRY_LEN>();
        let entries: Vec<Entry> = raw.iter().map(entry_of).collect();
        if !entries.is_sorted_by(|a, b| (a.index, a.slot) < (b.index, b.slot)) {
            return Err(DecodeError::Invalid("order of records"));
        }
        let reach = |of: fn(&Entry) -> u32| entries.iter().map(of).max().unwrap_or(0);
        if index.checked_add(reach(|entry| entry.index).into()).is_none() {
            return Err(DecodeError::Invalid("first index"));
        }
        if millis.checked_add(reach(|entry| entry.millis).into()).is_none() {
            return Err(DecodeError::Invalid("first time"));
        }
        let illegal = |tag: TagId| tag != TagId::NONE && !tags.knows(tag);
        if entries.chunk_by(|a, b| a.tag == b.tag).any(|run| illegal(run[0].tag)) {
            return Err(DecodeError::Invalid("tag"));
        }
        Ok(Self { first, index, millis, entries })
    }
}

fn entry_of(raw: &[u8; ENTRY_LEN]) -> Entry {
    let field = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    Entry { index: field(0), slot: field(4), millis: field(8), tag: TagId::from_raw(field(12)) }
}
