//! Programs that come from the machine's packages: container runtime, CNI plugins and network tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::progress::Step;

/// A program the local cluster calls, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 14] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    // The portmap plugin and the kubelet call iptables, kube-proxy calls nft.
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    // Carries the API server's port out of its network namespace.
    ("socat", "socat"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("mount", "mount"),
    ("umount", "mount"),
];

/// Where distributions put the CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// The folder of the CNI plugins.
pub(crate) fn cni_plugins() -> Option<PathBuf> {
    CNI_FOLDERS.iter().map(PathBuf::from).find(|folder| folder.join("bridge").is_file())
}

/// What the fault tests call.
const FOR_FAULTS: [(&str, &str); 7] = [
    ("faketime", "faketime"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
];

/// Installs the packages the local cluster needs, or says which are missing where that is not ours to do.
pub(crate) fn ensure_local_packages() -> Result<()> {
    ensure("the local Kubernetes needs", missing_packages)
}

/// The same for what `mainstay-faults` calls.
///
/// # Errors
/// When something is missing and cannot be installed; it names the packages.
pub fn ensure_fault_packages() -> Result<()> {
    ensure("the fault tests need", || missing_of(&FOR_FAULTS))
}

/// The same for what the fuzz targets are built and run with: libFuzzer comes as C++, and their memory is bounded.
///
/// # Errors
/// When something is missing and cannot be installed; it names the packages.
pub fn ensure_fuzz_packages() -> Result<()> {
    ensure("libFuzzer needs", || missing_of(&[("c++", "g++"), ("prlimit", "util-linux")]))
}

fn ensure(who_needs: &str, missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let debian = Path::new("/etc/debian_version").exists() && command::find("apt-get").is_some();
    if !debian || !nix::unistd::Uid::effective().is_root() {
        bail!(
            "{who_needs} programs this machine lacks. Install the packages that Debian calls: {list}\n\
             (on Debian or Ubuntu: sudo apt-get install {list}), or run this as root there and they are installed"
        );
    }
    install(&packages).with_context(|| format!("install {list}"))?;
    let still_missing = missing();
    if !still_missing.is_empty() {
        bail!("installed {list}, but programs of these are still not found: {}", still_missing.join(" "));
    }
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing = missing_of(&PROGRAMS);
    if cni_plugins().is_none() {
        missing.push(CNI_PACKAGE);
    }
    missing
}

fn missing_of(programs: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let mut missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|&(_, package)| package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn install(packages: &[&str]) -> Result<()> {
    let step =
        Step::start(format!("installing {}", packages.join(" ")), "Debian packages, about half a minute");
    command::output(apt_get().arg("update"))?;
    command::output(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    // The package starts a containerd of the system's own under systemd. Nobody asked for one: we run ours, one per
    // node, from a folder of their own.
    if packages.contains(&"containerd") && Path::new("/run/systemd/system").exists() {
        command::output(Command::new("systemctl").args(["disable", "--now", "containerd.service"]))?;
    }
    step.done();
    Ok(())
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    // Another apt may be at work on the machine: wait for it rather than fail.
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]);
    apt_get
}
