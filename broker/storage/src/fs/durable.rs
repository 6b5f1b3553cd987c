//! The orders of steps that make a change of names and contents survive a power cut, and files that know their path.

use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_planted::{Fault, planted};

use super::{File, FileSystem};
use crate::error::{IoContext, IoFailure};

/// Zeros are written from a buffer of at most this size.
const ZERO_CHUNK: usize = 1024 * 1024;

/// An open file together with its path, so that every failure names it. Clones share the file.
#[derive(Debug, Clone)]
pub(crate) struct OpenFile {
    path: Arc<Path>,
    file: Arc<dyn File>,
}

impl OpenFile {
    pub(crate) fn create(fs: &dyn FileSystem, path: PathBuf) -> Result<Self, IoFailure> {
        let file = fs.create(&path).during("create", &path)?;
        Ok(Self { path: path.into(), file })
    }

    pub(crate) fn open(fs: &dyn FileSystem, path: PathBuf) -> Result<Self, IoFailure> {
        let file = fs.open(&path).during("open", &path)?;
        Ok(Self { path: path.into(), file })
    }

    /// Gives the file its new name. The folder still has to be synced.
    pub(crate) fn rename(self, fs: &dyn FileSystem, to: PathBuf) -> Result<Self, IoFailure> {
        fs.rename(&self.path, &to).during("rename", &*self.path)?;
        Ok(Self { path: to.into(), file: self.file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> Result<u64, IoFailure> {
        self.file.len().during("look at", &*self.path)
    }

    /// `length` bytes from `offset`; an end of the file before that is an error.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, IoFailure> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, offset).during("read", &*self.path)?;
        Ok(bytes)
    }

    fn fill(&self, mut rest: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !rest.is_empty() {
            let length = self.file.read_at(rest, offset)?;
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            rest = &mut rest[length..];
            offset += length as u64;
        }
        Ok(())
    }

    pub(crate) fn write(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<(), IoFailure> {
        self.file.write_all_at(parts, offset).during("write", &*self.path)
    }

    pub(crate) fn allocate(&self, length: u64) -> Result<(), IoFailure> {
        self.file.allocate(length).during("reserve space for", &*self.path)
    }

    pub(crate) fn sync(&self) -> Result<(), IoFailure> {
        let synced = self.file.sync_data();
        let synced =
            if planted(Fault::RetryFsync) { synced.or_else(|_| self.file.sync_data()) } else { synced };
        synced.during("fdatasync", &*self.path)
    }

    /// Overwrites a range with zeros, durably.
    pub(crate) fn write_zeros(&self, from: u64, to: u64) -> Result<(), IoFailure> {
        let zeros = vec![0; ZERO_CHUNK.min(to.saturating_sub(from) as usize)];
        let mut at = from;
        while at < to {
            let length = zeros.len().min((to - at) as usize);
            self.write(&[IoSlice::new(&zeros[..length])], at)?;
            at += length as u64;
        }
        self.sync()
    }
}

/// Creates a folder with everything above it.
pub(crate) fn make_folder(fs: &dyn FileSystem, path: &Path) -> Result<(), IoFailure> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let existed = fs.exists(path).during("look at", path)?;
    if !existed {
        make_folder(fs, parent)?;
        fs.create_dir(path).during("create folder", path)?;
    }
    match fs.sync_dir(parent) {
        // A folder that was given to us may lie in one that we may not open.
        Err(error) if existed && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result.during("fsync folder", parent),
    }
}

/// Puts a file with this content in the place of what has the name.
pub(crate) fn replace_file(
    fs: &dyn FileSystem,
    path: &Path,
    parts: &[IoSlice<'_>],
) -> Result<OpenFile, IoFailure> {
    let temporary = temporary(path);
    remove_if_there(fs, &temporary)?;
    let file = OpenFile::create(fs, temporary)?;
    file.write(parts, 0)?;
    if !planted(Fault::RenameUnsynced) {
        file.sync()?;
    }
    let file = file.rename(fs, path.to_owned())?;
    sync_parent(fs, path)?;
    Ok(file)
}

/// The name a file has until it is complete.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

pub(crate) fn sync_parent(fs: &dyn FileSystem, path: &Path) -> Result<(), IoFailure> {
    let folder = path.parent().unwrap_or(path);
    if planted(Fault::ForgetFolderSync) {
        return Ok(());
    }
    fs.sync_dir(folder).during("fsync folder", folder)
}

pub(crate) fn remove_if_there(fs: &dyn FileSystem, path: &Path) -> Result<(), IoFailure> {
    match fs.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.during("remove", path),
    }
}

/// The whole content of a file; `None` when there is none of that name.
pub(crate) fn read_file(fs: &dyn FileSystem, path: &Path) -> Result<Option<Vec<u8>>, IoFailure> {
    if !fs.exists(path).during("look at", path)? {
        return Ok(None);
    }
    let file = OpenFile::open(fs, path.to_owned())?;
    let length = file.len()?;
    file.read(0, length as usize).map(Some)
}

/// Removes files that have their temporary name only: what interrupted work left behind.
pub(crate) fn remove_unfinished(fs: &dyn FileSystem, folder: &Path) -> Result<(), IoFailure> {
    for name in fs.list(folder).during("list", folder)? {
        if name.to_string_lossy().ends_with(".tmp") {
            remove_if_there(fs, &folder.join(name))?;
        }
    }
    Ok(())
}
