//! A small durable value, replaced as a whole: what a replica must not forget besides its log.
//!
//! The file holds a header (magic, version, length, generation, checksum) and the value. A new value is written to a
//! temporary file, forced, and renamed over the old one; then the folder is forced.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StateError;
use crate::fields::{Fields, checksum, u32_at, u64_at};
use crate::fs::{FileSystem, read_file, replace_file};

const MAGIC: [u8; 8] = *b"MSTSTATE";
const FORMAT_VERSION: u32 = 1;
const FIELDS_LEN: usize = 24;
const HEADER_LEN: usize = FIELDS_LEN + 4;
/// Larger values belong into the log.
const MAX_BYTES: usize = 1024 * 1024;

/// One value in one file. There must be one of this per path.
#[derive(Debug)]
pub struct StateFile {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    generation: u64,
}

impl StateFile {
    /// Checks what is there. Nothing being there is fine: the value is then `None`.
    pub fn open(fs: Arc<dyn FileSystem>, path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        let generation = read(&*fs, &path)?.map_or(0, |(generation, _)| generation);
        Ok(Self { fs, path, generation })
    }

    /// The value; `None` when none was ever stored.
    pub fn load(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(read(&*self.fs, &self.path)?.map(|(_, value)| value))
    }

    /// Replaces the value. When this returns `Ok`, the new value survives a power cut; after an error either one may.
    pub fn store(&mut self, value: &[u8]) -> Result<(), StateError> {
        if value.len() > MAX_BYTES {
            return Err(StateError::TooLarge { path: self.path.clone(), bytes: value.len() });
        }
        let generation = self.generation + 1;
        let fields: [u8; FIELDS_LEN] =
            Fields::new().put(&MAGIC).u32(FORMAT_VERSION).u32(value.len() as u32).u64(generation).bytes();
        let crc = checksum(0, &[&fields, value]).to_le_bytes();
        let parts = [IoSlice::new(&fields), IoSlice::new(&crc), IoSlice::new(value)];
        replace_file(&*self.fs, &self.path, &parts)?;
        self.generation = generation;
        Ok(())
    }

    /// How often the value was replaced, ever.
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

fn read(fs: &dyn FileSystem, path: &Path) -> Result<Option<(u64, Vec<u8>)>, StateError> {
    let Some(mut bytes) = read_file(fs, path)? else { return Ok(None) };
    let damaged = |what| StateError::Damaged { path: path.to_owned(), what };
    if bytes.len() < HEADER_LEN || bytes[..8] != MAGIC {
        return Err(damaged("its header is not intact"));
    }
    let found = u32_at(&bytes, 8);
    if found != FORMAT_VERSION {
        return Err(StateError::UnknownFormat { path: path.to_owned(), found, known: FORMAT_VERSION });
    }
    let value = bytes.split_off(HEADER_LEN);
    if value.len() != u32_at(&bytes, 12) as usize {
        return Err(damaged("its length is not what its header says"));
    }
    if u32_at(&bytes, FIELDS_LEN) != checksum(0, &[&bytes[..FIELDS_LEN], &value]) {
        return Err(damaged("its checksum does not fit"));
    }
    Ok(Some((u64_at(&bytes, 16), value)))
}
