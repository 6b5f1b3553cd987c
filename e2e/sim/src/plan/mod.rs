//! What one run is made of, all of it drawn from its seed.
//!
//! Swarm style: each seed has its own mode, size and mix of faults. The budget makes sure that the mix is one that the
//! mode promises to survive, so that every broken promise is a bug.

mod drawing;

use std::time::Duration;

use mainstay_consensus::{Membership, Mode, Timing};
use mainstay_messaging::{Retention, TopicKind};
use mainstay_record::NodeId;
use mainstay_storage::Flush;

use crate::rng::Rng;
use crate::time::{MILLI, SECOND, TRUE_RATE, Time};
use crate::trial::{FlushType, Trial};

/// Longest fdatasync of the disks of a trial.
pub(crate) const TRIAL_FDATASYNC: Time = 5 * MILLI;

/// A mistake planted to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Batches are reported persisted before they are forced to the disk.
    AckBeforeSync,
    /// The granted epoch is not stored.
    ForgetGrant,
    /// The disk takes an fsync of a folder for done and does nothing.
    SkipFolderSync,
    /// A leader serves and accepts after its lease has run out.
    ServeAfterLease,
    /// The operator forgets for whom it has vouched.
    VouchTwice,
    /// What is only persisted on the leader is applied and delivered.
    DeliverUncommitted,
    /// A divergent tail is thrown away where it must be kept.
    DropTails,
    /// A broker goes on after its disk has failed.
    IgnoreFailedSync,
    /// The beginning of the log goes without a snapshot that stands for it.
    ForgetUncovered,
    /// A log that is emptied to be refilled does not count as lost.
    RefillWithoutLoss,
    /// The marker of a refill goes when the refill begins.
    ClearMarkerEarly,
    /// What the leader lacks is thrown away when the log is refilled, instead of set aside.
    DropRefilledTail,
    /// Messages go that are not consumed.
    TrimUnconsumed,
    /// A log is cut, and the state that came out of a snapshot of what is cut stays.
    KeepOverriddenState,
    /// A node does not notice that its log is gone.
    LostLogUnnoticed,
    /// A leader does not see to what falls due by time.
    NeverElapse,
}

impl Bug {
    /// Whether it shows only where somebody cannot hear for how long he may lead.
    const fn is_about_leases(self) -> bool {
        matches!(self, Self::ServeAfterLease | Self::VouchTwice)
    }

    /// Whether it shows only where logs lose their beginning, which most runs have little of.
    const fn shows_in_a_hurry(self) -> bool {
        matches!(
            self,
            Self::ForgetUncovered
                | Self::RefillWithoutLoss
                | Self::ClearMarkerEarly
                | Self::DropRefilledTail
                | Self::TrimUnconsumed
                | Self::KeepOverriddenState
        )
    }
}

/// How a group replicates, as its owner writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Single,
    Async,
    Sync,
    Raft,
}

/// What can go wrong in the course of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Kill,
    PowerCut,
    PowerCutAll,
    Pause,
    Isolate,
    OneWay,
    CutPair,
    Ring,
    Split,
    Flap,
    Disconnect,
    SlowDisk,
    StuckDisk,
    FailedSync,
    FailedWrite,
    FailedRead,
    NoSpace,
    Damage,
    WallJump,
    StepDown,
    Stop,
    Roll,
    OperatorCrash,
    OperatorPause,
    ApiDown,
    /// A leader whose one copy commits ships nothing for a while and is lost then.
    Orphan,
    /// One node loses its power with flush Async, when no other has lost anything.
    LazyPowerCut,
    /// A node's log is gone when it comes back, its other files are not.
    LoseLog,
    /// A follower is away for so long that its leader's log may begin behind it when it comes back.
    Absence,
    /// A node comes back with an empty volume.
    LoseVolume,
}

