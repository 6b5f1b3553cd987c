//! Skeleton.

/// A disk in memory that forgets what was not synced.
#[derive(Debug)]
pub struct MemFileSystem;
