//! The programs that make the nodes a cluster: etcd, API server, controllers, scheduler, DNS, and the way in for
//! programs on the host.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::daemon::Daemon;
use super::identity::{self, certificate, key, kubeconfig};
use super::layout::{CONTROL_ADDRESS, Layout, Node, POD_RANGE, SERVICE_RANGE};
use crate::command;
use crate::progress;
use crate::tools::LocalTools;

/// How long after a node's last sign of life it counts as not ready: the default of 50 s would make every test with a
/// dead node wait.
const NODE_GRACE: &str = "16s";

/// How long an API server may take to answer on a machine that is busy with a build.
const API_DEADLINE: Duration = Duration::from_secs(120);

pub(super) struct ControlPlane<'a> {
    layout: &'a Layout,
    tools: &'a LocalTools,
}

impl<'a> ControlPlane<'a> {
    pub(super) fn new(layout: &'a Layout, tools: &'a LocalTools) -> Self {
        Self { layout, tools }
    }

    /// Starts what everything else talks to, without waiting for it.
    pub(super) fn start_api(&self, api_port: u16) -> Result<()> {
        self.start(
            "etcd",
            &[
                format!("--data-dir={}", self.layout.path("etcd").display()),
                // The cluster does not outlive the machine, so neither need its objects.
                "--unsafe-no-fsync".into(),
                "--log-level=warn".into(),
            ],
        )?;
        self.start_api_server()?;
        // A socket in the file system is reached from any network namespace: one half listens on it inside, the other
        // carries a port of the host to it. So kubectl, helm and anything else work from a plain shell.
        let socket = self.layout.path("api.sock");
        let inside = [
            "socat".into(),
            format!("UNIX-LISTEN:{},fork,mode=600", socket.display()),
            format!("TCP:{CONTROL_ADDRESS}:6443"),
        ];
        let network = self.layout.control_network();
        Daemon::new(self.layout, "api-forward-inside").start(self.layout, Some(&network), &inside)?;
        let outside = [
            "socat".into(),
            format!("TCP-LISTEN:{api_port},bind=127.0.0.1,reuseaddr,fork"),
            format!("UNIX-CONNECT:{}", socket.display()),
        ];
        Daemon::new(self.layout, "api-forward-outside").start(self.layout, None, &outside)
    }

    pub(super) fn start_api_server(&self) -> Result<()> {
        let pki = |path: std::path::PathBuf| path.display().to_string();
        self.start(
            "kube-apiserver",
            &[
                "--etcd-servers=http://127.0.0.1:2379".into(),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                format!("--advertise-address={CONTROL_ADDRESS}"),
                "--secure-port=6443".into(),
                format!("--client-ca-file={}", pki(identity::authority_certificate(self.layout))),
                format!("--tls-cert-file={}", pki(certificate(self.layout, "api-server"))),
                format!("--tls-private-key-file={}", pki(key(self.layout, "api-server"))),
                format!(
                    "--kubelet-client-certificate={}",
                    pki(certificate(self.layout, "api-server-kubelet-client"))
                ),
                format!("--kubelet-client-key={}", pki(key(self.layout, "api-server-kubelet-client"))),
                "--kubelet-preferred-address-types=InternalIP".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                format!("--service-account-key-file={}", pki(self.layout.path("pki/service-accounts.pub"))),
                format!("--service-account-signing-key-file={}", pki(key(self.layout, "service-accounts"))),
                "--authorization-mode=Node,RBAC".into(),
                "--enable-admission-plugins=NodeRestriction".into(),
                "--allow-privileged=true".into(),
            ],
        )
    }

    /// Ends the API server as a crash would.
    pub(super) fn stop_api_server(&self) -> Result<()> {
        let daemon = Daemon::new(self.layout, "kube-apiserver");
        daemon.signal(Signal::SIGKILL)?;
        progress::until("the API server to end", Duration::from_secs(10), || {
            Ok(daemon.is_running().then(|| "it still runs".into()))
        })?;
        Ok(())
    }

    pub(super) fn wait_for_api(&self) -> Result<()> {
        let daemons = ["etcd", "kube-apiserver", "api-forward-inside", "api-forward-outside"];
        progress::until("the API server", API_DEADLINE, || {
            self.check(&daemons)?;
            let mut question = Command::new(&self.tools.client.kubectl);
            question
                .env("KUBECONFIG", identity::host_kubeconfig(self.layout))
                .args(["get", "--raw", "/readyz"]);
            Ok(command::output(&mut question).err().map(|error| error.to_string()))
        })?;
        Ok(())
    }

