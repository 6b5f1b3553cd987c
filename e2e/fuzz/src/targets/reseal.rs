//! Makes the checksums of edited files right again, file by file. The layouts are those that the storage's modules
//! describe; what is not where it should be is left as it is.

use crate::seal::{self, crc32c, put, salted, u32_at, u64_at};

pub(super) fn reseal(name: &str, bytes: &mut [u8]) {
    if bytes.len() < 8 {
        return;
    }
    match name {
        "mark" => [0, bytes.len() / 2].into_iter().for_each(|slot| seal::field(bytes, slot, 64, 0)),
        "base" => {
            seal::batches(bytes);
            seal::field(bytes, 0, bytes.len() - 4, 0);
        }
        "vote" => state_file(bytes),
        _ if name.ends_with(".seg") => segment(bytes),
        _ if name.ends_with(".idx") => index(bytes),
        _ if name.ends_with(".snap") => {
            let _ = snapshot(bytes);
        }
        _ if name.ends_with(".batches") => {
            seal::field(bytes, 0, 72, 0);
            seal::batches(bytes);
        }
        _ => {}
    }
}

fn segment(bytes: &mut [u8]) {
    seal::field(bytes, 0, 48, 0);
    let salt = u64_at(bytes, 40).unwrap_or_default();
    seal::batches(bytes);
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == b"MSR1") {
        at += found;
        seal::field(bytes, at, 20, salt);
        at += 4;
    }
}

fn index(bytes: &mut [u8]) {
    let head = u32_at(bytes, 12).map_or(0, |length| length as usize);
    if head < 4 || head > bytes.len() {
        return;
    }
    seal::batches(&mut bytes[..head]);
    seal::field(bytes, 0, head - 4, 0);
    let salt = u64_at(bytes, 28).unwrap_or_default();
    for (number, block) in bytes[head..].chunks_exact_mut(4096).enumerate() {
        seal::field(block, 0, 4092, salt.wrapping_add(number as u64));
    }
}

fn state_file(bytes: &mut [u8]) {
    if bytes.len() >= 28 {
        let crc = salted(0, &[&bytes[..24], &bytes[28..]]);
        put(bytes, 24, crc);
    }
}

/// As far as its lengths make sense.
fn snapshot(bytes: &mut [u8]) -> Option<()> {
    let head = u32_at(bytes, 16)? as usize;
    if head < 24 || head + 28 > bytes.len() {
        return None;
    }
    seal::batches(&mut bytes[..head]);
    seal::field(bytes, 0, head - 4, 0);
    let mut crcs = bytes[head - 4..head].to_vec();
    let (mut at, end) = (head, bytes.len() - 28);
    let mut chunks = 0;
    while at < end {
        let length = u32_at(bytes, at)? as usize;
        let chunk = at + 8..(at + 8).checked_add(length).filter(|chunk| *chunk <= end)?;
        let crc = salted(chunks, &[&(length as u32).to_le_bytes(), &bytes[chunk.clone()]]);
        put(bytes, at + 4, crc);
        crcs.extend(crc.to_le_bytes());
        (at, chunks) = (chunk.end, chunks + 1);
    }
    put(bytes, end + 20, crc32c(&[&crcs]));
    seal::field(bytes, end, 24, 0);
    Some(())
}
