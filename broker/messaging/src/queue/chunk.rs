//! A part of one queue's index: up to 1024 messages in a row, 16 bytes each.
//!
//! Log index and timestamp are counted from those of the first message that the chunk was made for, so that both fit
//! into four bytes. What few messages have is kept beside: the record of a body that came into the log before its
//! place in the queue, and the lane of a FIFO message.

use bytes::{BufMut, BytesMut};
use mainstay_record::{LogIndex, RecordId, Timestamp};

use crate::queue::lane::Lane;
use crate::queue::tags::{TagId, TagTable};
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

/// A message whose body is not in the record that put it into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    /// Its number within the chunk.
    at: u32,
    body: RecordId,
}

/// Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    first: u64,
    index: u64,
    millis: u64,
    entries: Vec<Entry>,
    /// Ascending.
    moved: Vec<Moved>,
    /// The lowest batch with a body of them.
    lowest_moved: Option<LogIndex>,
    /// One for each message, or none at all where no message has one; zero for a message without.
    lanes: Vec<u64>,
}

/// What the index knows of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexed {
    /// The record that put it into the queue.
    pub(crate) record: RecordId,
    pub(crate) stored_at: Timestamp,
    pub(crate) tag: TagId,
    pub(crate) lane: Option<Lane>,
    /// The record it was published in; not after the other.
    pub(crate) body: RecordId,
}

impl Chunk {
    pub(crate) fn new(offset: u64, message: Indexed) -> Self {
        let (index, millis) = (message.record.index.0, message.stored_at.0);
        let mut chunk = Self {
            first: offset,
            index,
            millis,
            entries: Vec::new(),
            moved: Vec::new(),
            lowest_moved: None,
            lanes: Vec::new(),
        };
        chunk.push(&message);
        chunk
    }

    /// Whether the message fits: the chunk has room and its counts reach that far.
    pub(crate) fn takes(&self, message: &Indexed) -> bool {
        self.entry(message).is_some()
    }

    /// Appends a message that [`Self::takes`] has said to fit; another one changes nothing.
    pub(crate) fn push(&mut self, message: &Indexed) {
        let Some(entry) = self.entry(message) else { return };
        if message.body != message.record {
            let body = message.body;
            self.moved.push(Moved { at: self.entries.len() as u32, body });
            self.lowest_moved = Some(self.lowest_moved.map_or(body.index, |lowest| lowest.min(body.index)));
        }
        if let Some(lane) = message.lane {
            self.lanes.resize(self.entries.len(), 0);
            self.lanes.push(lane.get());
        } else if !self.lanes.is_empty() {
            self.lanes.push(0);
        }
        self.entries.push(entry);
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
        self.message(at)
    }

    pub(crate) fn oldest(&self) -> Option<Indexed> {
        self.message(0)
    }

    pub(crate) fn newest(&self) -> Option<Indexed> {
        self.message(self.entries.len().checked_sub(1)?)
    }

    /// The lowest batch of the log that has the body of a message from `offset` on, where that is not the batch that put
    /// it here.
    pub(crate) fn lowest_moved(&self, offset: u64) -> Option<LogIndex> {
        if offset <= self.first {
            return self.lowest_moved;
        }
        let from = self.moved.partition_point(|moved| u64::from(moved.at) < offset - self.first);
        lowest(&self.moved[from..])
    }

