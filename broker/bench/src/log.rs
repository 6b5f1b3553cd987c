//! The log by itself: records of a given size through [`Log`] with flush Sync, a fixed number of them in flight.
//!
//! As the broker does it: what waits while the disk is busy goes into one batch, and few batches are on their way at
//! a time.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use mainstay_record::{
    Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogPosition, NodeId, Timestamp,
};
use mainstay_storage::{Flush, Log, LogEvent, LogOptions, RealFileSystem};

use crate::figures::{Figures, Latencies};

/// Batches on their way to the disk at most.
const BATCHES_IN_FLIGHT: usize = 2;
const SEGMENT_BYTES: u64 = 64 << 20;

/// Appends records of `size` bytes for `duration` in a temporary folder of `directory`; counts records.
pub(crate) fn append(
    directory: &Path,
    in_flight: usize,
    size: usize,
    duration: Duration,
) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir_in(directory).context("--directory cannot be written")?;
    let (sender, events) = mpsc::channel();
    let options = LogOptions {
        directory: folder.path().to_owned(),
        group: GroupId(0),
        segment_bytes: SEGMENT_BYTES,
        flush: Flush::Sync,
        cache_bytes: 16 << 20,
    };
    // Who is not listening any more has stopped measuring.
    let tell = move |event| drop(sender.send(event));
    let (log, _) = Log::open(Arc::new(RealFileSystem), options, Box::new(tell))?;
    let mut writer = Writer::new(size)?;
    let mut flying: std::collections::VecDeque<Flying> = std::collections::VecDeque::new();
    let mut latencies = Latencies::new()?;
    let started = Instant::now();
    let mut waiting = in_flight;
    while started.elapsed() < duration {
        if waiting > 0 && flying.len() < BATCHES_IN_FLIGHT {
            let take = if flying.is_empty() { waiting.div_ceil(BATCHES_IN_FLIGHT) } else { waiting };
            let batch = writer.seal(take);
            flying.push_back(Flying { last: batch.id(), records: take, since: Instant::now() });
            log.append(vec![batch]);
            waiting -= take;
            continue;
        }
        let last = match events.recv().context("the log's writer is gone")? {
            LogEvent::Durable { last } => last,
            LogEvent::Failed(error) => bail!("the log failed: {error}"),
            _ => continue,
        };
        while let Some(done) = flying.pop_front_if(|flying| flying.last.index <= last.index) {
            for _ in 0..done.records {
                latencies.record(done.since.elapsed())?;
            }
            waiting += done.records;
        }
    }
    let figures = latencies.figures(1, started.elapsed());
    log.close().map_err(|error| anyhow::anyhow!("the log failed: {error}"))?;
    Ok(figures)
}

struct Flying {
    last: EntryId,
    records: usize,
    since: Instant,
}

/// Seals batches that continue each other.
struct Writer {
    epoch: Epoch,
    last: EntryId,
    end: LogPosition,
    record: Vec<u8>,
}

impl Writer {
    fn new(size: usize) -> anyhow::Result<Self> {
        let epoch = Epoch::new(1, NodeId::new(1).context("one is a node id")?);
        Ok(Self { epoch, last: EntryId::ZERO, end: LogPosition(0), record: vec![0x5a; size] })
    }

    fn seal(&mut self, records: usize) -> Batch {
        let mut builder = BatchBuilder::with_capacity(records * (self.record.len() + 4));
        for _ in 0..records {
            builder.push(&self.record);
        }
        let id = EntryId { epoch: self.epoch, index: self.last.index.next() };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stamp = Timestamp(wall.as_millis() as u64);
        let batch = builder.seal(BatchKind::Data, GroupId(0), id, self.end, stamp);
        self.last = id;
        self.end = batch.header().end_position();
        batch
    }
}
