//! `cargo xtask fuzz`: lets libFuzzer look for inputs that reach new code in the decoders, and fail there.
//!
//! The stable compiler can instrument code for it; the program is built once for all targets, apart from everything
//! else, since all of it is instrumented. What was found interesting is kept for the next run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use mainstay_clusters::Step;

use crate::e2e;

const PACKAGE: &str = "mainstay-fuzz";
/// Counters at every edge, and what comparisons compared.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                            -Cllvm-args=-sanitizer-coverage-pc-table \
                            -Cllvm-args=-sanitizer-coverage-trace-compares";
const MEMORY_MIB: u32 = 4096;
/// An input that takes longer has failed.
const INPUT_SECONDS: u32 = 60;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these targets
    targets: Vec<String>,
    /// How long each is tried
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    mainstay_clusters::ensure_fuzz_packages()?;
    let program = build()?;
    let known = targets(&program)?;
    let chosen = match arguments.targets.is_empty() {
        true => known.clone(),
        false => arguments.targets.clone(),
    };
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!("there is no target '{unknown}'; there are: {}", known.join(", "));
    }
    let mut failed = Vec::new();
    for name in &chosen {
        match one(&program, name, arguments.seconds) {
            Ok(line) => println!("{name:20} {line}"),
            Err(error) => {
                println!("{name:20} FAILED: {error:#}");
                failed.push(name.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The instrumented program.
fn build() -> Result<PathBuf> {
    let step = Step::start("build the fuzz targets", "everything anew the first time, about 10 minutes");
    let (host, folder) = (host()?, e2e::repository().join("target/fuzz"));
    // With a target named, what runs while building is not instrumented.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(e2e::repository())
        .env("RUSTFLAGS", INSTRUMENTED)
        .args(["build", "--quiet", "--locked", "--profile", "fuzz", "--package", PACKAGE])
        .args(["--features", "libfuzzer", "--target", &host, "--target-dir"])
        .arg(&folder)
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "the fuzz targets do not compile");
    step.done();
    Ok(folder.join(host).join("fuzz").join(PACKAGE))
}

fn host() -> Result<String> {
    let output = Command::new("rustc").args(["--version", "--verbose"]).output().context("start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

fn targets(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program).env("MAINSTAY_FUZZ_LIST", "1").output().context("start it")?;
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    ensure!(output.status.success() && !names.is_empty(), "the program names no targets");
    Ok(names)
}

/// Tries one target; what came of it in words.
fn one(program: &Path, name: &str, seconds: u32) -> Result<String> {
    let folder = e2e::repository().join("target/fuzz/corpus").join(name);
    let failures = e2e::repository().join("target/fuzz/failures");
    for folder in [&folder, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let output = Command::new(program)
        .env("MAINSTAY_FUZZ_TARGET", name)
        .env("MAINSTAY_FUZZ_SEEDS", &folder)
        .arg(&folder)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/{name}-", failures.display()))
        .args(["-max_len=8192", "-reload=0", "-print_final_stats=1"])
        .output()
        .context("start it")?;
    let told = String::from_utf8_lossy(&output.stderr);
    let log = failures.join(format!("{name}.log"));
    if output.status.success() {
        return Ok(figures(&told));
    }
    fs::write(&log, told.as_bytes()).with_context(|| format!("write {}", log.display()))?;
    let why = told.lines().skip_while(|line| !line.contains("panicked at")).take(2).collect::<Vec<_>>();
    let input =
        told.lines().find(|line| line.contains("Test unit written to")).unwrap_or("no input was left");
    bail!("{} ({}); all it said is in {}", why.join(" "), input.trim(), log.display())
}

/// Inputs tried and code reached, from what libFuzzer says.
fn figures(told: &str) -> String {
    let after = |text: &str| {
        let (_, rest) = told.rsplit_once(text)?;
        rest.split_whitespace().next()
    };
    let executed = after("stat::number_of_executed_units:").unwrap_or("?");
    let edges = after("cov:").unwrap_or("?");
    format!("{executed} inputs, {edges} edges reached")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_last_ones() {
        let told = "#2 INITED cov: 3 ft: 3\n#9 DONE   cov: 17 ft: 21\nstat::number_of_executed_units: 4096\n";
        assert_eq!(figures(told), "4096 inputs, 17 edges reached");
        assert_eq!(figures(""), "? inputs, ? edges reached");
    }
}
