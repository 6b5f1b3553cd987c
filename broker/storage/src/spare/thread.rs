//! Makes spare files on a thread of its own, so that beginning a segment does not stall the writer.
//!
//! A disk without space is no failure of the log: nothing that was written is in doubt. The thread tries again until
//! there is space, and says so meanwhile.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{SpareMaker, SpareSource};
use crate::error::IoFailure;
use crate::fs::OpenFile;

const RETRY: Duration = Duration::from_millis(500);

type Made = Result<(OpenFile, u64), IoFailure>;

/// What the writer, the handle and the thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct SpareStatus {
    /// The last attempt found no space.
    pub(crate) short_of_space: AtomicBool,
    /// The log is being closed: do not wait for space any longer.
    pub(crate) closing: AtomicBool,
    quit: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct SpareThread {
    status: Arc<SpareStatus>,
    requests: Option<Sender<u64>>,
    made: Receiver<Made>,
    /// A file that was asked for and not yet taken.
    pending: bool,
    thread: Option<JoinHandle<()>>,
}

impl SpareThread {
    pub(crate) fn start(maker: SpareMaker, status: Arc<SpareStatus>) -> io::Result<Self> {
        let (requests, wanted) = channel();
        let (results, made) = channel();
        let shared = Arc::clone(&status);
        let work = move || {
            while let Ok(capacity) = wanted.recv() {
                if results.send(make(&maker, capacity, &shared)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-spare".to_owned()).spawn(work)?;
        Ok(Self { status, requests: Some(requests), made, pending: false, thread: Some(thread) })
    }

    fn wait(&mut self) -> Made {
        loop {
            match self.made.recv_timeout(RETRY) {
                Ok(made) => {
                    self.pending = false;
                    return made;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let hopeless = self.status.short_of_space.load(Ordering::Relaxed);
                    if hopeless && self.status.closing.load(Ordering::Relaxed) {
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

    fn take(&mut self, capacity: u64) -> Made {
        loop {
            self.prepare(capacity);
            let (file, length) = self.wait()?;
            if length >= capacity {
                return Ok((file, length));
            }
            // Too small for a very large batch. The next start removes it.
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
        let made = maker.make(capacity, &status.quit);
        let full = made.as_ref().is_err_and(|error| {
            matches!(error.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        });
        status.short_of_space.store(full, Ordering::Relaxed);
        if !full || status.quit.load(Ordering::Relaxed) {
            return made.map(|file| (file, capacity));
        }
        thread::park_timeout(RETRY);
    }
}

fn gave_up(source: io::Error) -> IoFailure {
    IoFailure { operation: "make", path: "the next segment".into(), source }
}
