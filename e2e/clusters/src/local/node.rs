//! One node: its containerd, kubelet and kube-proxy, in the node's network namespace and control group.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::cgroup;
use super::control_plane::{http_complaint, proxy_arguments, write};
use super::daemon::Daemon;
use super::identity::{authority_certificate, kubeconfig};
use super::layout::{CONTROL_ADDRESS, Layout, Node};
use crate::command;
use crate::progress;
use crate::tools::{LocalTools, cni_plugins};

pub(super) const PAUSE_IMAGE: &str = "mainstay.dev/pause:local";

const RUNTIME_DEADLINE: Duration = Duration::from_secs(60);

impl Node {
    /// Writes the configuration of every program of the node.
    pub(super) fn configure(&self, layout: &Layout) -> Result<()> {
        self.configure_cni()?;
        self.configure_containerd()?;
        self.configure_kubelet(layout)
    }

    /// Starts containerd and waits until it answers.
    pub(super) fn start_containerd(&self, layout: &Layout) -> Result<()> {
        let words =
            ["containerd".into(), "--config".into(), self.path("containerd.toml").display().to_string()];
        let daemon = self.daemon(layout, "containerd");
        daemon.start(layout, Some(&self.global_name()), &words)?;
        progress::until(&format!("containerd of {}", self.name()), RUNTIME_DEADLINE, || {
            daemon.check()?;
            Ok(command::output(self.ctr().arg("version")).err().map(|error| error.to_string()))
        })?;
        Ok(())
    }

    /// Puts an image archive into the node's store.
    pub(super) fn load_image(&self, archive: &Path) -> Result<()> {
        command::output(self.ctr().args(["images", "import"]).arg(archive))
            .with_context(|| format!("load {} on {}", archive.display(), self.name()))
            .map(drop)
    }

    /// Starts kubelet and kube-proxy; containerd and the API server must answer by now.
    pub(super) fn start_kubernetes(&self, layout: &Layout, tools: &LocalTools) -> Result<()> {
        cgroup::create(&self.global_name())?;
        let kubernetes = tools.kubernetes.display().to_string();
        let kubelet = [
            kubernetes.clone(),
            "kubelet".into(),
            format!("--kubeconfig={}", kubeconfig(layout, &self.name()).display()),
            format!("--config={}", self.path("kubelet.json").display()),
            format!("--root-dir={}", self.path("kubelet").display()),
            format!("--cert-dir={}", self.path("kubelet-certificates").display()),
            format!("--hostname-override={}", self.name()),
            format!("--node-ip={}", self.address()),
        ];
        self.daemon(layout, "kubelet").start(layout, Some(&self.global_name()), &kubelet)?;
        let mut proxy = vec![kubernetes, "kube-proxy".into()];
        proxy.extend(proxy_arguments(layout, &self.name()));
        self.daemon(layout, "kube-proxy").start(layout, Some(&self.global_name()), &proxy)
    }

    /// Why the node cannot take pods yet, apart from what Kubernetes says about it; an error if it never will.
    pub(super) fn complaint(&self, layout: &Layout) -> Result<Option<String>> {
        for program in ["containerd", "kubelet", "kube-proxy"] {
            self.daemon(layout, program).check()?;
        }
        Ok(http_complaint(&self.global_name(), &self.address(), 10256, "/healthz"))
    }

    fn daemon(&self, layout: &Layout, program: &str) -> Daemon {
        Daemon::new(layout, format!("{}-{program}", self.name()))
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.containerd_socket()).args(["--namespace", "k8s.io"]);
        ctr.env("PATH", command::search_path());
        ctr
    }

    fn configure_cni(&self) -> Result<()> {
        let configuration = json!({
            "cniVersion": "1.0.0",
            // Also the prefix of what the plugins cache outside the run folder.
            "name": self.global_name(),
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": true,
                    "ipMasq": false,
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": self.path("cni/addresses"),
                        "ranges": [[{"subnet": self.pod_range()}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        write(
            &self.path("cni/configuration/10-bridge.conflist"),
            &serde_json::to_string_pretty(&configuration)?,
        )
    }

    fn configure_containerd(&self) -> Result<()> {
        let Some(plugins) = cni_plugins() else { bail!("the CNI plugins are gone") };
        let text = format!(
            r#"version = 2
root = "{root}"
state = "{state}"

[grpc]
  address = "{socket}"

[ttrpc]
  address = "{socket}.ttrpc"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # A machine whose root may not lower the score of a process (no CAP_SYS_RESOURCE) could start no pod.
  restrict_oom_score_adj = true
  # Not in /run/netns, where they could not be told from those of other clusters.
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{runc}"
        SystemdCgroup = false
"#,
            root = self.path("containerd").display(),
            state = self.path("containerd-state").display(),
            socket = self.containerd_socket().display(),
            plugins = plugins.display(),
            cni = self.path("cni/configuration").display(),
            runc = self.path("runc").display(),
        );
        write(&self.path("containerd.toml"), &text)
    }

    fn configure_kubelet(&self, layout: &Layout) -> Result<()> {
        for folder in ["pod-logs", "kubelet", "plugins"] {
            let folder = self.path(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", self.containerd_socket().display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.global_name()),
            "failCgroupV1": false,
            "failSwapOn": false,
            "enforceNodeAllocatable": [],
            // A negative score is refused where root lacks CAP_SYS_RESOURCE.
            "oomScoreAdj": 0,
            "podLogsDir": self.path("pod-logs"),
            "volumePluginDir": self.path("plugins"),
            "clusterDomain": "cluster.local",
            "clusterDNS": [CONTROL_ADDRESS],
            // The machine's own file names servers and domains that pods cannot reach.
            "resolvConf": layout.path("resolv.conf.node"),
            "address": self.address(),
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": false},
                "x509": {"clientCAFile": authority_certificate(layout)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            // Images are loaded by hand and can be fetched from nowhere: none may be collected, however full the disk.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "nodeStatusUpdateFrequency": "4s",
            "shutdownGracePeriod": "0s",
        });
        write(&self.path("kubelet.json"), &serde_json::to_string_pretty(&configuration)?)
    }
}
