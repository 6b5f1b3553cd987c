//! Founding a replica's data folder, and starting a broker on what it holds: as the real server does it.

use std::sync::Arc;

use mainstay_consensus::{Config, Core, Membership};
use mainstay_messaging::LogClock;
use mainstay_record::{EntryId, LogIndex, NodeId};
use mainstay_storage::{
    DataFolder, FileSystem, FolderError, MemFileSystem, OpenError, SnapshotError, StateError, StateFile,
};

use super::disk::Disk;
use super::recovery::Volume;
use super::requests::Requests;
use super::{Broker, Entries, Scene, Stopping, Tail};
use crate::time::ProcessClock;

const FOLDER: &str = "/data";

/// Why a broker did not start.
#[derive(Debug)]
pub(crate) enum StartFailure {
    /// An operation failed; another start may succeed.
    Io(String),
    /// What lies on the disk is refused for good.
    Refused(String),
    /// No snapshot that can be read reaches the log. A read that failed is no better; another start may succeed.
    NoState(String),
}

impl From<SnapshotError> for StartFailure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Io(error) => Self::Io(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
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
        let volume = Volume::open(&fs, DataFolder::open(&fs, FOLDER)?, scene)?;
        let (hard, summary) = (volume.hard, volume.summary()?);
        let Volume { folder, log, recovered, snapshots, loaded, marker, .. } = volume;
        let entries = Entries::recovered(&recovered);
        scene.oracle.started(scene.node, &entries, hard);
        if loaded.applied != EntryId::ZERO {
            scene.oracle.loaded(scene.node, loaded.applied);
        }
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
            hard_state: volume.hard_state,
            standing: volume.standing_file,
            tail: Tail { end: recovered.end, id: recovered.last },
            entries,
            log_clock: LogClock::new(recovered.last_timestamp, scene.wall, scene.now.0),
            state: loaded.state,
            applied: loaded.applied.index,
            applied_end: loaded.end,
            snapshots,
            look_at: scene.now,
            heard: std::collections::BTreeMap::new(),
            taking: None,
            marker,
            gifts: Vec::new(),
            ended_gifts: Vec::new(),
            gift_numbers: 0,
            committed: LogIndex::ZERO,
            caught_up: false,
            requests: Requests::default(),
            under_way: super::timers::UnderWay::default(),
            actions: std::collections::VecDeque::new(),
            persisted: recovered.last.index,
            stopping: Stopping::No,
            failed: None,
            led: None,
        })
    }
}
