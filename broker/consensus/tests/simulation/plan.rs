//! What one run is made of, all of it drawn from its seed.

use std::time::Duration;

use mainstay_consensus::{Membership, Mode, Timing};
use mainstay_record::NodeId;

use crate::rng::Rng;

pub(crate) const MILLI: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// A mistake of the driver, planted to see that the checks notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The hard state is not stored.
    ForgetHardState,
    /// Entries are reported persisted before they are.
    PersistEarly,
    /// Every node believes in a write quorum that is one too small.
    SmallWriteQuorum,
    /// Clocks differ by far more than the lease allows for.
    WildClocks,
    /// A grant of the operator's lease is counted from its arrival.
    LeaseFromArrival,
    /// A machine that lost power does not notice that its log is shorter.
    UnnoticedLoss,
    /// A divergent tail is thrown away where it must be kept.
    DropTails,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Raft,
    Sync,
    Async,
}

pub(crate) struct Plan {
    pub(crate) bug: Option<Bug>,
    pub(crate) membership: Membership,
    /// What the nodes are told; differs from `membership` only for a planted bug.
    pub(crate) told: Membership,
    pub(crate) timing: Timing,
    pub(crate) window: u64,
    /// Per mille.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    /// Microseconds.
    pub(crate) delay: u64,
    pub(crate) disk: u64,
    pub(crate) chaos: u64,
    pub(crate) fault_gap: u64,
    pub(crate) propose_gap: u64,
    pub(crate) operator_gap: u64,
    /// How rarely the operator vouches for a leader, and how often it orders needlessly (per mille).
    pub(crate) reluctance: u64,
    pub(crate) restlessness: u64,
    /// How long an order may linger before it arrives.
    pub(crate) order_delay: u64,
    /// Persisted means written: a machine that loses power forgets some of it.
    pub(crate) flush_async: bool,
    /// How often logs give up their beginning.
    pub(crate) compact_gap: u64,
    /// Every node that there is; those that are no members at first start with nothing.
    pub(crate) nodes: Vec<NodeId>,
    /// How often the operator wishes for other members; never where it is zero.
    pub(crate) change_gap: u64,
    /// Whether a disk is lost for good, which takes another membership by force.
    pub(crate) disk_lost: bool,
    /// Whether machines fail.
    pub(crate) losses: bool,
}

impl Plan {
    pub(crate) fn draw(kind: Kind, bug: Option<Bug>, rng: &mut Rng) -> Self {
        let count = match kind {
            Kind::Raft => rng.pick(&[1, 2, 3, 3, 3, 3, 4, 5]),
            Kind::Sync => rng.pick(&[2, 3, 3, 3, 4, 5]),
            Kind::Async => rng.pick(&[2, 3, 3, 4]),
        };
        let mode = match kind {
            Kind::Raft => Mode::Raft,
            Kind::Sync => Mode::Sync { min_in_sync: rng.between(1, count) as u32 },
            Kind::Async => Mode::Async,
        };
        let members: Vec<_> = (1..=count).filter_map(NodeId::new).collect();
        let membership = Membership::new(1, mode, members.clone()).unwrap();
        let told = match bug {
            Some(Bug::SmallWriteQuorum) => {
                // The quorum rules of a smaller write quorum, with the grants of the right one, cannot be told
                // through a membership; a leader that counts one copy too few is what this comes to.
                let min_in_sync = (membership.write_quorum() as u32 - 1).max(1);
                Membership::new(1, Mode::Sync { min_in_sync }, members).unwrap()
            }
            _ => membership.clone(),
        };
        let changes = bug.is_none() && rng.chance(400);
        let spare = if changes { rng.between(0, 2) } else { 0 };
        let needs_all = kind == Kind::Sync && membership.write_quorum() == count as usize && count > 1;
        let disk_lost = bug.is_none() && !changes && needs_all && rng.chance(500);
        let late = bug == Some(Bug::LeaseFromArrival);
        Self {
            bug,
            membership,
            told,
            timing: Timing {
                heartbeat: Duration::from_millis(100),
                lease: Duration::from_millis(600),
                election: Duration::from_millis(600)..Duration::from_millis(1000),
            },
            window: rng.pick(&[2, 5, 16, 1000]),
            loss: rng.pick(&[0, 0, 20, 100, 250]),
            duplication: rng.pick(&[0, 20, 200]),
            delay: rng.pick(&[MILLI, 5 * MILLI, 50 * MILLI, 300 * MILLI]),
            disk: rng.pick(&[MILLI, 10 * MILLI, 100 * MILLI, 400 * MILLI]),
            chaos: rng.between(6, 14) * SECOND,
            fault_gap: rng.pick(&[200, 600, 1500]) * MILLI,
            propose_gap: rng.pick(&[20, 60, 200, 1500]) * MILLI,
            operator_gap: rng.pick(&[100, 400, 1000]) * MILLI,
            reluctance: if late { 100 } else { rng.pick(&[100, 400, 950]) },
            restlessness: rng.pick(&[20, 100, 500]),
            order_delay: if late { 3 * SECOND } else { rng.pick(&[MILLI, 100 * MILLI, 3 * SECOND]) },
            compact_gap: rng.pick(&[200, 1000, 5000]) * MILLI,
            nodes: (1..=count + spare).filter_map(NodeId::new).collect(),
            change_gap: if changes { rng.pick(&[300, 1000, 3000]) * MILLI } else { 0 },
            disk_lost,
            // With so few members in force that one machine is all of them, its loss would excuse everything.
            losses: !changes && !disk_lost && matches!(bug, None | Some(Bug::UnnoticedLoss)),
            flush_async: rng.chance(500) || bug == Some(Bug::UnnoticedLoss),
        }
    }

    /// Rate of a node's clock in parts per thousand of true time.
    pub(crate) fn clock_rate(&self, rng: &mut Rng) -> u64 {
        match self.bug {
            Some(Bug::WildClocks) => rng.pick(&[600, 1800]),
            _ => rng.between(950, 1050),
        }
    }
}
