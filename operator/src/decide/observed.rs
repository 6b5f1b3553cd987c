//! What was seen of one broker group in one round. Plain data: whoever looks, at real brokers or simulated ones, fills it in.

use std::{fmt, time::Duration};

use k8s_openapi::jiff::Timestamp;
use mainstay_crds::BrokerGroupStatus;

/// Monotonic time since an origin of the observer's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// Time since `earlier`; zero when that lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// Identity of a replica, created with its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl NodeId {
    /// The one that is written like this.
    pub fn parse(hexadecimal: &str) -> Option<Self> {
        u64::from_str_radix(hexadecimal, 16).ok().map(Self)
    }
}

/// A term of leadership: orders carry the number, the candidate tells apart two that took the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    pub number: u64,
    pub candidate: u64,
}

/// How the group replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    None,
    Async,
    Sync { min_in_sync: u32 },
    Raft,
}

impl Mode {
    /// How many of `replicas` must have an entry before it is committed.
    pub fn write_quorum(self, replicas: usize) -> usize {
        match self {
            Mode::None | Mode::Async => 1,
            Mode::Sync { min_in_sync } => (min_in_sync as usize).clamp(1, replicas),
            Mode::Raft => replicas / 2 + 1,
        }
    }

    /// How many of `replicas` must grant an epoch so that its leader has every committed entry.
    pub fn grant_quorum(self, replicas: usize) -> usize {
        replicas + 1 - self.write_quorum(replicas)
    }
}

/// What a broker says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has no membership yet.
    Bootstrapping,
    Follower,
    Candidate,
    Leader,
    /// Is no voter: waits to be taken in, is caught up, or was removed.
    Learner,
    /// Takes no part: its log failed, or it is no member.
    Fenced,
}

impl Role {
    /// May vote and be voted for.
    pub fn takes_part(self) -> bool {
        matches!(self, Role::Follower | Role::Candidate | Role::Leader)
    }
}

/// A divergent tail that a broker has put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    pub file: String,
    pub records: u64,
    pub batches: u64,
    pub bytes: u64,
    pub first_index: u64,
    pub last_index: u64,
}

/// A broker's answer to Status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub node: NodeId,
    pub role: Role,
    pub epoch: Epoch,
    pub granted: Epoch,
    /// The highest epoch it knows of anywhere.
    pub highest: Epoch,
    /// The leader it hears, or itself.
    pub leader: Option<NodeId>,
    pub last_epoch: Epoch,
    pub last_index: u64,
    pub persisted_index: u64,
    pub serving: bool,
    pub writable: bool,
    /// Of the membership that it knows.
    pub membership_version: u64,
    /// How many voters must have an entry before it is committed, as far as it knows.
    pub write_quorum: usize,
    /// The nodes that count in the quorums; known on a leader only.
    pub voters: Vec<NodeId>,
    /// A change of the membership is under way; known on a leader only.
    pub changing: bool,
    pub quarantined: Vec<Tail>,
    /// Why it takes no part; empty when all is well.
    pub problem: String,
    /// Its own monotonic clock in milliseconds when it answered.
    pub clock_ms: u64,
    /// When the answer had arrived, by the observer's clock.
    pub received: Moment,
}

/// A member's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    pub ready: bool,
    /// Is on its way out.
    pub deleting: bool,
    /// Runs something other than what it should by now.
    pub outdated: bool,
    /// The role label as it is.
    pub role_label: Option<String>,
    /// Whether the group's Service selects it.
    pub routable: bool,
}

/// One configured member: its pod if there is one, and its answer if it answered in this round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub pod: Option<Pod>,
    pub report: Option<Report>,
}

/// One group in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub mode: Mode,
    /// How long a leader must be gone before it is replaced.
    pub failover_delay: Duration,
    /// Every configured member, sorted by name.
    pub members: Vec<Member>,
    /// The group's object as it was read or written last.
    pub recorded: BrokerGroupStatus,
    pub generation: Option<i64>,
    /// The time of day, for people only: nothing is decided by it.
    pub wall: Timestamp,
}

impl Observed {
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub fn reports(&self) -> impl Iterator<Item = (&Member, &Report)> {
        self.members.iter().filter_map(|member| member.report.as_ref().map(|report| (member, report)))
    }

    /// Version of the newest membership on record that the operator has named.
    pub fn named(&self) -> u64 {
        self.recorded.membership.as_ref().map_or(0, |named| u64::try_from(named.version).unwrap_or(0))
    }

    /// Number of the newest election order on record.
    pub fn ordered(&self) -> u64 {
        self.recorded.order.as_ref().map_or(0, |order| u64::try_from(order.epoch).unwrap_or(0))
    }
}
