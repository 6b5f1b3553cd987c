//! The index file of a complete segment: opening the log trusts it instead of reading every batch of the segment.
//!
//! | part | content |
//! |---|---|
//! | head | magic, version, whole length of the head, group, the segment's base, salt, first index; number of batches, last entry, newest timestamp, end position and end byte; epochs that begin and membership batches that stand in the segment; checksum |
//! | blocks | of 4096 bytes: 341 entries (byte, length, position; u32 each) and a checksum that names the block |
//!
//! It is bound to its segment by the salt, so that it never stands for another segment of the same name. It holds
//! nothing that the segment does not: one that is missing or damaged is made again.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use mainstay_record::{Batch, EntryId, GroupId, LogIndex, LogPosition, Timestamp};

use super::Entry;
use super::pool::{FileKey, FilePool};
use crate::base::{put_batches, put_entry, put_epochs, take_batches, take_entry, take_epochs};
use crate::chain::EpochStart;
use crate::error::{IoContext, IoFailure};
use crate::fields::{checksum, seal, u32_at, unseal};
use crate::fs::{OpenFile, remove_if_there, temporary};
use crate::segment::{FORMAT_VERSION, SegmentHeader, index_path};

const MAGIC: [u8; 8] = *b"MSTINDEX";
const ENTRY_LEN: usize = 12;
const BLOCK_LEN: usize = 4096;
pub(crate) const BLOCK_ENTRIES: usize = (BLOCK_LEN - 4) / ENTRY_LEN;
/// Read at first; enough for the head of nearly every segment.
const FIRST_READ: usize = 4096;
const FIXED_LEN: usize = 16;

/// What an index file says of its segment as a whole.
#[derive(Debug, Clone)]
pub(crate) struct SealedSummary {
    pub(crate) header: SegmentHeader,
    pub(crate) count: u64,
    pub(crate) last: EntryId,
    pub(crate) timestamp: Timestamp,
    /// Where the log stands behind the last batch, and the byte of the file there.
    pub(crate) end: LogPosition,
    pub(crate) end_offset: u64,
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) memberships: Vec<Batch>,
}

/// Where the entries of a segment lie in its index file.
#[derive(Debug, Clone)]
pub(crate) struct SealedIndex {
    path: PathBuf,
    key: FileKey,
    salt: u64,
    count: u64,
    entries_at: u64,
}

/// Writes the index file of a segment under its temporary name, durably; it counts once it is renamed.
pub(crate) fn write(
    pool: &FilePool,
    segment: &Path,
    summary: &SealedSummary,
    entries: &[Entry],
) -> Result<(OpenFile, SealedIndex), IoFailure> {
    let fs = pool.fs();
    let path = index_path(segment);
    let unfinished = temporary(&path);
    remove_if_there(fs, &unfinished)?;
    let mut bytes = encode_head(summary);
    let entries_at = bytes.len() as u64;
    let salt = summary.header.salt;
    for (number, block) in entries.chunks(BLOCK_ENTRIES).enumerate() {
        put_block(&mut bytes, block, salt.wrapping_add(number as u64));
    }
    let file = OpenFile::create(fs, unfinished)?;
    file.write(&[IoSlice::new(&bytes)], 0)?;
    file.sync()?;
    let key = pool.new_index();
    Ok((file, SealedIndex { path, key, salt, count: entries.len() as u64, entries_at }))
}

fn encode_head(summary: &SealedSummary) -> Vec<u8> {
    let header = &summary.header;
    let mut head = Vec::with_capacity(summary.count as usize * ENTRY_LEN + FIRST_READ);
    head.put_slice(&MAGIC);
    head.put_u32_le(FORMAT_VERSION);
    head.put_u32_le(0);
    head.put_u32_le(header.group.0);
    for field in [header.base.0, header.salt, header.first.0, header.capacity, summary.count] {
        head.put_u64_le(field);
    }
    put_entry(&mut head, summary.last);
    for field in [summary.timestamp.0, summary.end.0, summary.end_offset] {
        head.put_u64_le(field);
    }
    put_epochs(&mut head, &summary.epochs);
    put_batches(&mut head, &summary.memberships);
    let length = head.len() as u32 + 4;
    head[12..16].copy_from_slice(&length.to_le_bytes());
    seal(&mut head);
    head
}

