//! The whole state as bytes, and back.
//!
//! [`State::freeze`] shares what the state is made of and copies next to nothing, so that the log can be applied on
//! while another thread turns the [`Frozen`] state into parts of about 1 MiB. [`Restore`] takes the parts, cut or
//! joined anywhere, and checks everything it is given: a state comes out whole and consistent, or not at all.
//!
//! Equal states give equal bytes: what is kept in maps is written in the order of its names or revisions. What can
//! be derived is left out.
//!
//! [`State::freeze`]: crate::State::freeze

mod frame;
mod freeze;
mod item;
mod pending;
mod restore;
#[cfg(test)]
mod tests;

pub use freeze::{Frozen, Parts};
pub use restore::Restore;

use mainstay_record::GroupId;

use crate::wire::DecodeError;

/// Why bytes are no snapshot that this version can restore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("no part of a snapshot begins here")]
    NotASnapshot,
    #[error("snapshot format {0} is unknown")]
    UnknownVersion(u8),
    #[error("part {part} of the snapshot has {length} bytes, more than any part can have")]
    TooLong { part: u32, length: u32 },
    #[error("part {found} of the snapshot came where part {expected} was due")]
    OutOfOrder { expected: u32, found: u32 },
    #[error("part {part} of the snapshot is damaged: checksum is {found:08x}, the bytes give {computed:08x}")]
    BadChecksum { part: u32, found: u32, computed: u32 },
    #[error(
        "the snapshot is of broker group {} of {groups}, expected {} of {expected_groups}",
        .group.0, .expected.0
    )]
    OtherGroup { group: GroupId, groups: u32, expected: GroupId, expected_groups: u32 },
    #[error("the snapshot's {item} ends within its {field}")]
    Truncated { item: &'static str, field: &'static str },
    #[error("the snapshot's {item} has an illegal {field}")]
    Invalid { item: &'static str, field: &'static str },
    #[error("the snapshot has an item of unknown kind {0}")]
    UnknownItem(u8),
    #[error("the snapshot has a {item} where none may stand")]
    Misplaced { item: &'static str },
    #[error("the snapshot has no end")]
    Incomplete,
    #[error("{0} bytes follow the end of the snapshot")]
    Trailing(usize),
}

impl SnapshotError {
    fn of_item(item: &'static str, error: &DecodeError) -> Self {
        match error {
            DecodeError::Truncated(field) => Self::Truncated { item, field },
            DecodeError::Invalid(field) => Self::Invalid { item, field },
            DecodeError::UnknownVersion(_) | DecodeError::UnknownCommand(_) | DecodeError::Trailing(_) => {
                Self::Invalid { item, field: "form" }
            }
        }
    }
}
