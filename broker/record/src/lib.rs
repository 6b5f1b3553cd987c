//! The record batch: the unit that a log stores and that replicas exchange, byte for byte the same.
//!
//! This crate owns the vocabulary of the log (who wrote an entry, in which epoch, where it stands) and the one
//! binary format. It knows no file, no network, no topic. What always holds: a [`Batch`] that exists in memory has
//! a verified checksum over all of its bytes.

mod batch;
mod ids;

pub use batch::{
    BATCH_MAGIC, Batch, BatchBuilder, BatchError, BatchHeader, BatchKind, HEADER_LEN, MAX_BATCH_BYTES,
    Records,
};
pub use ids::{
    EntryId, Epoch, FARTHEST, GroupId, LogIndex, LogPosition, NodeId, ParseIdError, RecordId, Timestamp,
};
