//! Receipt handles: what a consumer shows to acknowledge a delivery. Opaque text for clients.
//!
//! A handle names its delivery by the record that made it and by that record's time. The record alone would do where
//! no acknowledged record is ever lost; after a forced promotion another record can stand at the same place of the
//! log, and the time tells the two apart. Handles survive restart and failover, since all they are compared
//! with is in the state.
//!
//! Text form: base64url without padding of version 1, the fields below in order and little endian, and a CRC-32C of
//! all of it. The checksum finds accidents; it is no protection against forgery, nor is one needed: whoever may
//! acknowledge for a group may acknowledge all of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BufMut};
use crc_fast::CrcAlgorithm;
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

use crate::metadata::{QueueId, QueueOffset, Revision};

const VERSION: u8 = 1;
pub(crate) const FIELDS_LEN: usize = 52;
const BINARY_LEN: usize = 1 + FIELDS_LEN + 4;
const TEXT_LEN: usize = (BINARY_LEN * 4).div_ceil(3);

/// One delivery of one message to one consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptHandle {
    pub(crate) broker_group: GroupId,
    pub(crate) queue: QueueId,
    pub(crate) topic: Revision,
    pub(crate) group: Revision,
    pub(crate) offset: QueueOffset,
    pub(crate) token: Token,
}

/// What tells one delivery of a message from its others: the record that made it, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) record: RecordId,
    pub(crate) made_at: Timestamp,
}

/// Why a text is not a receipt handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    #[error("receipt handle has {0} characters, expected {TEXT_LEN}")]
    Length(usize),
    #[error("receipt handle is not base64url")]
    Alphabet,
    #[error("receipt handle has unknown version {0}")]
    Version(u8),
    #[error("receipt handle is damaged: its checksum does not match")]
    Checksum,
}

impl ReceiptHandle {
    /// The broker group whose log knows the delivery.
    pub const fn broker_group(&self) -> GroupId {
        self.broker_group
    }

    pub const fn queue(&self) -> QueueId {
        self.queue
    }

    pub const fn offset(&self) -> QueueOffset {
        self.offset
    }

    /// The record that made the delivery, or that put it off.
    pub const fn made_by(&self) -> RecordId {
        self.token.record
    }

    /// When that was.
    pub const fn made_at(&self) -> Timestamp {
        self.token.made_at
    }

    pub(crate) fn put_fields(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.broker_group.0);
        out.put_u32_le(self.queue.0);
        out.put_u64_le(self.topic.0);
        out.put_u64_le(self.group.0);
        out.put_u64_le(self.offset.0);
        out.put_u64_le(self.token.record.index.0);
        out.put_u32_le(self.token.record.slot);
        out.put_u64_le(self.token.made_at.0);
    }

    pub(crate) fn from_fields(fields: &[u8; FIELDS_LEN]) -> Self {
        let mut input = &fields[..];
        Self {
            broker_group: GroupId(input.get_u32_le()),
            queue: QueueId(input.get_u32_le()),
            topic: Revision(input.get_u64_le()),
            group: Revision(input.get_u64_le()),
            offset: QueueOffset(input.get_u64_le()),
            token: Token {
                record: RecordId { index: LogIndex(input.get_u64_le()), slot: input.get_u32_le() },
                made_at: Timestamp(input.get_u64_le()),
            },
        }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

impl fmt::Display for ReceiptHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut binary = [0; BINARY_LEN];
        let mut out = &mut binary[..];
        out.put_u8(VERSION);
        self.put_fields(&mut out);
        let crc = checksum(&binary[..BINARY_LEN - 4]);
        binary[BINARY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        let mut text = [0; TEXT_LEN];
        URL_SAFE_NO_PAD.encode_slice(binary, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for ReceiptHandle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        if text.len() != TEXT_LEN {
            return Err(HandleError::Length(text.chars().count()));
        }
        let mut binary = [0; BINARY_LEN];
        URL_SAFE_NO_PAD.decode_slice(text, &mut binary).map_err(|_| HandleError::Alphabet)?;
        let mut crc = [0; 4];
        crc.copy_from_slice(&binary[BINARY_LEN - 4..]);
        if u32::from_le_bytes(crc) != checksum(&binary[..BINARY_LEN - 4]) {
            return Err(HandleError::Checksum);
        }
        if binary[0] != VERSION {
            return Err(HandleError::Version(binary[0]));
        }
        let mut fields = [0; FIELDS_LEN];
        fields.copy_from_slice(&binary[1..=FIELDS_LEN]);
        Ok(Self::from_fields(&fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handle(numbers: [u64; 8]) -> ReceiptHandle {
        let [broker_group, queue, topic, group, offset, index, slot, made_at] = numbers;
        ReceiptHandle {
            broker_group: GroupId(broker_group as u32),
            queue: QueueId(queue as u32),
            topic: Revision(topic),
            group: Revision(group),
            offset: QueueOffset(offset),
            token: Token {
                record: RecordId { index: LogIndex(index), slot: slot as u32 },
                made_at: Timestamp(made_at),
            },
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(numbers in any::<[u64; 8]>()) {
            let handle = handle(numbers);
            let text = handle.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse::<ReceiptHandle>(), Ok(handle));
        }

        #[test]
        fn arbitrary_text_is_an_error(text in "\\PC{0,90}") {
            prop_assert!(text.parse::<ReceiptHandle>().is_err());
        }

        #[test]
        fn one_changed_character_is_an_error(numbers in any::<[u64; 8]>(), at in 0..TEXT_LEN) {
            let mut text = handle(numbers).to_string().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            prop_assert!(String::from_utf8(text).unwrap().parse::<ReceiptHandle>().is_err());
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!("".parse::<ReceiptHandle>(), Err(HandleError::Length(0)));
        assert_eq!("!".repeat(TEXT_LEN).parse::<ReceiptHandle>(), Err(HandleError::Alphabet));
        assert_eq!("A".repeat(TEXT_LEN).parse::<ReceiptHandle>(), Err(HandleError::Checksum));
    }
}
