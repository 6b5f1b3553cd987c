//! Removing everything of a local cluster, whatever state it is in: processes, mounts, network namespaces, control
//! groups, files. Nothing is trusted that a crashed run may not have written: all is found by name.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup;
use super::daemon::{MARK, is_running};
use super::layout::Layout;
use crate::command;
use crate::progress;

const NETWORKS: &str = "/run/netns";

/// Where CNI plugins note what they did; libcni's default, which containerd gives no way to change.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// Whether anything of the cluster is there.
pub(super) fn is_needed(layout: &Layout) -> Result<bool> {
    Ok(layout.run_dir.exists()
        || !networks(layout).is_empty()
        || !cgroup::existing(layout)?.is_empty()
        || !processes(layout)?.is_empty())
}

/// Removes everything, and fails if anything stays.
pub(super) fn remove(layout: &Layout) -> Result<()> {
    kill_processes(layout)?;
    unmount(layout)?;
    for network in networks(layout) {
        command::output(
            Command::new("ip").args(["netns", "delete", &network]).env("PATH", command::search_path()),
        )?;
    }
    cgroup::remove(layout)?;
    remove_outside_files(layout);
    if layout.run_dir.exists() {
        fs::remove_dir_all(&layout.run_dir)
            .with_context(|| format!("remove {}", layout.run_dir.display()))?;
    }
    ensure!(!is_needed(layout)?, "something of the cluster in {} is still there", layout.run_dir.display());
    Ok(())
}

/// Ends every process at once, again and again until none is left: a shim that dies may just have started another
/// process.
fn kill_processes(layout: &Layout) -> Result<()> {
    progress::until("the cluster's processes to end", Duration::from_secs(30), || {
        let processes = processes(layout)?;
        for &pid in &processes {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("kill process {pid}")),
            }
        }
        Ok((!processes.is_empty()).then(|| format!("{processes:?} still run")))
    })?;
    Ok(())
}

/// A process is the cluster's if it is in one of its networks (its own programs, shims, clients), in one of its
/// control groups (containers) or marked as started by it (the half of the API's forwarder that is in neither).
fn processes(layout: &Layout) -> Result<Vec<Pid>> {
    let inodes: BTreeSet<u64> = networks(layout)
        .iter()
        .filter_map(|network| fs::metadata(Path::new(NETWORKS).join(network)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let mut mark = format!("{MARK}=").into_bytes();
    mark.extend_from_slice(layout.run_dir.as_os_str().as_bytes());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list the processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw)
        else {
            continue;
        };
        let process = entry.path();
        let in_network =
            || fs::metadata(process.join("ns/net")).is_ok_and(|network| inodes.contains(&network.ino()));
        let in_group =
            || fs::read_to_string(process.join("cgroup")).is_ok_and(|groups| in_groups(layout, &groups));
        let marked = || {
            fs::read(process.join("environ"))
                .is_ok_and(|variables| variables.split(|&byte| byte == 0).any(|variable| variable == mark))
        };
        // The kernel's own threads look like any process, but have no network of their own and no environment.
        if pid != Pid::this() && (in_network() || in_group() || marked()) && is_running(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Reads `/proc/<pid>/cgroup`: lines of `number:controllers:/path`.
fn in_groups(layout: &Layout, groups: &str) -> bool {
    groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter_map(|path| path.trim_start_matches('/').split('/').next())
        .any(|group| layout.owns(group))
}

fn networks(layout: &Layout) -> Vec<String> {
    let entries = fs::read_dir(NETWORKS).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| layout.owns(name))
        .collect()
}

/// Root file systems of containers, their networks, and volumes of pods.
fn unmount(layout: &Layout) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mounts").context("read the list of mounts")?;
    let mut folders: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|folder| folder.starts_with(&layout.run_dir))
        .collect();
    // The newest first: it may lie on an older one.
    folders.reverse();
    for folder in folders {
        match umount2(&folder, MntFlags::MNT_DETACH) {
            // Gone together with one that it lay on.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("unmount {}", folder.display())),
        }
    }
    Ok(())
}

/// What containerd, the CNI plugins and the kubelet leave in places of their own choice. It does no harm if it stays,
/// so nothing fails here.
fn remove_outside_files(layout: &Layout) {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for node in list(&layout.run_dir) {
        for task in list(&node.join("containerd-state/io.containerd.runtime.v2.task/k8s.io")) {
            if let Ok(address) = fs::read_to_string(task.join("address")) {
                let _ = fs::remove_file(address.trim().trim_start_matches("unix://"));
            }
            let container = task.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let _ = fs::remove_file(Path::new(CNI_RESULTS).join(format!("cni-loopback-{container}-lo")));
        }
    }
    for result in list(Path::new(CNI_RESULTS)) {
        let name = result.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(&format!("{}-node", layout.name)) {
            let _ = fs::remove_file(&result);
        }
    }
    for link in list(Path::new("/var/log/containers")) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(&layout.run_dir)) {
            let _ = fs::remove_file(&link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_recognised_by_their_control_group() {
        let layout = Layout { run_dir: "/x".into(), name: "mainstay00".into() };
        assert!(in_groups(&layout, "3:cpu:/\n2:memory:/mainstay00-node1/kubepods/pod1/abc\n"));
        assert!(in_groups(&layout, "0::/mainstay00-node2\n"));
        assert!(!in_groups(&layout, "3:cpu:/\n0::/user.slice/mainstay00-node1\n"));
    }

    #[test]
    fn this_process_belongs_to_no_cluster() {
        let layout = Layout::of(Path::new("/tmp/no-cluster-here")).unwrap();
        assert_eq!(processes(&layout).unwrap(), []);
        assert!(!is_needed(&layout).unwrap());
    }
}
