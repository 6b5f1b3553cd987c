//! Files of zeros, made ahead, that become the next segments.
//!
//! With [`Flush::Sync`] the zeros are really written: an fdatasync on such a file has no metadata to write and takes a
//! third less. With [`Flush::Async`] reserving the space is enough.

mod thread;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{IoContext, IoFailure};
use crate::fs::{FileSystem, OpenFile, remove_if_there};
use crate::options::{Flush, LogOptions};

pub(crate) use thread::{SpareStatus, SpareThread};

/// Zeros are written in pieces of this size, each forced to the disk, so that batches never wait behind many.
const PIECE: u64 = 256 * 1024;
const PREFIX: &str = "spare-";

/// Where the log gets files for new segments from.
pub(crate) trait SpareSource: std::fmt::Debug + Send {
    /// Announces that a file of `capacity` bytes will be wanted next.
    fn prepare(&mut self, capacity: u64);

    /// A file that reads as zeros, not necessarily durable, under a name of its own, and how long it is: `planned` bytes if possible,
    /// `needed` at least.
    fn take(&mut self, planned: u64, needed: u64) -> Result<(OpenFile, u64), IoFailure>;
}

/// Makes spare files on the caller's thread.
#[derive(Debug, Clone)]
pub(crate) struct SpareMaker {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    fill: bool,
    made: Arc<AtomicU64>,
}

impl SpareMaker {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, options: &LogOptions) -> Self {
        let fill = options.flush == Flush::Sync;
        Self { fs, folder: options.directory.join("log"), fill, made: Arc::default() }
    }

    /// Makes the best file, asking after each piece whether to go on.
    fn make(&self, capacity: u64, go_on: &mut dyn FnMut() -> bool) -> Result<OpenFile, IoFailure> {
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
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let file = OpenFile::create(&*self.fs, self.folder.join(format!("{PREFIX}{number}")))?;
        match complete(&file) {
            Ok(()) => Ok(file),
            Err(error) => {
                self.discard(&file);
                Err(error)
            }
        }
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

impl SpareSource for SpareMaker {
    fn prepare(&mut self, _capacity: u64) {}

    fn take(&mut self, planned: u64, _needed: u64) -> Result<(OpenFile, u64), IoFailure> {
        self.make(planned, &mut || true).map(|file| (file, planned))
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
