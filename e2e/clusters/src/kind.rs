//! A cluster of containers, by the `kind` program, where a Docker engine answers.
//!
//! Not tested where this was written: no Docker engine was to be had there. Reaching the cluster's network from the host
//! ([`Cluster::client_command`]) needs Linux and root here as well.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client;
use crate::cluster::{Cluster, Options, Provider, Record};
use crate::command;
use crate::image;
use crate::progress::{self, Step};
use crate::tools::{self, ClientTools};

const NODE_IMAGE: &str = "kindest/node:v1.34.0";
const NETWORK: &str = "kind";
const API_SERVER_MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const PARKED_MANIFEST: &str = "/etc/kubernetes/kube-apiserver.yaml";

#[derive(Debug)]
pub(crate) struct KindCluster {
    name: String,
    run_dir: PathBuf,
    kubeconfig: PathBuf,
    nodes: Vec<String>,
    kind: PathBuf,
    tools: ClientTools,
}

impl KindCluster {
    /// Whether a Docker engine answers and has, or can get, the image of the nodes.
    pub(crate) fn is_possible() -> bool {
        command::succeeds(Command::new("docker").arg("info"))
            && (command::succeeds(Command::new("docker").args(["image", "inspect", NODE_IMAGE]))
                || command::succeeds(Command::new("docker").args(["pull", NODE_IMAGE])))
    }

    pub(crate) fn up(options: &Options) -> Result<Self> {
        let mut cluster = Self::of(&options.run_dir)?;
        Self::remove(&options.run_dir)?;
        fs::create_dir_all(&cluster.run_dir)
            .with_context(|| format!("create {}", cluster.run_dir.display()))?;
        let numbers = 1..=options.nodes;
        cluster.nodes = numbers
            .map(|number| match number {
                1 => format!("{}-worker", cluster.name),
                _ => format!("{}-worker{number}", cluster.name),
            })
            .collect();
        Record { provider: Provider::Kind, nodes: cluster.nodes.clone() }.write(&cluster.run_dir)?;

        let mut configuration =
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n".to_owned();
        configuration.push_str(&"- role: worker\n".repeat(options.nodes));
        let step = Step::start(
            format!("starting Kubernetes with {} nodes by kind", options.nodes),
            "1 to 2 minutes",
        );
        let mut create = cluster.kind();
        create.args([
            "create",
            "cluster",
            "--image",
            NODE_IMAGE,
            "--wait",
            "180s",
            "--config",
            "-",
            "--kubeconfig",
        ]);
        command::output_with_input(create.arg(&cluster.kubeconfig), configuration.as_bytes())?;
        step.done();
        Ok(cluster)
    }

    pub(crate) fn attach(run_dir: &Path) -> Result<Self> {
        Ok(Self { nodes: Record::read(run_dir)?.nodes, ..Self::of(run_dir)? })
    }

    pub(crate) fn remove(run_dir: &Path) -> Result<()> {
        let cluster = Self::of(run_dir)?;
        command::output(cluster.kind().args(["delete", "cluster", "--kubeconfig"]).arg(&cluster.kubeconfig))?;
        if cluster.run_dir.exists() {
            fs::remove_dir_all(&cluster.run_dir)
                .with_context(|| format!("remove {}", cluster.run_dir.display()))?;
        }
        Ok(())
    }

    fn of(run_dir: &Path) -> Result<Self> {
        use sha2::{Digest, Sha256};
        let run_dir = std::path::absolute(run_dir).with_context(|| format!("find {}", run_dir.display()))?;
        let hash = Sha256::digest(run_dir.as_os_str().as_encoded_bytes());
        Ok(Self {
            name: format!("mainstay{}", image::hex(&hash[..4])),
            kubeconfig: run_dir.join("kubeconfig"),
            nodes: Vec::new(),
            kind: tools::kind()?,
            tools: ClientTools::for_kind()?,
            run_dir,
        })
    }

