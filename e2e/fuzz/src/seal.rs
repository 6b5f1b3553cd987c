//! Makes checksums right again, so that what lies behind them is reached. What is not of the expected form stays as
//! it is.

use crc_fast::{CrcAlgorithm, Digest};
use mainstay_record::{BATCH_MAGIC, Batch};

/// CRC-32C of all parts, one after the other.
pub(crate) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

/// As the storage's own records have it.
pub(crate) fn salted(salt: u64, parts: &[&[u8]]) -> u32 {
    let salt = salt.to_le_bytes();
    let all: Vec<&[u8]> = std::iter::once(&salt[..]).chain(parts.iter().copied()).collect();
    crc32c(&all)
}

/// The batch at the beginning of `bytes`, if its length is there. Returns that length.
pub(crate) fn batch(bytes: &mut [u8]) -> Option<usize> {
    let length = Batch::peek_length(bytes).ok().filter(|length| *length <= bytes.len())?;
    let crc = crc32c(&[&bytes[..8], &bytes[12..length]]);
    put(bytes, 8, crc);
    Some(length)
}

/// Every batch that begins anywhere in `bytes`.
pub(crate) fn batches(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == BATCH_MAGIC) {
        at += found;
        at += batch(&mut bytes[at..]).unwrap_or(1);
    }
}

/// The checksum behind `length` bytes from `start` on.
pub(crate) fn field(bytes: &mut [u8], start: usize, length: usize, salt: u64) {
    if bytes.len() >= start + length + 4 {
        let crc = salted(salt, &[&bytes[start..start + length]]);
        put(bytes, start + length, crc);
    }
}

pub(crate) fn put(bytes: &mut [u8], at: usize, crc: u32) {
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|raw| raw.try_into().ok()).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|raw| raw.try_into().ok()).map(u64::from_le_bytes)
}
