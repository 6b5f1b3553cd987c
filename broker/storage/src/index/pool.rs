//! Open files of complete segments: a log may have more segments than a process may have open files.
//!
//! A file is asked for by a key that is never used again, so that a name used again never brings an old file back. What
//! a path leads to may have changed meanwhile; readers notice by what they find, and start over.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::IoFailure;
use crate::fs::{FileSystem, OpenFile};

/// Files kept open at most.
const OPEN: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKey {
    /// The segment of this salt.
    Segment(u64),
    /// An index file, by the number that it got when it was found or written.
    Index(u64),
}

#[derive(Debug)]
pub(crate) struct FilePool {
    fs: Arc<dyn FileSystem>,
    /// The most recently used last.
    open: Mutex<VecDeque<(FileKey, OpenFile)>>,
    indexes: AtomicU64,
}

impl FilePool {
    pub(crate) fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { fs, open: Mutex::default(), indexes: AtomicU64::new(0) }
    }

    /// A key for an index file.
    pub(crate) fn new_index(&self) -> FileKey {
        FileKey::Index(self.indexes.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn fs(&self) -> &dyn FileSystem {
        &*self.fs
    }

    /// The file of that key, opened if need be.
    pub(crate) fn get(&self, key: FileKey, path: &Path) -> Result<OpenFile, IoFailure> {
        {
            let mut open = self.open.lock();
            if let Some(at) = open.iter().rposition(|(other, _)| *other == key)
                && let Some(entry) = open.remove(at)
            {
                let file = entry.1.clone();
                open.push_back(entry);
                return Ok(file);
            }
        }
        let file = OpenFile::open(&*self.fs, path.to_owned())?;
        self.put(key, file.clone());
        Ok(file)
    }

    fn put(&self, key: FileKey, file: OpenFile) {
        let mut open = self.open.lock();
        if open.len() >= OPEN {
            open.pop_front();
        }
        open.push_back((key, file));
    }

    /// Closes a file, once nobody uses it any more.
    pub(crate) fn close(&self, key: FileKey) {
        self.open.lock().retain(|(other, _)| *other != key);
    }
}
