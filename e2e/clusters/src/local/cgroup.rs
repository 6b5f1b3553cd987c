//! A control group for each node, in every hierarchy the machine has, below which its kubelet puts pods.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::layout::Layout;
use crate::progress;

const ROOT: &str = "/sys/fs/cgroup";

/// Whether the machine has the one hierarchy of version 2 in place of one for each controller.
pub(super) fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Creates the group of a node: a kubelet told of a group of its own expects it to be there.
pub(super) fn create(name: &str) -> Result<()> {
    if is_unified() {
        enable_controllers();
    }
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("create control group {}", group.display()))?;
        // A version 1 cpuset starts empty, and no process can enter an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if group.join(file).exists() && !is_unified() {
                let value =
                    fs::read_to_string(hierarchy.join(file)).with_context(|| format!("read {file}"))?;
                fs::write(group.join(file), value)
                    .with_context(|| format!("set {file} of {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// The cluster's groups that exist, in every hierarchy.
pub(super) fn existing(layout: &Layout) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies()? {
        let entries = fs::read_dir(&hierarchy).with_context(|| format!("list {}", hierarchy.display()))?;
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| layout.owns(name)) && entry.path().is_dir() {
                groups.push(entry.path());
            }
        }
    }
    Ok(groups)
}

/// Removes the cluster's groups; no process may be left in them.
pub(super) fn remove(layout: &Layout) -> Result<()> {
    // The kernel takes a moment to let go of a group whose last process has just ended.
    progress::until("the control groups to be removable", Duration::from_secs(20), || {
        let mut refused = None;
        for group in existing(layout)? {
            if let Err(error) = remove_tree(&group) {
                refused = Some(format!("{}: {error}", group.display()));
            }
        }
        Ok(refused)
    })?;
    Ok(())
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Controllers must be handed down from the root of a version 2 hierarchy one by one: a machine may lack some.
fn enable_controllers() {
    for controller in ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"] {
        let _ = fs::write(Path::new(ROOT).join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    if is_unified() {
        return Ok(vec![PathBuf::from(ROOT)]);
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the list of mounts")?;
    let folders: BTreeSet<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (folder, kind) = (fields.nth(1)?, fields.next()?);
            // Beside those of version 1 there may be one of version 2 without controllers; runc makes groups there too.
            (matches!(kind, "cgroup" | "cgroup2") && folder.starts_with(ROOT)).then(|| PathBuf::from(folder))
        })
        .collect();
    Ok(folders.into_iter().collect())
}
