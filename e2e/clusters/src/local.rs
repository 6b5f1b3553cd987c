//! The real Kubernetes without a container engine and without an image registry: its programs run as processes of this
//! machine, each node in a network namespace and a control group of its own.
//!
//! Nothing here can leave the machine, and nothing but the API server's port on 127.0.0.1 shows outside the namespaces.

mod cgroup;
mod control_plane;
mod daemon;
mod identity;
mod layout;
mod network;
mod node;
mod teardown;
mod volumes;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::client;
use crate::cluster::{Cluster, Options, Provider, Record};
use crate::command;
use crate::image::Image;
use crate::progress::{self, Step};
use crate::tools::{self, LocalTools};
use control_plane::ControlPlane;
use layout::{CONTROL_ADDRESS, Layout, Node};

const NODES_DEADLINE: Duration = Duration::from_secs(120);

/// A cluster in a run folder.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    layout: Layout,
    tools: LocalTools,
    nodes: Vec<Node>,
    names: Vec<String>,
    kubeconfig: PathBuf,
}

impl LocalCluster {
    pub(crate) fn up(options: &Options) -> Result<Self> {
        require_root()?;
        tools::ensure_local_packages()?;
        let tools = LocalTools::ensure()?;
        let layout = Layout::of(&options.run_dir)?;
        remove_leftovers(&layout)?;

        let nodes = layout.nodes(options.nodes);
        let cluster = Self::of(layout, tools, nodes);
        let step =
            Step::start(format!("starting Kubernetes with {} nodes", options.nodes), "about 15 seconds");
        cluster.start(options).with_context(|| {
            format!(
                "start the local Kubernetes; the logs of its programs are in {}",
                cluster.layout.path("log").display()
            )
        })?;
        step.done();
        Ok(cluster)
    }

    pub(crate) fn attach(run_dir: &Path) -> Result<Self> {
        require_root()?;
        let record = Record::read(run_dir)?;
        let layout = Layout::of(run_dir)?;
        let nodes = layout.nodes(record.nodes.len());
        Ok(Self::of(layout, LocalTools::ensure()?, nodes))
    }

    pub(crate) fn remove(run_dir: &Path) -> Result<()> {
        require_root()?;
        let layout = Layout::of(run_dir)?;
        if teardown::is_needed(&layout)? {
            let step = Step::start(format!("removing the cluster in {}", layout.run_dir.display()), "");
            teardown::remove(&layout)?;
            step.done();
        }
        Ok(())
    }

    fn of(layout: Layout, tools: LocalTools, nodes: Vec<Node>) -> Self {
        let names = nodes.iter().map(Node::name).collect();
        Self { kubeconfig: identity::host_kubeconfig(&layout), layout, tools, nodes, names }
    }

    fn start(&self, options: &Options) -> Result<()> {
        let layout = &self.layout;
        fs::create_dir_all(&layout.run_dir)
            .with_context(|| format!("create {}", layout.run_dir.display()))?;
        Record { provider: Provider::Local, nodes: self.names.clone() }.write(&layout.run_dir)?;
        let api_port = network::free_host_port()?;
        identity::write(layout, &self.nodes, api_port)?;
        network::create(layout, &self.nodes)?;
        control_plane::write(&layout.path("resolv.conf"), &client::resolv_conf(CONTROL_ADDRESS))?;
        control_plane::write(&layout.path("resolv.conf.node"), &format!("nameserver {CONTROL_ADDRESS}\n"))?;
        let pause = layout.path("pause.tar");
        Image::new(node::PAUSE_IMAGE)
            .entrypoint(["/pause"])
            .program(&self.tools.pause, "/pause")?
            .write(&pause)?;

        let control_plane = ControlPlane::new(layout, &self.tools);
        control_plane.start_api(api_port)?;
        // The nodes' runtimes come up while the API server does.
        self.on_each_node(|node| {
            node.configure(layout)?;
            node.start_containerd(layout)?;
            node.load_image(&pause)
        })?;
        control_plane.wait_for_api()?;
        control_plane.start_controllers(&self.nodes)?;
        self.on_each_node(|node| node.start_kubernetes(layout, &self.tools))?;
        let manifests = volumes::manifests(&self.nodes, options.volumes_per_node, &options.volume_size)?;
        self.create(&manifests)?;
        control_plane.wait_for_services()?;
        self.wait_for_nodes()
    }

