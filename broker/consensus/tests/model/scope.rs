//! How large a part of the world is explored: who takes part, what is slow, and how much of each kind may go wrong.

use std::time::Duration;

use mainstay_consensus::{Config, Core, HardState, LogSummary, Membership, Mode, Moment, Standing, Timing};
use mainstay_record::{EntryId, NodeId};

/// How a link delivers, or a disk writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pace {
    /// At once and in order.
    Prompt,
    /// At any time, in any order (a disk: in order), or never.
    Slow,
    /// At once, and once more at any time or never.
    Echo,
    /// Never.
    Down,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Time jumps to the next moment at which something turns.
    Advance,
    /// A wake-up that is due.
    Tick,
    Crash,
    /// A machine fails and loses some or all of what it has not synced (flush Async), or its disk is replaced.
    PowerLoss,
    /// A message arrives and is still on its way.
    Duplicate,
    /// The oldest message of a link is lost.
    Lose,
    /// A message overtakes older ones of its link.
    Reorder,
    Propose,
    HandOver,
    Disconnect,
    /// Links are cut.
    Cut,
    /// What is sent on some links during the next move is late.
    Hold,
    /// A node notices late what is due.
    Doze,
    /// A disk becomes slow.
    Disk,
    Order,
    /// An order that has arrived arrives again.
    Repeat,
    Vouch,
    /// The operator wishes for other members.
    Change,
}

pub(crate) const KINDS: usize = Kind::Change as usize + 1;

/// Not counted.
pub(crate) const FREE: u8 = u8::MAX;

/// A mistake of the driver or the operator, planted to see that the checks notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Entries are reported persisted while they are on the way to the disk.
    PersistedEarly,
    /// A node does not notice that its disk lost something.
    LossUnnoticed,
    /// The hard state does not survive a crash.
    HardStateForgotten,
    /// A tail is cut off in memory only.
    TruncationNotWritten,
    /// A tail that must be kept aside is thrown away.
    TailDropped,
    /// Whoever leads serves.
    LeaseIgnored,
    /// The operator vouches for whoever leads.
    TwoVouchers,
    /// The time of the operator's lease is counted from its arrival.
    LeaseFromArrival,
}

#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) membership: Membership,
    /// Every node there is: the members, then those that join with nothing.
    pub(crate) nodes: Vec<NodeId>,
    /// What the operator may wish for.
    pub(crate) wishes: Vec<(Mode, Vec<NodeId>)>,
    /// What the nodes are told; differs from `membership` only for a planted fault.
    pub(crate) told: Membership,
    pub(crate) timing: Timing,
    pub(crate) window: u64,
    pub(crate) links: Pace,
    pub(crate) disks: Pace,
    /// When leaders and candidates notice that something is due. A follower may always be late.
    pub(crate) ticks: Pace,
    /// More messages than this on one link push out the oldest.
    pub(crate) link_capacity: usize,
    /// Rates of the clocks in parts per thousand of true time.
    pub(crate) rates: Vec<u64>,
    limits: [u8; KINDS],
    /// The highest number of an epoch that may be granted.
    pub(crate) epochs: u64,
    /// Which nodes propose, campaign on their own or get orders; empty means all.
    pub(crate) depth: u32,
    pub(crate) states: usize,
    pub(crate) fault: Option<Fault>,
    pub(crate) seeds: Vec<u64>,
}

impl Scope {
    pub(crate) fn new(name: &'static str, mode: Mode, members: u64) -> Self {
        let ids: Vec<_> = (1..=members).filter_map(NodeId::new).collect();
        let membership = Membership::new(1, mode, ids.clone()).unwrap();
        // Everything is a multiple of the heartbeat, so that states that differ by whole heartbeats meet. The core asks
        // for a range to draw election timeouts from; here it has the shortest only, any longer one is a wake-up that
        // is noticed late.
        let heartbeat = Duration::from_millis(300);
        let lease = heartbeat * 3;
        let timing = Timing { heartbeat, lease, election: lease..lease };
        let seeds = (1..=members).map(|raw| seed(raw, &timing, &membership)).collect();
        Self {
            name,
            told: membership.clone(),
            membership,
            nodes: ids,
            wishes: Vec::new(),
            timing,
            window: 2,
            links: Pace::Slow,
            disks: Pace::Slow,
            ticks: Pace::Slow,
            link_capacity: 4,
            rates: vec![1000; members as usize],
            limits: [0; KINDS],
            epochs: u64::MAX,
            depth: u32::MAX,
            states: usize::MAX,
            fault: None,
            seeds,
        }
    }

