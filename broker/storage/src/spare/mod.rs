//! Files of zeros, made ahead, that become the next segments.
//!
//! With [`Flush::Sync`] the zeros are really written: an fdatasync on such a file has no metadata to write and takes a
//! third less. With [`Flush::Async`] reserving the space is enough.
//!
//! Segments that the log does not need any more come here, too: one of the right size is overwritten with zeros and
//! becomes the next spare. It is a spare only once the zeros are durable, so nothing of what it held is ever read again.

mod thread;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{IoContext, IoFailure};
use crate::fs::{FileSystem, OpenFile, remove_if_there};
use crate::index::SealJob;
use crate::options::{Flush, LogOptions};
use crate::segment::{HEADER_BLOCK, index_path};

pub(crate) use thread::{SpareStatus, SpareThread};

/// Zeros are written in pieces of this size, each forced to the disk, so that batches never wait behind many.
const PIECE: u64 = 256 * 1024;
const PREFIX: &str = "spare-";

/// What is done for the log beside the write path.
pub(crate) trait Housekeeping: std::fmt::Debug + Send {
    /// Announces that a file of `capacity` bytes will be wanted next.
    fn prepare(&mut self, capacity: u64);

    /// A file that reads as zeros, not necessarily durable, under a name of its own, and how long it is: `planned`
    /// bytes if possible, `needed` at least.
    fn take(&mut self, planned: u64, needed: u64) -> Result<(OpenFile, u64), IoFailure>;

    /// Writes the index file of a complete segment.
    fn seal(&mut self, job: SealJob);

    /// Removes segments that the log does not have any more, or makes spares of them. What stays behind is removed when
    /// the log is opened the next time.
    fn retire(&mut self, segments: Vec<PathBuf>);
}

/// Makes spare files on the caller's thread.
#[derive(Debug, Clone)]
pub(crate) struct SpareMaker {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    fill: bool,
    /// Bytes of the files that are worth being kept.
    usual: u64,
    made: Arc<AtomicU64>,
    /// A segment that was in use before, under the name of a spare.
    used: Arc<Mutex<Option<OpenFile>>>,
}

impl SpareMaker {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, options: &LogOptions) -> Self {
        let fill = options.flush == Flush::Sync;
        let usual = HEADER_BLOCK + options.segment_bytes;
        let folder = options.directory.join("log");
        Self { fs, folder, fill, usual, made: Arc::default(), used: Arc::default() }
    }

    /// Makes the best file, asking after each piece whether to go on.
    fn make(&self, capacity: u64, go_on: &mut dyn FnMut() -> bool) -> Result<OpenFile, IoFailure> {
        if capacity == self.usual
            && let Some(file) = self.used.lock().take()
        {
            return self.complete(file, |file| fill(file, capacity, go_on));
        }
        self.create(|file| {
            file.allocate(capacity)?;
            if self.fill { fill(file, capacity, go_on) } else { Ok(()) }
        })
    }

    /// Makes a file at once, with space reserved only.
    fn reserve(&self, capacity: u64) -> Result<OpenFile, IoFailure> {
        self.create(|file| file.allocate(capacity))
    }

    /// A file that cannot be completed is removed.
    fn create(
        &self,
        complete: impl FnOnce(&OpenFile) -> Result<(), IoFailure>,
    ) -> Result<OpenFile, IoFailure> {
        self.complete(OpenFile::create(&*self.fs, self.new_name())?, complete)
    }

    fn complete(
        &self,
        file: OpenFile,
        complete: impl FnOnce(&OpenFile) -> Result<(), IoFailure>,
    ) -> Result<OpenFile, IoFailure> {
        match complete(&file) {
            Ok(()) => Ok(file),
            Err(error) => {
                self.discard(&file);
                Err(error)
            }
        }
    }

    /// Bytes that segments can still be made of; `None` where that is not known.
    pub(crate) fn available(&self, ready: bool) -> Option<u64> {
        let free = self.fs.free_space(&self.folder).ok().flatten()?;
        let kept = u64::from(ready) + u64::from(self.used.lock().is_some());
        Some(free.saturating_add(kept * self.usual))
    }

    pub(crate) const fn usual(&self) -> u64 {
        self.usual
    }

    fn new_name(&self) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{PREFIX}{number}"))
    }

    /// Segments that are gone from the log, durably: its base says so.
    fn put_away(&self, segments: &[PathBuf]) {
        for path in segments {
            if let Err(error) = self.put_one_away(path) {
                tracing::warn!(%error, "a removed segment stays until the next start");
            }
        }
        if let Err(error) = self.fs.sync_dir(&self.folder) {
            tracing::warn!(%error, "removed segments may be there again at the next start");
        }
    }

    fn put_one_away(&self, path: &Path) -> Result<(), IoFailure> {
        remove_if_there(&*self.fs, &index_path(path))?;
        // Where zeros are only promised, a new file costs less.
        if self.fill && self.used.lock().is_none() {
            let file = OpenFile::open(&*self.fs, path.to_owned())?;
            if file.len()? == self.usual {
                *self.used.lock() = Some(file.rename(&*self.fs, self.new_name())?);
                return Ok(());
            }
        }
        remove_if_there(&*self.fs, path)
    }

    /// Removes a file that is not wanted. If that fails, the next start does it.
    fn discard(&self, file: &OpenFile) {
        if let Err(error) = remove_if_there(&*self.fs, file.path()) {
            tracing::warn!(%error, "a spare segment stays behind");
        }
    }
}

fn fill(file: &OpenFile, capacity: u64, go_on: &mut dyn FnMut() -> bool) -> Result<(), IoFailure> {
    let mut at = 0;
    while at < capacity {
        let end = capacity.min(at + PIECE);
        file.write_zeros(at, end)?;
        at = end;
        if !go_on() {
            return Err(ErrorKind::Interrupted.into()).during("fill", file.path());
        }
    }
    Ok(())
}

impl Housekeeping for SpareMaker {
    fn prepare(&mut self, _capacity: u64) {}

    fn take(&mut self, planned: u64, _needed: u64) -> Result<(OpenFile, u64), IoFailure> {
        self.make(planned, &mut || true).map(|file| (file, planned))
    }

    fn seal(&mut self, job: SealJob) {
        job.run();
    }

    fn retire(&mut self, segments: Vec<PathBuf>) {
        self.put_away(&segments);
    }
}

/// Removes spare files that an earlier process left.
pub(crate) fn remove_spares(fs: &dyn FileSystem, folder: &Path) -> Result<(), IoFailure> {
    for name in fs.list(folder).during("list", folder)? {
        if name.to_string_lossy().starts_with(PREFIX) {
            remove_if_there(fs, &folder.join(name))?;
        }
    }
    Ok(())
}