    /// Not `apply`, which reads each object before it writes it.
    fn create(&self, manifests: &str) -> Result<()> {
        let mut create = self.kubectl_command();
        create.args(["create", "--validate=ignore", "--filename", "-"]);
        command::output_with_input(&mut create, manifests.as_bytes()).map(drop)
    }

    fn wait_for_nodes(&self) -> Result<()> {
        let query = r#"jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}"#;
        progress::until("the nodes to be ready", NODES_DEADLINE, || {
            for node in &self.nodes {
                if let Some(complaint) = node.complaint(&self.layout)? {
                    return Ok(Some(complaint));
                }
            }
            let states = self.kubectl(&["get", "nodes", "--output", query])?;
            let ready = states.split_whitespace().filter(|state| state.ends_with("=True")).count();
            Ok((ready != self.nodes.len()).then(|| format!("their Ready conditions are [{}]", states.trim())))
        })?;
        Ok(())
    }

    fn on_each_node(&self, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
        thread::scope(|scope| {
            let threads: Vec<_> = self.nodes.iter().map(|node| scope.spawn(|| work(node))).collect();
            // Every thread is joined before the first error is returned.
            let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            results.into_iter().try_for_each(|result| result.map_err(|_| anyhow!("a thread panicked"))?)
        })
    }

    fn require_node(&self, name: &str) -> Result<()> {
        ensure!(
            self.names.iter().any(|node| node == name),
            "there is no node {name:?} among {:?}",
            self.names
        );
        Ok(())
    }
}

impl Cluster for LocalCluster {
    fn provider(&self) -> Provider {
        Provider::Local
    }

    fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn kubectl_program(&self) -> &Path {
        &self.tools.client.kubectl
    }

    fn helm_program(&self) -> &Path {
        &self.tools.client.helm
    }

    fn nodes(&self) -> &[String] {
        &self.names
    }

    fn load_image(&self, archive: &Path) -> Result<()> {
        self.on_each_node(|node| node.load_image(archive))
    }

    fn cut_off(&self, node: &str) -> Result<()> {
        self.require_node(node)?;
        network::set_link(&self.layout, node, false)
    }

    fn heal(&self, node: &str) -> Result<()> {
        self.require_node(node)?;
        network::set_link(&self.layout, node, true)
    }

    fn stop_api_server(&self) -> Result<()> {
        ControlPlane::new(&self.layout, &self.tools).stop_api_server()
    }

    fn start_api_server(&self) -> Result<()> {
        let control_plane = ControlPlane::new(&self.layout, &self.tools);
        control_plane.start_api_server()?;
        control_plane.wait_for_api()
    }

    fn client_command(&self, program: &OsStr) -> Result<Command> {
        let network = Path::new("/run/netns").join(self.layout.control_network());
        Ok(client::command_in(&network, &self.layout.path("resolv.conf"), program))
    }

    fn client_command_on(&self, node: &str, program: &OsStr) -> Result<Command> {
        self.require_node(node)?;
        let network = Path::new("/run/netns").join(self.layout.node_network(node));
        Ok(client::command_in(&network, &self.layout.path("resolv.conf"), program))
    }

    fn recycle_volumes(&self) -> Result<()> {
        for (name, folder) in volumes::released(&self.kubectl(&["get", "pv", "--output", "json"])?)? {
            volumes::wipe(&folder, &self.layout.run_dir)?;
            let forget_claim = r#"[{"op": "remove", "path": "/spec/claimRef"}]"#;
            self.kubectl(&["patch", "pv", &name, "--type", "json", "--patch", forget_claim])?;
        }
        Ok(())
    }

    fn down(&self) -> Result<()> {
        Self::remove(&self.layout.run_dir)
    }

    fn program_logs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.layout.path("log")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

fn require_root() -> Result<()> {
    ensure!(
        nix::unistd::Uid::effective().is_root(),
        "the local Kubernetes needs root, for network namespaces and control groups: run it as root, or on a machine \
         with a Docker engine (and `kind`)"
    );
    Ok(())
}

/// A run that was killed leaves everything running; a second cluster in the same folder would collide with it.
fn remove_leftovers(layout: &Layout) -> Result<()> {
    if teardown::is_needed(layout)? {
        let step =
            Step::start(format!("removing what an earlier run left of {}", layout.run_dir.display()), "");
        teardown::remove(layout)?;
        step.done();
    }
    Ok(())
}
