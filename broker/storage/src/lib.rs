//! The log of a broker group on disk, and the small files beside it.
//!
//! This crate owns how bytes become durable: segments, group commit, recovery, truncation, quarantine, small state
//! files and the lock of the data folder. It knows batches, but no topic, no network and no async runtime.
//!
//! What always holds:
//! - What was reported durable was covered by an fdatasync that succeeded, and survives a power cut.
//! - A failed write or fdatasync is final for the log: nothing is retried, nothing more is acknowledged.
//! - Recovery returns a prefix of what was written. It cuts what never became durable, and refuses everything else
//!   that is not as it was written.

mod base;
mod chain;
mod core;
mod data_folder;
mod error;
mod fields;
mod fs;
mod index;
pub mod inspect;
mod log;
mod mark;
mod metrics;
mod options;
mod quarantine;
mod recovery;
mod segment;
mod set_aside;
mod snapshot;
mod space;
mod spare;
mod state_file;
mod stopped;
mod view;
mod window;
mod writer;

pub use base::LogBase;
pub use chain::EpochStart;
pub use core::{LogCore, TailFate};
pub use data_folder::DataFolder;
pub use error::{Damage, FolderError, IoFailure, LogError, OpenError, ReadError, RepairError, StateError};
pub use fs::{File, FileLock, FileSystem, MemFileSystem, Operation, RealFileSystem, Unsynced};
pub use index::{Scrubbed, SegmentInfo};
pub use log::Log;
pub use metrics::LogMetrics;
pub use options::{Flush, LogOptions};
pub use quarantine::QuarantineFile;
pub use recovery::{Recovered, TornTail};
pub use set_aside::{SetAside, set_aside_damage};
pub use snapshot::{
    Snapshot, SnapshotChunks, SnapshotError, SnapshotReader, SnapshotReceiver, SnapshotStore, SnapshotWriter,
};
pub use space::Space;
pub use state_file::StateFile;
pub use stopped::Stopped;
pub use writer::LogEvent;
