//! Layout of a batch, how it is sealed and how it is recognised.
//!
//! All integers are little endian:
//!
//! | offset | field |
//! |---|---|
//! | 0 | magic, 4 bytes |
//! | 4 | length of the whole batch, u32 |
//! | 8 | CRC-32C of every other byte of the batch, u32 |
//! | 12 | format version, u8 · kind, u8 · reserved, u16 |
//! | 16 | group, u32 |
//! | 20 | number of records, u32 |
//! | 24 | epoch number, u64 · 32 epoch candidate, u64 |
//! | 40 | index, u64 |
//! | 48 | log position, u64 |
//! | 56 | timestamp in milliseconds, u64 |
//! | 64 | records: each a u32 length and its bytes |

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use mainstay_planted::{Fault, planted};

use crate::ids::{EntryId, Epoch, FARTHEST, GroupId, LogIndex, LogPosition, Timestamp};

/// "MSB1": no run of zeros, so a pre-written segment never looks like a batch.
pub const BATCH_MAGIC: [u8; 4] = *b"MSB1";
pub const HEADER_LEN: usize = 64;
/// Upper bound of one batch, so that a damaged length field cannot ask for the whole memory.
pub const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

const FORMAT_VERSION: u8 = 1;
const CRC_AT: usize = 8;
const CRC_END: usize = 12;

/// What a batch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// Records of the messaging state machine.
    Data,
    /// The first batch of a reign: commits what is before it.
    Epoch,
    /// The members of the group and their write quorum.
    Membership,
}

impl BatchKind {
    const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Epoch => 2,
            Self::Membership => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Data),
            2 => Some(Self::Epoch),
            3 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// Everything a batch says about itself besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub kind: BatchKind,
    pub group: GroupId,
    pub id: EntryId,
    pub position: LogPosition,
    pub timestamp: Timestamp,
    pub records: u32,
    /// Bytes of the whole batch, this header included.
    pub length: u32,
}

impl BatchHeader {
    /// Where the batch after this one stands.
    pub const fn end_position(&self) -> LogPosition {
        LogPosition(self.position.0 + self.length as u64)
    }
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("only {have} of {need} bytes are there")]
    Incomplete { have: usize, need: usize },
    #[error("no batch starts here")]
    BadMagic,
    #[error("length {0} is out of bounds")]
    BadLength(u32),
    #[error("format version {0} is unknown")]
    UnknownVersion(u8),
    #[error("kind {0} is unknown")]
    UnknownKind(u8),
    #[error("checksum is {found:08x}, the bytes give {computed:08x}")]
    BadChecksum { found: u32, computed: u32 },
    #[error("no log reaches {0:?} at position {1}")]
    OutOfReach(EntryId, u64),
    #[error("records do not fill the batch")]
    BadRecords,
}

