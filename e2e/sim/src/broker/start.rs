//! Founding a replica's data folder, and starting a broker on what it holds: as the real server does it.

use std::sync::Arc;

use mainstay_consensus::{Config, Core, HardState, LogSummary, Membership, Standing};
use mainstay_messaging::{LogClock, State};
use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};
use mainstay_storage::{
    DataFolder, FileSystem, FolderError, LogCore, LogOptions, MemFileSystem, OpenError, Recovered,
    StateError, StateFile,
};

use super::disk::Disk;
use super::requests::Requests;
use super::{Broker, GROUP, Scene, Stopping, Tail};
use crate::time::ProcessClock;

const FOLDER: &str = "/data";

/// Why a broker did not start.
#[derive(Debug)]
pub(crate) enum StartFailure {
    /// An operation failed; another start may succeed.
    Io(String),
    /// What lies on the disk is refused for good.
    Refused(String),
}

impl From<OpenError> for StartFailure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => Self::Io(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<StateError> for StartFailure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Io(error) => Self::Io(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<FolderError> for StartFailure {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Io(error) => Self::Io(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Makes the data folder of a replica that has joined its group.
pub(crate) fn found(fs: &MemFileSystem, membership: &Membership) -> Result<(), StartFailure> {
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let folder = DataFolder::open(fs, FOLDER)?;
    StateFile::open(shared, folder.path().join("membership"))?.store(&membership.encode())?;
    Ok(())
}

impl Broker {
    pub(crate) fn start(
        id: NodeId,
        fs: MemFileSystem,
        clock: ProcessClock,
        seed: u64,
        scene: &mut Scene<'_>,
    ) -> Result<Self, StartFailure> {
        let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
        let folder = DataFolder::open(&fs, FOLDER)?;
        let options = LogOptions {
            directory: folder.path().to_owned(),
            group: GROUP,
            segment_bytes: scene.plan.segment_bytes,
            flush: scene.plan.flush,
            cache_bytes: 0,
        };
        let (mut log, recovered) = LogCore::open(Arc::clone(&shared), &options)?;
        let hard_state = StateFile::open(Arc::clone(&shared), folder.path().join("granted"))?;
        let mut standing_file = StateFile::open(Arc::clone(&shared), folder.path().join("standing"))?;
        let membership_file = StateFile::open(shared, folder.path().join("membership"))?;
        let hard = load_hard_state(&hard_state)?;
        let mut standing = load_standing(&standing_file)?;
        let summary = summarise(&recovered, &membership_file)?;
        if recovered.incomplete {
            if summary.membership.members().len() == 1 {
                log.set_complete().map_err(|error| StartFailure::Io(error.to_string()))?;
            } else {
                standing = standing.after_loss();
                standing_file.store(&standing.encode())?;
            }
        }
        let summary = LogSummary { standing, ..summary };
        let ids = entries(&recovered);
        scene.oracle.started(scene.node, ids.clone(), hard);
        let config = Config {
            node: id,
            timing: scene.plan.timing.clone(),
            seed,
            max_inflight_batches: scene.plan.inflight_batches,
        };
        let core = Core::new(config, hard, summary, scene.now);
        Ok(Self {
            id,
            clock,
            fs,
            _folder: folder,
            view: core.view(scene.now),
            core,
            disk: Some(Disk::new(log, scene.plan.flush, scene.plan.cached_batches)),
            hard_state,
            standing: standing_file,
            tail: Tail { end: recovered.end, id: recovered.last },
            ids,
            log_clock: LogClock::new(recovered.last_timestamp, scene.now.0),
            state: State::new(GROUP, 1),
            applied: LogIndex::ZERO,
            committed: LogIndex::ZERO,
            caught_up: false,
            requests: Requests::default(),
            actions: std::collections::VecDeque::new(),
            persisted: recovered.last.index,
            stopping: Stopping::No,
            failed: None,
            led: None,
        })
    }
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
fn summarise(recovered: &Recovered, file: &StateFile) -> Result<LogSummary, StartFailure> {
    let refused = |error: mainstay_consensus::MembershipError| StartFailure::Refused(error.to_string());
    let mut memberships = Vec::new();
    for batch in &recovered.memberships {
        let said = Membership::decode(&batch.record(0).unwrap_or_default()).map_err(refused)?;
        memberships.push((batch.index(), said));
    }
    let membership = match (memberships.first(), file.load()?) {
        (Some((_, newest)), _) => newest.clone(),
        (None, Some(bytes)) => Membership::decode(&bytes).map_err(refused)?,
        (None, None) => return Err(StartFailure::Refused("there is no membership".to_owned())),
    };
    Ok(LogSummary {
        base: recovered.base.last,
        last: recovered.last,
        epochs: recovered.epochs.iter().map(|start| (start.epoch, start.first)).collect(),
        membership,
        memberships,
        adopted: None,
        standing: Standing::default(),
    })
}

/// The ids of all entries of a recovered log.
fn entries(recovered: &Recovered) -> Vec<EntryId> {
    let mut entries = Vec::with_capacity(recovered.last.index.0 as usize);
    let mut epochs = recovered.epochs.iter().peekable();
    let mut epoch = Epoch::ZERO;
    for index in 1..=recovered.last.index.0 {
        if let Some(start) = epochs.next_if(|start| start.first.0 == index) {
            epoch = start.epoch;
        }
        entries.push(EntryId { epoch, index: LogIndex(index) });
    }
    entries
}
