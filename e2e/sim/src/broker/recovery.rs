//! What a replica finds on its disk, and in which order it is believed: as the real server does it.
//!
//! What always holds: whatever is emptied here, because it cannot be used, is counted as lost before, durably.

use std::sync::Arc;

use mainstay_consensus::{HardState, LogSummary, Membership, MembershipError, Standing};
use mainstay_record::{Batch, EntryId, LogPosition};
use mainstay_storage::{
    DataFolder, FileSystem, LogBase, LogCore, LogOptions, MemFileSystem, Recovered, SnapshotStore, StateFile,
};

use super::refill::{Begun, Marker};
use super::snapshots::{Loaded, Snapshots};
use super::start::StartFailure;
use super::{Entries, GROUP, Scene};
use crate::plan::Bug;

/// Everything that is kept, open.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) folder: DataFolder,
    pub(super) log: LogCore,
    pub(super) recovered: Recovered,
    pub(super) snapshots: Snapshots,
    pub(super) loaded: Loaded,
    pub(super) marker: Marker,
    membership: Option<Membership>,
    pub(super) hard_state: StateFile,
    pub(super) hard: HardState,
    pub(super) standing_file: StateFile,
    pub(super) standing: Standing,
}

impl Volume {
    pub(super) fn open(
        fs: &MemFileSystem,
        folder: DataFolder,
        scene: &mut Scene<'_>,
    ) -> Result<Self, StartFailure> {
        let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
        let file = |name| StateFile::open(Arc::clone(&shared), folder.path().join(name));
        let (hard_state, standing_file) = (file("granted")?, file("standing")?);
        let (membership_file, marker_file) = (file("membership")?, file("refill")?);
        let mut standing_file = standing_file;
        let mut standing = load_standing(&standing_file)?;
        // Opening makes a log; whoever starts after this one must know what was there.
        if log_is_gone(fs, &folder) && scene.plan.bug != Some(Bug::LostLogUnnoticed) {
            standing = standing.after_loss();
            standing_file.store(&standing.encode())?;
        }
        let options = LogOptions {
            directory: folder.path().to_owned(),
            group: GROUP,
            segment_bytes: scene.plan.segment_bytes,
            flush: scene.plan.flush,
            cache_bytes: 0,
        };
        let (log, recovered) = LogCore::open(Arc::clone(&shared), &options)?;
        let hard = load_hard_state(&hard_state)?;
        let membership = load_membership(&membership_file, &recovered)?;
        let (marker, begun) = Marker::open(marker_file)?;
        let store = SnapshotStore::open(Arc::clone(&shared), folder.path(), GROUP)?;
        let entries = Entries::recovered(&recovered);
        let first = entries.base().next();
        let every = scene.plan.snapshot_every;
        let snapshots = Snapshots::open(store, every, first, |index| entries.get(index))?;
        let mut volume = Self {
            folder,
            log,
            recovered,
            snapshots,
            loaded: Loaded::nothing(),
            marker,
            membership,
            hard_state,
            hard,
            standing_file,
            standing,
        };
        let begun = volume.begin_refill_again(begun, scene)?;
        volume.load_state(begun, scene)?;
        if volume.recovered.incomplete {
            volume.count_loss()?;
        }
        Ok(volume)
    }

    /// A refill that was interrupted begins again with an empty log. Where the log is not the one that was to be filled,
    /// it was not emptied yet; the refill is returned then.
    fn begin_refill_again(
        &mut self,
        begun: Option<Begun>,
        scene: &mut Scene<'_>,
    ) -> Result<Option<Begun>, StartFailure> {
        let is_empty = self.recovered.last == EntryId::ZERO;
        match begun {
            Some(begun) if is_empty || begun.log_base.last == self.recovered.base.last => {
                self.give_up_refill(begun, scene)?;
                Ok(None)
            }
            begun => Ok(begun),
        }
    }

    /// The loss of the log was counted before the refill was noted, unless there was nothing to lose.
    fn give_up_refill(&mut self, begun: Begun, scene: &mut Scene<'_>) -> Result<(), StartFailure> {
        scene.oracle.figures.refills_cut += 1;
        let counted = scene.plan.bug == Some(Bug::RefillWithoutLoss);
        if self.standing.caught_up && self.recovered.last != EntryId::ZERO && !counted {
            self.count_emptied()?;
        }
        self.membership = Some(begun.membership);
        self.empty_log()
    }

