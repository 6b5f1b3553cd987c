//! Opens what a replica keeps on disk and starts its driver, or says which file stands in the way.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_consensus::{Config as CoreConfig, Core, LogSummary, Membership, Mode, Timing};
use mainstay_messaging::{LogClock, Retention};
use mainstay_record::{Epoch, LogIndex, NodeId};
use mainstay_storage::{DataFolder, FileSystem, LogEvent, SnapshotStore, Space};
use tokio::sync::{mpsc, watch};

use super::bootstrap::{Decision, decide};
use super::clock::{Clock, wall};
use super::disk::{Disk, StartError, flush};
use super::driver::{Driver, Identity, Tail};
use super::error::ProposeError;
use super::handle::{GroupHandle, Shared};
use super::identity;
use super::input::{InFlight, Input, OrderError};
use super::judging::Judging;
use super::polls::Polls;
use super::proposals::{Patience, Proposals};
use super::publish::Publisher;
use super::refill::Gifts;
use super::retention::Keeping;
use super::status::Status;
use super::view::{GroupView, Role};
use crate::cluster::Bearer;
use crate::config::{Config, ReplicationMode};
use crate::metrics::GroupMetrics;
use crate::replication::{Adopted, Adoption, Directory, Outbox, RefillSender};

/// Bytes of proposals that may wait for their answers.
const MAX_IN_FLIGHT_BYTES: usize = 64 << 20;
const MAX_INFLIGHT_BATCHES: u64 = 256;

/// How often a replica that waits shows that it is alive.
const SIGN_OF_LIFE: std::time::Duration = std::time::Duration::from_secs(1);

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
    disk: Disk,
    adopt: watch::Sender<Adoption>,
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
    let disk = Disk::open(&config, &fs, folder, &inputs)?;
    if let Some(membership) = &disk.membership {
        check_mode(&config, membership)
            .map_err(|problem| StartError::Folder { path: disk.folder.path().to_owned(), problem })?;
    }
    let directory = Arc::new(Directory::new(&config.member, node));
    let (adopt, adopted) =
        watch::channel(Adoption { membership: disk.membership.clone(), takes_part: false });
    let (view_sender, view) = watch::channel(first_view(identity));
    let (fatal_sender, fatal) = watch::channel(None);
    let (applied_sender, applied) = watch::channel(LogIndex(0));
    let metadata = Arc::new(ArcSwap::from_pointee(disk.loaded.state.metadata()));
    let outbox = Outbox::default();
    let store = disk.snapshots.store();
    let shared = Shared {
        inputs: inputs.clone(),
        in_flight: InFlight::new(MAX_IN_FLIGHT_BYTES),
        view,
        applied,
        metadata: Arc::clone(&metadata),
        log: disk.log.clone(),
        clock: clock.clone(),
    };
    let runner = Runner {
        config,
        identity,
        clock,
        disk,
        adopt,
        inputs: input_queue,
        directory: Arc::clone(&directory),
        outbox: outbox.clone(),
        publisher: Publisher { view: view_sender, applied: applied_sender, metadata, fatal: fatal_sender },
        metrics,
    };
    let handle = GroupHandle { shared: Arc::new(shared) };
    Ok(Replica { handle, node, inputs, adopted, directory, outbox, fs, snapshots: store, fatal, runner })
}

