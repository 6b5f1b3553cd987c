//! Batches that form a log, and events that can be waited for.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_record::{
    Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, NodeId, Timestamp,
};
use mainstay_storage::{
    EpochStart, FileSystem, Flush, Log, LogBase, LogCore, LogError, LogEvent, LogOptions, MemFileSystem,
    OpenError, Recovered, Space,
};
use parking_lot::{Condvar, Mutex};

pub const GROUP: GroupId = GroupId(3);
const PATIENCE: Duration = Duration::from_secs(20);

pub fn options(directory: impl Into<PathBuf>) -> LogOptions {
    LogOptions {
        directory: directory.into(),
        group: GROUP,
        segment_bytes: 64 * 1024,
        flush: Flush::Sync,
        cache_bytes: 1024 * 1024,
    }
}

pub fn epoch(number: u64) -> Epoch {
    Epoch::new(number, NodeId::new(0xa).unwrap())
}

/// All batches of a log, as its author knows them.
#[derive(Debug, Clone, Default)]
pub struct Author {
    /// Where the log begins.
    pub base: LogBase,
    pub batches: Vec<Batch>,
}

impl Author {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn behind(base: LogBase) -> Self {
        Self { base, batches: Vec::new() }
    }

    pub fn last(&self) -> EntryId {
        self.batches.last().map_or(self.base.last, Batch::id)
    }

    pub fn end(&self) -> LogPosition {
        self.batches.last().map_or(self.base.position, |batch| batch.header().end_position())
    }

    /// How many batches there are through `index`.
    pub fn count_through(&self, index: u64) -> usize {
        index.saturating_sub(self.base.last.index.0) as usize
    }

    /// What a log that begins behind the batch `index` has to know.
    pub fn base_at(&self, index: u64) -> LogBase {
        let mut base = self.base.clone();
        for batch in &self.batches[..self.count_through(index)] {
            base.last = batch.id();
            base.position = batch.header().end_position();
            base.timestamp = batch.header().timestamp;
            if base.epochs.last().is_none_or(|start| start.epoch != batch.id().epoch) {
                base.epochs.push(EpochStart { epoch: batch.id().epoch, first: batch.index() });
            }
            if batch.header().kind == BatchKind::Membership {
                base.membership = Some(batch.clone());
            }
        }
        base
    }

    /// Forgets what is through `index`.
    pub fn forget(&mut self, index: u64) {
        let base = self.base_at(index);
        self.batches.drain(..self.count_through(index));
        self.base = base;
    }

    pub fn write_as(&mut self, kind: BatchKind, epoch: Epoch, payload: &[u8]) -> Batch {
        let mut builder = BatchBuilder::default();
        builder.push(payload);
        let index = self.last().index.next();
        let timestamp = Timestamp(1000 + index.0);
        let batch = builder.seal(kind, GROUP, EntryId { epoch, index }, self.end(), timestamp);
        self.batches.push(batch.clone());
        batch
    }

    /// A batch whose payload is `bytes` long and tells epoch and index.
    pub fn write(&mut self, epoch: Epoch, bytes: usize) -> Batch {
        let tag = format!("{epoch} {} ", self.last().index.next());
        let mut payload = tag.repeat(bytes / tag.len() + 1);
        payload.truncate(bytes);
        self.write_as(BatchKind::Data, epoch, payload.as_bytes())
    }

    pub fn write_many(&mut self, epoch: Epoch, count: usize, bytes: usize) -> Vec<Batch> {
        (0..count).map(|_| self.write(epoch, bytes)).collect()
    }

    pub fn cut(&mut self, keep: u64) {
        self.batches.truncate(self.count_through(keep));
    }
}

/// The base of a log whose last batch before it is `index`, of `epoch`.
pub fn base_behind(index: u64, epoch: Epoch, position: u64) -> LogBase {
    LogBase {
        last: EntryId { epoch, index: LogIndex(index) },
        position: LogPosition(position),
        timestamp: Timestamp(1000 + index),
        epochs: vec![EpochStart { epoch, first: LogIndex(index) }],
        membership: None,
    }
}

/// Everything, read in small steps.
pub fn read_all(log: &Log) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut from = log.first();
    loop {
        let more = log.read(from, LogIndex(u64::MAX), 10_000).unwrap();
        let Some(last) = more.last() else { return batches };
        from = last.index().next();
        batches.extend(more);
    }
}

pub fn core_read_all(core: &LogCore) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut from = core.first();
    while from <= core.last().index {
        batches.extend(core.read(from, core.last().index, 10_000).unwrap());
        from = batches.last().unwrap().index().next();
    }
    batches
}

