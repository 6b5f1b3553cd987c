//! What must hold after every step. Each check has a name, so that a planted bug can be told by what caught it.

use std::collections::BTreeMap;

use mainstay_consensus::{Action, AppendResponse, Membership, Message, Mode, Role, TailFate, VoteResponse};
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, LogIndex, NodeId};

use crate::node::Node;

/// Panics with the name of the check; the runner adds the seed.
macro_rules! violated {
    ($check:literal, $($what:tt)*) => { panic!("check {}: {}", $check, format_args!($($what)*)) };
}

struct Committed {
    id: EntryId,
    /// The oldest epoch known to have counted it as committed.
    by: Epoch,
}

#[derive(Default)]
pub(crate) struct Checks {
    /// Every batch that was ever in a log, and the entry before it.
    born: BTreeMap<EntryId, (EntryId, Batch)>,
    /// One entry per index, unless a promotion was forced.
    committed: BTreeMap<LogIndex, Vec<Committed>>,
    reigns: BTreeMap<Epoch, (NodeId, u64)>,
    pub(crate) forced: bool,
    pub(crate) statistics: Statistics,
}

/// Shows that the runs reach what they are to test.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Statistics {
    pub(crate) steps: u64,
    pub(crate) reigns: u64,
    pub(crate) committed: u64,
    pub(crate) served: u64,
    pub(crate) truncations: u64,
    pub(crate) quarantined: u64,
    pub(crate) rewinds: u64,
    pub(crate) overridden: u64,
    pub(crate) handovers: u64,
    pub(crate) losses: u64,
    pub(crate) caught_up: u64,
    pub(crate) excused: u64,
    pub(crate) compactions: u64,
    pub(crate) snapshots: u64,
    pub(crate) changes: u64,
    pub(crate) adoptions: u64,
}

impl Statistics {
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.reigns += other.reigns;
        self.committed += other.committed;
        self.served += other.served;
        self.truncations += other.truncations;
        self.quarantined += other.quarantined;
        self.rewinds += other.rewinds;
        self.overridden += other.overridden;
        self.handovers += other.handovers;
        self.losses += other.losses;
        self.caught_up += other.caught_up;
        self.excused += other.excused;
        self.compactions += other.compactions;
        self.snapshots += other.snapshots;
        self.changes += other.changes;
        self.adoptions += other.adoptions;
    }
}

impl Checks {
    /// An entry has one content and one predecessor for ever. By induction logs that share an entry are equal before it.
    pub(crate) fn appended(&mut self, node: &Node, batch: &Batch) {
        let prev = node.entry(batch.index().prev());
        let (first_prev, first) = self.born.entry(batch.id()).or_insert_with(|| (prev, batch.clone()));
        if *first_prev != prev {
            violated!("log-matching", "{} follows {prev} on {}, {first_prev} elsewhere", batch.id(), node.id);
        }
        if first != batch {
            violated!("one-batch-per-entry", "{} has two contents, seen on {}", batch.id(), node.id);
        }
    }

    pub(crate) fn became_leader(&mut self, node: &Node, epoch: Epoch) {
        let reign = (node.id, node.life);
        if *self.reigns.entry(epoch).or_insert(reign) != reign {
            violated!("one-leader-per-epoch", "epoch {epoch} is led twice, by {}", node.id);
        }
        self.statistics.reigns += 1;
        // Who is written off may lead, but nobody follows who could help it to commit anything.
        if self.forced || node.written_off {
            return;
        }
        for committed in self.committed.values().flatten().filter(|committed| committed.by < epoch) {
            if node.entry(committed.id.index) != committed.id {
                violated!("leader-completeness", "leader {epoch} lacks committed {}", committed.id);
            }
        }
    }

    /// A leader says that everything through its log's `through` is committed.
    pub(crate) fn leader_commits(
        &self,
        nodes: &[Node],
        leader: &Node,
        epoch: Epoch,
        through: EntryId,
        told: &Membership,
    ) {
        if through.epoch != epoch {
            violated!("own-epoch-commits", "leader {epoch} counted {through}");
        }
        let heard = |node: &Node| leader.heard_losses.get(&node.id).copied().unwrap_or(0);
        let (membership, old) = leader.memberships(told);
        for membership in [Some(membership), old].into_iter().flatten() {
            let counts = |node: &&Node| membership.voters().contains(&node.id);
            let copies = nodes.iter().filter(counts).filter(|node| node.keeps(through, heard(node))).count();
            if copies < membership.write_quorum() {
                violated!("write-quorum", "{} committed {through} with {copies} durable copies", leader.id);
            }
        }
    }

