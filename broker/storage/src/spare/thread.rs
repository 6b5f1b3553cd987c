//! Makes spare files on a thread of its own, so that beginning a segment does not stall the writer.
//!
//! Where the writer is faster than the thread, it takes a file whose space is reserved only, which is there at once. A
//! disk without space is no failure of the log: nothing that was written is in doubt. The thread tries again until
//! there is space, and says so meanwhile.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{SpareMaker, SpareSource};
use crate::error::IoFailure;
use crate::fs::OpenFile;

const RETRY: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

type Made = Result<(OpenFile, u64), IoFailure>;

/// What the writer, the handle and the thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct SpareStatus {
    /// The last attempt found no space.
    pub(crate) short_of_space: AtomicBool,
    /// The log is being opened or closed: do not wait for space.
    pub(crate) impatient: AtomicBool,
    quit: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct SpareThread {
    maker: SpareMaker,
    status: Arc<SpareStatus>,
    requests: Option<Sender<u64>>,
    made: Receiver<Made>,
    /// A file was asked for and not yet taken.
    pending: bool,
    thread: Option<JoinHandle<()>>,
}

impl SpareThread {
    pub(crate) fn start(maker: SpareMaker, status: Arc<SpareStatus>) -> io::Result<Self> {
        let (requests, wanted) = channel();
        let (results, made) = channel();
        let (worker, shared) = (maker.clone(), Arc::clone(&status));
        let work = move || {
            while let Ok(capacity) = wanted.recv() {
                if results.send(make(&worker, capacity, &shared)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-spare".to_owned()).spawn(work)?;
        Ok(Self { maker, status, requests: Some(requests), made, pending: false, thread: Some(thread) })
    }

    /// The file that was asked for, if it is ready and large enough.
    fn ready(&mut self, needed: u64) -> Option<Made> {
        let made = self.made.try_recv().ok()?;
        self.pending = false;
        self.fitting(made, needed)
    }

    fn fitting(&self, made: Made, needed: u64) -> Option<Made> {
        match made {
            Ok((file, length)) if length < needed => {
                self.maker.discard(&file);
                None
            }
            made => Some(made),
        }
    }

    fn wait(&mut self, needed: u64) -> Made {
        loop {
            self.prepare(needed);
            match self.made.recv_timeout(RETRY) {
                Ok(made) => {
                    self.pending = false;
                    if let Some(made) = self.fitting(made, needed) {
                        return made;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let hopeless = self.status.short_of_space.load(Ordering::Relaxed);
                    if hopeless && self.status.impatient.load(Ordering::Relaxed) {
                        return Err(gave_up(ErrorKind::StorageFull.into()));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(gave_up(io::Error::other("the thread that makes segments is gone")));
                }
            }
        }
    }
}

impl SpareSource for SpareThread {
    fn prepare(&mut self, capacity: u64) {
        if !self.pending
            && let Some(requests) = &self.requests
        {
            self.pending = requests.send(capacity).is_ok();
        }
    }

    fn take(&mut self, planned: u64, needed: u64) -> Made {
        if let Some(made) = self.ready(needed) {
            return made;
        }
        match self.maker.reserve(planned) {
            Err(error) if is_full(&error) => self.wait(needed),
            reserved => reserved.map(|file| (file, planned)),
        }
    }
}

impl Drop for SpareThread {
    fn drop(&mut self) {
        self.status.quit.store(true, Ordering::Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn make(maker: &SpareMaker, capacity: u64, status: &SpareStatus) -> Made {
    loop {
        let made = maker.make(capacity, &mut pace(status));
        let full = made.as_ref().is_err_and(is_full);
        status.short_of_space.store(full, Ordering::Relaxed);
        if !full || status.quit.load(Ordering::Relaxed) {
            return made.map(|file| (file, capacity));
        }
        thread::park_timeout(RETRY);
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

fn is_full(error: &IoFailure) -> bool {
    matches!(error.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn gave_up(source: io::Error) -> IoFailure {
    IoFailure { operation: "make", path: "the next segment".into(), source }
}
