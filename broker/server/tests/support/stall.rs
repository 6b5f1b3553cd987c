//! A disk that does not answer for a while.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use mainstay_storage::{File, FileLock, FileSystem, MemFileSystem};
use parking_lot::{Condvar, Mutex};

/// While set, fdatasync of the log's files does not return.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stall(Arc<(Mutex<bool>, Condvar)>);

impl Stall {
    pub(crate) fn set(&self, stalled: bool) {
        *self.0.0.lock() = stalled;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut stalled = self.0.0.lock();
        while *stalled {
            self.0.1.wait(&mut stalled);
        }
    }
}

#[derive(Debug)]
pub(crate) struct StallingFileSystem {
    below: Arc<dyn FileSystem>,
    stall: Stall,
}

#[derive(Debug)]
struct StallingFile {
    below: Arc<dyn File>,
    stall: Option<Stall>,
}

impl StallingFileSystem {
    pub(crate) fn new(below: MemFileSystem, stall: &Stall) -> Self {
        Self { below: Arc::new(below), stall: stall.clone() }
    }

    fn wrap(&self, path: &Path, below: Arc<dyn File>) -> Arc<dyn File> {
        let of_log = path.parent().is_some_and(|folder| folder.ends_with("log"));
        Arc::new(StallingFile { below, stall: of_log.then(|| self.stall.clone()) })
    }
}

impl FileSystem for StallingFileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.below.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.below.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.below.open(path)?))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.below.exists(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.below.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.below.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.below.lock(path)
    }
    fn boot_id(&self) -> u64 {
        self.below.boot_id()
    }
    fn entropy(&self) -> u64 {
        self.below.entropy()
    }
}

impl File for StallingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.below.read_at(buffer, offset)
    }
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.below.write_all_at(parts, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if let Some(stall) = &self.stall {
            stall.wait();
        }
        self.below.sync_data()
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.below.allocate(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }
}
