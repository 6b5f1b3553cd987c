//! Snapshots of what was made of the log: one file each, under `snapshot/`.
//!
//! A snapshot stands for every batch through `last`, and carries what a log that begins behind it has to know. Its
//! bytes are the same on every replica, so that it can be sent as it lies. What always holds: a file that has its name
//! is complete and was forced; whoever reads it verifies every byte; the newest two are kept.

mod format;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_record::{GroupId, LogIndex};

use crate::base::LogBase;
use crate::error::{IoContext, IoFailure};
use crate::fs::{FileSystem, OpenFile, make_folder, remove_if_there, remove_unfinished, sync_parent};

pub use read::{SnapshotChunks, SnapshotReader};
pub use write::{SnapshotReceiver, SnapshotWriter};

const FOLDER: &str = "snapshot";
const SUFFIX: &str = ".snap";
/// How many are kept.
const KEPT: usize = 2;

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Io(#[from] IoFailure),
    #[error("snapshot {} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
    #[error("snapshot {} has format version {found}, this program knows {known}", path.display())]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("snapshot {} belongs to group {found}, not to group {expected}", path.display())]
    ForeignGroup { path: PathBuf, found: GroupId, expected: GroupId },
    #[error("snapshot {} cannot begin a log: its epochs do not lead to {}", path.display(), base.last)]
    Inconsistent { path: PathBuf, base: Box<LogBase> },
}

/// A snapshot that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    /// What a log that begins behind the snapshot has to know.
    pub base: LogBase,
    /// Bytes of the whole file: what is sent to another replica.
    pub file_bytes: u64,
    /// Bytes of what was put in.
    pub payload_bytes: u64,
}

/// The snapshots of a group. Clones share the folder. There must be one store per folder, and its clones.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    group: GroupId,
    made: Arc<AtomicU64>,
}

impl SnapshotStore {
    /// Creates `snapshot/` in the group's folder if need be, and removes what interrupted work left in it.
    pub fn open(fs: Arc<dyn FileSystem>, directory: &Path, group: GroupId) -> Result<Self, SnapshotError> {
        let folder = directory.join(FOLDER);
        make_folder(&*fs, &folder)?;
        remove_unfinished(&*fs, &folder)?;
        Ok(Self { fs, folder, group, made: Arc::default() })
    }

    /// Begins a snapshot of everything through `base.last`. It counts once [`SnapshotWriter::finish`] returns.
    pub fn write(&self, base: LogBase) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::begin(self.clone(), base)
    }

    /// Begins to take a snapshot from another replica, byte for byte as it lies there.
    pub fn receive(&self) -> Result<SnapshotReceiver, SnapshotError> {
        SnapshotReceiver::begin(self.clone())
    }

    /// The newest snapshot that is intact: all of it is read. A damaged one is passed over with a warning.
    pub fn newest(&self) -> Result<Option<Snapshot>, SnapshotError> {
        self.newest_at_or_before(LogIndex(u64::MAX))
    }

    /// The newest intact snapshot of nothing behind `last`.
    pub fn newest_at_or_before(&self, last: LogIndex) -> Result<Option<Snapshot>, SnapshotError> {
        for (_, path) in self.files()?.into_iter().rev().filter(|(index, _)| *index <= last) {
            match SnapshotReader::open(&*self.fs, path, self.group).and_then(|reader| reader.verify()) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(SnapshotError::Io(error)) if error.source.kind() != std::io::ErrorKind::UnexpectedEof => {
                    return Err(error.into());
                }
                Err(error) => tracing::warn!(%error, "a damaged snapshot is passed over"),
            }
        }
        Ok(None)
    }

    /// All snapshots, oldest first, as their beginning and end tell; those that do not are left out.
    pub fn list(&self) -> Result<Vec<Snapshot>, SnapshotError> {
        let mut found = Vec::new();
        for (_, path) in self.files()? {
            match SnapshotReader::open(&*self.fs, path, self.group) {
                Ok(reader) => found.push(reader.snapshot().clone()),
                Err(error) => tracing::warn!(%error, "a snapshot is not listed"),
            }
        }
        Ok(found)
    }

    /// Opens a snapshot for loading or sending. It stays readable even when newer ones push it out meanwhile.
    pub fn reader(&self, snapshot: &Snapshot) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&*self.fs, snapshot.path.clone(), self.group)
    }

    /// Files by their last index, oldest first.
    fn files(&self) -> Result<Vec<(LogIndex, PathBuf)>, IoFailure> {
        let names = self.fs.list(&self.folder).during("list", &self.folder)?;
        let parse = |name: &str| name.strip_suffix(SUFFIX)?.parse().ok().map(LogIndex);
        let file = |name: &std::ffi::OsString| Some((parse(name.to_str()?)?, self.folder.join(name)));
        let mut files: Vec<_> = names.iter().filter_map(file).collect();
        files.sort_unstable();
        Ok(files)
    }

    /// A file that has no name yet under which it would count.
    fn unfinished(&self) -> Result<OpenFile, IoFailure> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        OpenFile::create(&*self.fs, self.folder.join(format!("{number}.tmp")))
    }

    /// Gives a complete and forced file its name, durably, and removes older ones.
    fn publish(&self, file: OpenFile, last: LogIndex) -> Result<PathBuf, IoFailure> {
        let path = self.folder.join(format!("{:020}{SUFFIX}", last.0));
        file.rename(&*self.fs, path.clone())?;
        sync_parent(&*self.fs, &path)?;
        if let Err(error) = self.remove_old(&path) {
            tracing::warn!(%error, "an old snapshot stays");
        }
        Ok(path)
    }

    fn remove_old(&self, new: &Path) -> Result<(), IoFailure> {
        let files = self.files()?;
        let old = files.iter().rev().skip(KEPT).filter(|(_, path)| path != new);
        for (_, path) in old {
            remove_if_there(&*self.fs, path)?;
        }
        Ok(())
    }

    fn discard(&self, path: &Path) {
        if let Err(error) = remove_if_there(&*self.fs, path) {
            tracing::warn!(%error, "an unfinished snapshot stays until the next start");
        }
    }
}

/// All snapshots in the group's folder, each read whole, without changing anything.
pub(crate) fn inspect_snapshots(
    fs: &Arc<dyn FileSystem>,
    directory: &Path,
    group: GroupId,
) -> Result<Vec<Result<Snapshot, SnapshotError>>, IoFailure> {
    let folder = directory.join(FOLDER);
    if !fs.exists(&folder).during("look at", &folder)? {
        return Ok(Vec::new());
    }
    let store = SnapshotStore { fs: Arc::clone(fs), folder, group, made: Arc::default() };
    let read = |path| SnapshotReader::open(&**fs, path, group).and_then(|reader| reader.verify());
    Ok(store.files()?.into_iter().map(|(_, path)| read(path)).collect())
}
