//! Newtypes of the log's vocabulary. Each is ordered the way the protocol compares it.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Identity of a replica, created once together with its volume. A replaced volume is another node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU64);

/// Text that is not an id of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a node id: expected 16 hexadecimal digits, not all zero")]
pub struct ParseIdError(String);

impl NodeId {
    /// `None` for zero, which stands for "no node" on the wire.
    pub const fn new(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let raw = if text.len() == 16 { u64::from_str_radix(text, 16).ok() } else { None };
        raw.and_then(Self::new).ok_or_else(|| ParseIdError(text.to_owned()))
    }
}

/// A broker group: a leader and its followers, with one log of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group whose log holds the metadata: topics, consumer groups, users.
    pub const METADATA: Self = Self(0);
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A reign of one leader. The candidate is part of it, since where one grant is enough two candidates can take the
/// same number and must still be two epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    pub number: u64,
    /// Raw node id of the candidate; zero only in [`Epoch::ZERO`].
    pub candidate: u64,
}

impl Epoch {
    /// Before any leader.
    pub const ZERO: Self = Self { number: 0, candidate: 0 };

    pub const fn new(number: u64, candidate: NodeId) -> Self {
        Self { number, candidate: candidate.get() }
    }

    pub const fn leader(self) -> Option<NodeId> {
        NodeId::new(self.candidate)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}", self.number, self.candidate)
    }
}

/// Number of a batch in its log: 1 for the first, no gaps. 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogIndex(pub u64);

/// Indexes, positions and numbers of epochs beyond this are nobody's: no log gets there. What claims them is refused where
/// it is read, so that whoever counts on from what was read needs no bound of its own.
pub const FARTHEST: u64 = 1 << 62;

impl LogIndex {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index before this one; zero stays zero.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes of all batches before this place in the log: the same on every replica, whatever its segments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition(pub u64);

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Epoch and index together name one batch for ever. Ordered as Raft compares logs: epoch first, then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    pub epoch: Epoch,
    pub index: LogIndex,
}

impl EntryId {
    /// Before the first batch.
    pub const ZERO: Self = Self { epoch: Epoch::ZERO, index: LogIndex::ZERO };

    /// Whether a log can get there, see [`FARTHEST`].
    pub const fn is_reachable(self) -> bool {
        self.index.0 <= FARTHEST && self.epoch.number <= FARTHEST
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.epoch)
    }
}

/// One record: the batch that holds it and its place within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub index: LogIndex,
    pub slot: u32,
}

/// Milliseconds since the Unix epoch, stamped by the leader. Within one log it never goes backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` until this; zero when `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