    /// The offsets of the messages whose body is in `record`, where that is not the record that put them here.
    pub(crate) fn moved_from(&self, record: RecordId) -> impl Iterator<Item = u64> + '_ {
        let moved = self.moved.iter().filter(move |moved| moved.body == record);
        moved.map(|moved| self.first + u64::from(moved.at))
    }

    /// The lanes in order, from `offset` on, each with its offset.
    pub(crate) fn lanes_from(&self, offset: u64) -> impl Iterator<Item = (u64, Lane)> + '_ {
        let skip = offset.saturating_sub(self.first) as usize;
        let lanes = (self.first..).zip(&self.lanes).skip(skip);
        lanes.filter_map(|(offset, lane)| Some((offset, Lane::from_raw(*lane)?)))
    }

    /// The tags in order, from `offset` on, each with its offset.
    pub(crate) fn tags_from(&self, offset: u64) -> impl Iterator<Item = (u64, TagId)> + '_ {
        let skip = offset.saturating_sub(self.first) as usize;
        (self.first..).zip(&self.entries).skip(skip).map(|(offset, entry)| (offset, entry.tag))
    }

    /// The first offset whose message is not `before`, which holds for a leading part of the chunk.
    pub(crate) fn partition_point(&self, before: impl Fn(Indexed) -> bool) -> u64 {
        let mut low = 0;
        let mut high = self.entries.len();
        while low < high {
            let middle = low.midpoint(high);
            if self.message(middle).is_some_and(&before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.first + low as u64
    }

    /// The messages from `offset` on; all of them when it is before the first.
    pub(crate) fn tail(&self, offset: u64) -> Self {
        let skip = (offset.saturating_sub(self.first) as usize).min(self.entries.len());
        let moved = self
            .moved
            .iter()
            .filter_map(|moved| Some(Moved { at: moved.at.checked_sub(skip as u32)?, ..*moved }));
        let moved: Vec<Moved> = moved.collect();
        let mut lanes = self.lanes.get(skip..).unwrap_or_default().to_vec();
        if lanes.iter().all(|lane| *lane == 0) {
            lanes.clear();
        }
        Self {
            first: self.first + skip as u64,
            index: self.index,
            millis: self.millis,
            entries: self.entries[skip..].to_vec(),
            lowest_moved: lowest(&moved),
            moved,
            lanes,
        }
    }

    fn message(&self, at: usize) -> Option<Indexed> {
        let entry = self.entries.get(at)?;
        let record = RecordId { index: LogIndex(self.index + u64::from(entry.index)), slot: entry.slot };
        let moved = self.moved.binary_search_by_key(&(at as u32), |moved| moved.at).ok();
        Some(Indexed {
            record,
            stored_at: Timestamp(self.millis + u64::from(entry.millis)),
            tag: entry.tag,
            lane: self.lanes.get(at).and_then(|lane| Lane::from_raw(*lane)),
            body: moved.and_then(|moved| self.moved.get(moved)).map_or(record, |moved| moved.body),
        })
    }

    /// Appends first offset, index and time as they are counted from, the number of messages, and the messages; then
    /// the number of moved ones and those, and whether there are lanes and those.
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
        out.put_u32_le(self.moved.len() as u32);
        for moved in &self.moved {
            out.put_u32_le(moved.at);
            out.put_u64_le(moved.body.index.0);
            out.put_u32_le(moved.body.slot);
        }
        out.put_u8((!self.lanes.is_empty()).into());
        self.lanes.iter().for_each(|lane| out.put_u64_le(*lane));
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
        if !entries.is_sorted_by(|a, b| (a.index, a.slot) <= (b.index, b.slot)) {
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
        let moved = moved(input, count)?;
        let lanes = lanes(input, count)?;
        let lowest_moved = lowest(&moved);
        let chunk = Self { first, index, millis, entries, moved, lowest_moved, lanes };
        let misplaced = |moved: &Moved| {
            chunk.entries.get(moved.at as usize).is_none_or(|entry| {
                let record = RecordId { index: LogIndex(index + u64::from(entry.index)), slot: entry.slot };
                moved.body >= record
            })
        };
        if chunk.moved.iter().any(misplaced) {
            return Err(DecodeError::Invalid("moved message"));
        }
        Ok(chunk)
    }
}

fn lowest(moved: &[Moved]) -> Option<LogIndex> {
    moved.iter().map(|moved| moved.body.index).min()
}

fn moved(input: &mut Reader<'_>, count: usize) -> Result<Vec<Moved>, DecodeError> {
    const FIELD: &str = "moved message";
    let moved = input.u32_le(FIELD)? as usize;
    if moved > count {
        return Err(DecodeError::Invalid(FIELD));
    }
    let mut list: Vec<Moved> = Vec::with_capacity(moved);
    for _ in 0..moved {
        let at = input.u32_le(FIELD)?;
        let body = RecordId { index: LogIndex(input.u64_le(FIELD)?), slot: input.u32_le(FIELD)? };
        if list.last().is_some_and(|last| last.at >= at) {
            return Err(DecodeError::Invalid(FIELD));
        }
        list.push(Moved { at, body });
    }
    Ok(list)
}

fn lanes(input: &mut Reader<'_>, count: usize) -> Result<Vec<u64>, DecodeError> {
    const FIELD: &str = "lane";
    if !input.flag(FIELD)? {
        return Ok(Vec::new());
    }
    let (raw, _) = input.bytes(count * 8, FIELD)?.as_chunks::<8>();
    let lanes: Vec<u64> = raw.iter().map(|lane| u64::from_le_bytes(*lane)).collect();
    if lanes.iter().all(|lane| *lane == 0) {
        return Err(DecodeError::Invalid(FIELD));
    }
    Ok(lanes)
}

fn entry_of(raw: &[u8; ENTRY_LEN]) -> Entry {
    let field = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    Entry { index: field(0), slot: field(4), millis: field(8), tag: TagId::from_raw(field(12)) }
}
