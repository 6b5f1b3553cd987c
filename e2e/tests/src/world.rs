//! What every scenario needs once: a cluster that runs, images on its nodes, the chart installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_clusters::{Cluster, Step};

/// Namespace of the operator.
pub(crate) const SYSTEM: &str = "mainstay-system";

/// The cluster under test with the operator running in it.
#[derive(Debug)]
pub struct World {
    cluster: Box<dyn Cluster>,
    repository: PathBuf,
    cli: PathBuf,
    clients: PathBuf,
    results: PathBuf,
}

impl World {
    /// Takes a running cluster that has the images, and installs the chart in it. `cli` is the `mainstay` program
    /// that scenarios manage topics with; another `build` than the one that runs replaces the operator's pods; histories
    /// and diagnoses go to `results`.
    pub fn install(
        cluster: Box<dyn Cluster>,
        repository: &Path,
        cli: &Path,
        build: &str,
        results: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(results).with_context(|| format!("create {}", results.display()))?;
        // Clients run as another user and write their histories here.
        fs::set_permissions(results, fs::Permissions::from_mode(0o777))?;
        let results = results.canonicalize()?;
        let world = Self {
            cluster,
            repository: repository.to_owned(),
            cli: staged(cli, &results)?,
            clients: staged(&repository.join("e2e/clients"), &results)?,
            results,
        };
        let step = Step::start("install charts/mainstay with helm", "");
        let chart = repository.join("charts/mainstay");
        let chart = chart.to_str().context("the repository's path is not text")?;
        world.cluster.helm(&[
            "upgrade",
            "--install",
            "mainstay",
            chart,
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--wait",
            "--timeout",
            "180s",
            "--set",
            &format!("image.tag=dev,broker.image.tag=dev,podAnnotations.build={build}"),
        ])?;
        step.done();
        Ok(world)
    }

    pub fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }

    /// Root of the repository: charts, examples, client programs.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    pub(crate) fn cli(&self) -> &Path {
        &self.cli
    }

    /// Starts the program on an official client.
    pub(crate) fn client_launcher(&self) -> PathBuf {
        self.clients.join("run")
    }

    /// Folder for histories and diagnoses.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// Stops or starts the operator, and waits until its pods are gone or available.
    pub(crate) fn scale_operator(&self, replicas: u32) -> Result<()> {
        let replicas_argument = format!("--replicas={replicas}");
        let name = "deployment/mainstay";
        self.cluster.kubectl(&["--namespace", SYSTEM, "scale", name, &replicas_argument])?;
        mainstay_clusters::until(&format!("{replicas} operator pods"), Duration::from_secs(60), || {
            let selector = "app.kubernetes.io/name=mainstay-operator";
            let pods = self.cluster.kubectl(&[
                "--namespace",
                SYSTEM,
                "get",
                "pods",
                "--selector",
                selector,
                "--field-selector",
                "status.phase=Running",
                "--output",
                "name",
            ])?;
            let running = pods.lines().count();
            Ok((running != replicas as usize).then(|| format!("{running} are running")))
        })?;
        Ok(())
    }
}

/// A copy of a program or folder where the user that clients run as can reach it.
fn staged(source: &Path, folder: &Path) -> Result<PathBuf> {
    let target = folder.join(source.file_name().context("nothing to copy")?);
    mainstay_clusters::output(Command::new("rm").arg("-rf").arg(&target))?;
    mainstay_clusters::output(Command::new("cp").arg("-R").arg(source).arg(&target))?;
    mainstay_clusters::output(Command::new("chmod").args(["-R", "a+rX"]).arg(&target))?;
    Ok(target)
}
