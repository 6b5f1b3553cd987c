//! The file that says that the log is being refilled: what is in the log is then a part, and counts for nothing.

use bytes::{Buf, Bytes};
use mainstay_consensus::Membership;
use mainstay_storage::{LogBase, StateError, StateFile};

const FORMAT: u8 = 1;

/// A refill that was begun: where its log begins, and the membership that was in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) log_base: LogBase,
    /// `None` on a node that belonged to no group yet.
    pub(crate) membership: Option<Membership>,
}

/// The file `refill` in the data folder.
#[derive(Debug)]
pub(crate) struct Marker {
    file: StateFile,
    set: bool,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkerError {
    #[error(transparent)]
    File(#[from] StateError),
    #[error("its content makes no sense")]
    Nonsense,
}

impl Marker {
    /// The file, and the refill that it tells of.
    pub(crate) fn open(file: StateFile) -> Result<(Self, Option<Begun>), MarkerError> {
        let bytes = file.load()?.unwrap_or_default();
        let begun = match bytes.is_empty() {
            true => None,
            false => Some(decode(bytes.into()).ok_or(MarkerError::Nonsense)?),
        };
        Ok((Self { file, set: begun.is_some() }, begun))
    }

    pub(crate) fn set(&mut self, begun: &Begun) -> Result<(), StateError> {
        self.set = true;
        self.file.store(&encode(begun))
    }

    /// Once the log is whole again.
    pub(crate) fn clear(&mut self) -> Result<(), StateError> {
        if self.set {
            self.file.store(&[])?;
            self.set = false;
        }
        Ok(())
    }
}

pub(in crate::group) fn encode(begun: &Begun) -> Vec<u8> {
    let membership = begun.membership.as_ref().map(Membership::encode).unwrap_or_default();
    let mut bytes = vec![FORMAT];
    bytes.extend((membership.len() as u32).to_le_bytes());
    bytes.extend(&membership);
    bytes.extend(&begun.log_base.to_bytes());
    bytes
}

pub(in crate::group) fn decode(mut bytes: Bytes) -> Option<Begun> {
    if bytes.try_get_u8().ok()? != FORMAT {
        return None;
    }
    let length = bytes.try_get_u32_le().ok()? as usize;
    if bytes.len() < length {
        return None;
    }
    let membership = bytes.split_to(length);
    let membership = match membership.is_empty() {
        true => None,
        false => Some(Membership::decode(&membership).ok()?),
    };
    Some(Begun { log_base: LogBase::from_bytes(bytes)?, membership })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mainstay_consensus::Mode;
    use mainstay_record::NodeId;
    use mainstay_storage::{FileSystem, MemFileSystem};

    use super::*;

    fn open(fs: &Arc<dyn FileSystem>) -> Result<(Marker, Option<Begun>), MarkerError> {
        Marker::open(StateFile::open(Arc::clone(fs), "/refill").unwrap())
    }

    #[test]
    fn it_tells_what_was_begun_until_it_is_cleared() {
        let fs: Arc<dyn FileSystem> = Arc::new(MemFileSystem::new(1));
        let (mut marker, begun) = open(&fs).unwrap();
        assert_eq!(begun, None);
        let nodes = [1, 2].map(|raw| NodeId::new(raw).unwrap()).to_vec();
        for membership in [None, Some(Membership::new(3, Mode::Raft, nodes).unwrap())] {
            let begun = Begun { log_base: LogBase::default(), membership };
            marker.set(&begun).unwrap();
            assert_eq!(open(&fs).unwrap().1, Some(begun));
        }
        let (mut marker, _) = open(&fs).unwrap();
        marker.clear().unwrap();
        assert_eq!(open(&fs).unwrap().1, None);
        StateFile::open(Arc::clone(&fs), "/refill").unwrap().store(b"\x07nonsense").unwrap();
        assert!(matches!(open(&fs), Err(MarkerError::Nonsense)));
    }
}
