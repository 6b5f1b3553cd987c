//! The disk's own ceilings: one write and fdatasync after the other on a pre-written file, in blocks of a given size.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::figures::{Figures, Latencies};

/// What one write of a log with a single small record takes at least.
pub(crate) const BLOCK: usize = 4096;
/// What 64 records of 1 KiB take together.
pub(crate) const GROUP: usize = 64 * 1024;
const FILE_BYTES: usize = 64 * 1024 * 1024;

/// Writes and syncs `size` bytes at a time for `duration` in a temporary file of `directory`; counts writes.
pub(crate) fn probe(directory: &Path, size: usize, duration: Duration) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir_in(directory).context("--directory cannot be written")?;
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).open(folder.path().join("probe"))?;
    let zeros = vec![0u8; 1024 * 1024];
    for _ in 0..FILE_BYTES / zeros.len() {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let block = vec![0x5au8; size];
    let mut latencies = Latencies::new()?;
    let started = Instant::now();
    let mut at = 0;
    while started.elapsed() < duration {
        let before = Instant::now();
        file.write_all_at(&block, at as u64)?;
        file.sync_data()?;
        latencies.record(before.elapsed())?;
        at = (at + size) % FILE_BYTES;
    }
    Ok(latencies.figures(1, started.elapsed()))
}
