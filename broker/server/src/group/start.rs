//! Opens what a replica keeps on disk and starts its driver, or says which file stands in the way.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_consensus::{
    Config as CoreConfig, Core, HardState, HardStateError, LogSummary, Membership, MembershipError, Mode,
    Standing, StandingError, Timing,
};
use mainstay_messaging::{LogClock, Retention};
use mainstay_record::{Batch, EntryId, Epoch, LogIndex, LogPosition, NodeId};
use mainstay_storage::{
    DataFolder, FileSystem, Flush, FolderError, Log, LogBase, LogOptions, OpenError, Recovered, SnapshotError,
    SnapshotStore, StateError, StateFile,
};
use tokio::sync::{mpsc, watch};

use super::bootstrap::{Decision, decide};
use super::clock::Clock;
use super::driver::{Driver, Identity, Publisher, Tail};
use super::error::ProposeError;
use super::handle::{GroupHandle, Shared};
use super::identity;
use super::input::{InFlight, Input, OrderError};
use super::loss;
use super::polls::Polls;
use super::proposals::{Patience, Proposals};
use super::refill::{Gifts, Marker};
use super::retention::Keeping;
use super::snapshots::{Loaded, Snapshots};
use super::status::Status;
use super::view::{GroupView, Role};
use crate::cluster::Bearer;
use crate::config::{Config, FlushType, ReplicationMode};
use crate::metrics::GroupMetrics;
use crate::replication::{Adopted, Directory, Outbox, RefillSender};

/// Bytes of proposals that may wait for their answers.
const MAX_IN_FLIGHT_BYTES: usize = 64 << 20;
const MAX_INFLIGHT_BATCHES: u64 = 256;

/// How often a replica that waits shows that it is alive.
const SIGN_OF_LIFE: std::time::Duration = std::time::Duration::from_secs(1);

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

/// A replica that is open, with its driver about to run.
pub(crate) struct Replica {
    pub(crate) handle: GroupHandle,
    pub(crate) node: NodeId,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    pub(crate) adopted: Adopted,
    pub(crate) directory: Arc<Directory>,
    pub(crate) outbox: Outbox,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) snapshots: SnapshotStore,
    /// Set once, when this replica cannot go on.
    pub(crate) fatal: watch::Receiver<Option<Arc<str>>>,
    pub(crate) runner: Runner,
}

/// Everything the driver needs; [`Runner::run`] is the driver's task.
pub(crate) struct Runner {
    config: Arc<Config>,
    identity: Identity,
    clock: Clock,
    folder: DataFolder,
    membership_file: StateFile,
    hard_state_file: StateFile,
    hard: HardState,
    standing_file: StateFile,
    standing: Standing,
    log: Log,
    recovered: Recovered,
    snapshots: Snapshots,
    loaded: Loaded,
    marker: Marker,
    stored: Option<Membership>,
    adopt: watch::Sender<Option<Membership>>,
    inputs: mpsc::UnboundedReceiver<Input>,
    directory: Arc<Directory>,
    outbox: Outbox,
    publisher: Publisher,
    metrics: Arc<GroupMetrics>,
}

