//! Reading and writing the fields of a record. Reading never goes past the end, and never makes room for more than the
//! bytes left could hold.

use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::delivery::handle::{FIELDS_LEN, ReceiptHandle};
use crate::pending::ticket::{TICKET_LEN, Ticket};

/// Why a record is not a command. Fields are named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends within its {0}")]
    Truncated(&'static str),
    #[error("command format {0} is unknown")]
    UnknownVersion(u8),
    #[error("command {0} is unknown")]
    UnknownCommand(u8),
    #[error("the record's {0} is not legal")]
    Invalid(&'static str),
    #[error("{0} bytes follow the command")]
    Trailing(usize),
}

pub(crate) trait WriteFields {
    fn put_number(&mut self, number: u64);
    fn put_text(&mut self, text: &str);
    fn put_optional_text(&mut self, text: Option<&str>);
}

impl WriteFields for BytesMut {
    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.put_u8(number as u8);
    }

    fn put_text(&mut self, text: &str) {
        self.put_number(text.len() as u64);
        self.put_slice(text.as_bytes());
    }

    fn put_optional_text(&mut self, text: Option<&str>) {
        self.put_u8(text.is_some().into());
        if let Some(text) = text {
            self.put_text(text);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reader<'a> {
    record: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(record: &'a Bytes) -> Self {
        Self { record, rest: record }
    }

    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(DecodeError::Invalid(field));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Invalid(field))
    }

    pub(crate) fn number32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.number(field)?).map_err(|_| DecodeError::Invalid(field))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not read yet.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn u32_le(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    pub(crate) fn u64_le(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn bytes(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn counted(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.number(field)?).map_err(|_| DecodeError::Truncated(field))?;
        self.bytes(length, field)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.counted(field)?).map_err(|_| DecodeError::Invalid(field))
    }

    pub(crate) fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.text(field).map(str::to_owned)
    }

    pub(crate) fn name<T: FromStr>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        self.text(field)?.parse().map_err(|_| DecodeError::Invalid(field))
    }

    /// Bytes that share the record's memory.
    pub(crate) fn shared(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let bytes = self.counted(field)?;
        Ok(self.record.slice_ref(bytes))
    }

    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.byte(field)? {
            0 => Ok(None),
            1 => read(self, field).map(Some),
            _ => Err(DecodeError::Invalid(field)),
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.number(field)?;
        // A false count makes no room beforehand, and ends with the bytes, since every item takes one at least.
        (0..count).map(|_| read(self)).collect()
    }

    pub(crate) fn handle(&mut self) -> Result<ReceiptHandle, DecodeError> {
        let mut fields = [0; FIELDS_LEN];
        fields.copy_from_slice(self.bytes(FIELDS_LEN, "receipt handle")?);
        Ok(ReceiptHandle::from_fields(&fields))
    }

    pub(crate) fn ticket(&mut self, field: &'static str) -> Result<Ticket, DecodeError> {
        let mut fields = [0; TICKET_LEN];
        fields.copy_from_slice(self.bytes(TICKET_LEN, field)?);
        Ok(Ticket::from_fields(&fields))
    }

    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.byte(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid(field)),
        }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}
