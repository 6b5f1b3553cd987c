//! Everything happens in network, mount and process namespaces of this run's own.
//!
//! The program starts itself again inside of them. When either half ends, however it ends, the kernel ends every
//! process inside, takes the mounts away and drops the networks: nothing is left behind, and nothing else is touched.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::unistd::Uid;

/// Tells the inner half that it is the inner half.
const INSIDE: &str = "MAINSTAY_FAULTS_INSIDE";

/// Where `ip netns` keeps its names.
pub(crate) const NETWORKS: &str = "/run/netns";

/// Programs that are called, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
];

/// Whether this process is inside already.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some() && std::process::id() == 1
}

/// Runs this program again, inside, with the same arguments, and gives its exit code.
pub(crate) fn enter(arguments: impl IntoIterator<Item = OsString>) -> Result<u8> {
    check_machine()?;
    let own = std::env::current_exe().context("find this program")?;
    // A process that is killed cannot tidy up: so the kernel kills setpriv's successor with this one, and all with that.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"])
        .arg(own)
        .args(arguments)
        .env("PATH", search_path())
        .env(INSIDE, "1")
        .status()
        .context("start setpriv")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn check_machine() -> Result<()> {
    if !Uid::effective().is_root() {
        bail!("these tests make network namespaces and mount FUSE file systems: run them as root");
    }
    if !Path::new("/dev/fuse").exists() {
        bail!("there is no /dev/fuse: the kernel has no FUSE, or the container was not given the device");
    }
    let path = search_path();
    let found = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        bail!("programs are missing; install the packages that Debian calls: {}", missing.join(" "));
    }
    Ok(())
}

/// The places where system programs are, whatever the caller's PATH says.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// First thing inside: names of networks that nobody outside sees.
pub(crate) fn settle() -> Result<()> {
    std::fs::create_dir_all(NETWORKS).with_context(|| format!("create {NETWORKS}"))?;
    mount(Some("tmpfs"), NETWORKS, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount a tmpfs on {NETWORKS}"))
}