    /// The state of the newest snapshot that the log goes on behind; only the rest of the log is applied again. A refill
    /// that was `begun`, and had not emptied the log yet, is forgotten then. Without a snapshot, the log is what an
    /// earlier refill left behind.
    fn load_state(&mut self, begun: Option<Begun>, scene: &mut Scene<'_>) -> Result<(), StartFailure> {
        let first = self.recovered.base.last.index.next();
        match (self.snapshots.load(self.recovered.last.index, first), begun) {
            (Ok(loaded), begun) => {
                if begun.is_some() {
                    self.marker.clear()?;
                }
                self.loaded = loaded;
            }
            (Err(_), Some(begun)) => self.give_up_refill(begun, scene)?,
            (Err(why), None) => self.give_up_log(why, scene)?,
        }
        Ok(())
    }

    /// A log that was cut before its oldest snapshot is of no use: the leader that had it cut has everything.
    fn give_up_log(&mut self, why: String, scene: &mut Scene<'_>) -> Result<(), StartFailure> {
        let others = self.membership.clone().filter(|membership| membership.members().len() > 1);
        let Some(membership) = others.filter(|_| self.snapshots.were_overtaken()) else {
            return Err(StartFailure::NoState(why));
        };
        scene.oracle.figures.begun_anew += 1;
        self.count_emptied()?;
        self.marker.set(&Begun { log_base: LogBase::default(), membership })?;
        self.empty_log()
    }

    /// Before a log is emptied that may hold what this replica acknowledged.
    fn count_emptied(&mut self) -> Result<(), StartFailure> {
        self.hard.granted = self.hard.granted.max(self.recovered.last.epoch);
        self.hard_state.store(&self.hard.encode())?;
        self.note_loss()
    }

    fn empty_log(&mut self) -> Result<(), StartFailure> {
        let restarted = self.log.restart_at(LogBase::default(), None);
        restarted.map_err(|error| StartFailure::Io(error.to_string()))?;
        self.snapshots.forget();
        let recovered = &mut self.recovered;
        recovered.base = LogBase::default();
        (recovered.last, recovered.end) = (EntryId::ZERO, LogPosition(0));
        recovered.epochs.clear();
        recovered.memberships.clear();
        Ok(())
    }

    /// One replica by itself has nobody to catch up with: what flush Async lost is lost.
    fn count_loss(&mut self) -> Result<(), StartFailure> {
        if self.membership.as_ref().is_none_or(|membership| membership.members().len() == 1) {
            let noted = self.log.set_complete();
            return noted.map_err(|error| StartFailure::Io(error.to_string()));
        }
        self.note_loss()
    }

    fn note_loss(&mut self) -> Result<(), StartFailure> {
        self.standing = self.standing.after_loss();
        Ok(self.standing_file.store(&self.standing.encode())?)
    }

    pub(super) fn summary(&self) -> Result<LogSummary, StartFailure> {
        let Some(membership) = self.membership.clone() else {
            return Err(StartFailure::Refused("there is no membership".to_owned()));
        };
        let said = |batch: &Batch| Some((batch.index(), Membership::decode(&batch.record(0)?).ok()?));
        let recovered = &self.recovered;
        Ok(LogSummary {
            base: recovered.base.last,
            last: recovered.last,
            epochs: recovered.epochs.iter().map(|start| (start.epoch, start.first)).collect(),
            membership,
            memberships: recovered.memberships.iter().filter_map(said).collect(),
            adopted: None,
            standing: self.standing,
        })
    }
}

/// Whether a folder that belonged to a group has no log any more. To be asked before the log is opened, which makes one.
fn log_is_gone(fs: &MemFileSystem, folder: &DataFolder) -> bool {
    let exists = |name: &str| fs.exists(&folder.path().join(name)).unwrap_or(false);
    exists("membership") && !exists("log/mark")
}

fn load_hard_state(file: &StateFile) -> Result<HardState, StartFailure> {
    let Some(bytes) = file.load()? else { return Ok(HardState::default()) };
    HardState::decode(&bytes).map_err(|error| StartFailure::Refused(error.to_string()))
}

fn load_standing(file: &StateFile) -> Result<Standing, StartFailure> {
    let Some(bytes) = file.load()? else { return Ok(Standing::default()) };
    Standing::decode(&bytes).map_err(|error| StartFailure::Refused(error.to_string()))
}

/// The log's newest membership counts; before it has one, the one that was agreed on.
fn load_membership(file: &StateFile, recovered: &Recovered) -> Result<Option<Membership>, StartFailure> {
    let refused = |error: MembershipError| StartFailure::Refused(error.to_string());
    let from_log = recovered.memberships.last().and_then(|batch| batch.record(0));
    let bytes = match (from_log, file.load()?) {
        (Some(record), _) => record.to_vec(),
        (None, Some(bytes)) => bytes,
        (None, None) => return Ok(None),
    };
    Membership::decode(&bytes).map(Some).map_err(refused)
}
