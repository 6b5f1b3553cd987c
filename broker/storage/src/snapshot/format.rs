//! Layout of a snapshot file.
//!
//! | part | content |
//! |---|---|
//! | head | magic, format version u32, group u32, whole length of the head u32, the base, checksum |
//! | chunks | each: length u32 (not all ones), checksum u32 that names the number of the chunk, bytes |
//! | end | all ones u32, number of chunks u64, bytes in them u64, checksum u32 over the head's and all chunks' checksums, checksum u32 of the end itself |

use bytes::{Buf, BufMut, Bytes};
use crc_fast::{CrcAlgorithm, Digest};
use mainstay_record::GroupId;

use crate::base::LogBase;
use crate::fields::{checksum, is_sealed, seal, u32_at, u64_at, unseal};

pub(super) const MAGIC: [u8; 8] = *b"MSTSNAPS";
pub(super) const FORMAT_VERSION: u32 = 1;
/// Bytes that say how long the head is.
pub(super) const PREFIX_LEN: usize = 20;
pub(super) const CHUNK_HEADER_LEN: usize = 8;
/// Larger ones are split.
pub(super) const MAX_CHUNK: usize = 4 * 1024 * 1024;
pub(super) const END_LEN: usize = 28;
/// Larger heads are not ours.
pub(super) const MAX_HEAD: usize = 256 * 1024 * 1024;
const END_MARK: u32 = u32::MAX;

pub(super) fn encode_head(group: GroupId, base: &LogBase) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.put_slice(&MAGIC);
    head.put_u32_le(FORMAT_VERSION);
    head.put_u32_le(group.0);
    head.put_u32_le(0);
    base.encode(&mut head);
    let length = head.len() as u32 + 4;
    head[16..PREFIX_LEN].copy_from_slice(&length.to_le_bytes());
    seal(&mut head);
    head
}

/// The base in a whole head, if it is intact.
pub(super) fn decode_head(head: Bytes) -> Option<LogBase> {
    let mut body = unseal(head)?;
    if body.len() < PREFIX_LEN {
        return None;
    }
    body.advance(PREFIX_LEN);
    LogBase::decode(&mut body)
}

/// The checksum over the checksums, so that no part of one snapshot passes for a part of another.
#[derive(Debug)]
pub(super) struct Whole {
    digest: Digest,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

impl Whole {
    pub(super) fn of_head(head: &[u8]) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&head[head.len().saturating_sub(4)..]);
        Self { digest, chunks: 0, bytes: 0 }
    }

    /// Counts a chunk, and returns what stands before it.
    pub(super) fn chunk(&mut self, chunk: &[u8]) -> [u8; CHUNK_HEADER_LEN] {
        let length = (chunk.len() as u32).to_le_bytes();
        let crc = checksum(self.chunks, &[&length, chunk]).to_le_bytes();
        self.digest.update(&crc);
        self.chunks += 1;
        self.bytes += chunk.len() as u64;
        let mut header = [0; CHUNK_HEADER_LEN];
        header[..4].copy_from_slice(&length);
        header[4..].copy_from_slice(&crc);
        header
    }

    pub(super) fn end(self) -> [u8; END_LEN] {
        let mut end = Vec::with_capacity(END_LEN);
        end.put_u32_le(END_MARK);
        end.put_u64_le(self.chunks);
        end.put_u64_le(self.bytes);
        end.put_u32_le(self.digest.finalize() as u32);
        seal(&mut end);
        let mut fixed = [0; END_LEN];
        fixed.copy_from_slice(&end);
        fixed
    }
}

/// Length of the chunk that begins with these bytes; `None` for the end.
pub(super) fn chunk_length(header: &[u8]) -> Option<u32> {
    Some(u32_at(header, 0)).filter(|length| *length != END_MARK)
}

/// Bytes in all chunks, if the end is intact.
pub(super) fn payload_bytes(end: &[u8]) -> Option<u64> {
    let intact = end.len() == END_LEN && u32_at(end, 0) == END_MARK && is_sealed(end, END_LEN - 4, 0);
    intact.then(|| u64_at(end, 12))
}
