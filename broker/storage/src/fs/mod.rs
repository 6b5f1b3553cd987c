//! The file system as this crate needs it: a small trait, so that tests and the simulator can put a disk below it that
//! forgets, tears and fails.
//!
//! Rules both implementations keep: nothing written is durable before `sync_data`, no directory entry before
//! `sync_dir` of its folder.

mod durable;
mod mem;
mod real;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub(crate) use durable::{
    OpenFile, make_folder, read_file, remove_if_there, remove_unfinished, replace_file, sync_parent,
    temporary,
};
pub use mem::{MemFileSystem, Operation, Unsynced};
pub use real::RealFileSystem;

/// Folders and names. Paths are taken as they are.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// Creates one folder in an existing one. Succeeds when the folder is there already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file for reading and writing; fails with `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Renames, replacing what has the new name. Between two folders of one file system it is durable once both are
    /// synced; before that a power cut leaves the file at least one of its names.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that can still be written in the file system that holds a folder; `None` where that is not known.
    fn free_space(&self, folder: &Path) -> io::Result<Option<u64>> {
        let _ = folder;
        Ok(None)
    }

    /// Takes the exclusive lock of a file, creating it if need be; fails with `WouldBlock` when another holds it.
    /// Dropping the guard releases it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;

    /// Names the running operating system: another value after each boot, 0 when it is not known.
    fn boot_id(&self) -> u64;

    /// A number that a client of the broker cannot guess.
    fn entropy(&self) -> u64;
}

/// An open file. All methods take positions, so that readers and the writer share a handle.
pub trait File: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all parts one after the other.
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Gives an empty file its length and the space for it, reading as zeros. Not durable before `sync_data`.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Makes the content durable, and what is needed to read it back (fdatasync).
    fn sync_data(&self) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Held while the lock is.
pub trait FileLock: Debug + Send + Sync {}