/// Opens the data folder and everything in it. Blocks on the disk.
pub(crate) fn open(
    config: Arc<Config>,
    fs: Arc<dyn FileSystem>,
    clock: Clock,
    metrics: Arc<GroupMetrics>,
) -> Result<Replica, StartError> {
    let folder = DataFolder::open(&*fs, &config.data)?;
    let node = identity::load_or_create(&fs, &folder, &config.cluster, config.group)?;
    let identity = Identity { group: config.group, groups: config.groups.len() as u32, node };
    let (inputs, input_queue) = mpsc::unbounded_channel();
    let log_is_gone = loss::log_is_gone(&*fs, &folder);
    let (log, mut recovered) = open_log(&config, &fs, &folder, inputs.clone())?;
    let (marker, kept_membership) = end_refill(&fs, &folder, &log, &mut recovered)?;
    let (snapshots, loaded) = load_state(&config, &fs, &folder, &recovered, &inputs)?;
    let hard_state_file = StateFile::open(Arc::clone(&fs), folder.path().join("granted"))?;
    let mut standing_file = StateFile::open(Arc::clone(&fs), folder.path().join("standing"))?;
    let membership_file = StateFile::open(Arc::clone(&fs), folder.path().join("membership"))?;
    let hard = load_hard_state(&hard_state_file, &folder)?;
    let mut standing = load_standing(&standing_file, &folder)?;
    let stored = match kept_membership {
        kept @ Some(_) => kept,
        None => load_membership(&membership_file, &recovered, &folder)?,
    };
    if recovered.incomplete || log_is_gone {
        let membership = stored.as_ref();
        standing = loss::count(&mut standing_file, standing, membership, &log)?;
    }
    if let Some(membership) = &stored {
        check_mode(&config, membership)
            .map_err(|problem| StartError::Folder { path: folder.path().to_owned(), problem })?;
    }
    let directory = Arc::new(Directory::new(&config.member, node));
    let (adopt, adopted) = watch::channel(stored.clone());
    let (view_sender, view) = watch::channel(first_view(identity));
    let (fatal_sender, fatal) = watch::channel(None);
    let metadata = Arc::new(ArcSwap::from_pointee(loaded.state.metadata()));
    let outbox = Outbox::default();
    let store = snapshots.store();
    let shared = Shared {
        inputs: inputs.clone(),
        in_flight: InFlight::new(MAX_IN_FLIGHT_BYTES),
        view,
        metadata: Arc::clone(&metadata),
        log: log.clone(),
        clock: clock.clone(),
    };
    let runner = Runner {
        config,
        identity,
        clock,
        folder,
        membership_file,
        hard_state_file,
        hard,
        standing_file,
        standing,
        log,
        recovered,
        snapshots,
        loaded,
        marker,
        stored,
        adopt,
        inputs: input_queue,
        directory: Arc::clone(&directory),
        outbox: outbox.clone(),
        publisher: Publisher { view: view_sender, metadata, fatal: fatal_sender },
        metrics,
    };
    let handle = GroupHandle { shared: Arc::new(shared) };
    Ok(Replica { handle, node, inputs, adopted, directory, outbox, fs, snapshots: store, fatal, runner })
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
    tracing::info!(last = %recovered.last, end = %recovered.end, clean = recovered.clean, "log opened");
    Ok((log, recovered))
}

/// A refill that was interrupted begins again with an empty log. The membership that was in force then is returned.
fn end_refill(
    fs: &Arc<dyn FileSystem>,
    folder: &DataFolder,
    log: &Log,
    recovered: &mut Recovered,
) -> Result<(Marker, Option<Membership>), StartError> {
    let path = folder.path().join("refill");
    let file = StateFile::open(Arc::clone(fs), &path)?;
    let (marker, begun) = Marker::open(file)
        .map_err(|error| StartError::Folder { path, problem: error.to_string() })?;
    // Otherwise the log was emptied already, and is what it says.
    let Some(begun) = begun.filter(|begun| begun.log_base.last == recovered.base.last) else {
        return Ok((marker, None));
    };
    tracing::warn!("the log was being taken over from the leader, which begins again");
    log.restart_at(LogBase::default(), None);
    recovered.base = LogBase::default();
    (recovered.last, recovered.end) = (EntryId::ZERO, LogPosition(0));
    recovered.epochs.clear();
    recovered.membership = None;
    Ok((marker, Some(begun.membership)))
}

