//! That no release has a planted bug in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mainstay_planted::{Fault, VARIABLE};

use crate::e2e;

/// The feature that plants bugs does not compile for a release.
pub(super) fn refuses_planted_bugs() -> Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(e2e::repository())
        .args([
            "check",
            "--quiet",
            "--locked",
            "--release",
            "--package",
            "mainstay-planted",
            "--features",
            "enabled",
        ])
        .output()
        .context("start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "a release with planted bugs compiles");
    ensure!(said.contains("must not contain planted bugs"), "it is refused, but not for what it is: {said}");
    Ok(())
}

/// The programs know of no planted bug: neither the variable that chooses one nor the name of any is in them.
pub(crate) fn is_clean<'a>(programs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    // This program names them all, so names can be found where they are.
    let own = traces(&std::env::current_exe().context("find xtask itself")?)?;
    ensure!(names().all(|name| own.contains(name)), "only {own:?} are found where all names are");
    for program in programs {
        let found = traces(program)?;
        ensure!(found.is_empty(), "{} knows of planted bugs: {found:?}", program.display());
    }
    Ok(())
}

fn names() -> impl Iterator<Item = &'static str> {
    Fault::ALL.iter().map(|fault| fault.name()).chain([VARIABLE])
}

fn traces(program: &Path) -> Result<BTreeSet<&'static str>> {
    let bytes = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    Ok(found_in(&bytes))
}

fn found_in(bytes: &[u8]) -> BTreeSet<&'static str> {
    let mut by_first: [Vec<&'static str>; 256] = std::array::from_fn(|_| Vec::new());
    for name in names() {
        by_first[usize::from(name.as_bytes()[0])].push(name);
    }
    let mut found = BTreeSet::new();
    for (at, first) in bytes.iter().enumerate() {
        for name in &by_first[usize::from(*first)] {
            if bytes[at..].starts_with(name.as_bytes()) {
                found.insert(*name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_planted_bugs_is_found_out() {
        let own = std::env::current_exe().unwrap();
        let error = is_clean([own.as_path()]).unwrap_err().to_string();
        assert!(error.contains("SkipFsync") && error.contains(VARIABLE), "{error}");
        is_clean([Path::new("/bin/sh")]).unwrap();
    }

    #[test]
    fn names_are_found_where_they_are() {
        assert_eq!(found_in(b"SSkipFsyncRetryFsyn").into_iter().collect::<Vec<_>>(), ["SkipFsync"]);
    }
}
