//! `cargo xtask images`: our programs as static binaries, built once for everything that runs them; broker and operator
//! each alone in an image.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mainstay_clusters::{Cluster, Image, Step};
use serde::Deserialize;

use crate::cluster::Location;

/// Packages that become images; the binary and the image have the package's name.
const IN_IMAGES: [&str; 2] = ["mainstay-broker", "mainstay-operator"];

/// Packages that demo, tests and benchmarks run on this machine besides.
const ON_THE_HOST: [&str; 4] = ["mainstay", "mainstay-bench", "mainstay-clients", "mainstay-faults"];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Also load them into the running cluster
    #[arg(long)]
    load: bool,
    #[command(flatten)]
    location: Location,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let programs = build()?;
    for archive in &programs.archives {
        println!("{}", archive.display());
    }
    if arguments.load {
        programs.load(&*mainstay_clusters::attach(&arguments.location.run_dir)?)?;
    }
    Ok(())
}

/// What was built.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Image archives, tagged `dev`.
    archives: Vec<PathBuf>,
    binaries: Vec<Binary>,
}

impl Programs {
    /// Loads the images on every node of the cluster.
    pub(crate) fn load(&self, cluster: &dyn Cluster) -> Result<()> {
        let step = Step::start(format!("load the images on {} nodes", cluster.nodes().len()), "");
        for archive in &self.archives {
            cluster.load_image(archive)?;
        }
        step.done();
        Ok(())
    }

    /// Changes whenever the operator was built anew: its image keeps its tag.
    pub(crate) fn operator_build(&self) -> Result<String> {
        let built = std::fs::metadata(self.path("mainstay-operator")?)?.modified()?;
        Ok(format!("at-{}", built.duration_since(std::time::UNIX_EPOCH)?.as_millis()))
    }

    /// Where one of our programs lies.
    pub(crate) fn path(&self, name: &str) -> Result<&Path> {
        let binary = self.binaries.iter().find(|binary| binary.name == name);
        binary.map(|binary| &*binary.path).with_context(|| format!("{name} was not built"))
    }
}

/// Builds the programs and writes the images.
pub(crate) fn build() -> Result<Programs> {
    let step = Step::start(
        "build broker, operator and command line as static binaries",
        "several minutes the first time, only what changed afterwards",
    );
    let binaries = build_binaries()?;
    step.done();
    let folder = mainstay_clusters::work_folder().join("images");
    let in_images = binaries.iter().filter(|binary| IN_IMAGES.contains(&binary.name));
    let archives = in_images.map(|binary| write_image(binary, &folder)).collect::<Result<_>>()?;
    Ok(Programs { archives, binaries })
}

#[derive(Debug)]
struct Binary {
    name: &'static str,
    path: PathBuf,
}

fn build_binaries() -> Result<Vec<Binary>> {
    // With a named target the flags do not reach build scripts and macros, which cannot be static.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["build", "--locked", "--release", "--bins", "--target", &target])
        .args(["--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Cargo prefers this one, which would lose the flag above.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stderr(Stdio::inherit());
    let programs = IN_IMAGES.into_iter().chain(ON_THE_HOST);
    for program in programs.clone() {
        cargo.args(["--package", program]);
    }
    let built = cargo.output().context("start cargo")?;
    ensure!(built.status.success(), "cargo could not build the images' programs ({})", built.status);
    let messages = String::from_utf8(built.stdout).context("understand cargo's messages")?;
    programs
        .map(|name| {
            let path =
                executable(&messages, name).with_context(|| format!("cargo built no program {name}"))?;
            Ok(Binary { name, path })
        })
        .collect()
}

/// The part of cargo's messages that says where a program is.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        // Messages of other kinds have other fields.
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .find_map(|artifact| artifact.executable.filter(|_| artifact.target.name == name))
}

fn write_image(binary: &Binary, folder: &Path) -> Result<PathBuf> {
    let path = format!("/{}", binary.name);
    let archive = folder.join(format!("{}.tar", binary.name));
    Image::new(format!("{}:dev", binary.name))
        .entrypoint([&path])
        .label("org.opencontainers.image.title", binary.name)
        .label("org.opencontainers.image.version", env!("CARGO_PKG_VERSION"))
        .label("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE"))
        .program(&binary.path, &path)?
        .write(&archive)?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"build-script-executed","package_id":"x"}
{"reason":"compiler-artifact","target":{"name":"mainstay-broker"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"mainstay-broker"},"executable":"/t/mainstay-broker"}
"#;
        assert_eq!(executable(messages, "mainstay-broker"), Some("/t/mainstay-broker".into()));
        assert_eq!(executable(messages, "mainstay-operator"), None);
    }
}
