//! Skeleton.

use std::path::{Path, PathBuf};

use crate::error::FolderError;
use crate::fs::FileSystem;

/// The folder of one broker, locked while this lives.
#[derive(Debug)]
pub struct DataFolder {}

impl DataFolder {
    /// Creates the folder if need be, locks it, and checks its format.
    pub fn open(_fs: &dyn FileSystem, _path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        unimplemented!()
    }

    pub fn path(&self) -> &Path {
        unimplemented!()
    }
}
