//! The disk's own ceiling: one write and fdatasync after the other on a pre-written file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;

const BLOCK: usize = 4096;
const FILE_BYTES: usize = 64 * 1024 * 1024;

/// One measurement of [`BLOCK`]-sized synced writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Synced {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Writes and syncs for `duration` in a temporary file of `directory`.
pub(crate) fn probe(directory: &Path, duration: Duration) -> anyhow::Result<Synced> {
    let folder = tempfile::tempdir_in(directory).context("--directory cannot be written")?;
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).open(folder.path().join("probe"))?;
    let zeros = vec![0u8; 1024 * 1024];
    for _ in 0..FILE_BYTES / zeros.len() {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let block = [0x5au8; BLOCK];
    let mut latencies = Histogram::<u64>::new(3)?;
    let started = Instant::now();
    let mut at = 0;
    while started.elapsed() < duration {
        let before = Instant::now();
        file.write_all_at(&block, at as u64)?;
        file.sync_data()?;
        latencies.record(before.elapsed().as_nanos() as u64)?;
        at = (at + BLOCK) % FILE_BYTES;
    }
    Ok(Synced {
        per_second: latencies.len() as f64 / started.elapsed().as_secs_f64(),
        p50: Duration::from_nanos(latencies.value_at_quantile(0.5)),
        p99: Duration::from_nanos(latencies.value_at_quantile(0.99)),
    })
}