/// A sealed, verified batch. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Reads the length of the batch that starts in `bytes`, without looking at the rest.
    pub fn peek_length(bytes: &[u8]) -> Result<usize, BatchError> {
        if bytes.len() < CRC_END {
            return Err(BatchError::Incomplete { have: bytes.len(), need: CRC_END });
        }
        if bytes[..4] != BATCH_MAGIC {
            return Err(BatchError::BadMagic);
        }
        let length = u32_at(bytes, 4);
        if (length as usize) < HEADER_LEN || length as usize > MAX_BATCH_BYTES {
            return Err(BatchError::BadLength(length));
        }
        Ok(length as usize)
    }

    /// Takes the batch at the start of `bytes`, verifying all of it. Bytes behind it are ignored.
    pub fn decode(bytes: &Bytes) -> Result<Self, BatchError> {
        let length = Self::peek_length(bytes)?;
        if bytes.len() < length {
            return Err(BatchError::Incomplete { have: bytes.len(), need: length });
        }
        let bytes = bytes.slice(..length);
        let found = u32_at(&bytes, CRC_AT);
        let computed = checksum(&bytes);
        if found != computed && !planted(Fault::SkipChecksum) {
            return Err(BatchError::BadChecksum { found, computed });
        }
        if bytes[12] != FORMAT_VERSION {
            return Err(BatchError::UnknownVersion(bytes[12]));
        }
        let kind = BatchKind::from_code(bytes[13]).ok_or(BatchError::UnknownKind(bytes[13]))?;
        let header = BatchHeader {
            kind,
            group: GroupId(u32_at(&bytes, 16)),
            records: u32_at(&bytes, 20),
            id: EntryId {
                epoch: Epoch { number: u64_at(&bytes, 24), candidate: u64_at(&bytes, 32) },
                index: LogIndex(u64_at(&bytes, 40)),
            },
            position: LogPosition(u64_at(&bytes, 48)),
            timestamp: Timestamp(u64_at(&bytes, 56)),
            length: u32_at(&bytes, 4),
        };
        if !header.id.is_reachable() || header.position.0 > FARTHEST {
            return Err(BatchError::OutOfReach(header.id, header.position.0));
        }
        let batch = Self { header, bytes };
        if batch.records().count() != header.records as usize || !batch.records_fill() {
            return Err(BatchError::BadRecords);
        }
        Ok(batch)
    }

    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub const fn id(&self) -> EntryId {
        self.header.id
    }

    pub const fn index(&self) -> LogIndex {
        self.header.id.index
    }

    /// The bytes as they lie on the disk and travel between replicas.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records in order, sharing the batch's memory.
    pub fn records(&self) -> Records {
        Records { bytes: self.bytes.clone(), at: HEADER_LEN }
    }

    /// The record at `slot`, if there is one.
    pub fn record(&self, slot: u32) -> Option<Bytes> {
        let mut records = self.records();
        for _ in 0..slot {
            records.skip_one()?;
        }
        records.next()
    }

    fn records_fill(&self) -> bool {
        let mut records = self.records();
        while records.skip_one().is_some() {}
        records.at == self.bytes.len()
    }
}

/// Iterator over the records of a batch.
#[derive(Debug, Clone)]
pub struct Records {
    bytes: Bytes,
    /// Where the next record's length stands.
    at: usize,
}

impl Records {
    /// Goes past the next record without touching the batch's reference count.
    fn skip_one(&mut self) -> Option<Range<usize>> {
        let start = self.at.checked_add(4).filter(|start| *start <= self.bytes.len())?;
        let end = start.checked_add(u32_at(&self.bytes, self.at) as usize)?;
        if end > self.bytes.len() {
            return None;
        }
        self.at = end;
        Some(start..end)
    }
}

impl Iterator for Records {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let range = self.skip_one()?;
        Some(self.bytes.slice(range))
    }
}

