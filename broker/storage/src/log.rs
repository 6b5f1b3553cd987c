//! The handle of a log: what the rest of the broker uses.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use mainstay_record::{Batch, LogIndex};
use parking_lot::Mutex;

use crate::base::LogBase;
use crate::core::{LogCore, TailFate};
use crate::error::{LogError, OpenError, ReadError, RepairError};
use crate::fs::FileSystem;
use crate::index::{Scrubbed, SegmentInfo};
use crate::metrics::LogMetrics;
use crate::options::LogOptions;
use crate::quarantine::QuarantineFile;
use crate::recovery::Recovered;
use crate::spare::{SpareMaker, SpareStatus, SpareThread};
use crate::view::{Command, Ending, View};
use crate::writer::{Figures, LogEvent, Writer};

type WriterThread = JoinHandle<Result<(), Arc<LogError>>>;

/// Handle of a log; clones share it. When the last one is dropped without [`Log::close`], the writer stops as if the
/// process had been killed.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    view: Arc<View>,
    figures: Arc<Mutex<Figures>>,
    spares: Arc<SpareStatus>,
    writer: Mutex<Option<WriterThread>>,
}

impl Log {
    /// Recovers the log and starts its writer thread. `events` is called on that thread and must not block. It must
    /// not own a clone of the log, which would then never be dropped.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        options: LogOptions,
        events: Box<dyn Fn(LogEvent) + Send>,
    ) -> Result<(Self, Recovered), OpenError> {
        let spares = Arc::new(SpareStatus::default());
        let maker = SpareMaker::new(Arc::clone(&fs), &options);
        let source = SpareThread::start(maker, Arc::clone(&spares)).map_err(OpenError::Thread)?;
        let (core, recovered) = LogCore::open_with(fs, &options, Box::new(source))?;
        let view = Arc::new(View::new(
            core.chain().clone(),
            core.quarantined().to_vec(),
            core.reader().clone(),
            options.cache_bytes,
        ));
        let figures = Arc::<Mutex<Figures>>::default();
        let told = (Arc::clone(&spares), Arc::clone(&figures));
        let writer = Writer::new(Arc::clone(&view), core, options.flush, events, told);
        let thread = thread::Builder::new().name(format!("log-{}", options.group));
        let writer = thread.spawn(move || writer.work()).map_err(OpenError::Thread)?;
        let inner = Inner { view, figures, spares, writer: Mutex::new(Some(writer)) };
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Enqueues batches that continue the log and makes them visible to [`Log::read`]; never waits for the disk.
    /// Batches that do not continue the log stop it for good. Does nothing once the log is closed or has failed.
    pub fn append(&self, batches: Vec<Batch>) {
        self.inner.view.append(batches);
    }

    /// Takes away everything behind `keep`: at once for readers, durably before anything appended later.
    pub fn truncate(&self, keep: LogIndex, fate: TailFate) {
        self.inner.view.truncate(keep, fate);
    }

    /// Asks for the removal of whole segments that hold nothing behind `through`, oldest first; [`Log::first`] tells when
    /// it is done. Never removes the newest segment. Where there is no space even to note it, nothing is removed.
    ///
    /// Only batches that are committed, and that nobody needs any more, may be given up.
    pub fn forget(&self, through: LogIndex) {
        self.inner.view.ask(Command::Forget(through));
    }

    /// Empties the log and lets it begin behind `base`: at once for readers, durably before anything appended later. The
    /// event [`LogEvent::Restarted`] tells that it is done, and a `Durable` of what the log then holds follows. Before that, what is behind `set_aside_after` is copied
    /// into a quarantine file.
    pub fn restart_at(&self, base: LogBase, set_aside_after: Option<LogIndex>) {
        self.inner.view.restart_at(base, set_aside_after);
    }

    /// Notes durably that the log has all that was ever acknowledged: see [`Recovered::incomplete`]. Waits for the writer,
    /// and so for the disk.
    pub fn set_complete(&self) {
        let (done, noted) = channel();
        self.inner.view.ask(Command::SetComplete(done));
        // A log that has stopped says so itself.
        let _ = noted.recv();
    }

    /// Looks whether batches from `from` on, about `max_bytes` of them, are still on the disk as they were written.
    /// Begin with [`Log::first`], and go on with what is returned; how often is for the caller to decide. Touches the
    /// disk.
    pub fn scrub(&self, from: LogIndex, max_bytes: usize) -> Result<Scrubbed, ReadError> {
        self.inner.view.reader().scrub(from.max(self.first()), max_bytes)
    }

    /// Writes a damaged batch back to its place, as another replica has it: see [`LogCore::repair`]. Waits for the
    /// writer, and so for the disk.
    pub fn repair(&self, batch: Batch) -> Result<(), RepairError> {
        let (reply, answer) = channel();
        self.inner.view.ask(Command::Repair(batch, reply));
        answer.recv().unwrap_or_else(|_| {
            let failure = self.failure().unwrap_or_else(|| Arc::new(LogError::WriterGone));
            Err(RepairError::Stopped(failure))
        })
    }

    /// The oldest batch, or the one that will be. What is before it can only be had as a snapshot.
    pub fn first(&self) -> LogIndex {
        self.inner.view.first()
    }

    /// What a log that begins behind the batch `last` has to know: what a snapshot through `last` carries. Reads that
    /// batch, so it may touch the disk.
    pub fn base_at(&self, last: LogIndex) -> Result<LogBase, ReadError> {
        self.inner.view.base_at(last)
    }

    /// The segments that are written, in order.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.inner.view.segments()
    }

    /// Bytes of all segments together, on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.file_bytes).sum()
    }

    /// Batches from `from` through `through` in order: at least one if there is one, at most about `max_bytes`.
    /// Touches the disk only for batches that are no longer in memory, and never waits for the writer.
    pub fn read(&self, from: LogIndex, through: LogIndex, max_bytes: usize) -> Result<Vec<Batch>, ReadError> {
        self.inner.view.read(from, through, max_bytes)
    }

    pub fn batch(&self, index: LogIndex) -> Result<Batch, ReadError> {
        self.inner.view.batch(index)
    }

    /// The batch if it is in memory: never touches the disk.
    pub fn cached(&self, index: LogIndex) -> Option<Batch> {
        self.inner.view.cached(index)
    }

    /// Tails that were moved out of the log, those of earlier processes included.
    pub fn quarantined(&self) -> Vec<QuarantineFile> {
        self.inner.view.quarantined()
    }

    /// No longer lists a tail that is not there under its name any more.
    pub fn dismiss(&self, file: &QuarantineFile) {
        self.inner.view.dismiss(file);
    }

    /// Why the log has stopped, if it has.
    pub fn failure(&self) -> Option<Arc<LogError>> {
        self.inner.view.failed()
    }

    pub fn metrics(&self) -> LogMetrics {
        let backlog = self.inner.view.backlog();
        LogMetrics {
            queued_batches: backlog.batches,
            queued_bytes: backlog.bytes,
            space: self.inner.spares.space.get(),
            ..self.inner.figures.lock().snapshot()
        }
    }

    /// Does all that was asked for, writes the mark of an orderly end and joins the writer. Every clone is closed with
    /// it.
    pub fn close(self) -> Result<(), Arc<LogError>> {
        self.inner.end(Ending::Close)
    }
}

impl Inner {
    fn end(&self, ending: Ending) -> Result<(), Arc<LogError>> {
        self.view.end(ending);
        let Some(writer) = self.writer.lock().take() else { return Ok(()) };
        if writer.thread().id() == thread::current().id() {
            return Ok(());
        }
        writer.join().unwrap_or_else(|_| Err(Arc::new(LogError::WriterGone)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Who wants to know how it ended closes the log.
        let _ = self.end(Ending::Abandon);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}
