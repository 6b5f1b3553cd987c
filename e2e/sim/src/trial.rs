//! A trial: one kind of group, one fault, and what that fault may cost. For the table of what each mode promises.

use crate::plan::{Bug, Kind};

/// When a replica's acknowledgement means that its disk has the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushType {
    /// An fdatasync every 200 ms.
    Async,
    /// Before it acknowledges.
    Sync,
}

/// The one thing that goes wrong, under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The leader's process; the page cache stays.
    ProcessKilled,
    /// The leader's machine, with what was not forced to its disk.
    PowerLostOneNode,
    PowerLostAllNodes,
    /// The leader's disk, for good.
    DiskLost,
    /// The leader reaches no other replica and no operator; one that is alone reaches no client.
    LeaderCutOff,
}

/// What was acknowledged and need not be in the log afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    /// What was acknowledged at most a flush interval and two fdatasyncs before the power went.
    FlushWindow,
    /// What the old leader had not shipped: it lies in a quarantine file.
    TailSetAside,
    /// Either of the two.
    FlushWindowAndTail,
    /// What lay on the lost disk only.
    TailWithDisk,
    /// All that was acknowledged before.
    Everything,
    /// Nothing; but nothing is acknowledged either while it lasts.
    Unavailable,
}

impl Loss {
    /// What was committed may be nowhere any more.
    pub(crate) const fn forgets(self) -> bool {
        matches!(self, Self::FlushWindow | Self::FlushWindowAndTail | Self::TailWithDisk | Self::Everything)
    }

    pub(crate) const fn sets_aside(self) -> bool {
        matches!(self, Self::TailSetAside | Self::FlushWindowAndTail)
    }
}

/// What to try.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    pub kind: Kind,
    pub flush: FlushType,
    pub blow: Blow,
    pub allowed: Loss,
    /// With this mistake planted.
    pub bug: Option<Bug>,
    /// Print every event.
    pub loud: bool,
}

/// What became of messages that were acknowledged, and of those that could not be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub acknowledged: u64,
    /// Not in the log, in a quarantine file.
    pub set_aside: u64,
    /// Nowhere.
    pub lost: u64,
    /// Acknowledged before the fault.
    pub before: u64,
    /// Sends that were begun while the fault lasted and had no acknowledgement when it ended.
    pub held_up: u64,
    /// Sends that were begun after the fault and were acknowledged.
    pub after: u64,
}

impl Account {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.set_aside += other.set_aside;
        self.lost += other.lost;
        self.before += other.before;
        self.held_up += other.held_up;
        self.after += other.after;
    }
}
