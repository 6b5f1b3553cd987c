//! Builds the programs of the proofs with planted bugs in them, and finds them.
//!
//! Once for all bugs: which one is there is chosen when a program starts. Cargo keeps what is built with planted bugs
//! beside what is built without, so that neither is built again for the other.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::proofs::{self, PROCESSES, Proof};
use crate::e2e;

const FEATURE: &str = "mainstay-planted/enabled";
const BROKER: &str = "mainstay-broker";

/// The programs of all proofs.
#[derive(Debug)]
pub(super) struct Binaries {
    by_target: BTreeMap<(String, String), PathBuf>,
    /// Gone with this.
    folder: TempDir,
    folders: AtomicU32,
}

/// What is read of a line of `cargo --message-format=json`.
#[derive(Debug, Deserialize)]
struct Artifact {
    package_id: Option<String>,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Binaries {
    /// Builds what the proofs need. For all of them that is done as for the whole workspace, so that what it depends on
    /// is built once for this and for the tests themselves; for some, with as little as possible.
    pub(super) fn build(proofs: &[&Proof]) -> Result<Self> {
        let whole = proofs.len() == proofs::ALL.len();
        let (processes, tests): (Vec<&Proof>, Vec<&Proof>) =
            proofs.iter().partition(|proof| proof.package == PROCESSES);
        let mut by_target = BTreeMap::new();
        if !tests.is_empty() {
            let mut cargo = cargo("test", whole, tests.iter().map(|proof| proof.package));
            cargo.arg("--no-run").args(tests.iter().flat_map(|proof| ["--test", proof.target]));
            by_target.extend(built(cargo, "test")?);
        }
        let folder =
            TempDir::new_in(e2e::repository().join("target")).context("make a folder for programs")?;
        if !processes.is_empty() {
            let mut cargo = cargo("build", whole, [BROKER, PROCESSES]);
            cargo.args(["--bin", BROKER, "--bin", PROCESSES]);
            for (key, program) in built(cargo, "bin")? {
                // Not left where somebody could take it for the product.
                let own = folder.path().join(&key.1);
                std::fs::rename(&program, &own).with_context(|| format!("move {}", program.display()))?;
                by_target.insert(key, own);
            }
        }
        let binaries = Self { by_target, folder, folders: AtomicU32::new(0) };
        for proof in proofs {
            binaries.of(proof)?;
        }
        Ok(binaries)
    }

    pub(super) fn of(&self, proof: &Proof) -> Result<&Path> {
        self.program(proof.package, proof.target)
    }

    pub(super) fn broker(&self) -> Result<&Path> {
        self.program(BROKER, BROKER)
    }

    /// A folder that nobody else uses.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().join(self.folders.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn program(&self, package: &str, target: &str) -> Result<&Path> {
        let key = (package.to_owned(), target.to_owned());
        self.by_target
            .get(&key)
            .map(PathBuf::as_path)
            .with_context(|| format!("cargo built no {target} of {package}"))
    }
}

fn cargo<'a>(what: &str, whole: bool, packages: impl IntoIterator<Item = &'a str>) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(e2e::repository()).stdout(Stdio::piped());
    cargo.args([what, "--locked", "--features", FEATURE, "--message-format=json-render-diagnostics"]);
    if whole {
        cargo.arg("--workspace");
    } else {
        cargo.args(["--package", "mainstay-planted"]);
        cargo.args(packages.into_iter().flat_map(|package| ["--package", package]));
    }
    cargo
}

/// Runs cargo; the programs of this kind that it has built, by package and target.
fn built(mut cargo: Command, kind: &str) -> Result<BTreeMap<(String, String), PathBuf>> {
    let mut child = cargo.spawn().context("start cargo")?;
    let stdout = child.stdout.take().context("no output to read")?;
    let mut by_target = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        by_target.extend(program(&line.context("read what cargo built")?, kind));
    }
    ensure!(child.wait()?.success(), "what plants bugs does not compile");
    Ok(by_target)
}

fn program(line: &str, kind: &str) -> Option<((String, String), PathBuf)> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let target = artifact.target.filter(|target| target.kind.iter().any(|of| of == kind))?;
    let package = package_name(&artifact.package_id?)?.to_owned();
    Some(((package, target.name), artifact.executable?))
}

/// The name in `path+file:///work/broker/storage#mainstay-storage@0.1.0`.
fn package_name(id: &str) -> Option<&str> {
    let (_, name) = id.rsplit_once('#')?;
    Some(name.split_once('@')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_recognised() {
        let line = |kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/broker/storage#mainstay-storage@0.1.0",
                "target":{{"kind":["{kind}"],"name":"recovery"}},"executable":"/w/target/debug/deps/recovery-1"}}"#
            )
        };
        let found = program(&line("test"), "test");
        let key = ("mainstay-storage".to_owned(), "recovery".to_owned());
        assert_eq!(found, Some((key, "/w/target/debug/deps/recovery-1".into())));
        assert_eq!(program(&line("lib"), "test"), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#, "test"), None);
    }
}
