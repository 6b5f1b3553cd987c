//! Snapshots of the state machine: taken now and then, so that a restart replays only the log behind the newest, and so
//! that the log's beginning may go.
//!
//! The state is frozen by sharing and written by another thread. What always holds: a snapshot is used only where the
//! log, at the snapshot's last entry, is the very log it was made of. In mode `async` a tail that was applied may be cut
//! later, and a snapshot of it stays behind as a file: such a one is passed over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_messaging::{Restore, State};
use mainstay_record::{EntryId, GroupId, LogIndex, LogPosition};
use mainstay_storage::{LogBase, Snapshot, SnapshotStore};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::driver::Driver;
use super::input::Input;

/// How long nothing is tried after a snapshot that could not be written.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What the driver knows of its snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    store: SnapshotStore,
    /// Bytes of applied log from one to the next.
    every: u64,
    /// Those that can be used, oldest first.
    usable: Vec<Snapshot>,
    /// There were some, at the start, of what the log does not have any more.
    overtaken: bool,
    /// One is being written.
    writing: bool,
    /// One is to be written, due or not.
    wanted: bool,
    /// None is begun before, since the last could not be written.
    retry_at: Option<Instant>,
    /// Counts the times the state was rolled back: what was begun before is of no use.
    rollbacks: u64,
    /// Where the driver hears that one is written.
    inputs: mpsc::WeakUnboundedSender<Input>,
}

/// A snapshot that another thread has written, or why it has not.
#[derive(Debug)]
pub(crate) struct Written {
    rollbacks: u64,
    result: Result<Snapshot, String>,
}

/// A state that came out of a snapshot, or the empty one.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) state: State,
    /// The last entry that is in it.
    pub(super) applied: EntryId,
    /// Where the log goes on behind that.
    pub(super) end: LogPosition,
}

impl Loaded {
    pub(super) fn nothing(group: GroupId, groups: u32) -> Self {
        Self { state: State::new(group, groups), applied: EntryId::ZERO, end: LogPosition(0) }
    }
}

/// Why the state cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "the log begins with batch {first}, and no intact snapshot through that or later is part of it: \
     the state before cannot be rebuilt"
)]
pub(super) struct NoState {
    first: LogIndex,
}

impl Snapshots {
    /// `entry` tells what the own log has at an index, and `first` where it begins.
    pub(super) fn open(
        store: SnapshotStore,
        every: u64,
        inputs: &mpsc::UnboundedSender<Input>,
        first: LogIndex,
        entry: impl Fn(LogIndex) -> Option<EntryId>,
    ) -> Result<Self, mainstay_storage::SnapshotError> {
        let mut usable = store.list()?;
        let beyond = |snapshot: &Snapshot| snapshot.base.last.index >= first.prev();
        usable.retain(beyond);
        let listed = usable.len();
        usable.retain(|snapshot| entry(snapshot.base.last.index) == Some(snapshot.base.last));
        let overtaken = usable.len() < listed;
        let (writing, wanted, retry_at, rollbacks) = (false, false, None, 0);
        let inputs = inputs.downgrade();
        Ok(Self { store, every, usable, overtaken, writing, wanted, retry_at, rollbacks, inputs })
    }

    pub(super) fn newest(&self) -> Option<LogIndex> {
        self.usable.last().map(|snapshot| snapshot.base.last.index)
    }

    /// Through where the log may go: an older snapshot than the newest stands for it, in case that one is damaged.
    pub(super) fn covers(&self) -> Option<LogIndex> {
        let older = self.usable.len().checked_sub(2)?;
        self.usable.get(older).map(|snapshot| snapshot.base.last.index)
    }

    /// Log that was applied since the newest.
    fn behind(&self, end: LogPosition) -> u64 {
        let covered = self.usable.last().map_or(LogPosition(0), |snapshot| snapshot.base.position);
        end.0.saturating_sub(covered.0)
    }

    /// The state of the newest usable snapshot of nothing behind `through`; where none is left, the empty one, if the log
    /// has its whole past. Reads the disk.
    pub(super) fn load(
        &mut self,
        through: LogIndex,
        first: LogIndex,
        (group, groups): (GroupId, u32),
    ) -> Result<Loaded, NoState> {
        self.usable.retain(|snapshot| snapshot.base.last.index <= through);
        while let Some(snapshot) = self.usable.last() {
            match restore(&self.store, snapshot, group, groups) {
                Ok(state) => {
                    let base = &snapshot.base;
                    return Ok(Loaded { state, applied: base.last, end: base.position });
                }
                Err(error) => {
                    warn!(%group, path = %snapshot.path.display(), error, "a snapshot is passed over");
                    self.usable.pop();
                }
            }
        }
        if first > LogIndex(1) {
            return Err(NoState { first });
        }
        Ok(Loaded::nothing(group, groups))
    }

    /// Whether a log was cut that had been longer, and that they were of.
    pub(super) const fn were_overtaken(&self) -> bool {
        self.overtaken
    }

    /// What stands for a log that is gone is of no use.
    pub(super) fn forget(&mut self) {
        self.usable.clear();
        self.rollbacks += 1;
    }

    /// Takes the snapshot of another replica for one's own.
    pub(super) fn adopt(&mut self, snapshot: Snapshot) {
        self.usable = vec![snapshot];
    }

    pub(super) fn usable_newest(&self) -> Option<Snapshot> {
        self.usable.last().cloned()
    }

