//! What a replica finds on its disk, and in which order it is believed.
//!
//! What always holds: whatever is emptied here, because it cannot be used, is counted as lost before, durably, so that
//! this replica elects nobody until it has caught up. Nothing is emptied where no other replica has it.

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_consensus::{HardState, HardStateError, Membership, MembershipError, Standing, StandingError};
use mainstay_record::{Batch, EntryId, LogIndex, LogPosition};
use mainstay_storage::{
    DataFolder, FileSystem, Flush, FolderError, Log, LogBase, LogOptions, OpenError, Recovered,
    SnapshotError, SnapshotStore, StateError, StateFile,
};
use tokio::sync::mpsc;

use super::input::Input;
use super::loss;
use super::refill::{Begun, Marker};
use super::snapshots::{Loaded, NoState, Snapshots};
use crate::config::{Config, FlushType};

/// Why a replica cannot start. Nothing was changed, except what recovery completes.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    DataFolder(#[from] FolderError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error("data folder {}: {problem}", path.display())]
    Folder { path: PathBuf, problem: String },
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    #[error("{}: {source}", path.display())]
    HardState { path: PathBuf, source: HardStateError },
    #[error("{}: {source}", path.display())]
    Standing { path: PathBuf, source: StandingError },
    #[error("{}: {source}", path.display())]
    Membership { path: PathBuf, source: MembershipError },
}

/// Everything that is kept, open.
pub(super) struct Disk {
    pub(super) folder: DataFolder,
    pub(super) log: Log,
    /// How often it was to start over, without having told yet that it has.
    pub(super) restarts: u64,
    pub(super) recovered: Recovered,
    pub(super) snapshots: Snapshots,
    pub(super) loaded: Loaded,
    /// Says whether the log is being refilled.
    pub(super) marker: Marker,
    pub(super) membership_file: StateFile,
    /// The newest membership that is known; `None` before the group began.
    pub(super) membership: Option<Membership>,
    /// The newest membership that the operator named.
    pub(super) adopted_file: StateFile,
    pub(super) adopted: Option<Membership>,
    pub(super) hard_state_file: StateFile,
    pub(super) hard: HardState,
    pub(super) standing_file: StateFile,
    pub(super) standing: Standing,
}

impl Disk {
    /// Blocks on the disk. The log's events go to `inputs`.
    pub(super) fn open(
        config: &Config,
        fs: &Arc<dyn FileSystem>,
        folder: DataFolder,
        inputs: &mpsc::UnboundedSender<Input>,
    ) -> Result<Self, StartError> {
        let file = |name| StateFile::open(Arc::clone(fs), folder.path().join(name));
        let (hard_state_file, mut standing_file) = (file("granted")?, file("standing")?);
        let (membership_file, marker_file) = (file("membership")?, file("refill")?);
        let adopted_file = file("adopted")?;
        let mut standing = load_standing(&standing_file, &folder)?;
        if loss::log_is_gone(&**fs, &folder) && !is_alone(&membership_file, &folder)? {
            standing = loss::note(&mut standing_file, standing)?;
        }
        let (log, recovered) = open_log(config, fs, &folder, inputs.clone())?;
        let hard = load_hard_state(&hard_state_file, &folder)?;
        let membership = load_membership(&membership_file, &recovered, &folder)?;
        let adopted = adopted_file.load()?;
        let adopted = adopted.map(|bytes| decode_membership(&bytes, &folder, "adopted")).transpose()?;
        let (marker, begun) = Marker::open(marker_file).map_err(|error| StartError::Folder {
            path: folder.path().join("refill"),
            problem: error.to_string(),
        })?;
        let snapshots = open_snapshots(config, fs, &folder, &recovered, inputs)?;
        let loaded = Loaded::nothing(config.group, config.groups.len() as u32);
        let mut disk = Self {
            folder,
            log,
            restarts: 0,
            recovered,
            snapshots,
            loaded,
            marker,
            membership_file,
            membership,
            adopted_file,
            adopted,
            hard_state_file,
            hard,
            standing_file,
            standing,
        };
        let begun = disk.begin_refill_again(begun)?;
        disk.load_state(config, begun)?;
        if disk.recovered.incomplete {
            let membership = disk.membership.as_ref();
            disk.standing = loss::count(&mut disk.standing_file, disk.standing, membership, &disk.log)?;
        }
        Ok(disk)
    }