    /// Starts what needs the API server.
    pub(super) fn start_controllers(&self, nodes: &[Node]) -> Result<()> {
        let config = |name: &str| format!("--kubeconfig={}", kubeconfig(self.layout, name).display());
        self.start(
            "kube-controller-manager",
            &[
                config("controller-manager"),
                format!("--root-ca-file={}", identity::authority_certificate(self.layout).display()),
                format!(
                    "--service-account-private-key-file={}",
                    key(self.layout, "service-accounts").display()
                ),
                "--use-service-account-credentials=true".into(),
                "--leader-elect=false".into(),
                "--allocate-node-cidrs=false".into(),
                format!("--node-monitor-grace-period={NODE_GRACE}"),
                "--node-monitor-period=2s".into(),
            ],
        )?;
        self.start("kube-scheduler", &[config("scheduler"), "--leader-elect=false".into()])?;
        self.start_dns()?;
        // Clients on the host are in the control plane's network and must reach Services whatever happens to a node.
        // There is no node here, so this kube-proxy borrows the name of one: it only reads its addresses.
        if let Some(node) = nodes.first() {
            let arguments = proxy_arguments(self.layout, &node.name());
            self.start("kube-proxy", &arguments)?;
        }
        Ok(())
    }

    /// Waits until names resolve and Services are routed for clients on the host.
    pub(super) fn wait_for_services(&self) -> Result<()> {
        let daemons = ["kube-controller-manager", "kube-scheduler", "coredns", "kube-proxy"];
        let network = self.layout.control_network();
        progress::until("DNS and Service routing", API_DEADLINE, || {
            self.check(&daemons)?;
            Ok(http_complaint(&network, CONTROL_ADDRESS, 8181, "/ready")
                .or_else(|| http_complaint(&network, CONTROL_ADDRESS, 10256, "/healthz")))
        })?;
        // Without it no pod is accepted in the namespace.
        progress::until("the default service account", API_DEADLINE, || {
            self.check(&daemons)?;
            let mut question = Command::new(&self.tools.client.kubectl);
            question.env("KUBECONFIG", identity::host_kubeconfig(self.layout));
            question.args(["get", "serviceaccount", "default", "--namespace", "default"]);
            Ok(command::output(&mut question).err().map(|error| error.to_string()))
        })?;
        Ok(())
    }

    fn start_dns(&self) -> Result<()> {
        let path = self.layout.path("Corefile");
        let text = format!(
            ".:53 {{
    errors
    ready
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        pods insecure
        ttl 1
    }}
    nothingelse
}}
",
            kubeconfig(self.layout, "dns").display()
        );
        write(&path, &text)?;
        let words = [self.tools.coredns.display().to_string(), "-conf".into(), path.display().to_string()];
        Daemon::new(self.layout, "coredns").start(self.layout, Some(&self.layout.control_network()), &words)
    }

    fn start(&self, program: &str, arguments: &[String]) -> Result<()> {
        let mut words = vec![self.tools.kubernetes.display().to_string(), program.to_owned()];
        words.extend_from_slice(arguments);
        Daemon::new(self.layout, program).start(self.layout, Some(&self.layout.control_network()), &words)
    }

    fn check(&self, daemons: &[&str]) -> Result<()> {
        daemons.iter().try_for_each(|name| Daemon::new(self.layout, *name).check())
    }
}

/// How kube-proxy is started, on a node and for the clients on the host.
pub(super) fn proxy_arguments(layout: &Layout, node: &str) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig(layout, "proxy").display()),
        format!("--hostname-override={node}"),
        format!("--cluster-cidr={POD_RANGE}"),
        "--proxy-mode=nftables".into(),
        // The machine's conntrack limits and its out-of-memory scores are not ours to set.
        "--conntrack-max-per-core=0".into(),
        "--conntrack-tcp-timeout-established=0".into(),
        "--conntrack-tcp-timeout-close-wait=0".into(),
        "--oom-score-adj=0".into(),
    ]
}

/// Asks a program in a network namespace by HTTP; `None` if it answers with 200.
pub(super) fn http_complaint(network: &str, address: &str, port: u16, path: &str) -> Option<String> {
    let mut ask = Command::new("nsenter");
    ask.arg(format!("--net=/run/netns/{network}"))
        .args(["--", "socat", "-t5", "-"])
        .arg(format!("TCP:{address}:{port},connect-timeout=2"))
        .env("PATH", command::search_path());
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    match command::output_with_input(&mut ask, request.as_bytes()) {
        Ok(answer) if answer.split(' ').nth(1) == Some("200") => None,
        Ok(answer) => {
            Some(format!("{address}:{port}{path} answers {:?}", answer.lines().next().unwrap_or_default()))
        }
        Err(error) => Some(error.to_string()),
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
