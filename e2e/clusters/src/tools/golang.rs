//! Programs built from Go modules and kept in a cache keyed by everything that goes into them, so that a second run
//! and other clones of the repository find them built.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command;
use crate::progress::Step;

/// A program that is built from a Go module whose `go.mod` and `go.sum` are kept in `e2e/clusters/tools/<module>`.
#[derive(Debug)]
pub(crate) struct GoProgram {
    /// File name of the binary.
    pub name: &'static str,
    /// Folder of the module.
    pub module: &'static str,
    /// The package to build, as `go build` names it.
    pub package: &'static str,
    pub link_flags: &'static str,
    /// What people call it, with its version.
    pub shown: &'static str,
    /// How long a first build takes.
    pub cost: &'static str,
}

impl GoProgram {
    /// The path of the binary, built if the cache does not have it.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let folder = cache_folder()?.join(format!("{}-{}", self.name, self.key()?));
        let binary = folder.join(self.name);
        if binary.is_file() {
            return Ok(binary);
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        // Two runs that start at the same time must not both spend the minutes.
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
        if !binary.is_file() {
            self.build(&binary)?;
        }
        Ok(binary)
    }

    fn build(&self, binary: &Path) -> Result<()> {
        let step = Step::start(
            format!("building {} from Go modules", self.shown),
            &format!("{} the first time, cached afterwards in {}", self.cost, binary.display()),
        );
        // The rename makes the binary appear whole or not at all.
        let unfinished = binary.with_extension("unfinished");
        let mut build = self.go();
        build
            .args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags"])
            .arg(format!("-s -w {}", self.link_flags))
            .arg("-o")
            .arg(&unfinished)
            .arg(self.package);
        command::output(&mut build).with_context(|| format!("build {}", self.shown))?;
        fs::rename(&unfinished, binary).with_context(|| format!("move {} into place", binary.display()))?;
        step.done();
        Ok(())
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(self.module)
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(self.source())
            // A static binary: the pause program runs in an empty image, and none depends on this machine's libc.
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        go
    }

    /// Changes whenever the module's files, the Go version or the way of building do.
    fn key(&self) -> Result<String> {
        let version = match command::output(self.go().args(["env", "GOVERSION"])) {
            Ok(version) => version,
            Err(error) if command::find("go").is_some() => return Err(error),
            Err(_) => {
                bail!("building {} needs Go 1.25 or newer, and there is no `go` on the PATH", self.shown)
            }
        };
        let source = self.source();
        let mut files: Vec<PathBuf> = fs::read_dir(&source)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .with_context(|| format!("list {}", source.display()))?;
        files.sort();
        let mut hash = Sha256::new();
        for part in [version.trim(), env::consts::ARCH, self.package, self.link_flags] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        for file in files {
            let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update([0]);
            hash.update(content.len().to_le_bytes());
            hash.update(content);
        }
        Ok(crate::image::hex(&hash.finalize()[..8]))
    }
}

pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("MAINSTAY_CACHE") {
        return Ok(PathBuf::from(folder).join("tools"));
    }
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither MAINSTAY_CACHE nor HOME is set: there is no place to keep built tools")?;
    Ok(base.join("mainstay/tools"))
}