/// Collects records and seals them into a [`Batch`]. Reserves room for the header, so that sealing copies nothing.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: BytesMut,
    records: u32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl BatchBuilder {
    pub fn with_capacity(record_bytes: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + record_bytes);
        bytes.put_bytes(0, HEADER_LEN);
        Self { bytes, records: 0 }
    }

    /// Appends one record by letting `encode` write it, and returns its slot.
    pub fn push_with(&mut self, encode: impl FnOnce(&mut BytesMut)) -> u32 {
        let at = self.bytes.len();
        self.bytes.put_u32_le(0);
        encode(&mut self.bytes);
        let length = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.records += 1;
        self.records - 1
    }

    /// Appends one record and returns its slot.
    pub fn push(&mut self, record: &[u8]) -> u32 {
        self.push_with(|bytes| bytes.put_slice(record))
    }

    pub const fn records(&self) -> u32 {
        self.records
    }

    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes that the sealed batch will have.
    pub fn sealed_len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes header and checksum.
    ///
    /// # Panics
    /// When the batch is larger than [`MAX_BATCH_BYTES`]; callers bound what they push.
    pub fn seal(
        mut self,
        kind: BatchKind,
        group: GroupId,
        id: EntryId,
        position: LogPosition,
        timestamp: Timestamp,
    ) -> Batch {
        assert!(self.bytes.len() <= MAX_BATCH_BYTES, "batch of {} bytes", self.bytes.len());
        let length = self.bytes.len() as u32;
        let mut header = &mut self.bytes[..HEADER_LEN];
        header.put_slice(&BATCH_MAGIC);
        header.put_u32_le(length);
        header.put_u32_le(0);
        header.put_u8(FORMAT_VERSION);
        header.put_u8(kind.code());
        header.put_u16_le(0);
        header.put_u32_le(group.0);
        header.put_u32_le(self.records);
        header.put_u64_le(id.epoch.number);
        header.put_u64_le(id.epoch.candidate);
        header.put_u64_le(id.index.0);
        header.put_u64_le(position.0);
        header.put_u64_le(timestamp.0);
        let crc = checksum(&self.bytes);
        self.bytes[CRC_AT..CRC_END].copy_from_slice(&crc.to_le_bytes());
        let header = BatchHeader { kind, group, id, position, timestamp, records: self.records, length };
        Batch { header, bytes: self.bytes.freeze() }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes[..CRC_AT]);
    digest.update(&bytes[CRC_END..]);
    digest.finalize() as u32
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::NodeId;

    fn sealed(records: &[Vec<u8>]) -> Batch {
        let mut builder = BatchBuilder::default();
        for record in records {
            builder.push(record);
        }
        let epoch = Epoch::new(7, NodeId::new(0xabc).unwrap());
        let id = EntryId { epoch, index: LogIndex(42) };
        builder.seal(BatchKind::Data, GroupId(3), id, LogPosition(4096), Timestamp(1_700_000_000_000))
    }

    proptest! {
        #[test]
        fn decodes_what_was_sealed(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let batch = sealed(&records);
            let mut stream = BytesMut::from(&batch.bytes()[..]);
            stream.put_slice(b"bytes of the next batch");
            let decoded = Batch::decode(&stream.freeze()).unwrap();
            prop_assert_eq!(&decoded, &batch);
            prop_assert_eq!(decoded.records().map(|r| r.to_vec()).collect::<Vec<_>>(), records);
        }

        #[test]
        fn any_flipped_bit_is_recognised(bit in 0usize..(HEADER_LEN + 4 + 32) * 8) {
            let batch = sealed(&[vec![0x5a; 32]]);
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Batch::decode(&Bytes::from(bytes)).is_err());
        }
    }

    #[test]
    fn a_torn_batch_says_how_much_is_missing() {
        let batch = sealed(&[vec![1; 100]]);
        let torn = batch.bytes().slice(..HEADER_LEN + 10);
        assert_eq!(
            Batch::decode(&torn),
            Err(BatchError::Incomplete { have: HEADER_LEN + 10, need: HEADER_LEN + 104 })
        );
    }

    #[test]
    fn what_no_log_reaches_is_refused() {
        let (id, position) = (sealed(&[]).id(), LogPosition(0));
        let far = |number, index| EntryId { epoch: Epoch { number, ..id.epoch }, index: LogIndex(index) };
        for (id, position, fits) in [
            (far(FARTHEST, FARTHEST), LogPosition(FARTHEST), true),
            (far(FARTHEST + 1, 1), position, false),
            (far(1, FARTHEST + 1), position, false),
            (far(1, u64::MAX), position, false),
            (id, LogPosition(u64::MAX), false),
        ] {
            let batch = BatchBuilder::default().seal(BatchKind::Data, GroupId(3), id, position, Timestamp(0));
            let decoded = Batch::decode(batch.bytes());
            assert_eq!(decoded.is_ok(), fits, "{decoded:?}");
        }
    }

    #[test]
    fn zeros_are_no_batch() {
        assert_eq!(Batch::decode(&Bytes::from(vec![0; 4096])), Err(BatchError::BadMagic));
    }

    #[test]
    fn node_id_text_round_trips_and_rejects_zero() {
        let id = NodeId::new(0x1f).unwrap();
        assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
        assert!("0000000000000000".parse::<NodeId>().is_err());
        assert!("1f".parse::<NodeId>().is_err());
    }
}
