//! What libFuzzer sees: the workspace's own crates, and what they take in of others as generic code. The rest of what
//! they depend on only dilutes it: whether an input is worth keeping is decided by what it reaches.
//!
//! Cargo has this program compile the workspace's crates, which adds to the compiler's arguments what instruments them.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Error, Result};

/// Counters at every edge, and what comparisons compared. Cargo does not notice that these are others: `target/fuzz`
/// has to be removed then.
const INSTRUMENTED: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// In the environment of this program where it stands in for the compiler.
const STANDS_IN: &str = "MAINSTAY_FUZZ_STANDS_IN";

/// Lets this program compile the workspace's crates for `cargo`.
pub(super) fn workspace(cargo: &mut Command) -> Result<()> {
    let this = std::env::current_exe().context("find this program")?;
    cargo.env("RUSTC_WORKSPACE_WRAPPER", this).env(STANDS_IN, "1");
    Ok(())
}

/// Compiles in place of this program, if that is what it was started for. Why it cannot, if it comes back.
pub(crate) fn stand_in() -> Option<Error> {
    std::env::var_os(STANDS_IN)?;
    // The compiler's path, and its arguments.
    let mut given = std::env::args_os().skip(1);
    let Some(compiler) = given.next() else {
        return Some(Error::msg("there is no compiler to stand in for"));
    };
    let failed = Command::new(&compiler).args(arguments(given.collect())).exec();
    Some(Error::new(failed).context(format!("start {}", compiler.display())))
}

/// What runs while building is compiled for no target by name, and has nothing to tell its coverage to.
fn arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    if given.iter().any(|argument| argument == OsStr::new("--target")) {
        given.extend(INSTRUMENTED.map(OsString::from));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&str]) -> Vec<OsString> {
        arguments(given.iter().map(OsString::from).collect())
    }

    #[test]
    fn what_runs_while_building_stays_as_it_is() {
        assert_eq!(of(&["--crate-name", "build_script_build"]), ["--crate-name", "build_script_build"]);
        let instrumented = of(&["--crate-name", "x", "--target", "here"]);
        assert_eq!(instrumented[..4], ["--crate-name", "x", "--target", "here"]);
        assert_eq!(instrumented[4..], INSTRUMENTED);
    }
}
