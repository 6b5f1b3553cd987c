//! Who a data folder belongs to: the node id that was made together with it, and the group it is of.

use mainstay_record::{GroupId, NodeId};
use mainstay_storage::{DataFolder, FileSystem, StateFile};

use super::disk::StartError;

const FILE: &str = "node";
const FORMAT: u8 = 1;
const FIXED_LEN: usize = 1 + 8 + 4;

/// Reads the identity, or makes one for a new folder. A folder of another cluster or group is refused.
pub(super) fn load_or_create(
    fs: &std::sync::Arc<dyn FileSystem>,
    folder: &DataFolder,
    cluster: &str,
    group: GroupId,
) -> Result<NodeId, StartError> {
    let mut file = StateFile::open(std::sync::Arc::clone(fs), folder.path().join(FILE))?;
    let problem = |problem: String| StartError::Folder { path: folder.path().to_owned(), problem };
    if let Some(bytes) = file.load()? {
        let (node, stored_group, stored_cluster) =
            decode(&bytes).ok_or_else(|| problem(format!("its file '{FILE}' cannot be understood")))?;
        if (stored_cluster, stored_group) != (cluster, group) {
            return Err(problem(format!(
                "belongs to cluster '{stored_cluster}' group {stored_group}, not to cluster '{cluster}' group {group}"
            )));
        }
        return Ok(node);
    }
    let log = folder.path().join("log");
    if fs.exists(&log).unwrap_or(true) {
        return Err(problem(format!("holds a log, but its file '{FILE}' is gone")));
    }
    let node = (0..16).find_map(|_| NodeId::new(fs.entropy()));
    let node = node.ok_or_else(|| problem("the system gives no random numbers".to_owned()))?;
    file.store(&encode(node, group, cluster))?;
    Ok(node)
}

pub(super) fn encode(node: NodeId, group: GroupId, cluster: &str) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&node.get().to_le_bytes());
    bytes.extend_from_slice(&group.0.to_le_bytes());
    bytes.extend_from_slice(cluster.as_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<(NodeId, GroupId, &str)> {
    let (fixed, cluster) = bytes.split_first_chunk::<FIXED_LEN>()?;
    let (format, rest) = fixed.split_first()?;
    let (node, group) = rest.split_first_chunk::<8>()?;
    let node = NodeId::new(u64::from_le_bytes(*node)).filter(|_| *format == FORMAT)?;
    let group = GroupId(u32::from_le_bytes(group.try_into().ok()?));
    Some((node, group, std::str::from_utf8(cluster).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_round_trips() {
        let node = NodeId::new(77).unwrap();
        let bytes = encode(node, GroupId(3), "orders");
        assert_eq!(decode(&bytes), Some((node, GroupId(3), "orders")));
        assert_eq!(decode(&bytes[..12]), None);
    }
}
