//! PersistentVolumes: folders made in advance, each pinned to its node, and the default StorageClass that hands them
//! out. Unlike a provisioner's, `local` volumes honour `fsGroup`, so non-root pods can write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::layout::Node;

/// The manifests, as one list, for volumes numbered from 1 on every node.
pub(super) fn manifests(nodes: &[Node], per_node: usize, size: &str) -> Result<String> {
    let mut items = vec![json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        // The scheduler chooses the node first, then a volume there.
        "volumeBindingMode": "WaitForFirstConsumer",
    })];
    for node in nodes {
        for number in 1..=per_node {
            let folder = node.volume(number);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            items.push(volume(&node.name(), number, &folder, size));
        }
    }
    Ok(serde_json::to_string(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?)
}

fn volume(node: &str, number: usize, folder: &Path, size: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": format!("{node}-volume{number}")},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "volumeMode": "Filesystem",
            "local": {"path": folder},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{
                "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}],
            }]}},
        },
    })
}

/// Names and folders of the volumes whose claim is gone, from what `kubectl get pv --output json` says.
pub(super) fn released(list: &str) -> Result<Vec<(String, PathBuf)>> {
    let list: Value = serde_json::from_str(list).context("understand the list of volumes")?;
    let volumes = list["items"].as_array().into_iter().flatten();
    Ok(volumes
        .filter(|volume| matches!(volume["status"]["phase"].as_str(), Some("Released" | "Failed")))
        .filter_map(|volume| {
            let name = volume["metadata"]["name"].as_str()?;
            let folder = volume["spec"]["local"]["path"].as_str()?;
            Some((name.to_owned(), PathBuf::from(folder)))
        })
        .collect())
}

/// Empties a volume's folder. It is made anew, for owner and mode were set for the last pod that used it.
pub(super) fn wipe(folder: &Path, run_dir: &Path) -> Result<()> {
    ensure!(folder.starts_with(run_dir), "{} is not a folder of this cluster", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_volumes_without_claim_are_recycled() {
        let item = |name: &str, phase: &str| json!({"metadata": {"name": name}, "status": {"phase": phase}, "spec": {"local": {"path": "/x"}}});
        let list =
            json!({"items": [item("a", "Bound"), item("b", "Released"), item("c", "Available")]}).to_string();
        assert_eq!(released(&list).unwrap(), [("b".to_owned(), PathBuf::from("/x"))]);
    }

    #[test]
    fn nothing_outside_the_run_folder_is_wiped() {
        assert!(wipe(Path::new("/nowhere/else"), Path::new("/run/dir")).is_err());
    }
}