/// A group, its clients, and the world they live in.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) bug: Option<Bug>,
    /// One fault and what it may cost, instead of a mix.
    pub(crate) trial: Option<Trial>,
    pub(crate) kind: Kind,
    pub(crate) membership: Membership,
    pub(crate) flush: Flush,
    pub(crate) timing: Timing,
    pub(crate) segment_bytes: u64,
    /// What is kept of the log.
    pub(crate) retention: Retention,
    /// Bytes of applied log from one snapshot to the next.
    pub(crate) snapshot_every: u64,
    /// Longest time that writing one takes.
    pub(crate) snapshot_time: Time,
    /// Bytes of a snapshot in one part of a refill.
    pub(crate) refill_part: usize,
    /// Batches that stay in memory after they are written.
    pub(crate) cached_batches: usize,
    pub(crate) inflight_batches: u64,
    /// What messages each topic takes.
    pub(crate) topics: Vec<TopicKind>,
    /// Deliveries of a message before it is a dead letter.
    pub(crate) max_attempts: u32,
    pub(crate) producer_gap: Time,
    /// Bodies are so many times as long as they are else.
    pub(crate) heaviness: u64,
    pub(crate) invisible_ms: u64,
    pub(crate) operators: usize,
    pub(crate) failover_delay: Duration,
    pub(crate) network: NetworkPlan,
    /// Longest fdatasync on a healthy disk.
    pub(crate) sync_time: Time,
    /// Longest time from an fdatasync's end until the driver hears of it.
    pub(crate) report_lag: Time,
    pub(crate) faults: Vec<Fault>,
    pub(crate) fault_gap: Time,
    /// How long things go wrong.
    pub(crate) chaos: Time,
    /// How many replicas may lose what is on their disks.
    pub(crate) losses: usize,
    /// Longest downtime of a broker that was stopped by a fault.
    pub(crate) downtime: Time,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NetworkPlan {
    /// Longest delay of an ordinary message.
    pub(crate) delay: Time,
    /// Per mille.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    /// This many of a thousand messages are late by up to `straggle`.
    pub(crate) stragglers: u64,
    pub(crate) straggle: Time,
}

impl NetworkPlan {
    /// Keeps the order of messages between two ends, as a stream does.
    pub(crate) const fn ordered(&self) -> bool {
        self.loss == 0 && self.duplication == 0
    }

    pub(crate) const CALM: Self = Self { delay: MILLI, loss: 0, duplication: 0, stragglers: 0, straggle: 0 };
}

impl Plan {
    /// A healthy group of three, or of one, in which one thing goes wrong.
    pub(crate) fn for_trial(trial: Trial, rng: &mut Rng) -> Self {
        let flush = match trial.flush {
            FlushType::Async => Flush::Async { interval: Duration::from_millis(200) },
            FlushType::Sync => Flush::Sync,
        };
        Self {
            trial: Some(trial),
            flush,
            membership: trial_membership(trial.kind),
            segment_bytes: 64 * 1024,
            retention: Retention::default(),
            snapshot_every: 128 * 1024,
            snapshot_time: 20 * MILLI,
            cached_batches: rng.pick(&[0, 1000]),
            inflight_batches: rng.pick(&[4, 256]),
            topics: vec![TopicKind::Normal],
            max_attempts: 17,
            producer_gap: rng.pick(&[20, 60]) * MILLI,
            heaviness: 1,
            invisible_ms: 1000,
            operators: 1,
            failover_delay: Duration::from_millis(rng.pick(&[0, 500])),
            network: NetworkPlan::CALM,
            sync_time: TRIAL_FDATASYNC,
            report_lag: MILLI,
            faults: Vec::new(),
            fault_gap: rng.between(2500, 3500) * MILLI,
            chaos: 12 * SECOND,
            losses: 0,
            downtime: rng.pick(&[300, 2000, 6000]) * MILLI,
            ..Self::draw(Some(trial.kind), trial.bug, rng)
        }
    }

    /// Rate of a machine's clock: within 5 % of true time.
    pub(crate) fn clock_rate(rng: &mut Rng) -> u64 {
        rng.between(TRUE_RATE - 48_000, TRUE_RATE + 48_000)
    }

    pub(crate) fn members(&self) -> usize {
        self.membership.members().len()
    }

    /// Only a lease keeps an old leader from accepting.
    pub(crate) fn tails_may_be_cut(&self) -> bool {
        self.kind == Kind::Async
    }
}

fn trial_membership(kind: Kind) -> Membership {
    let (count, mode) = match kind {
        Kind::Single => (1, Mode::Async),
        Kind::Async => (3, Mode::Async),
        Kind::Sync => (3, Mode::Sync { min_in_sync: 2 }),
        Kind::Raft => (3, Mode::Raft),
    };
    let members = (1..=count).filter_map(NodeId::new).collect();
    Membership::new(1, mode, members).unwrap_or_else(|error| panic!("a trial's group is impossible: {error}"))
}
