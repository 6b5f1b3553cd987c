//! Snapshots of the state machine, as the real driver takes and uses them; writing one takes simulated time.
//!
//! What always holds: a snapshot is used only where the log, at the snapshot's last entry, is the very log it was made
//! of.

use std::time::Duration;

use mainstay_consensus::Moment;
use mainstay_messaging::{Frozen, Restore, State};
use mainstay_record::{EntryId, LogIndex, LogPosition};
use mainstay_storage::{LogBase, Snapshot, SnapshotStore};

use super::{Broker, Effect, GROUP, Scene};

/// How long nothing is tried after a snapshot that could not be written.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A frozen state on its way to the disk.
#[derive(Debug)]
struct Writing {
    frozen: Frozen,
    base: LogBase,
    rollbacks: u64,
}

#[derive(Debug)]
pub(super) struct Snapshots {
    store: SnapshotStore,
    /// Bytes of applied log from one to the next.
    every: u64,
    /// Those that can be used, oldest first.
    usable: Vec<Snapshot>,
    /// There were some, at the start, of what the log does not have any more.
    overtaken: bool,
    writing: Option<Writing>,
    wanted: bool,
    retry_at: Moment,
    /// Counts the times the state was rolled back: what was begun before is of no use.
    rollbacks: u64,
}

/// A state that came out of a snapshot, or the empty one.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) applied: EntryId,
    pub(super) end: LogPosition,
}

impl Loaded {
    pub(super) fn nothing() -> Self {
        Self { state: State::new(GROUP, 1), applied: EntryId::ZERO, end: LogPosition(0) }
    }
}

impl Snapshots {
    /// `entry` tells what the own log has at an index, and `first` where it begins.
    pub(super) fn open(
        store: SnapshotStore,
        every: u64,
        first: LogIndex,
        entry: impl Fn(LogIndex) -> Option<EntryId>,
    ) -> Result<Self, mainstay_storage::SnapshotError> {
        let mut usable = store.list()?;
        usable.retain(|snapshot| snapshot.base.last.index >= first.prev());
        let listed = usable.len();
        usable.retain(|snapshot| entry(snapshot.base.last.index) == Some(snapshot.base.last));
        let (overtaken, retry_at) = (usable.len() < listed, Moment(Duration::ZERO));
        Ok(Self { store, every, usable, overtaken, writing: None, wanted: false, retry_at, rollbacks: 0 })
    }

    /// Through where the log may go: an older snapshot than the newest stands for it, in case that one is damaged.
    pub(super) fn covers(&self) -> Option<LogIndex> {
        let older = self.usable.len().checked_sub(2)?;
        self.usable.get(older).map(|snapshot| snapshot.base.last.index)
    }

    fn behind(&self, end: LogPosition) -> u64 {
        let covered = self.usable.last().map_or(LogPosition(0), |snapshot| snapshot.base.position);
        end.0.saturating_sub(covered.0)
    }

    /// The state of the newest usable snapshot of nothing behind `through`; the empty one where none is left and the
    /// log has its whole past.
    pub(super) fn load(&mut self, through: LogIndex, first: LogIndex) -> Result<Loaded, String> {
        self.usable.retain(|snapshot| snapshot.base.last.index <= through);
        while let Some(snapshot) = self.usable.last() {
            match restore(&self.store, snapshot) {
                Ok(state) => {
                    let base = &snapshot.base;
                    return Ok(Loaded { state, applied: base.last, end: base.position });
                }
                Err(_) => drop(self.usable.pop()),
            }
        }
        if first > LogIndex(1) {
            return Err(format!("the log begins with batch {first}, and no intact snapshot reaches it"));
        }
        Ok(Loaded::nothing())
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

    pub(super) fn newest(&self) -> Option<&Snapshot> {
        self.usable.last()
    }

    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) const fn store(&self) -> &SnapshotStore {
        &self.store
    }
}

fn restore(store: &SnapshotStore, snapshot: &Snapshot) -> Result<State, String> {
    let reader = store.reader(snapshot).map_err(|error| error.to_string())?;
    let mut restore = Restore::new(GROUP, 1);
    for chunk in reader.chunks() {
        let chunk = chunk.map_err(|error| error.to_string())?;
        restore.feed(&chunk).map_err(|error| error.to_string())?;
    }
    restore.finish().map_err(|error| error.to_string())
}

fn write(store: &SnapshotStore, base: LogBase, frozen: Frozen) -> Result<Snapshot, String> {
    let mut writer = store.write(base).map_err(|error| error.to_string())?;
    for part in frozen.into_parts() {
        writer.write(&part).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())
}

impl Broker {
    /// Begins a snapshot when enough was applied since the last one, or when one would let part of the log go.
    pub(super) fn snapshot_when_due(&mut self, scene: &mut Scene<'_>) {
        let snapshots = &self.snapshots;
        if snapshots.writing.is_some() || self.failed.is_some() || scene.now < snapshots.retry_at {
            return;
        }
        let behind = snapshots.behind(self.applied_end);
        let due = (snapshots.wanted && self.applied > LogIndex::ZERO)
            || behind >= snapshots.every
            || (behind >= scene.plan.segment_bytes && self.waits_for_snapshot());
        let Some(disk) = self.disk.as_ref().filter(|_| due) else { return };
        match disk.base_at(self.applied) {
            Ok(base) => {
                let (frozen, rollbacks) = (self.state.freeze(), self.snapshots.rollbacks);
                self.snapshots.wanted = false;
                self.snapshots.writing = Some(Writing { frozen, base, rollbacks });
                scene.effects.push(Effect::WriteSnapshot);
            }
            Err(_) => self.snapshots.retry_at = scene.now.plus(RETRY_AFTER),
        }
    }

    /// The time that writing takes is over.
    pub(super) fn snapshot_due(&mut self, scene: &mut Scene<'_>) {
        let Some(Writing { frozen, base, rollbacks }) = self.snapshots.writing.take() else { return };
        self.snapshots.retry_at = Moment(Duration::ZERO);
        let written = write(&self.snapshots.store, base, frozen);
        if rollbacks != self.snapshots.rollbacks {
            return;
        }
        match written {
            Ok(snapshot) => {
                scene.oracle.figures.snapshots += 1;
                self.snapshots.usable.push(snapshot);
                // The store keeps no more.
                let old = self.snapshots.usable.len().saturating_sub(2);
                self.snapshots.usable.drain(..old);
                self.forget_segments(scene);
            }
            Err(_) => self.snapshots.retry_at = scene.now.plus(RETRY_AFTER),
        }
    }

    /// What was applied behind `through` is void: the state goes back to a snapshot before, or to the start.
    pub(super) fn rewind(&mut self, through: LogIndex, scene: &mut Scene<'_>) -> Result<(), String> {
        if self.applied <= through {
            return Ok(());
        }
        scene.oracle.figures.rewinds += 1;
        self.snapshots.rollbacks += 1;
        let loaded = match self.snapshots.load(through, self.entries.base().next()) {
            Ok(loaded) => loaded,
            // The log is cut before what its snapshots are of.
            Err(_) if self.view.membership.members().len() > 1 => {
                scene.oracle.figures.begun_anew += 1;
                return self.begin_anew(&LogBase::default(), None, scene);
            }
            Err(why) => return Err(why),
        };
        self.state = loaded.state;
        self.applied = loaded.applied.index;
        self.applied_end = loaded.end;
        self.committed = self.committed.min(through);
        self.caught_up = false;
        Ok(())
    }
}