    /// Versions grow along a log, every change has its joint step, and whoever is new has nearly everything by then.
    pub(crate) fn membership(&mut self, nodes: &[Node], at: usize, batch: &Batch, window: u64) {
        let node = &nodes[at];
        if batch.header().kind != BatchKind::Membership {
            return;
        }
        let membership = Membership::decode(&batch.record(0).unwrap()).unwrap();
        let before =
            node.log.iter().rev().skip(1).filter(|batch| batch.header().kind == BatchKind::Membership);
        let before = before.map(|batch| Membership::decode(&batch.record(0).unwrap()).unwrap()).next();
        let before = before.unwrap_or_else(|| node.base.membership.clone());
        if before.version() > membership.version() {
            violated!("versions-grow", "{} follows {before:?} on {}: {membership:?}", batch.id(), node.id);
        }
        let Some(old) = membership.replaces() else {
            self.statistics.changes += u64::from(before.is_joint());
            return;
        };
        let leads = node.core.as_ref().is_some_and(|core| core.next_entry().is_some());
        for new in nodes.iter().filter(|new| leads && membership.contains(new.id) && !old.contains(new.id)) {
            let known = new.lost.is_empty() && new.hard.granted <= batch.id().epoch;
            let end = new.base.base.index.0 + new.disk.len() as u64;
            if known && end + window + 1 < batch.index().0 {
                violated!("learners-caught-up", "{} has {end} only, but counts from {}", new.id, batch.id());
            }
        }
    }

    /// A node, leader or not, takes an entry for committed.
    pub(crate) fn committed(&mut self, node: &Node, id: EntryId, epoch: Epoch, mode: Mode) {
        self.statistics.committed += 1;
        let known = self.committed.entry(id.index).or_default();
        if let Some(known) = known.iter_mut().find(|known| known.id == id) {
            known.by = known.by.min(epoch);
            return;
        }
        if let Some(other) = known.first().filter(|_| mode != Mode::Async || !self.forced) {
            violated!("committed-for-ever", "{} takes {id} for committed, but {} was", node.id, other.id);
        }
        known.push(Committed { id, by: epoch });
    }

    /// What no node has any more, in memory, on disk or set aside, after machines failed. Whatever one node has must
    /// still never be contradicted.
    pub(crate) fn excuse(&mut self, nodes: &[Node]) {
        let mut excused = 0;
        self.committed.retain(|_, known| {
            let before = known.len();
            known.retain(|known| nodes.iter().any(|node| node.has(known.id)));
            excused += (before - known.len()) as u64;
            !known.is_empty()
        });
        self.statistics.excused += excused;
    }

    pub(crate) fn truncates(&mut self, node: &Node, keep: LogIndex, fate: TailFate, mode: Mode) {
        self.statistics.truncations += 1;
        if node.reported < node.last_index().0 {
            violated!("cut-after-persisted", "{} cuts a tail that is still being written", node.id);
        }
        let expected = if mode == Mode::Async { TailFate::Quarantine } else { TailFate::Discard };
        if fate != expected {
            violated!("tail-fate", "{} cuts with {fate:?}", node.id);
        }
        for batch in node.log.iter().skip(node.count_through(keep)) {
            let known = self.committed.get(&batch.index());
            let was_committed = known.is_some_and(|known| known.iter().any(|known| known.id == batch.id()));
            if was_committed && !self.forced {
                violated!("committed-kept", "{} cuts committed {}", node.id, batch.id());
            }
        }
    }