    /// Somebody needs one.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn store(&self) -> SnapshotStore {
        self.store.clone()
    }

    pub(super) fn inputs(&self) -> mpsc::WeakUnboundedSender<Input> {
        self.inputs.clone()
    }

    fn finish(&mut self, written: Written) -> Option<Result<Snapshot, String>> {
        self.writing = false;
        (written.rollbacks == self.rollbacks).then_some(written.result)
    }
}

fn restore(store: &SnapshotStore, snapshot: &Snapshot, group: GroupId, groups: u32) -> Result<State, String> {
    let reader = store.reader(snapshot).map_err(|error| error.to_string())?;
    let mut restore = Restore::new(group, groups);
    for chunk in reader.chunks() {
        let chunk = chunk.map_err(|error| error.to_string())?;
        restore.feed(&chunk).map_err(|error| error.to_string())?;
    }
    restore.finish().map_err(|error| error.to_string())
}

/// Writes a frozen state. Blocks on the disk.
fn write(
    store: &SnapshotStore,
    base: LogBase,
    frozen: mainstay_messaging::Frozen,
) -> Result<Snapshot, String> {
    let mut writer = store.write(base).map_err(|error| error.to_string())?;
    for part in frozen.into_parts() {
        writer.write(&part).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())
}

impl Driver {
    /// Begins a snapshot when enough was applied since the last one, or when one would let part of the log go.
    pub(super) fn snapshot_when_due(&mut self, now: Instant) {
        if self.snapshots.writing
            || self.failed.is_some()
            || self.snapshots.retry_at.is_some_and(|retry_at| now < retry_at)
        {
            return;
        }
        let behind = self.snapshots.behind(self.applied_end);
        let due = (self.snapshots.wanted && self.applied > LogIndex::ZERO)
            || behind >= self.snapshots.every
            || (self.worth_a_snapshot(behind) && self.waits_for_snapshot());
        if !due {
            return;
        }
        // At once: a log that is cut meanwhile may have other batches at the same place by the time it is written.
        let base = match tokio::task::block_in_place(|| self.log.base_at(self.applied)) {
            Ok(base) => base,
            Err(error) => {
                self.snapshots.retry_at = Some(now + RETRY_AFTER);
                warn!(group = %self.identity.group, %error, "a snapshot could not be begun");
                return;
            }
        };
        (self.snapshots.writing, self.snapshots.wanted) = (true, false);
        let (frozen, store) = (self.state.freeze(), self.snapshots.store.clone());
        let (inputs, rollbacks) = (self.snapshots.inputs.clone(), self.snapshots.rollbacks);
        tokio::task::spawn_blocking(move || {
            let result = write(&store, base, frozen);
            if let Some(inputs) = inputs.upgrade() {
                let _ = inputs.send(Input::Snapshot(Written { rollbacks, result }));
            }
        });
    }

    /// Whether enough was applied for a snapshot that lets part of the log go. On a full disk anything is: nothing more may
    /// come before there is space.
    fn worth_a_snapshot(&self, behind: u64) -> bool {
        behind >= self.segment_bytes || (self.short_of_space && behind > 0)
    }

    pub(super) fn snapshot_written(&mut self, written: Written, now: Instant) {
        self.snapshots.retry_at = None;
        match self.snapshots.finish(written) {
            Some(Ok(snapshot)) => {
                let (through, bytes) = (snapshot.base.last, snapshot.file_bytes);
                info!(group = %self.identity.group, %through, bytes, "snapshot written");
                self.snapshots.usable.push(snapshot);
                // The store keeps no more.
                let old = self.snapshots.usable.len().saturating_sub(2);
                self.snapshots.usable.drain(..old);
                self.forget();
            }
            Some(Err(error)) => {
                self.snapshots.retry_at = Some(now + RETRY_AFTER);
                warn!(group = %self.identity.group, error, "a snapshot could not be written");
            }
            None => {}
        }
    }

    /// What was applied behind `through` is void: the state goes back to a snapshot before, or to the start.
    pub(super) fn rewind(&mut self, through: LogIndex) -> Result<(), String> {
        if self.applied <= through {
            return Ok(());
        }
        self.snapshots.rollbacks += 1;
        let loaded = match self.load_state(through) {
            Ok(loaded) => loaded,
            Err(error) if self.view.membership.members().len() > 1 => {
                warn!(group = %self.identity.group, %error, "the log is cut before what its snapshots are of: it begins anew");
                return self.begin_anew(&LogBase::default(), None, Instant::now());
            }
            Err(error) => return Err(error.to_string()),
        };
        self.take_state(loaded);
        self.publish_another_past();
        self.committed = self.committed.min(through);
        self.caught_up = false;
        Ok(())
    }

    /// The newest state of nothing behind `through` that the log goes on behind.
    pub(super) fn load_state(&mut self, through: LogIndex) -> Result<Loaded, NoState> {
        let (first, identity) = (self.log.first(), self.identity);
        let snapshots = &mut self.snapshots;
        tokio::task::block_in_place(|| snapshots.load(through, first, (identity.group, identity.groups)))
    }

    pub(super) fn take_state(&mut self, loaded: Loaded) {
        self.state = loaded.state;
        self.applied = loaded.applied.index;
        self.applied_end = loaded.end;
    }

    /// The metadata of a state that does not follow from the one before: its version may stand for something else.
    pub(super) fn publish_another_past(&self) {
        self.publisher.metadata.store(Arc::new(self.state.metadata()));
    }
}