    fn kind(&self) -> Command {
        let mut kind = Command::new(&self.kind);
        // `kind VERB OBJECT --name` takes the name from here as well.
        kind.env("KIND_CLUSTER_NAME", &self.name);
        kind
    }

    fn control_plane(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    /// Where the address of a node that is cut off is kept: it must come back with the same one.
    fn parked_address(&self, node: &str) -> PathBuf {
        self.run_dir.join(format!("{node}.address"))
    }

    /// A client in the network of a node's container.
    fn command_beside(&self, container: &str, program: &OsStr) -> Result<Command> {
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", container])?;
        let pid: u32 = pid.trim().parse().context("understand docker's answer")?;
        if pid == 0 {
            bail!("the container {container} does not run");
        }
        let query = "jsonpath={.spec.clusterIP}";
        let dns =
            self.kubectl(&["get", "service", "kube-dns", "--namespace", "kube-system", "--output", query])?;
        let resolv_conf = self.run_dir.join("resolv.conf");
        fs::write(&resolv_conf, client::resolv_conf(dns.trim())).context("write resolv.conf")?;
        Ok(client::command_in(Path::new(&format!("/proc/{pid}/ns/net")), &resolv_conf, program))
    }

    fn require_node(&self, name: &str) -> Result<()> {
        ensure!(
            self.nodes.iter().any(|node| node == name),
            "there is no node {name:?} among {:?}",
            self.nodes
        );
        Ok(())
    }
}

impl Cluster for KindCluster {
    fn provider(&self) -> Provider {
        Provider::Kind
    }

    fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn kubectl_program(&self) -> &Path {
        &self.tools.kubectl
    }

    fn helm_program(&self) -> &Path {
        &self.tools.helm
    }

    fn nodes(&self) -> &[String] {
        &self.nodes
    }

    fn load_image(&self, archive: &Path) -> Result<()> {
        command::output(self.kind().args(["load", "image-archive"]).arg(archive)).map(drop)
    }

    fn cut_off(&self, node: &str) -> Result<()> {
        self.require_node(node)?;
        let address = docker(&["inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", node])?;
        fs::write(self.parked_address(node), address.trim())
            .with_context(|| format!("note the address of {node}"))?;
        docker(&["network", "disconnect", NETWORK, node]).map(drop)
    }

    fn heal(&self, node: &str) -> Result<()> {
        self.require_node(node)?;
        let address = fs::read_to_string(self.parked_address(node))
            .with_context(|| format!("{node} was not cut off by this cluster"))?;
        docker(&["network", "connect", "--ip", &address, NETWORK, node]).map(drop)
    }

    fn stop_api_server(&self) -> Result<()> {
        docker(&["exec", &self.control_plane(), "mv", API_SERVER_MANIFEST, PARKED_MANIFEST])?;
        progress::until("the API server to end", Duration::from_secs(60), || {
            let answers = self.kubectl(&["get", "--raw", "/livez", "--request-timeout=2s"]).is_ok();
            Ok(answers.then(|| "it still answers".into()))
        })?;
        Ok(())
    }

    fn start_api_server(&self) -> Result<()> {
        docker(&["exec", &self.control_plane(), "mv", PARKED_MANIFEST, API_SERVER_MANIFEST])?;
        progress::until("the API server", Duration::from_secs(120), || {
            let answer = self.kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"]);
            Ok(answer.err().map(|error| error.to_string()))
        })?;
        Ok(())
    }

    fn client_command(&self, program: &OsStr) -> Result<Command> {
        self.command_beside(&self.control_plane(), program)
    }

    fn client_command_on(&self, node: &str, program: &OsStr) -> Result<Command> {
        self.require_node(node)?;
        self.command_beside(node, program)
    }

    /// kind's own provisioner does.
    fn recycle_volumes(&self) -> Result<()> {
        Ok(())
    }

    fn down(&self) -> Result<()> {
        Self::remove(&self.run_dir)
    }
}

fn docker(arguments: &[&str]) -> Result<String> {
    command::output(Command::new("docker").args(arguments))
}
