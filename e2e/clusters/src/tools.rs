//! The programs a cluster is made of: which are needed, where they are, and installing what is missing.

mod golang;
mod packages;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) use golang::GoProgram;
pub use golang::cache_folder;
pub(crate) use packages::{cni_plugins, ensure_local_packages};
pub use packages::{ensure_fault_packages, ensure_fuzz_packages};

/// Every Kubernetes program, etcd and kubectl in one binary.
const KUBERNETES: GoProgram = GoProgram {
    name: "kube",
    module: "kube",
    package: ".",
    link_flags: "-X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 \
                 -X k8s.io/component-base/version.gitMinor=34",
    shown: "Kubernetes v1.34.4",
    cost: "about 7 minutes",
};
const COREDNS: GoProgram = GoProgram {
    name: "coredns",
    module: "coredns",
    package: ".",
    link_flags: "",
    shown: "CoreDNS v1.14.7",
    cost: "about 2 minutes",
};
const HELM: GoProgram = GoProgram {
    name: "helm",
    module: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    link_flags: "",
    shown: "Helm v4.1.4",
    cost: "about 3 minutes",
};
const KIND: GoProgram = GoProgram {
    name: "kind",
    module: "kind",
    package: "sigs.k8s.io/kind",
    link_flags: "",
    shown: "kind v0.30.0",
    cost: "about 1 minute",
};
const PAUSE: GoProgram = GoProgram {
    name: "pause",
    module: "pause",
    package: ".",
    link_flags: "",
    shown: "the pause container's program",
    cost: "some seconds",
};

/// What both providers need to talk to a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClientTools {
    pub kubectl: PathBuf,
    pub helm: PathBuf,
}

impl ClientTools {
    /// The programs for the cluster we build ourselves: kubectl is part of it, so that its version fits.
    fn of_local(kubernetes: &Path) -> Result<Self> {
        Ok(Self { kubectl: kubectl_link(kubernetes)?, helm: HELM.ensure()? })
    }

    /// The programs for a kind cluster: what the machine has, and the rest built.
    pub(crate) fn for_kind() -> Result<Self> {
        let kubectl = match crate::command::find("kubectl") {
            Some(kubectl) => kubectl,
            None => kubectl_link(&KUBERNETES.ensure()?)?,
        };
        Ok(Self { kubectl, helm: helm()? })
    }
}

/// What the cluster we run ourselves is made of.
#[derive(Debug, Clone)]
pub(crate) struct LocalTools {
    pub kubernetes: PathBuf,
    pub coredns: PathBuf,
    pub pause: PathBuf,
    pub client: ClientTools,
}

impl LocalTools {
    /// Builds what is not in the cache.
    pub(crate) fn ensure() -> Result<Self> {
        let kubernetes = KUBERNETES.ensure()?;
        Ok(Self {
            client: ClientTools::of_local(&kubernetes)?,
            coredns: COREDNS.ensure()?,
            pause: PAUSE.ensure()?,
            kubernetes,
        })
    }
}

/// The helm program: the machine's, or built.
pub fn helm() -> Result<PathBuf> {
    match crate::command::find("helm") {
        Some(helm) => Ok(helm),
        None => HELM.ensure(),
    }
}

/// The kind program: the machine's, or built.
pub(crate) fn kind() -> Result<PathBuf> {
    match crate::command::find("kind") {
        Some(kind) => Ok(kind),
        None => KIND.ensure(),
    }
}

/// The multi-call binary chooses its program by the name it is called with.
fn kubectl_link(kubernetes: &Path) -> Result<PathBuf> {
    let link = kubernetes.with_file_name("kubectl");
    if fs::symlink_metadata(&link).is_err()
        && let Err(error) = symlink(kubernetes.file_name().context("the binary has a name")?, &link)
        // Another run may have made it in the meantime.
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).with_context(|| format!("link {}", link.display()));
    }
    Ok(link)
}
