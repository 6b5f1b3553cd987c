//! The parts of a snapshot: each stands for itself, so that damage, loss and disorder are seen before anything in a
//! part is believed.
//!
//! | offset | field, little endian |
//! |---|---|
//! | 0 | "MSS" and the format version, u8 |
//! | 4 | bytes after this header, u32 |
//! | 8 | number of this part, from 0, u32 |
//! | 12 | CRC-32C of the part before this one (0 for the first), then of the eight bytes before and all bytes after this field, u32 |

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

use super::SnapshotError;
use crate::queue::tags::MAX_TAG_BYTES;

const MAGIC: [u8; 3] = *b"MSS";
const VERSION: u8 = 2;
const HEADER_LEN: usize = 16;

/// A part is closed when it has so many bytes.
pub(super) const PART_BYTES: usize = 1 << 20;
/// A tag may be as long as all of them together, anything else in a part is small.
const MAX_PART_BYTES: usize = 2 * PART_BYTES + MAX_TAG_BYTES;

/// Which part is next, and what it is chained to.
#[derive(Debug, Default)]
struct Chain {
    part: u32,
    crc: u32,
}

impl Chain {
    fn checksum(&self, fields: &[u8], payload: &[u8]) -> u32 {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&self.crc.to_le_bytes());
        digest.update(fields);
        digest.update(payload);
        digest.finalize() as u32
    }

    const fn advance(&mut self, crc: u32) {
        *self = Self { part: self.part.wrapping_add(1), crc };
    }
}

/// Makes parts.
#[derive(Debug, Default)]
pub(super) struct Sealer {
    chain: Chain,
}

impl Sealer {
    /// Room for a part, to be filled behind what is there already.
    pub(super) fn begin() -> BytesMut {
        let mut part = BytesMut::with_capacity(PART_BYTES + PART_BYTES / 16);
        part.put_bytes(0, HEADER_LEN);
        part
    }

    pub(super) fn seal(&mut self, mut part: BytesMut) -> Bytes {
        let length = (part.len() - HEADER_LEN) as u32;
        part[..3].copy_from_slice(&MAGIC);
        part[3] = VERSION;
        part[4..8].copy_from_slice(&length.to_le_bytes());
        part[8..12].copy_from_slice(&self.chain.part.to_le_bytes());
        let crc = self.chain.checksum(&part[4..12], &part[HEADER_LEN..]);
        part[12..16].copy_from_slice(&crc.to_le_bytes());
        self.chain.advance(crc);
        part.freeze()
    }
}

/// Takes parts apart, however the bytes are cut.
#[derive(Debug, Default)]
pub(super) struct Opener {
    chain: Chain,
    /// The beginning of a part.
    partial: BytesMut,
}

impl Opener {
    /// What the next part holds; takes its bytes off `input`. `None` when it is not there as a whole yet.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, SnapshotError> {
        if self.partial.is_empty() && input.len() >= HEADER_LEN {
            let length = self.length(input)?;
            if input.len() >= length {
                return self.open(input.split_to(length)).map(Some);
            }
        }
        self.fill(input, HEADER_LEN);
        if self.partial.len() < HEADER_LEN {
            return Ok(None);
        }
        let length = self.length(&self.partial)?;
        self.fill(input, length);
        if self.partial.len() < length {
            return Ok(None);
        }
        let part = std::mem::take(&mut self.partial).freeze();
        self.open(part).map(Some)
    }

    /// Whether part of a part is waiting for its rest.
    pub(super) fn is_within(&self) -> bool {
        !self.partial.is_empty()
    }

    fn fill(&mut self, input: &mut Bytes, length: usize) {
        let more = length.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input.split_to(more));
    }

    /// Of the whole part, whose header is there.
    fn length(&self, part: &[u8]) -> Result<usize, SnapshotError> {
        if part[..3] != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        if part[3] != VERSION {
            return Err(SnapshotError::UnknownVersion(part[3]));
        }
        let (length, found) = (u32_at(part, 4), u32_at(part, 8));
        if found != self.chain.part {
            return Err(SnapshotError::OutOfOrder { expected: self.chain.part, found });
        }
        if length as usize > MAX_PART_BYTES {
            return Err(SnapshotError::TooLong { part: found, length });
        }
        Ok(HEADER_LEN + length as usize)
    }

    fn open(&mut self, part: Bytes) -> Result<Bytes, SnapshotError> {
        let found = u32_at(&part, 12);
        let computed = self.chain.checksum(&part[4..12], &part[HEADER_LEN..]);
        if found != computed {
            return Err(SnapshotError::BadChecksum { part: self.chain.part, found, computed });
        }
        self.chain.advance(found);
        Ok(part.slice(HEADER_LEN..))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
