//! Skeleton.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::StateError;
use crate::fs::FileSystem;

/// A small durable value, replaced as a whole.
#[derive(Debug)]
pub struct StateFile {}

impl StateFile {
    pub fn open(_fs: Arc<dyn FileSystem>, _path: impl Into<PathBuf>) -> Result<Self, StateError> {
        unimplemented!()
    }

    /// The value; `None` when none was ever stored.
    pub fn load(&self) -> Result<Option<Vec<u8>>, StateError> {
        unimplemented!()
    }

    /// Replaces the value. When this returns, the new value survives a power cut.
    pub fn store(&mut self, _value: &[u8]) -> Result<(), StateError> {
        unimplemented!()
    }
}
