//! `cargo xtask fuzz`: lets libFuzzer look for inputs that reach new code in the decoders, and fail there.
//!
//! The stable compiler can instrument code for it; the program is built once for all targets, apart from everything
//! else. What was found interesting is kept for the next run.

pub(crate) mod instrument;
mod keep;
mod outcome;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use mainstay_clusters::Step;

use crate::e2e;
use outcome::{Failure, Figures};

const PACKAGE: &str = "mainstay-fuzz";
/// What a target may use.
const MEMORY_MIB: u32 = 1024;
/// What it may reserve, used or not: a decoder that makes room for what its input promises fails. libFuzzer sees by
/// itself only what is used.
const RESERVED_BYTES: u64 = 2 << 30;
/// An input that takes longer has failed.
const INPUT_SECONDS: u32 = 30;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these targets
    targets: Vec<String>,
    /// How long each is tried
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Keep small inputs that reach what the seeds do not, for the tests
    #[arg(long)]
    keep: bool,
    /// Try only this input, once, and show what the target says; takes one target
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    mainstay_clusters::ensure_fuzz_packages()?;
    let program = Program::build()?;
    let known = program.targets()?;
    let chosen = match arguments.targets.is_empty() {
        true => known.clone(),
        false => arguments.targets.clone(),
    };
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!("there is no target '{unknown}'; there are: {}", known.join(", "));
    }
    if let Some(input) = &arguments.input {
        let [target] = &chosen[..] else { bail!("name the target that the input is for, and no other") };
        return program.once(target, input);
    }
    let mut failed = Vec::new();
    for name in &chosen {
        print!("{name:18} ");
        std::io::stdout().flush().context("write to the terminal")?;
        match program.explore(name, arguments.seconds)? {
            Ok(figures) => println!("{figures}"),
            Err(failure) => {
                println!("FAILED: {failure}");
                failed.push(name.as_str());
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    if arguments.keep {
        for name in &chosen {
            let (inputs, bytes) = program.keep(name)?;
            println!("{name:18} {inputs} inputs kept for the tests, {bytes} bytes");
        }
    }
    Ok(())
}

/// The instrumented program, and the folder with all that it works on.
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

impl Program {
    fn build() -> Result<Self> {
        let step = Step::start("build the fuzz targets", "everything anew the first time, about 10 minutes");
        let (host, folder) = (host()?, e2e::repository().join("target/fuzz"));
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What the cargo that runs this says of this very package; some crates are built anew when it changes.
        let of_package = |name: &OsString| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        };
        std::env::vars_os().map(|(name, _)| name).filter(of_package).for_each(|name| {
            cargo.env_remove(name);
        });
        instrument::workspace(&mut cargo)?;
        // With a target named, what runs while building is told apart, and is not instrumented.
        let status = cargo
            .current_dir(e2e::repository())
            .args(["build", "--quiet", "--locked", "--profile", "fuzz", "--package", PACKAGE])
            .args(["--features", "libfuzzer", "--target", &host, "--target-dir"])
            .arg(&folder)
            .status()
            .context("start cargo")?;
        ensure!(status.success(), "the fuzz targets do not compile");
        step.done();
        Ok(Self { path: folder.join(host).join("fuzz").join(PACKAGE), folder })
    }

    fn targets(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.path).env("MAINSTAY_FUZZ_LIST", "1").output().context("start it")?;
        let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        ensure!(output.status.success() && !names.is_empty(), "the program names no targets");
        Ok(names)
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--as={RESERVED_BYTES}"))
            .arg(&self.path)
            .env("MAINSTAY_FUZZ_TARGET", target)
            // Every arena of the allocator reserves memory, which is bounded.
            .env("MALLOC_ARENA_MAX", "2")
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"));
        command
    }

    /// Tries one target for so long.
    fn explore(&self, target: &str, seconds: u32) -> Result<Result<Figures, Failure>> {
        let corpus = self.subfolder("corpus")?.join(target);
        let seeds = self.subfolder("seeds")?.join(target);
        let failures = self.subfolder("failures")?;
        // Seeds of an earlier version are none any more.
        let _ = fs::remove_dir_all(&seeds);
        for folder in [&corpus, &seeds] {
            create(folder)?;
        }
        let log = self.subfolder("logs")?.join(format!("{target}.log"));
        let written = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let status = self
            .command(target)
            .env("MAINSTAY_FUZZ_SEEDS", &seeds)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/{target}-", failures.display()))
            .args(["-reload=0", "-print_final_stats=1"])
            // What is new goes to the first.
            .args([&corpus, &seeds])
            .stdout(written.try_clone().context("share the log")?)
            .stderr(written)
            .status()
            .context("start it")?;
        let told = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        let told = String::from_utf8_lossy(&told);
        Ok(match status.success() {
            true => Ok(Figures::read(&told).with_context(|| format!("no figures in {}", log.display()))?),
            false => Err(Failure::read(&told, target, status, log)),
        })
    }

    /// Tries one input, for everybody to see.
    fn once(&self, target: &str, input: &Path) -> Result<()> {
        ensure!(input.is_file(), "there is no file {}", input.display());
        let status = self.command(target).arg(input).status().context("start it")?;
        ensure!(status.success(), "{target} fails with {}", input.display());
        Ok(())
    }

    fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        create(&folder)?;
        Ok(folder)
    }
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

fn host() -> Result<String> {
    let output = Command::new("rustc").args(["--version", "--verbose"]).output().context("start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}