/// What a log has reported.
#[derive(Debug, Clone, Default)]
pub struct Events {
    seen: Arc<(Mutex<Vec<LogEvent>>, Condvar)>,
}

impl Events {
    pub fn sink(&self) -> Box<dyn Fn(LogEvent) + Send> {
        let seen = Arc::clone(&self.seen);
        Box::new(move |event| {
            seen.0.lock().push(event);
            seen.1.notify_all();
        })
    }

    pub fn all(&self) -> Vec<LogEvent> {
        self.seen.0.lock().clone()
    }

    pub fn durable(&self) -> EntryId {
        let durable = |event: &LogEvent| match event {
            LogEvent::Durable { last } => Some(*last),
            _ => None,
        };
        self.all().iter().rev().find_map(durable).unwrap_or_default()
    }

    fn wait<T>(&self, what: &str, found: impl Fn(&LogEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock();
        loop {
            if let Some(value) = seen.iter().find_map(&found) {
                return value;
            }
            let late = self.seen.1.wait_until(&mut seen, deadline).timed_out();
            assert!(!late, "no {what} in time, only {seen:?}");
        }
    }

    pub fn wait_durable(&self, id: EntryId) {
        self.wait(&format!("{id} durable"), |event| match event {
            LogEvent::Durable { last } if *last == id => Some(()),
            LogEvent::Failed(error) => panic!("the log failed: {error}"),
            _ => None,
        });
    }

    pub fn wait_durable_or_failed(&self, id: EntryId) -> Result<(), Arc<LogError>> {
        self.wait(&format!("{id} durable or failed"), |event| match event {
            LogEvent::Durable { last } if *last == id => Some(Ok(())),
            LogEvent::Failed(error) => Some(Err(Arc::clone(error))),
            _ => None,
        })
    }

    pub fn wait_written(&self, id: EntryId) {
        self.wait(&format!("{id} written"), |event| match event {
            LogEvent::Written { last } if *last == id => Some(()),
            LogEvent::Failed(error) => panic!("the log failed: {error}"),
            _ => None,
        });
    }

    /// Waits until this is the newest that was told of space.
    pub fn wait_space(&self, space: Space) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock();
        loop {
            let told = |event: &LogEvent| match event {
                LogEvent::Space(space) => Some(*space),
                _ => None,
            };
            if seen.iter().rev().find_map(told).unwrap_or_default() == space {
                return;
            }
            let late = self.seen.1.wait_until(&mut seen, deadline).timed_out();
            assert!(!late, "{space:?} was not told in time, only {seen:?}");
        }
    }

    pub fn wait_failed(&self) -> Arc<LogError> {
        self.wait("failure", |event| match event {
            LogEvent::Failed(error) => Some(Arc::clone(error)),
            _ => None,
        })
    }
}

pub fn open(fs: &MemFileSystem, options: LogOptions) -> Result<(Log, Recovered, Events), OpenError> {
    open_on(Arc::new(fs.clone()), options)
}

pub fn open_on(fs: Arc<dyn FileSystem>, options: LogOptions) -> Result<(Log, Recovered, Events), OpenError> {
    let events = Events::default();
    let (log, recovered) = Log::open(fs, options, events.sink())?;
    Ok((log, recovered, events))
}

pub fn open_core(fs: &MemFileSystem, directory: &str) -> Result<(LogCore, Recovered), OpenError> {
    open_core_with(fs, directory, Flush::Sync)
}

pub fn open_core_with(
    fs: &MemFileSystem,
    directory: &str,
    flush: Flush,
) -> Result<(LogCore, Recovered), OpenError> {
    LogCore::open(Arc::new(fs.clone()), &LogOptions { flush, ..options(directory) })
}

/// The segments of a log, in order.
pub fn segments(fs: &dyn FileSystem, directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let folder = directory.as_ref().join("log");
    let names = fs.list(&folder).unwrap();
    names
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect()
}

/// The index files of a log, in order.
pub fn index_files(fs: &dyn FileSystem, directory: impl AsRef<Path>) -> Vec<PathBuf> {
    segments(fs, directory)
        .iter()
        .map(|path| path.with_extension("idx"))
        .filter(|path| fs.exists(path).unwrap())
        .collect()
}

/// Where the bytes of a batch stand in a file.
pub fn find(content: &[u8], batch: &Batch) -> u64 {
    content.windows(batch.bytes().len()).position(|window| window == &batch.bytes()[..]).unwrap() as u64
}
