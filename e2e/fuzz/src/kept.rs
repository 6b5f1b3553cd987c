//! Inputs that earlier runs left behind, in `tests/`: those that failed once, as they are; and those with which
//! libFuzzer reached what no seed reaches, in base64, one a line.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const FAILED_ONCE: &str = "tests/failed_once";
const REACHED: &str = "tests/reached";

/// Where the names of targets stand that inputs were kept of.
pub const FOLDERS: [&str; 2] = [FAILED_ONCE, REACHED];

fn path(folder: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target)
}

/// Files in a folder of the target's name, called after what they found.
///
/// # Panics
/// When they cannot be read.
pub fn failed_once(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(path(FAILED_ONCE, target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// Lines of a file of the target's name.
///
/// # Panics
/// When they are no base64.
pub fn reached(target: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path(REACHED, target)).unwrap_or_default();
    text.lines().map(|line| STANDARD.decode(line).expect("base64")).collect()
}