fn put_block(out: &mut Vec<u8>, entries: &[Entry], salt: u64) {
    let start = out.len();
    for entry in entries {
        out.put_u32_le(entry.offset);
        out.put_u32_le(entry.length);
        out.put_u32_le(entry.position);
    }
    out.resize(start + BLOCK_LEN - 4, 0);
    let crc = checksum(salt, &[&out[start..]]);
    out.put_u32_le(crc);
}

/// Reads the head of a segment's index file. `None` when there is no intact one of this very segment.
pub(crate) fn read(
    pool: &FilePool,
    segment: &Path,
    header: &SegmentHeader,
) -> Result<Option<(SealedSummary, SealedIndex)>, IoFailure> {
    let path = index_path(segment);
    if !pool.fs().exists(&path).during("look at", &path)? {
        return Ok(None);
    }
    let file = OpenFile::open(pool.fs(), path.clone())?;
    let found = file.len()?;
    let Some(head) = read_head(&file, found)? else { return Ok(None) };
    let entries_at = head.len() as u64;
    let Some(summary) = unseal(head).and_then(|head| decode_head(head, header)) else { return Ok(None) };
    let blocks = summary.count.div_ceil(BLOCK_ENTRIES as u64).checked_mul(BLOCK_LEN as u64);
    if blocks != found.checked_sub(entries_at) {
        return Ok(None);
    }
    let key = pool.new_index();
    let index = SealedIndex { path, key, salt: header.salt, count: summary.count, entries_at };
    Ok(Some((summary, index)))
}

fn read_head(file: &OpenFile, length: u64) -> Result<Option<Bytes>, IoFailure> {
    let first = file.read(0, FIRST_READ.min(length as usize))?;
    if first.len() < FIXED_LEN || first[..8] != MAGIC || u32_at(&first, 8) != FORMAT_VERSION {
        return Ok(None);
    }
    let head = u32_at(&first, 12) as usize;
    if head as u64 > length {
        return Ok(None);
    }
    let bytes = if head <= first.len() { first } else { file.read(0, head)? };
    Ok(Some(Bytes::from(bytes).slice(..head)))
}

fn decode_head(mut head: Bytes, header: &SegmentHeader) -> Option<SealedSummary> {
    head.try_advance(FIXED_LEN)?;
    let group = GroupId(head.try_get_u32_le().ok()?);
    let mut field = || head.try_get_u64_le().ok();
    let (base, salt, first) = (LogPosition(field()?), field()?, LogIndex(field()?));
    let (capacity, count) = (field()?, field()?);
    if (SegmentHeader { group, base, first, capacity, salt }) != *header {
        return None;
    }
    let last = take_entry(&mut head)?;
    let mut field = || head.try_get_u64_le().ok();
    let (timestamp, end, end_offset) = (Timestamp(field()?), LogPosition(field()?), field()?);
    let epochs = take_epochs(&mut head)?;
    let memberships = take_batches(&mut head)?;
    Some(SealedSummary { header: *header, count, last, timestamp, end, end_offset, epochs, memberships })
}

/// `Buf::advance` that does not panic.
trait TryAdvance {
    fn try_advance(&mut self, by: usize) -> Option<()>;
}

impl TryAdvance for Bytes {
    fn try_advance(&mut self, by: usize) -> Option<()> {
        (self.len() >= by).then(|| self.advance(by))
    }
}

impl SealedIndex {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn key(&self) -> FileKey {
        self.key
    }

    /// The entries from number `from` to the end of the block that it is in. `None` when the block is not intact.
    pub(crate) fn block_from(&self, pool: &FilePool, from: u64) -> Result<Option<Vec<Entry>>, IoFailure> {
        let number = from / BLOCK_ENTRIES as u64;
        let file = pool.get(self.key, &self.path)?;
        let bytes = file.read(self.entries_at + number * BLOCK_LEN as u64, BLOCK_LEN)?;
        let body = &bytes[..BLOCK_LEN - 4];
        if u32_at(&bytes, BLOCK_LEN - 4) != checksum(self.salt.wrapping_add(number), &[body]) {
            return Ok(None);
        }
        let start = number * BLOCK_ENTRIES as u64;
        let held = (self.count - start).min(BLOCK_ENTRIES as u64) as usize;
        let skip = (from - start) as usize;
        let entries = body.chunks_exact(ENTRY_LEN).take(held).skip(skip).map(|entry| Entry {
            offset: u32_at(entry, 0),
            length: u32_at(entry, 4),
            position: u32_at(entry, 8),
        });
        Ok(Some(entries.collect()))
    }
}