    /// What a snapshot drops of a log is in the state that replaces it, or was never committed, or is set aside.
    pub(crate) fn installs(&self, node: &Node, state: &[EntryId]) {
        for batch in &node.log {
            let id = batch.id();
            let known = self.committed.get(&id.index);
            let was_committed = known.is_some_and(|known| known.iter().any(|known| known.id == id));
            if was_committed && !self.forced && state.get(id.index.0 as usize - 1) != Some(&id) {
                violated!("committed-kept", "{} drops committed {id} for a snapshot", node.id);
            }
        }
    }

    /// The state machine has applied a prefix of the log, no more.
    pub(crate) fn applied(node: &Node) {
        let last = node.applied.last().copied().unwrap_or(EntryId::ZERO);
        if node.entry(last.index) != last || last.index.0 != node.applied.len() as u64 {
            violated!("applied-in-log", "{} has applied {last}, which its log has not", node.id);
        }
    }

    /// What leaves a node is backed by what it has stored.
    pub(crate) fn sends(node: &Node, action: &Action) {
        let Action::Send { message, .. } = action else { return };
        let stored = node.hard.granted.max(node.disk.last().map_or(Epoch::ZERO, |batch| batch.id().epoch));
        let told = match message {
            Message::VoteResponse(VoteResponse { granted, if_all, pre_vote: false, epoch, .. })
                if *granted || *if_all =>
            {
                if *epoch < stored {
                    violated!("grants-only-newest", "{} grants {epoch} after {stored}", node.id);
                }
                *epoch
            }
            Message::VoteRequest(request) if !request.pre_vote => request.epoch,
            Message::AppendResponse(AppendResponse { epoch, .. }) => *epoch,
            _ => return,
        };
        if told > stored {
            violated!("stored-before-told", "{} tells of epoch {told}, but has stored {stored}", node.id);
        }
    }

    /// At this true time at most one node serves, and it has applied everything that was ever committed.
    pub(crate) fn serving(&mut self, nodes: &[Node], now: u64) {
        let mut serving = None;
        for node in nodes {
            let Some(core) = &node.core else { continue };
            if !core.serving(node.local(now)) {
                continue;
            }
            let committed = self.committed.last_key_value().map_or(0, |(index, _)| index.0);
            if !self.forced && (node.applied.len() as u64) < committed {
                violated!("serving-knows-all", "{} serves without knowing of entry {committed}", node.id);
            }
            if let Some(other) = serving.replace(node.id) {
                violated!("one-serves", "{other} and {} serve at the same time", node.id);
            }
        }
        self.statistics.served += u64::from(serving.is_some());
    }

    /// While a leader serves, no newer one may have committed anything: what it delivers would be stale.
    pub(crate) fn no_older_serves(nodes: &[Node], epoch: Epoch, now: u64) {
        for node in nodes {
            let Some(core) = &node.core else { continue };
            if !core.serving(node.local(now)) {
                continue;
            }
            let view = core.view(node.local(now));
            if view.role == Role::Leader && view.epoch < epoch {
                violated!("no-stale-serving", "{} serves in {}, {epoch} commits", node.id, view.epoch);
            }
        }
    }

    /// When all logs are equal: whatever was ever committed is in them or, overridden by force, set aside.
    pub(crate) fn nothing_destroyed(&mut self, nodes: &[Node], member: usize) {
        for committed in self.committed.values().flatten() {
            let id = committed.id;
            if nodes[member].entry(id.index) == id {
                continue;
            }
            self.statistics.overridden += 1;
            // Who is no member any more is never told.
            if !nodes.iter().any(|node| node.sets_aside(id) || node.has(id)) {
                violated!("nothing-destroyed", "committed {id} is nowhere any more");
            }
        }
    }

    pub(crate) fn converged(nodes: &[Node], members: &[usize]) {
        let nodes: Vec<_> = members.iter().map(|at| &nodes[*at]).collect();
        if let Some(node) = nodes.iter().find(|node| !node.standing.caught_up) {
            violated!("catches-up", "{} never caught up", node.id);
        }
        for pair in nodes.windows(2) {
            if pair[0].last_index() != pair[1].last_index() || pair[0].applied != pair[1].applied {
                let (one, other) = (pair[0].applied.len(), pair[1].applied.len());
                violated!("convergence", "{} has applied {one}, {} {other}", pair[0].id, pair[1].id);
            }
        }
    }
}
