//! The file that says that the log is being refilled: what is in the log is then a part, and counts for nothing.

use bytes::{Buf, Bytes};
use mainstay_consensus::Membership;
use mainstay_storage::{LogBase, StateError, StateFile};

/// A refill that was begun: where its log begins, and the membership that was in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct Begun {
    pub(in crate::broker) log_base: LogBase,
    pub(in crate::broker) membership: Membership,
}

/// The file `refill` in the data folder.
#[derive(Debug)]
pub(in crate::broker) struct Marker {
    file: StateFile,
    set: bool,
}

impl Marker {
    /// The file, and the refill that it tells of.
    pub(in crate::broker) fn open(file: StateFile) -> Result<(Self, Option<Begun>), StateError> {
        let bytes = file.load()?.unwrap_or_default();
        let begun = decode(bytes.into());
        Ok((Self { file, set: begun.is_some() }, begun))
    }

    pub(in crate::broker) fn set(&mut self, begun: &Begun) -> Result<(), StateError> {
        self.set = true;
        let membership = begun.membership.encode();
        let mut bytes = (membership.len() as u32).to_le_bytes().to_vec();
        bytes.extend(&membership);
        bytes.extend(&begun.log_base.to_bytes());
        self.file.store(&bytes)
    }

    /// Once the log is whole again.
    pub(in crate::broker) fn clear(&mut self) -> Result<(), StateError> {
        if self.set {
            self.file.store(&[])?;
            self.set = false;
        }
        Ok(())
    }

    pub(in crate::broker) const fn is_set(&self) -> bool {
        self.set
    }
}

fn decode(mut bytes: Bytes) -> Option<Begun> {
    let length = bytes.try_get_u32_le().ok()? as usize;
    if bytes.len() < length {
        return None;
    }
    let membership = Membership::decode(&bytes.split_to(length)).ok()?;
    Some(Begun { membership, log_base: LogBase::from_bytes(bytes)? })
}
