//! Names of messages that are stored and not in a queue yet: transactions and delayed messages. Opaque text for clients.
//!
//! A name holds the record of its message and that record's time, for the reasons that receipt handles do.
//!
//! Text form: base64url without padding of a byte for the kind, the fields below in order and little endian, and a
//! CRC-32C of all of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BufMut};
use crc_fast::CrcAlgorithm;
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

use crate::metadata::Revision;

const TRANSACTION: u8 = 0x11;
const RECALL: u8 = 0x12;
pub(crate) const TICKET_LEN: usize = 32;
const BINARY_LEN: usize = 1 + TICKET_LEN + 4;
const TEXT_LEN: usize = (BINARY_LEN * 4).div_ceil(3);

/// What both kinds of names are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket {
    pub(crate) broker_group: GroupId,
    pub(crate) topic: Revision,
    pub(crate) record: RecordId,
    pub(crate) at: Timestamp,
}

/// One half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub(crate) Ticket);

/// One delayed message; its time is that of its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecallHandle(pub(crate) Ticket);

/// Why a text is not such a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("it has {0} characters, expected {TEXT_LEN}")]
    Length(usize),
    #[error("it is not base64url")]
    Alphabet,
    #[error("it is of another kind")]
    Kind,
    #[error("it is damaged: its checksum does not match")]
    Checksum,
}

impl Ticket {
    pub(crate) fn put_fields(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.broker_group.0);
        out.put_u64_le(self.topic.0);
        out.put_u64_le(self.record.index.0);
        out.put_u32_le(self.record.slot);
        out.put_u64_le(self.at.0);
    }

    pub(crate) fn from_fields(fields: &[u8; TICKET_LEN]) -> Self {
        let mut input = &fields[..];
        Self {
            broker_group: GroupId(input.get_u32_le()),
            topic: Revision(input.get_u64_le()),
            record: RecordId { index: LogIndex(input.get_u64_le()), slot: input.get_u32_le() },
            at: Timestamp(input.get_u64_le()),
        }
    }

    fn write(&self, kind: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut binary = [0; BINARY_LEN];
        let mut out = &mut binary[..];
        out.put_u8(kind);
        self.put_fields(&mut out);
        let crc = checksum(&binary[..BINARY_LEN - 4]);
        binary[BINARY_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(binary))
    }

    fn read(kind: u8, text: &str) -> Result<Self, TicketError> {
        if text.len() != TEXT_LEN {
            return Err(TicketError::Length(text.chars().count()));
        }
        let mut binary = [0; BINARY_LEN];
        URL_SAFE_NO_PAD.decode_slice(text, &mut binary).map_err(|_| TicketError::Alphabet)?;
        let mut crc = [0; 4];
        crc.copy_from_slice(&binary[BINARY_LEN - 4..]);
        if u32::from_le_bytes(crc) != checksum(&binary[..BINARY_LEN - 4]) {
            return Err(TicketError::Checksum);
        }
        if binary[0] != kind {
            return Err(TicketError::Kind);
        }
        let mut fields = [0; TICKET_LEN];
        fields.copy_from_slice(&binary[1..=TICKET_LEN]);
        Ok(Self::from_fields(&fields))
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

impl TransactionId {
    /// The broker group whose log has the half message.
    pub const fn broker_group(&self) -> GroupId {
        self.0.broker_group
    }

    /// Where the half message is in the log.
    pub const fn record(&self) -> RecordId {
        self.0.record
    }

    /// When that was.
    pub const fn stored_at(&self) -> Timestamp {
        self.0.at
    }
}

impl RecallHandle {
    /// The broker group whose log has the message.
    pub const fn broker_group(&self) -> GroupId {
        self.0.broker_group
    }

    /// Where the message is in the log.
    pub const fn record(&self) -> RecordId {
        self.0.record
    }

    /// When it is delivered.
    pub const fn deliver_at(&self) -> Timestamp {
        self.0.at
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(TRANSACTION, f)
    }
}

impl fmt::Display for RecallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(RECALL, f)
    }
}

impl FromStr for TransactionId {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        Ticket::read(TRANSACTION, text).map(Self)
    }
}

impl FromStr for RecallHandle {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        Ticket::read(RECALL, text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket([group, topic, index, slot, at]: [u64; 5]) -> Ticket {
        Ticket {
            broker_group: GroupId(group as u32),
            topic: Revision(topic),
            record: RecordId { index: LogIndex(index), slot: slot as u32 },
            at: Timestamp(at),
        }
    }

    proptest! {
        #[test]
        fn text_round_trips_and_kinds_are_not_mixed_up(numbers in any::<[u64; 5]>()) {
            let transaction = TransactionId(ticket(numbers));
            let recall = RecallHandle(ticket(numbers));
            prop_assert_eq!(transaction.to_string().parse(), Ok(transaction));
            prop_assert_eq!(recall.to_string().parse(), Ok(recall));
            prop_assert_eq!(recall.to_string().parse::<TransactionId>(), Err(TicketError::Kind));
        }

        #[test]
        fn arbitrary_text_is_an_error(text in "\\PC{0,60}") {
            prop_assert!(text.parse::<TransactionId>().is_err());
            prop_assert!(text.parse::<RecallHandle>().is_err());
        }

        #[test]
        fn one_changed_character_is_an_error(numbers in any::<[u64; 5]>(), at in 0..TEXT_LEN) {
            let mut text = TransactionId(ticket(numbers)).to_string().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            prop_assert!(String::from_utf8(text).unwrap().parse::<TransactionId>().is_err());
        }
    }
}