    /// A refill that was interrupted begins again with an empty log. Where the log is not the one that was to be filled,
    /// it was not emptied yet; the refill is returned then.
    fn begin_refill_again(&mut self, begun: Option<Begun>) -> Result<Option<Begun>, StartError> {
        let Some(begun) = begun else { return Ok(None) };
        let is_empty = self.recovered.last == EntryId::ZERO;
        if !is_empty && begun.log_base.last != self.recovered.base.last {
            return Ok(Some(begun));
        }
        self.give_up_refill(begun)?;
        Ok(None)
    }

    /// The loss of the log was counted before the refill was noted, unless there was nothing to lose. What is in the log
    /// of a replica in good standing does not tell which it is of the two.
    fn give_up_refill(&mut self, begun: Begun) -> Result<(), StartError> {
        tracing::warn!("the log was being taken over from the leader, which begins again");
        if self.standing.caught_up && self.recovered.last != EntryId::ZERO {
            self.count_emptied()?;
        }
        self.membership = begun.membership;
        self.empty_log();
        Ok(())
    }

    /// Before a log is emptied that may hold what this replica acknowledged. The log proves what was granted, too.
    fn count_emptied(&mut self) -> Result<(), StartError> {
        self.hard.granted = self.hard.granted.max(self.recovered.last.epoch);
        self.hard_state_file.store(&self.hard.encode())?;
        self.standing = loss::note(&mut self.standing_file, self.standing)?;
        Ok(())
    }

    /// The state of the newest snapshot that the log goes on behind; only the rest of the log is applied again. A refill
    /// that was `begun`, and had not emptied the log yet, is forgotten then: it is offered again if it is still needed,
    /// and must not empty what this replica acknowledges meanwhile. Without a snapshot, the log is what an earlier refill
    /// left behind.
    fn load_state(&mut self, config: &Config, begun: Option<Begun>) -> Result<(), StartError> {
        let (group, groups) = (config.group, config.groups.len() as u32);
        let first = self.recovered.base.last.index.next();
        self.loaded = match self.snapshots.load(self.recovered.last.index, first, (group, groups)) {
            Ok(loaded) => {
                if begun.is_some() {
                    self.marker.clear()?;
                }
                loaded
            }
            Err(error) => {
                match begun {
                    Some(begun) => self.give_up_refill(begun)?,
                    None => self.give_up_log(&error)?,
                }
                Loaded::nothing(group, groups)
            }
        };
        tracing::info!(through = %self.loaded.applied, "state loaded");
        Ok(())
    }

    /// A log that was cut before its oldest snapshot is of no use: the leader that had it cut has everything. Where the
    /// snapshots are damaged or gone, nothing tells whether another replica has it, and people have to decide.
    fn give_up_log(&mut self, error: &NoState) -> Result<(), StartError> {
        let others = self.membership.clone().filter(|membership| membership.members().len() > 1);
        let Some(membership) = others.filter(|_| self.snapshots.were_overtaken()) else {
            let (path, problem) = (self.folder.path().to_owned(), error.to_string());
            return Err(StartError::Folder { path, problem });
        };
        tracing::warn!(%error, "the log was cut before what its snapshots are of: it begins anew");
        self.count_emptied()?;
        self.marker.set(&Begun { log_base: LogBase::default(), membership: Some(membership) })?;
        self.empty_log();
        Ok(())
    }

    fn empty_log(&mut self) {
        self.log.restart_at(LogBase::default(), None);
        self.restarts += 1;
        self.snapshots.forget();
        let recovered = &mut self.recovered;
        recovered.base = LogBase::default();
        (recovered.last, recovered.end) = (EntryId::ZERO, LogPosition(0));
        recovered.epochs.clear();
        recovered.memberships.clear();
    }

    /// What the membership batches of the own log say, and where they stand.
    pub(super) fn memberships(&self) -> Vec<(LogIndex, Membership)> {
        let said = |batch: &Batch| Some((batch.index(), Membership::decode(&batch.record(0)?).ok()?));
        self.recovered.memberships.iter().filter_map(said).collect()
    }
}

