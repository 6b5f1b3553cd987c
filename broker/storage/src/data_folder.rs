//! The folder of one broker: locked against a second process, and marked with the format of what is in it.

use std::ffi::OsStr;
use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use crate::error::{FolderError, IoContext};
use crate::fs::{FileLock, FileSystem, make_folder, read_file, replace_file};

const FORMAT_VERSION: u32 = 1;
const FORMAT_TEXT: &str = "mainstay data folder, format ";
const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
/// What may be in a folder that is not ours yet.
const HARMLESS: [&str; 3] = [LOCK_FILE, "format.tmp", "lost+found"];

/// A broker's data folder, locked while this lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Box<dyn FileLock>,
}

impl DataFolder {
    /// Creates the folder if need be, locks it, and checks its format. A folder that holds something else is refused.
    pub fn open(fs: &dyn FileSystem, path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let path = path.into();
        make_folder(fs, &path)?;
        let lock_path = path.join(LOCK_FILE);
        let lock = match fs.lock(&lock_path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(FolderError::InUse { path }),
            result => result.during("lock", lock_path)?,
        };
        check_format(fs, &path)?;
        Ok(Self { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn check_format(fs: &dyn FileSystem, path: &Path) -> Result<(), FolderError> {
    let marker = path.join(FORMAT_FILE);
    let Some(text) = read_file(fs, &marker)? else {
        let names = fs.list(path).during("list", path)?;
        if names.iter().any(|name| !HARMLESS.map(OsStr::new).contains(&name.as_os_str())) {
            return Err(FolderError::NotADataFolder { path: path.to_owned() });
        }
        let text = format!("{FORMAT_TEXT}{FORMAT_VERSION}\n");
        replace_file(fs, &marker, &[IoSlice::new(text.as_bytes())])?;
        return Ok(());
    };
    let version = std::str::from_utf8(&text).ok().and_then(|text| text.strip_prefix(FORMAT_TEXT));
    match version.and_then(|version| version.trim_end().parse().ok()) {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) => {
            Err(FolderError::UnknownFormat { path: path.to_owned(), found, known: FORMAT_VERSION })
        }
        None => Err(FolderError::DamagedFormat { path: path.to_owned() }),
    }
}