    /// So many more nodes join with nothing.
    pub(crate) fn joined_by(mut self, count: u64) -> Self {
        for _ in 0..count {
            let raw = self.nodes.len() as u64 + 1;
            self.nodes.extend(NodeId::new(raw));
            self.rates.push(1000);
            self.seeds.push(seed(raw, &self.timing, &self.membership));
        }
        self
    }

    /// The operator may wish for these voters.
    pub(crate) fn wish(mut self, mode: Mode, members: &[u64]) -> Self {
        self.wishes.push((mode, members.iter().filter_map(|raw| NodeId::new(*raw)).collect()));
        self
    }

    /// What a node is told at its very first start.
    pub(crate) fn first(&self, node: NodeId) -> Membership {
        if self.told.contains(node) { self.told.clone() } else { Membership::none(self.mode()) }
    }

    pub(crate) fn allow(mut self, limits: &[(Kind, u8)]) -> Self {
        for (kind, limit) in limits {
            self.limits[*kind as usize] = *limit;
        }
        self
    }

    pub(crate) fn limit(&self, kind: Kind) -> u8 {
        self.limits[kind as usize]
    }

    pub(crate) fn mode(&self) -> Mode {
        self.membership.mode()
    }

    /// Everything arrives at once, and is written at once, unless a move says otherwise.
    pub(crate) fn prompt(mut self) -> Self {
        (self.links, self.disks, self.ticks) = (Pace::Prompt, Pace::Prompt, Pace::Prompt);
        self
    }

    pub(crate) fn epochs(mut self, epochs: u64) -> Self {
        self.epochs = epochs;
        self
    }

    /// How far the search goes: moves from the start, and states in all.
    pub(crate) fn until(mut self, depth: u32, states: usize) -> Self {
        (self.depth, self.states) = (depth, states);
        self
    }

    pub(crate) fn clocks(mut self, rates: &[u64]) -> Self {
        self.rates = rates.to_vec();
        self
    }

    pub(crate) fn with(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub(crate) fn told(mut self, mode: Mode) -> Self {
        self.told = Membership::new(1, mode, self.membership.members().to_vec()).unwrap();
        self
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

/// A seed from which every draw of a range as wide as a heartbeat is just below its end. So the core's random choice
/// is always the same one.
fn seed(raw: u64, timing: &Timing, membership: &Membership) -> u64 {
    let election = timing.election.start..timing.election.start + timing.heartbeat;
    let end = Moment(election.end);
    // Who is alone does not draw.
    let pair = [raw, raw + 1].into_iter().filter_map(NodeId::new).collect();
    let membership = Membership::new(1, membership.mode(), pair).unwrap_or_else(|_| membership.clone());
    let draws = |seed: &u64| {
        let log = LogSummary {
            base: EntryId::ZERO,
            last: EntryId::ZERO,
            epochs: Vec::new(),
            membership: membership.clone(),
            memberships: Vec::new(),
            adopted: None,
            standing: Standing::default(),
        };
        let timing = Timing { election: election.clone(), ..timing.clone() };
        let node = NodeId::new(raw).unwrap();
        let config = Config { node, timing, seed: *seed, max_inflight_batches: 1 };
        let drawn = Core::new(config, HardState::default(), log, Moment::default()).next_wakeup();
        end.since(drawn) < Duration::from_millis(10)
    };
    (0..).find(draws).unwrap()
}