fn open_log(
    config: &Config,
    fs: &Arc<dyn FileSystem>,
    folder: &DataFolder,
    inputs: mpsc::UnboundedSender<Input>,
) -> Result<(Log, Recovered), StartError> {
    let options = LogOptions {
        directory: folder.path().to_owned(),
        group: config.group,
        segment_bytes: config.storage.segment_bytes,
        flush: flush(config),
        cache_bytes: config.storage.cache_bytes as usize,
    };
    let events = move |event| drop(inputs.send(Input::Log(event)));
    let (log, recovered) = Log::open(Arc::clone(fs), options, Box::new(events))?;
    if let Some(torn) = &recovered.torn_tail {
        tracing::warn!(?torn, "cut the end of the log, which never became durable");
    }
    tracing::info!(
        last = %recovered.last,
        end = %recovered.end,
        clean = recovered.clean,
        incomplete = recovered.incomplete,
        stopped = recovered.stopped.as_ref().map(|stopped| &*stopped.what),
        "log opened"
    );
    Ok((log, recovered))
}

pub(super) fn flush(config: &Config) -> Flush {
    match config.flush.kind {
        FlushType::Sync => Flush::Sync,
        FlushType::Async => Flush::Async { interval: config.flush.interval },
    }
}

fn open_snapshots(
    config: &Config,
    fs: &Arc<dyn FileSystem>,
    folder: &DataFolder,
    recovered: &Recovered,
    inputs: &mpsc::UnboundedSender<Input>,
) -> Result<Snapshots, StartError> {
    let store = SnapshotStore::open(Arc::clone(fs), folder.path(), config.group)?;
    let first = recovered.base.last.index.next();
    let entry = |index| entry(recovered, index);
    Ok(Snapshots::open(store, config.storage.snapshot_every, inputs, first, entry)?)
}

/// What the log has at an index, where it knows.
fn entry(recovered: &Recovered, index: LogIndex) -> Option<EntryId> {
    if index > recovered.last.index || index < recovered.base.last.index {
        return None;
    }
    let rows = recovered.epochs.partition_point(|start| start.first <= index);
    let epoch = recovered.epochs.get(rows.checked_sub(1)?)?.epoch;
    Some(EntryId { epoch, index })
}

fn load_hard_state(file: &StateFile, folder: &DataFolder) -> Result<HardState, StartError> {
    let Some(bytes) = file.load()? else { return Ok(HardState::default()) };
    HardState::decode(&bytes)
        .map_err(|source| StartError::HardState { path: folder.path().join("granted"), source })
}

fn load_standing(file: &StateFile, folder: &DataFolder) -> Result<Standing, StartError> {
    let Some(bytes) = file.load()? else { return Ok(Standing::default()) };
    Standing::decode(&bytes)
        .map_err(|source| StartError::Standing { path: folder.path().join("standing"), source })
}

/// The log's newest membership counts; before it has one, the one that was agreed on.
fn load_membership(
    file: &StateFile,
    recovered: &Recovered,
    folder: &DataFolder,
) -> Result<Option<Membership>, StartError> {
    let from_log = recovered.memberships.last().and_then(|batch| batch.record(0));
    let bytes = match (from_log, file.load()?) {
        (Some(record), _) => record.to_vec(),
        (None, Some(bytes)) => bytes,
        (None, None) => return Ok(None),
    };
    decode_membership(&bytes, folder, "membership").map(Some)
}

/// Whether the membership that was agreed on at first is of one replica by itself.
fn is_alone(file: &StateFile, folder: &DataFolder) -> Result<bool, StartError> {
    let Some(bytes) = file.load()? else { return Ok(false) };
    Ok(decode_membership(&bytes, folder, "membership")?.members().len() == 1)
}

fn decode_membership(bytes: &[u8], folder: &DataFolder, file: &str) -> Result<Membership, StartError> {
    let damaged = |source| StartError::Membership { path: folder.path().join(file), source };
    Membership::decode(bytes).map_err(damaged)
}