fn retention(config: &Config) -> Retention {
    let kept = &config.storage.retention;
    Retention { max_age_ms: kept.time.map(|time| time.as_millis() as u64), max_bytes: kept.size }
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
    // How many of them commit can be changed, through the log.
    if std::mem::discriminant(&membership.mode()) != std::mem::discriminant(&wanted) {
        return Err(format!(
            "was made with replication {:?}, the configuration says {wanted:?}; this cannot be changed",
            membership.mode()
        ));
    }
    let voters = membership.voters().len();
    if voters > members {
        return Err(format!("belongs to a group of {voters} members, the configuration names {members}"));
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
        let membership = match self.disk.membership.take() {
            Some(stored) => stored,
            None => match self.join().await {
                Some(membership) => membership,
                None => return,
            },
        };
        // Held until the driver has ended: the lock goes last.
        let (driver, _folder) = self.into_driver(membership);
        Box::pin(driver.run()).await;
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
                    Decision::Join(mode) => match self.wait_to_be_taken_in() {
                        Ok(()) => return Some(Membership::none(mode)),
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

    /// It has nothing, and says so durably before it can have something to lose.
    fn wait_to_be_taken_in(&mut self) -> Result<(), String> {
        if self.disk.standing.caught_up {
            self.disk.standing = self.disk.standing.after_loss();
        }
        let bytes = self.disk.standing.encode();
        tokio::task::block_in_place(|| self.disk.standing_file.store(&bytes))
            .map_err(|error| format!("it cannot be noted that this node has nothing yet: {error}"))?;
        tracing::info!("waits to be taken into the group");
        Ok(())
    }

    fn take(&mut self, membership: Membership) -> Result<Membership, String> {
        check_mode(&self.config, &membership)?;
        let bytes = membership.encode();
        tokio::task::block_in_place(|| self.disk.membership_file.store(&bytes))
            .map_err(|error| format!("the membership cannot be stored: {error}"))?;
        tracing::info!(members = ?membership.members(), "joined the group");
        Ok(membership)
    }

    /// Without a membership, the log is to be this node's own when it is taken into the group: no refill fills it.
    fn note_empty_log(&mut self) {
        self.disk.restarts = self.disk.restarts.saturating_sub(1);
        if self.disk.restarts == 0
            && let Err(error) = tokio::task::block_in_place(|| self.disk.marker.clear())
        {
            let reason = format!("cannot note that the log is empty: {error}");
            self.publisher.fatal.send_replace(Some(reason.into()));
        }
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
            Input::Query(ask) => ask(&self.disk.loaded.state, wall()),
            Input::Order { reply, .. } => drop(reply.send(Err(OrderError::Bootstrapping))),
            Input::Status(reply) => {
                let status = Status {
                    at: self.clock.now(),
                    consensus: None,
                    applied: self.disk.loaded.applied.index,
                    replayed: 0,
                    snapshot: self.disk.snapshots.newest(),
                    first: self.disk.log.first(),
                };
                let _ = reply.send(status);
            }
            Input::Log(LogEvent::Restarted) => self.note_empty_log(),
            Input::Log(LogEvent::Failed(error)) => {
                self.publisher.fatal.send_replace(Some(format!("the log failed: {error}").into()));
            }
            Input::Drain(drained) => drop(drained.send(())),
            Input::Stop(done) => {
                let log = self.disk.log.clone();
                let _ = tokio::task::spawn_blocking(move || log.close()).await;
                let _ = done.send(());
                return true;
            }
            Input::Peer { .. }
            | Input::PeerGone(_)
            | Input::PeerMet
            | Input::Judged(_)
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
        let disk = self.disk;
        let summary = LogSummary {
            base: disk.recovered.base.last,
            last: disk.recovered.last,
            epochs: disk.recovered.epochs.iter().map(|start| (start.epoch, start.first)).collect(),
            membership,
            memberships: disk.memberships(),
            adopted: disk.adopted,
            standing: disk.standing,
        };
        let now = self.clock.now();
        let core = Core::new(core, disk.hard, summary, now);
        let view = core.view(now);
        let known = view.membership.clone().known();
        self.adopt.send_replace(Adoption { membership: known, takes_part: true });
        let sender =
            RefillSender::new(&self.config.own_group().members, Bearer::new(self.config.secret.as_ref()));
        let short_of_space = disk.log.metrics().space != Space::Plenty;
        let driver = Driver {
            identity: self.identity,
            clock: self.clock,
            patience: Patience { flush: self.config.flush.timeout, replicas: replication.ack_timeout },
            flush: flush(&self.config),
            inputs: self.inputs,
            view,
            core,
            log: disk.log,
            hard_state: disk.hard_state_file,
            standing: disk.standing_file,
            membership: disk.membership_file,
            tail: Tail { end: disk.recovered.end },
            log_clock: LogClock::new(disk.recovered.last_timestamp, wall(), now.0),
            state: disk.loaded.state,
            applied: disk.loaded.applied.index,
            applied_end: disk.loaded.end,
            replayed: 0,
            snapshots: disk.snapshots,
            keeping: Keeping::new(retention(&self.config), std::time::Instant::now()),
            taking: None,
            marker: disk.marker,
            restarts: disk.restarts,
            adopted: disk.adopted_file,
            adopt: self.adopt,
            refills: 0,
            gifts: Gifts::new(sender),
            segment_bytes: self.config.storage.segment_bytes,
            committed: LogIndex::ZERO,
            caught_up: false,
            proposals: Proposals::default(),
            begins_versions: false,
            elapsing: None,
            polls: Polls::default(),
            judging: Judging::default(),
            outbox: self.outbox,
            directory: self.directory,
            publisher: self.publisher,
            metrics: self.metrics,
            actions: std::collections::VecDeque::new(),
            scratch: Vec::new(),
            persisted: disk.recovered.last.index,
            draining: false,
            drained: None,
            stepping_down: None,
            failed: None,
            short_of_space,
        };
        (driver, disk.folder)
    }
}
