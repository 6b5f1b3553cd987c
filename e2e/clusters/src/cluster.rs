//! What a cluster is to those who use one, whichever provider runs it, and choosing the provider.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::kind::KindCluster;
use crate::local::LocalCluster;
use crate::{command, diagnose};

/// Who runs the cluster's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Containers of a Docker engine, by the `kind` program.
    Kind,
    /// Network namespaces of this machine; needs root.
    Local,
}

impl Provider {
    /// `MAINSTAY_PROVIDER` if it is set, else kind where a Docker engine answers and can give the node image, else
    /// local.
    pub fn detect() -> Result<Self> {
        match env::var("MAINSTAY_PROVIDER") {
            Ok(name) => name.parse(),
            Err(_) if KindCluster::is_possible() => Ok(Self::Kind),
            Err(_) => Ok(Self::Local),
        }
    }
}

impl FromStr for Provider {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "kind" => Ok(Self::Kind),
            "local" => Ok(Self::Local),
            other => bail!("there is no cluster provider {other:?}: choose `kind` or `local`"),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kind => "kind",
            Self::Local => "local",
        })
    }
}

/// How a cluster is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker nodes.
    pub nodes: usize,
    /// Where everything of the cluster lies. The folder is the cluster's identity: names of namespaces, control groups
    /// and containers derive from it, so clusters of different folders never meet.
    pub run_dir: PathBuf,
    /// PersistentVolumes made in advance on each node (local provider).
    pub volumes_per_node: usize,
    /// What each of those says it holds; nothing enforces it.
    pub volume_size: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            run_dir: Self::default_run_dir(),
            volumes_per_node: 8,
            volume_size: "20Gi".to_owned(),
        }
    }
}

impl Options {
    /// `MAINSTAY_RUN_DIR` if it is set, else `local` of this repository's [`crate::work_folder`].
    pub fn default_run_dir() -> PathBuf {
        match env::var_os("MAINSTAY_RUN_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => crate::work_folder().join("local"),
        }
    }
}

/// A running cluster. Nothing stops it but [`Cluster::down`]: it outlives this value and this process.
pub trait Cluster: fmt::Debug + Send + Sync {
    fn provider(&self) -> Provider;

    /// Administrator's access, good for any program on this machine.
    fn kubeconfig(&self) -> &Path;

    fn kubectl_program(&self) -> &Path;

    fn helm_program(&self) -> &Path;

    /// The names of the nodes that pods run on.
    fn nodes(&self) -> &[String];

    /// Loads an image archive (see [`crate::Image`]) on every node.
    fn load_image(&self, archive: &Path) -> Result<()>;

    /// Cuts a node off from everything: other nodes, the control plane, clients. What runs on it goes on running.
    fn cut_off(&self, node: &str) -> Result<()>;

    /// Ends a [`Cluster::cut_off`].
    fn heal(&self, node: &str) -> Result<()>;

    /// Ends the API server as a crash would. Everything that runs goes on running.
    fn stop_api_server(&self) -> Result<()>;

    /// Starts it again and waits until it answers.
    fn start_api_server(&self) -> Result<()>;

    /// A command that runs a program of this machine in the cluster's network, where pod and Service addresses can be
    /// reached and cluster names resolve, as the user [`crate::NON_ROOT_ID`]. The child process is the program itself.
    fn client_command(&self, program: &OsStr) -> Result<Command>;

    /// The same in the network of one node: a client there stays beside the node's pods when the node is cut off, but
    /// cannot resolve cluster names then. A file named by the variable `CLIENT_HOSTS` stands in for its `/etc/hosts`.
    fn client_command_on(&self, node: &str, program: &OsStr) -> Result<Command>;

    /// Makes volumes whose claim is gone available again, empty. Pre-made volumes have no provisioner that would.
    fn recycle_volumes(&self) -> Result<()>;

    /// Stops the cluster and removes everything of it.
    fn down(&self) -> Result<()>;

    /// A kubectl command to add arguments to.
    fn kubectl_command(&self) -> Command {
        let mut kubectl = Command::new(self.kubectl_program());
        kubectl.env("KUBECONFIG", self.kubeconfig()).env("PATH", command::search_path());
        kubectl
    }

    /// Runs kubectl and returns what it printed.
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        command::output(self.kubectl_command().args(arguments))
    }

    /// Runs helm and returns what it printed.
    fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut helm = Command::new(self.helm_program());
        helm.env("KUBECONFIG", self.kubeconfig()).env("PATH", command::search_path());
        command::output(helm.args(arguments))
    }

    /// Applies manifests (YAML or JSON) as `kubectl apply` does.
    fn apply(&self, manifests: &str) -> Result<String> {
        let mut apply = self.kubectl_command();
        apply.args(["apply", "--filename", "-"]);
        command::output_with_input(&mut apply, manifests.as_bytes())
    }

    /// Waits until the node's `Ready` condition is as wanted, and returns how long that took.
    fn wait_for_node(&self, node: &str, ready: bool, deadline: Duration) -> Result<Duration> {
        let query = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        crate::until(
            &format!("node {node} to be {}", if ready { "ready" } else { "not ready" }),
            deadline,
            || {
                let status = self.kubectl(&["get", "node", node, "--output", query])?;
                Ok(((status == "True") != ready).then(|| format!("its Ready condition is {status:?}")))
            },
        )
    }

    /// Writes everything that helps to understand a failed test into the folder: objects, events, logs of pods (of
    /// their previous containers too) and of the cluster's own programs. Does what it can and never fails.
    fn diagnose(&self, folder: &Path) {
        diagnose::dump(&self.kubectl_command(), &self.program_logs(), folder);
    }

    /// Log files of the cluster's own programs, where they are files of this machine.
    fn program_logs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// Starts a cluster, after removing what an earlier one of the same folder may have left.
pub fn up(provider: Provider, options: &Options) -> Result<Box<dyn Cluster>> {
    ensure!((1..=9).contains(&options.nodes), "a cluster has 1 to 9 nodes, not {}", options.nodes);
    Ok(match provider {
        Provider::Local => Box::new(LocalCluster::up(options)?),
        Provider::Kind => Box::new(KindCluster::up(options)?),
    })
}

/// The cluster that runs in the folder.
pub fn attach(run_dir: &Path) -> Result<Box<dyn Cluster>> {
    Ok(match Record::read(run_dir)?.provider {
        Provider::Local => Box::new(LocalCluster::attach(run_dir)?),
        Provider::Kind => Box::new(KindCluster::attach(run_dir)?),
    })
}

/// Stops the cluster of the folder and removes everything of it, whatever state it is in.
pub fn down(run_dir: &Path) -> Result<()> {
    // A run that broke off early, or whose folder was deleted, left no record: what it left behind is found by name.
    match Record::read(run_dir).map(|record| record.provider) {
        Ok(Provider::Kind) => KindCluster::remove(run_dir),
        Ok(Provider::Local) | Err(_) => LocalCluster::remove(run_dir),
    }
}

/// What a process that did not start the cluster must know about it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub provider: Provider,
    pub nodes: Vec<String>,
}

impl Record {
    const FILE: &str = "cluster.json";

    pub(crate) fn read(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(Self::FILE);
        let text = std::fs::read(&path).with_context(|| {
            format!("no cluster runs in {}: cannot read {}", run_dir.display(), path.display())
        })?;
        serde_json::from_slice(&text).with_context(|| format!("understand {}", path.display()))
    }

    pub(crate) fn write(&self, run_dir: &Path) -> Result<()> {
        let path = run_dir.join(Self::FILE);
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("write {}", path.display()))
    }
}
