//! Builds the test binaries with planted bugs in them, and finds them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::proofs::{self, Proof};
use crate::e2e;

const FEATURE: &str = "mainstay-planted/enabled";

/// The test binaries of all proofs.
#[derive(Debug)]
pub(super) struct Binaries {
    by_target: BTreeMap<(String, String), PathBuf>,
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
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(e2e::repository()).stdout(Stdio::piped());
        cargo.args(["test", "--locked", "--no-run", "--features", FEATURE]);
        cargo.arg("--message-format=json-render-diagnostics");
        if proofs.len() == proofs::ALL.len() {
            cargo.arg("--workspace");
        } else {
            cargo.args(["--package", "mainstay-planted"]);
            cargo.args(proofs.iter().flat_map(|proof| ["--package", proof.package]));
        }
        cargo.args(proofs.iter().flat_map(|proof| ["--test", proof.target]));
        let mut child = cargo.spawn().context("start cargo")?;
        let stdout = child.stdout.take().context("no output to read")?;
        let mut by_target = BTreeMap::new();
        for line in BufReader::new(stdout).lines() {
            by_target.extend(test_binary(&line.context("read what cargo built")?));
        }
        ensure!(child.wait()?.success(), "the tests with planted bugs do not compile");
        let binaries = Self { by_target };
        for proof in proofs {
            binaries.of(proof)?;
        }
        Ok(binaries)
    }

    pub(super) fn of(&self, proof: &Proof) -> Result<&Path> {
        let key = (proof.package.to_owned(), proof.target.to_owned());
        self.by_target.get(&key).map(PathBuf::as_path).with_context(|| format!("cargo built no {proof}"))
    }
}

fn test_binary(line: &str) -> Option<((String, String), PathBuf)> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let target = artifact.target.filter(|target| target.kind.iter().any(|kind| kind == "test"))?;
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
    fn test_binaries_are_recognised() {
        let line = |kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/broker/storage#mainstay-storage@0.1.0",
                "target":{{"kind":["{kind}"],"name":"recovery"}},"executable":"/w/target/debug/deps/recovery-1"}}"#
            )
        };
        let found = test_binary(&line("test"));
        let key = ("mainstay-storage".to_owned(), "recovery".to_owned());
        assert_eq!(found, Some((key, "/w/target/debug/deps/recovery-1".into())));
        assert_eq!(test_binary(&line("lib")), None);
        assert_eq!(test_binary(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
