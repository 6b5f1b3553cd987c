//! Files filled with zeros, made ahead, that become the next segments.

mod thread;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{IoContext, IoFailure};
use crate::fs::{FileSystem, OpenFile, remove_if_there};

pub(crate) use thread::{SpareStatus, SpareThread};

/// Zeros are written in pieces of this size, each forced to the disk, so that batches never wait behind many.
const PIECE: u64 = 1024 * 1024;
const PREFIX: &str = "spare-";

/// Where the log gets files for new segments from.
pub(crate) trait SpareSource: std::fmt::Debug + Send {
    /// Announces that a file of `capacity` bytes will be wanted next.
    fn prepare(&mut self, capacity: u64);

    /// A durable file of at least `capacity` bytes, all zero, under a name of its own; and how long it is.
    fn take(&mut self, capacity: u64) -> Result<(OpenFile, u64), IoFailure>;
}

/// Makes spare files when they are wanted, on the caller's thread.
#[derive(Debug, Clone)]
pub(crate) struct SpareMaker {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    made: Arc<AtomicU64>,
}

impl SpareMaker {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, folder: PathBuf) -> Self {
        Self { fs, folder, made: Arc::default() }
    }

    /// Makes a file of zeros, unless told to quit. One that could not be completed is removed.
    pub(crate) fn make(&self, capacity: u64, quit: &AtomicBool) -> Result<OpenFile, IoFailure> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{PREFIX}{number}"));
        let file = OpenFile::create(&*self.fs, path.clone())?;
        let filled = fill(&file, capacity, quit);
        if filled.is_err() {
            // The next start removes it, if this does not.
            let _ = remove_if_there(&*self.fs, &path);
        }
        filled.map(|()| file)
    }
}

fn fill(file: &OpenFile, capacity: u64, quit: &AtomicBool) -> Result<(), IoFailure> {
    let mut at = 0;
    while at < capacity {
        if quit.load(Ordering::Relaxed) {
            return Err(ErrorKind::Interrupted.into()).during("fill", file.path());
        }
        let end = capacity.min(at + PIECE);
        file.write_zeros(at, end)?;
        at = end;
    }
    Ok(())
}

impl SpareSource for SpareMaker {
    fn prepare(&mut self, _capacity: u64) {}

    fn take(&mut self, capacity: u64) -> Result<(OpenFile, u64), IoFailure> {
        self.make(capacity, &AtomicBool::new(false)).map(|file| (file, capacity))
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