/// The state of the newest snapshot that the log goes on behind; only the rest of the log is applied again.
fn load_state(
    config: &Config,
    fs: &Arc<dyn FileSystem>,
    folder: &DataFolder,
    recovered: &Recovered,
    inputs: &mpsc::UnboundedSender<Input>,
) -> Result<(Snapshots, Loaded), StartError> {
    let store = SnapshotStore::open(Arc::clone(fs), folder.path(), config.group)?;
    let entry = |index| entry(recovered, index);
    let mut snapshots = Snapshots::open(store, config.storage.snapshot_every, inputs, entry)?;
    let (first, groups) = (recovered.base.last.index.next(), config.groups.len() as u32);
    let loaded = snapshots
        .load(recovered.last.index, first, (config.group, groups))
        .map_err(|error| StartError::Folder { path: folder.path().to_owned(), problem: error.to_string() })?;
    tracing::info!(through = %loaded.applied, "state loaded");
    Ok((snapshots, loaded))
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

fn flush(config: &Config) -> Flush {
    match config.flush.kind {
        FlushType::Sync => Flush::Sync,
        FlushType::Async => Flush::Async { interval: config.flush.interval },
    }
}

fn retention(config: &Config) -> Retention {
    let kept = &config.storage.retention;
    Retention { max_age_ms: kept.time.map(|time| time.as_millis() as u64), max_bytes: kept.size }
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
    let from_log = recovered.membership.as_ref().and_then(|batch: &Batch| batch.record(0));
    let bytes = match (from_log, file.load()?) {
        (Some(record), _) => record.to_vec(),
        (None, Some(bytes)) => bytes,
        (None, None) => return Ok(None),
    };
    let membership = Membership::decode(&bytes)
        .map_err(|source| StartError::Membership { path: folder.path().join("membership"), source })?;
    Ok(Some(membership))
}

/// What the membership batches of the own log say, and where they stand.
fn memberships(recovered: &Recovered) -> Vec<(LogIndex, Membership)> {
    let known = recovered.base.membership.iter().chain(&recovered.membership);
    let said = |batch: &Batch| Some((batch.index(), Membership::decode(&batch.record(0)?).ok()?));
    let mut found: Vec<_> = known.filter_map(said).collect();
    found.dedup_by_key(|(at, _)| *at);
    found
}

/// One replica by itself is Async with one member: its own copy commits.
fn mode(config: &Config) -> Mode {
    match config.replication.mode {
        ReplicationMode::None | ReplicationMode::Async => Mode::Async,
        ReplicationMode::Sync => Mode::Sync { min_in_sync: config.replication.min_in_sync.unwrap_or(1) },
        ReplicationMode::Raft => Mode::Raft,
    }
}

fn check_mode(config: &Config, membership: &Membership) -> Result<(), String> {
    let (wanted, members) = (mode(config), config.own_group().members.len());
    if membership.mode() != wanted {
        return Err(format!(
            "was made with replication {:?}, the configuration says {wanted:?}; this cannot be changed yet",
            membership.mode()
        ));
    }
    if membership.members().len() != members {
        return Err(format!(
            "was made for {} members, the configuration names {members}; this cannot be changed yet",
            membership.members().len()
        ));
    }
    Ok(())
}

fn first_view(identity: Identity) -> GroupView {
    GroupView {
        group: identity.group,
        node: identity.node,
        role: Role::Bootstrapping,
        epoch: Epoch::ZERO,
        leader: None,
        caught_up: false,
        serving: false,
        writable: false,
        short_of_space: false,
        problem: String::new(),
    }
}

impl Runner {
    /// Joins the group and drives it until it is told to stop.
    pub(crate) async fn run(mut self) {
        let membership = match self.stored.take() {
            Some(stored) => stored,
            None => match self.join().await {
                Some(membership) => membership,
                None => return,
            },
        };
        // Held until the driver has ended: the lock goes last.
        let (driver, _folder) = self.into_driver(membership);
        driver.run().await;
    }

    /// Waits until there is a membership; `None` when the broker stops before.
    async fn join(&mut self) -> Option<Membership> {
        let members: Vec<_> = self.config.own_group().members.iter().map(|m| m.name.clone()).collect();
        let mut changed = self.directory.watch();
        let mut stays_out = false;
        loop {
            if !stays_out {
                match decide(self.identity.node, mode(&self.config), &members, &self.directory.snapshot()) {
                    Decision::Wait(what) => self.tell(Role::Bootstrapping, what),
                    Decision::Take(membership) => match self.take(membership) {
                        Ok(membership) => return Some(membership),
                        Err(why) => {
                            stays_out = true;
                            self.tell(Role::Fenced, why);
                        }
                    },
                    Decision::StayOut(why) => {
                        stays_out = true;
                        self.tell(Role::Fenced, why);
                    }
                }
            }
            self.metrics.turned(std::time::Instant::now());
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(SIGN_OF_LIFE) => {}
                input = self.inputs.recv() => if self.turn_away(input?).await { return None },
            }
        }
    }

    fn take(&mut self, membership: Membership) -> Result<Membership, String> {
        check_mode(&self.config, &membership)?;
        let bytes = membership.encode();
        tokio::task::block_in_place(|| self.membership_file.store(&bytes))
            .map_err(|error| format!("the membership cannot be stored: {error}"))?;
        tracing::info!(members = ?membership.members(), "joined the group");
        self.adopt.send_replace(Some(membership.clone()));
        Ok(membership)
    }

    fn tell(&self, role: Role, problem: String) {
        if !problem.is_empty() && self.publisher.view.borrow().problem != problem {
            tracing::info!(?role, problem, "takes no part yet");
        }
        self.publisher.view.send_modify(|view| {
            view.role = role;
            view.problem = problem;
        });
    }

    /// Answers what cannot be done without a membership; true when told to stop.
    async fn turn_away(&mut self, input: Input) -> bool {
        match input {
            Input::Propose(proposal) => {
                let _ = proposal.reply.send(Err(ProposeError::NotLeader { leader: None }));
            }
            Input::Receive(poll) => {
                let _ = poll.reply.send(Err(ProposeError::NotLeader { leader: None }.into()));
            }
            Input::Query(ask) => ask(&self.loaded.state),
            Input::Order { reply, .. } => drop(reply.send(Err(OrderError::Bootstrapping))),
            Input::Status(reply) => {
                let status = Status {
                    at: self.clock.now(),
                    consensus: None,
                    applied: self.loaded.applied.index,
                    replayed: 0,
                    snapshot: self.snapshots.newest(),
                    first: self.log.first(),
                };
                let _ = reply.send(status);
            }
            Input::Log(mainstay_storage::LogEvent::Failed(error)) => {
                self.publisher.fatal.send_replace(Some(format!("the log failed: {error}").into()));
            }
            Input::Drain(drained) => drop(drained.send(())),
            Input::Stop(done) => {
                let log = self.log.clone();
                let _ = tokio::task::spawn_blocking(move || log.close()).await;
                let _ = done.send(());
                return true;
            }
            Input::Peer { .. }
            | Input::PeerGone(_)
            | Input::PeerMet
            | Input::GiveBack(_)
            | Input::Snapshot(_)
            | Input::Refill(_)
            | Input::Given(_)
            | Input::Log(_)
            | Input::Unreadable => {}
        }
        false
    }

    fn into_driver(self, membership: Membership) -> (Driver, DataFolder) {
        let replication = &self.config.replication;
        let timing = Timing {
            heartbeat: replication.heartbeat,
            lease: replication.lease,
            election: replication.election_min..replication.election_max,
        };
        let core = CoreConfig {
            node: self.identity.node,
            timing,
            seed: rand::random(),
            max_inflight_batches: MAX_INFLIGHT_BATCHES,
        };
        let summary = LogSummary {
            base: self.recovered.base.last,
            last: self.recovered.last,
            epochs: self.recovered.epochs.iter().map(|start| (start.epoch, start.first)).collect(),
            membership,
            memberships: memberships(&self.recovered),
            standing: self.standing,
        };
        let now = self.clock.now();
        let core_config = core.clone();
        let core = Core::new(core, self.hard, summary, now);
        let sender = RefillSender::new(&self.config.own_group().members, Bearer::new(self.config.secret.as_ref()));
        let driver = Driver {
            identity: self.identity,
            clock: self.clock,
            patience: Patience { flush: self.config.flush.timeout, replicas: replication.ack_timeout },
            flush: flush(&self.config),
            inputs: self.inputs,
            view: core.view(now),
            core,
            core_config,
            log: self.log,
            hard_state: self.hard_state_file,
            standing: self.standing_file,
            tail: Tail { end: self.recovered.end },
            log_clock: LogClock::new(self.recovered.last_timestamp, now.0),
            state: self.loaded.state,
            applied: self.loaded.applied.index,
            applied_end: self.loaded.end,
            replayed: 0,
            snapshots: self.snapshots,
            keeping: Keeping::new(retention(&self.config), std::time::Instant::now()),
            taking: None,
            marker: self.marker,
            refills: 0,
            gifts: Gifts::new(sender),
            segment_bytes: self.config.storage.segment_bytes,
            committed: LogIndex::ZERO,
            caught_up: false,
            proposals: Proposals::default(),
            polls: Polls::default(),
            outbox: self.outbox,
            directory: self.directory,
            publisher: self.publisher,
            metrics: self.metrics,
            actions: std::collections::VecDeque::new(),
            scratch: Vec::new(),
            persisted: self.recovered.last.index,
            draining: false,
            drained: None,
            stepping_down: None,
            failed: None,
            short_of_space: false,
        };
        (driver, self.folder)
    }
}
