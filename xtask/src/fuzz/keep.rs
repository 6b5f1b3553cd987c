//! Keeps what libFuzzer found for the tests: per target the fewest small inputs that together reach all that inputs of
//! their size reached and the seeds do not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Program, create};
use crate::e2e;

/// Longer inputs are not kept.
const INPUT_BYTES: u64 = 512;
/// Of all inputs of a target; what is smallest is kept.
const TARGET_BYTES: usize = 6 << 10;

impl Program {
    /// Writes what is kept of a target; how many inputs, and how many bytes.
    pub(super) fn keep(&self, target: &str) -> Result<(usize, usize)> {
        let mut found = self.beyond_seeds(target)?;
        found.sort_by_key(|input| (input.len(), input.clone()));
        let mut bytes = 0;
        found.retain(|input| {
            bytes += input.len();
            bytes <= TARGET_BYTES
        });
        let file = e2e::repository().join("e2e/fuzz/tests/reached").join(target);
        if found.is_empty() {
            let _ = fs::remove_file(&file);
        } else {
            let lines: String = found.iter().map(|input| STANDARD.encode(input) + "\n").collect();
            fs::write(&file, lines).with_context(|| format!("write {}", file.display()))?;
        }
        Ok((found.len(), found.iter().map(Vec::len).sum()))
    }

    fn beyond_seeds(&self, target: &str) -> Result<Vec<Vec<u8>>> {
        let folder = self.subfolder("keep")?.join(target);
        let (seeds, small) = (folder.join("seeds"), folder.join("small"));
        let _ = fs::remove_dir_all(&folder);
        for folder in [&seeds, &small] {
            create(folder)?;
        }
        // What was kept before has to hold its own against what was found since.
        for path in files(&self.subfolder("seeds")?.join(target))? {
            copy(&path, if is_kept(&path) { &small } else { &seeds })?;
        }
        let begun_with = files(&seeds)?;
        for path in files(&self.subfolder("corpus")?.join(target))? {
            if path.metadata().is_ok_and(|known| known.len() <= INPUT_BYTES) {
                copy(&path, &small)?;
            }
        }
        let output = self
            .command(target)
            // An edge counts once, however often it is passed.
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&seeds, &small])
            .output()
            .context("start it")?;
        ensure!(
            output.status.success(),
            "{target}: its inputs cannot be merged: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let added = files(&seeds)?.into_iter().filter(|path| !begun_with.contains(path));
        added.map(|path| fs::read(&path).with_context(|| format!("read {}", path.display()))).collect()
    }
}

/// As the program names them.
fn is_kept(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kept-"))
}

fn copy(path: &Path, folder: &Path) -> Result<()> {
    let name = path.file_name().context("a file without a name")?;
    fs::copy(path, folder.join(name)).with_context(|| format!("copy {}", path.display()))?;
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
