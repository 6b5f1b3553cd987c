//! Names, addresses and paths of a local cluster: all derived from its run folder, so that any process can find and
//! remove what another one started, and clusters of different folders never meet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::image;

/// Address of the control plane, of the DNS server and of the programs on the host, in the nodes' network.
pub(super) const CONTROL_ADDRESS: &str = "10.200.0.1";
pub(super) const API_SERVER: &str = "https://10.200.0.1:6443";
pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// First address of [`SERVICE_RANGE`]: Kubernetes gives it to the API server's own Service.
pub(super) const API_SERVICE_ADDRESS: &str = "10.96.0.1";
pub(super) const POD_RANGE: &str = "10.244.0.0/16";

/// A socket's path holds 107 bytes; the longest one below a run folder is
/// `/node1/kubelet/pod-resources/kubelet.sock`.
const RUN_DIR_LIMIT: usize = 107 - 41;

/// Where everything of one cluster is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub run_dir: PathBuf,
    /// Prefix of everything that has a name outside the run folder.
    pub name: String,
}

impl Layout {
    /// The layout of the cluster in a folder, which need not exist.
    pub(super) fn of(run_dir: &Path) -> Result<Self> {
        let run_dir = canonical(run_dir)?;
        let text = run_dir.to_str().context("the run folder's path must be UTF-8")?;
        ensure!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)),
            "the run folder {text} goes into many configuration files: letters, digits and `/._-+` only"
        );
        ensure!(
            text.len() <= RUN_DIR_LIMIT,
            "the run folder {text} is too long for the sockets in it: choose one of at most {RUN_DIR_LIMIT} \
             characters with MAINSTAY_RUN_DIR"
        );
        let name = format!("mainstay{}", image::hex(&Sha256::digest(text.as_bytes())[..4]));
        Ok(Self { run_dir, name })
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.run_dir.join(relative)
    }

    /// The network namespace of the control plane and of host programs that act as clients.
    pub(super) fn control_network(&self) -> String {
        self.name.clone()
    }

    /// Whether a network namespace, or a control group below the root, is this cluster's.
    pub(super) fn owns(&self, name: &str) -> bool {
        name.strip_prefix(&self.name).is_some_and(|rest| rest.is_empty() || rest.starts_with("-node"))
    }

    pub(super) fn node_network(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.path("log").join(format!("{program}.log"))
    }

    pub(super) fn nodes(&self, count: usize) -> Vec<Node> {
        (1..=count).map(|index| Node { index, layout: self.clone() }).collect()
    }
}

/// One node's share of the layout.
#[derive(Debug, Clone)]
pub(super) struct Node {
    index: usize,
    layout: Layout,
}

impl Node {
    pub(super) fn name(&self) -> String {
        format!("node{}", self.index)
    }

    /// Network namespace and control group of the node.
    pub(super) fn global_name(&self) -> String {
        self.layout.node_network(&self.name())
    }

    pub(super) fn address(&self) -> String {
        format!("10.200.0.{}", 10 + self.index)
    }

    pub(super) fn pod_range(&self) -> String {
        format!("10.244.{}.0/24", self.index)
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.layout.path(&self.name()).join(relative)
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    pub(super) fn volume(&self, number: usize) -> PathBuf {
        self.path("volumes").join(format!("volume{number}"))
    }
}

/// The absolute path without symbolic links, of a folder that may not exist any more.
fn canonical(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    for ancestor in path.ancestors() {
        if let Ok(found) = fs::canonicalize(ancestor) {
            let rest = path.strip_prefix(ancestor).context("an ancestor is a prefix")?;
            // A path ending in a slash would be another name.
            return Ok(if rest.as_os_str().is_empty() { found } else { found.join(rest) });
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name_whether_it_exists_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("run");
        let before = Layout::of(&run_dir).unwrap();
        fs::create_dir(&run_dir).unwrap();
        let after = Layout::of(&folder.path().join("run/../run")).unwrap();
        assert_eq!(before.name, after.name);
        assert_ne!(before.name, Layout::of(folder.path()).unwrap().name);
    }

    #[test]
    fn a_cluster_owns_its_names_only() {
        let layout = Layout { run_dir: "/x".into(), name: "mainstay00".into() };
        assert!(layout.owns("mainstay00") && layout.owns("mainstay00-node2"));
        assert!(!layout.owns("mainstay001") && !layout.owns("other-node1"));
    }

    #[test]
    fn folders_that_cannot_work_are_refused() {
        assert!(Layout::of(Path::new("/tmp/with space")).is_err());
        assert!(Layout::of(Path::new(&format!("/tmp/{}", "x".repeat(80)))).is_err());
    }
}
