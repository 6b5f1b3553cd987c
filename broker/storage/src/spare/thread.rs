//! Housekeeping on a thread of its own, so that beginning a segment does not stall the writer.
//!
//! Where the writer is faster than the thread, it takes a file whose space is reserved only, which is there at once. A
//! disk without space is no failure of the log: nothing that was written is in doubt. The thread tries again until
//! there is space, and says so meanwhile; it goes on removing segments, which is what makes space.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Housekeeping, SpareMaker};
use crate::error::{IoFailure, is_full};
use crate::fs::OpenFile;
use crate::index::SealJob;
use crate::space::{Space, SpaceCell};

const RETRY: Duration = Duration::from_millis(500);
/// How often free space is looked at when there is nothing to do.
const LOOK: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

type Made = Result<(OpenFile, u64), IoFailure>;

#[derive(Debug)]
enum Task {
    Make(u64),
    Seal(SealJob),
    Retire(Vec<PathBuf>),
}

/// What the writer, the handle and the thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct SpareStatus {
    /// What is left, as of the last look.
    pub(crate) space: SpaceCell,
    /// A file was made and not yet taken.
    ready: AtomicBool,
    quit: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct SpareThread {
    maker: SpareMaker,
    status: Arc<SpareStatus>,
    tasks: Option<Sender<Task>>,
    made: Receiver<Made>,
    /// A file was asked for and not yet taken.
    pending: bool,
    thread: Option<JoinHandle<()>>,
}

impl SpareThread {
    pub(crate) fn start(maker: SpareMaker, status: Arc<SpareStatus>) -> io::Result<Self> {
        let (tasks, queue) = channel();
        let (results, made) = channel();
        let worker = Worker {
            maker: maker.clone(),
            status: Arc::clone(&status),
            queue,
            results,
            wanted: None,
            refused: false,
        };
        let thread = thread::Builder::new().name("log-spare".to_owned()).spawn(move || worker.work())?;
        Ok(Self { maker, status, tasks: Some(tasks), made, pending: false, thread: Some(thread) })
    }

    fn ask(&self, task: Task) -> bool {
        self.tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok())
    }

    /// The file that was asked for, if it is ready and large enough.
    fn ready(&mut self, needed: u64) -> Option<Made> {
        let made = self.made.try_recv().ok()?;
        self.pending = false;
        self.status.ready.store(false, Ordering::Relaxed);
        match made {
            Ok((file, length)) if length < needed => {
                self.maker.discard(&file);
                None
            }
            made => Some(made),
        }
    }
}

impl Housekeeping for SpareThread {
    fn prepare(&mut self, capacity: u64) {
        if !self.pending {
            self.pending = self.ask(Task::Make(capacity));
        }
    }

    fn take(&mut self, planned: u64, needed: u64) -> Made {
        if let Some(made) = self.ready(needed) {
            return made;
        }
        match self.maker.reserve(planned) {
            // The thread goes on trying.
            Err(error) if is_full(&error) => {
                self.prepare(planned);
                Err(IoFailure { path: "the next segment".into(), ..error })
            }
            reserved => reserved.map(|file| (file, planned)),
        }
    }

    fn seal(&mut self, job: SealJob) {
        self.ask(Task::Seal(job));
    }

    fn retire(&mut self, segments: Vec<PathBuf>) {
        self.ask(Task::Retire(segments));
    }
}

impl Drop for SpareThread {
    fn drop(&mut self) {
        self.status.quit.store(true, Ordering::Relaxed);
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Worker {
    maker: SpareMaker,
    status: Arc<SpareStatus>,
    queue: Receiver<Task>,
    results: Sender<Made>,
    /// A file of this size was asked for, and there was no space for it.
    wanted: Option<u64>,
    /// The last attempt found no space.
    refused: bool,
}

impl Worker {
    /// Works until nobody asks any more; what was asked for before is still done.
    fn work(mut self) {
        loop {
            let next = match self.wanted {
                Some(_) => self.queue.recv_timeout(RETRY),
                None => self.queue.recv_timeout(LOOK),
            };
            match next {
                Ok(Task::Make(capacity)) => self.wanted = Some(capacity),
                Ok(Task::Seal(job)) => job.run(),
                Ok(Task::Retire(segments)) => self.maker.put_away(&segments),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(capacity) = self.wanted {
                self.make(capacity);
            }
            self.look();
        }
    }

    fn look(&self) {
        let ready = self.status.ready.load(Ordering::Relaxed);
        let available = self.maker.available(ready);
        let was = self.status.space.get();
        self.status.space.set(Space::judge(was, available, self.maker.usual(), ready, self.refused));
    }

    fn make(&mut self, capacity: u64) {
        let made = self.maker.make(capacity, &mut pace(&self.status));
        let full = made.as_ref().is_err_and(is_full);
        self.refused = full;
        if !full {
            self.wanted = None;
            self.status.ready.store(made.is_ok(), Ordering::Relaxed);
            let _ = self.results.send(made.map(|file| (file, capacity)));
        }
    }
}

/// Leaves the disk to the writer for as long as the last piece took.
fn pace(status: &SpareStatus) -> impl FnMut() -> bool {
    let mut began = Instant::now();
    move || {
        thread::park_timeout(began.elapsed().min(LONGEST_PAUSE));
        began = Instant::now();
        !status.quit.load(Ordering::Relaxed)
    }
}
