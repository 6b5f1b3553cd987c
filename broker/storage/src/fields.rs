//! Fixed-width little-endian fields and the CRC-32C of this crate's own records.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

/// Writes fields one after the other into a fixed array.
#[derive(Debug)]
pub(crate) struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fields<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    pub(crate) fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    pub(crate) fn u32(self, field: u32) -> Self {
        self.put(&field.to_le_bytes())
    }

    pub(crate) fn u64(self, field: u64) -> Self {
        self.put(&field.to_le_bytes())
    }

    /// What was put.
    pub(crate) const fn bytes(self) -> [u8; N] {
        self.bytes
    }

    /// Appends the checksum of what was put so far, and ends.
    pub(crate) fn sealed(self, salt: u64) -> [u8; N] {
        let crc = checksum(salt, &[&self.bytes[..self.at]]);
        self.u32(crc).bytes
    }
}

/// Checks the checksum that [`Fields::sealed`] put after `length` bytes.
pub(crate) fn is_sealed(bytes: &[u8], length: usize, salt: u64) -> bool {
    bytes.len() >= length + 4 && u32_at(bytes, length) == checksum(salt, &[&bytes[..length]])
}

pub(crate) fn checksum(salt: u64, parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&salt.to_le_bytes());
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Appends the checksum of all of `bytes`.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    let crc = checksum(0, &[bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// The bytes before the checksum that [`seal`] appended, if it fits.
pub(crate) fn unseal(mut bytes: Bytes) -> Option<Bytes> {
    let length = bytes.len().checked_sub(4)?;
    if !is_sealed(&bytes, length, 0) {
        return None;
    }
    bytes.truncate(length);
    Some(bytes)
}
