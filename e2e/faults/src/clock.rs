//! A broker's wall clock, which can be set while it runs: libfaketime reads how wrong it is from a file. The monotonic
//! clock stays true.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

const FILE: &str = "clock";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of a broker that keeps its things in this folder.
#[derive(Debug)]
pub(crate) struct WallClock {
    file: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let clock = Self { file: folder.join(FILE), library: library()? };
        clock.set(0)?;
        Ok(clock)
    }

    /// From now on it is ahead by so many seconds, or behind.
    pub(crate) fn set(&self, seconds: i64) -> Result<()> {
        // Replaced in one step: the broker may read it at any time.
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{seconds:+}\n"))?;
        std::fs::rename(&fresh, &self.file).with_context(|| format!("write {}", self.file.display()))
    }

    /// What a program has to be started with to go by it.
    pub(crate) fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1");
    }
}

fn library() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").context("look for libfaketime")?.flatten();
    let mut places = folders.map(|folder| folder.path().join(LIBRARY));
    places.find(|path| path.is_file()).context("there is no libfaketime; Debian's package is called faketime")
}
