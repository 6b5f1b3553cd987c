//! Logs that give up their beginning at random, and snapshots that are sent to those who would have needed it.

use mainstay_consensus::{Event, LogBase, Mode};
use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::plan::MILLI;
use crate::world::{Happening, World};

/// A snapshot on its way.
#[derive(Debug)]
pub(crate) struct Shipment {
    from: usize,
    to: usize,
    epoch: Epoch,
    base: LogBase,
    /// The state: what it is made of.
    state: Vec<EntryId>,
    round: u64,
    lost: bool,
}

impl World {
    pub(crate) fn compact(&mut self) {
        let at = self.rng.index(self.nodes.len());
        let node = &self.nodes[at];
        // What a machine that fails may still lose must not be in the state alone.
        let safe = LogIndex(node.base.base.index.0 + node.synced.min(node.log.len()) as u64);
        let mut through = safe.min(LogIndex(node.applied.len() as u64)).min(LogIndex(node.reported));
        if self.plan.membership.mode() == Mode::Async {
            // What may be overridden by force must be there to be set aside.
            let everywhere = |index: &LogIndex| {
                let id = node.entry(*index);
                let member = |other: &&crate::node::Node| node.base.membership.contains(other.id);
                self.nodes
                    .iter()
                    .filter(member)
                    .all(|other| other.keeps(id, u64::MAX) && !other.lost.contains_key(&id))
            };
            through = (0..=through.0).rev().map(LogIndex).find(everywhere).unwrap_or_default();
        }
        if node.core.is_some() && through > node.base.base.index {
            let low = node.base.base.index.0 + 1;
            let index = LogIndex(self.rng.between(low, through.0));
            self.compact_through(at, index);
        }
        let gap = self.rng.between(1, 2 * self.plan.compact_gap);
        self.after(gap, Happening::Compact);
    }

    fn compact_through(&mut self, at: usize, index: LogIndex) {
        let base = self.nodes[at].entry(index);
        let described = self.nodes[at].core.as_ref().and_then(|core| core.log_base_at(index));
        let Some(described) = described else { return };
        self.step(at, Event::Compacted { base });
        let node = &mut self.nodes[at];
        let count = node.count_through(index);
        node.snapshot = node.applied[..index.0 as usize].to_vec();
        node.log.drain(..count);
        node.disk.drain(..count);
        node.synced -= count;
        node.base = described;
        self.checks.statistics.compactions += 1;
    }

    pub(crate) fn send_snapshot(&mut self, at: usize, to: NodeId, epoch: Epoch, round: u64) {
        let node = &self.nodes[at];
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return };
        let low = node.base.base.index.0;
        let index = LogIndex(self.rng.between(low, node.applied.len() as u64));
        let describe = |index| node.core.as_ref().and_then(|core| core.log_base_at(index));
        let index = if describe(index).is_some() { index } else { LogIndex(node.applied.len() as u64) };
        let Some(base) = describe(index) else {
            let to = self.nodes[to].id;
            return self.after(100 * MILLI, Happening::SnapshotEnded { node: at, to, epoch });
        };
        let state = node.applied[..index.0 as usize].to_vec();
        let arrives = self.network.delays(at, to, self.now, &mut self.rng);
        let lost = arrives.is_empty() || (!self.calm && self.rng.chance(200));
        let longest = if self.calm { 50 * MILLI } else { 2000 * MILLI };
        let delay = arrives.first().copied().unwrap_or(MILLI) + self.rng.between(0, longest);
        let shipment = Shipment { from: at, to, epoch, base, state, round, lost };
        self.after(delay, Happening::Snapshot(shipment));
    }

    pub(crate) fn snapshot_arrives(&mut self, shipment: Shipment) {
        let Shipment { from, to, epoch, base, state, round, lost } = shipment;
        let (sender, receiver) = (self.nodes[from].id, self.nodes[to].id);
        if !lost && self.nodes[to].core.is_some() {
            self.nodes[to].staged.push((base.clone(), state));
            self.step(to, Event::SnapshotArrived { from: sender, epoch, base, round });
        }
        self.after(MILLI, Happening::SnapshotEnded { node: from, to: receiver, epoch });
    }

    pub(crate) fn install_snapshot(&mut self, at: usize, base: EntryId) {
        let node = &mut self.nodes[at];
        let found = node.staged.iter().rposition(|(of, _)| of.base == base).expect("it has arrived");
        let (base, state) = node.staged.swap_remove(found);
        self.checks.installs(&self.nodes[at], &state);
        let node = &mut self.nodes[at];
        node.reported = base.base.index.0;
        (node.base, node.snapshot, node.applied) = (base, state.clone(), state);
        node.log.clear();
        node.disk.clear();
        node.disk_queue.clear();
        node.synced = 0;
        self.checks.statistics.snapshots += 1;
        self.checks.excuse(&self.nodes);
    }
}
