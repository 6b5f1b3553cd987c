//! What must hold at every moment, seen from outside: stronger than what clients can notice.
//!
//! The first violation ends the run; each check has a name, so that a planted mistake can be told by what caught it.

mod figures;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_consensus::{Action, AppendResponse, Core, HardState, Message, Moment, TailFate, VoteResponse};
use mainstay_record::{Batch, EntryId, Epoch, LogIndex};

use crate::broker::{Change, Entries};
use crate::time::Time;

pub use self::figures::Figures;

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Violation {
    pub check: &'static str,
    pub what: String,
}

/// The log of one replica as it lies on its disk.
#[derive(Debug, Default)]
struct Copy {
    entries: Entries,
    /// Through here it survives a power cut.
    durable: LogIndex,
    hard: HardState,
    /// It is being taken over from the leader, and counts for nothing until that is done.
    refilling: bool,
}

/// The operator's lease of a leader.
#[derive(Debug, Clone, Copy)]
struct Vouched {
    life: u64,
    epoch: Epoch,
    until: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Born {
    prev: EntryId,
    /// Checksum and length of the batch, which cover all of it.
    bytes: bytes::Bytes,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    /// Entries of one index, in every log, for ever.
    born: BTreeMap<EntryId, Born>,
    /// By whom each entry is known to be committed first; one for each index, unless a promotion was forced.
    committed: BTreeMap<LogIndex, BTreeMap<EntryId, Epoch>>,
    /// Which node led an epoch, in which of its lives.
    reigns: BTreeMap<Epoch, (usize, u64)>,
    copies: Vec<Copy>,
    write_quorum: usize,
    /// What is durable counts, not what is only written.
    durable_counts: bool,
    /// The newest entry that each node has acknowledged, whatever has become of its disk since.
    acknowledged: Vec<EntryId>,
    /// Who has lost what it acknowledged and has not caught up since: what was counted on it may be committed.
    lost: Vec<bool>,
    /// What was taken away from the beginning of a log.
    given_up: BTreeSet<EntryId>,
    pub(crate) async_mode: bool,
    /// A promotion was forced: tails may be cut off.
    pub(crate) forced: bool,
    /// Something happened after which what was committed may be gone: the clients' accounts are checked instead.
    pub(crate) may_forget: bool,
    served: Epoch,
    /// For whom an operator vouches: in which life, as leader of what, until when in true time.
    vouched: Vec<Option<Vouched>>,
    pub(crate) violation: Option<Violation>,
    pub(crate) figures: Figures,
}

impl Oracle {
    pub(crate) fn new(nodes: usize, write_quorum: usize, durable_counts: bool, async_mode: bool) -> Self {
        Self {
            born: BTreeMap::new(),
            committed: BTreeMap::new(),
            reigns: BTreeMap::new(),
            copies: (0..nodes).map(|_| Copy::default()).collect(),
            write_quorum,
            durable_counts,
            acknowledged: vec![EntryId::ZERO; nodes],
            lost: vec![false; nodes],
            given_up: BTreeSet::new(),
            async_mode,
            forced: false,
            may_forget: false,
            served: Epoch::ZERO,
            vouched: vec![None; nodes],
            violation: None,
            figures: Figures::default(),
        }
    }

    pub(crate) fn violated(&mut self, check: &'static str, what: String) {
        self.violation.get_or_insert(Violation { check, what });
    }

    /// A replica starts with what it found on its disk.
    pub(crate) fn started(&mut self, node: usize, entries: &Entries, hard: HardState) {
        self.figures.starts += 1;
        let (entries, durable) = (entries.clone(), entries.last());
        self.copies[node] = Copy { entries, durable, hard, refilling: false };
    }

    pub(crate) fn disk_changed(&mut self, node: usize, change: Change) {
        let copy = &mut self.copies[node];
        match change {
            Change::Written(ids) => ids.into_iter().for_each(|id| copy.entries.push(id)),
            Change::Cut(keep) => {
                copy.entries.cut(keep);
                copy.durable = copy.entries.last();
                if self.acknowledged[node].index > keep {
                    self.acknowledged[node] = copy.entries.newest();
                }
                self.figures.cuts += 1;
            }
            Change::Forced => copy.durable = copy.entries.last(),
            Change::Forgot(base) => self.given_up.extend(copy.entries.forget(base)),
            Change::Restarted(base) => {
                copy.entries = Entries::empty(base);
                copy.durable = base.index;
                copy.refilling = base != EntryId::ZERO;
                self.lost[node] = true;
            }
        }
    }

    /// Log and state that a replica has taken from its leader are in force.
    pub(crate) fn refilled(&mut self, node: usize) {
        self.figures.refills += 1;
        self.copies[node].refilling = false;
    }

    /// A replica goes on with the state of a snapshot through this entry.
    pub(crate) fn loaded(&mut self, node: usize, applied: EntryId) {
        let known = self.committed.get(&applied.index).is_some_and(|ids| ids.contains_key(&applied));
        if !known && !self.may_forget {
            let what = format!("node {node} loads the state at {applied}, which was never committed");
            self.violated("snapshots-of-committed", what);
        }
    }

    pub(crate) fn stored(&mut self, node: usize, hard: HardState) {
        self.copies[node].hard = hard;
    }

    /// An entry has one content and one predecessor for ever. By induction logs that share an entry are equal before it.
    pub(crate) fn appended(&mut self, node: usize, prev: EntryId, batch: &Batch) {
        let born = Born { prev, bytes: batch.bytes().clone() };
        let first = self.born.entry(batch.id()).or_insert_with(|| born.clone());
        if *first != born {
            let what = format!("{} is not the same batch on node {node} as elsewhere", batch.id());
            self.violated("one-batch-per-entry", what);
        }
    }

    pub(crate) fn became_leader(&mut self, node: usize, life: u64, epoch: Epoch, last: LogIndex) {
        let reign = (node, life);
        let known = *self.reigns.entry(epoch).or_insert(reign);
        if known != reign {
            self.violated("one-leader-per-epoch", format!("epoch {epoch} is led by {known:?} and {reign:?}"));
        }
        self.figures.reigns += 1;
        if self.carries_no_promise() {
            return;
        }
        let before = self.committed.values().flatten().filter(|(_, by)| **by < epoch);
        if let Some((missing, _)) = before.map(|(id, by)| (*id, *by)).find(|(id, _)| id.index > last) {
            self.violated("leader-completeness", format!("leader {epoch} lacks committed {missing}"));
        }
    }

    /// A leader says that everything through its entry `through` is committed.
    pub(crate) fn leader_commits(&mut self, epoch: Epoch, through: EntryId) {
        if through.epoch != epoch {
            self.violated("own-epoch-commits", format!("leader {epoch} counted {through}"));
        }
        let holds = |copy: &Copy| {
            let kept = if self.durable_counts { copy.durable } else { copy.entries.last() };
            !copy.refilling && through.index <= kept && copy.entries.get(through.index) == Some(through)
        };
        let counted = |node: usize| self.lost[node] && self.acknowledged[node].index >= through.index;
        let copies = self.copies.iter().enumerate();
        let copies = copies.filter(|(node, copy)| holds(copy) || counted(*node)).count();
        if copies < self.write_quorum {
            self.violated("write-quorum", format!("{through} was committed with {copies} copies"));
        }
    }

    /// A replica takes an entry for committed.
    pub(crate) fn committed(&mut self, node: usize, id: EntryId, epoch: Epoch) {
        let known = self.committed.entry(id.index).or_default();
        if let Some(by) = known.get_mut(&id) {
            *by = (*by).min(epoch);
            return;
        }
        let other = known.keys().next().copied();
        known.insert(id, epoch);
        self.figures.committed += 1;
        if let Some(other) = other.filter(|_| !self.carries_no_promise()) {
            self.violated(
                "committed-for-ever",
                format!("node {node} takes {id} for committed, but {other} was"),
            );
        }
    }

    pub(crate) fn cuts(&mut self, node: usize, gone: &[EntryId], fate: TailFate) {
        let expected = if self.async_mode { TailFate::Quarantine } else { TailFate::Discard };
        if fate != expected {
            self.violated("tail-fate", format!("node {node} cuts with {fate:?}"));
        }
        let committed =
            |id: &&EntryId| self.committed.get(&id.index).is_some_and(|ids| ids.contains_key(*id));
        if let Some(id) = gone.iter().find(committed).filter(|_| !self.carries_no_promise()) {
            self.violated("committed-kept", format!("node {node} cuts committed {id}"));
        }
        self.figures.quarantined += if fate == TailFate::Quarantine { gone.len() as u64 } else { 0 };
    }

    /// What leaves a node is backed by what it has stored.
    pub(crate) fn sends(&mut self, node: usize, action: &Action, core: &Core) {
        let Action::Send { message, .. } = action else { return };
        match message {
            Message::AppendResponse(AppendResponse { accepted: true, index, .. }) => {
                if let Some(id) = self.copies[node].entries.get(*index)
                    && id > self.acknowledged[node]
                {
                    self.acknowledged[node] = id;
                }
            }
            Message::VoteResponse(VoteResponse { granted: true, pre_vote: false, .. }) => self.votes(node),
            // Whoever knows that it may lack something needs everybody's grant.
            Message::VoteRequest(request)
                if !request.pre_vote && core.view(Moment(Duration::ZERO)).standing.caught_up =>
            {
                self.votes(node);
            }
            _ => {}
        }
        let told = match message {
            Message::VoteResponse(VoteResponse { granted: true, pre_vote: false, epoch, .. }) => *epoch,
            Message::VoteRequest(request) if !request.pre_vote => request.epoch,
            Message::AppendResponse(AppendResponse { epoch, .. }) => *epoch,
            _ => return,
        };
        let copy = &self.copies[node];
        let in_log = copy.entries.get(copy.durable).map_or(Epoch::ZERO, |id| id.epoch);
        let stored = copy.hard.granted.max(in_log);
        if told > stored {
            self.violated(
                "stored-before-told",
                format!("node {node} tells of epoch {told}, has stored {stored}"),
            );
        }
    }

    /// Whose word counts in an election has everything committed that it ever acknowledged.
    fn votes(&mut self, node: usize) {
        if self.carries_no_promise() {
            return;
        }
        let mut id = self.acknowledged[node];
        let committed = |id: &EntryId| self.committed.get(&id.index).is_some_and(|ids| ids.contains_key(id));
        while !committed(&id) {
            let Some(born) = self.born.get(&id) else { return };
            id = born.prev;
        }
        let copy = &self.copies[node];
        let held = id.index <= copy.entries.base() || copy.entries.get(id.index) == Some(id);
        if copy.refilling || !held {
            let what = format!("node {node} votes without {id}, which it had acknowledged");
            self.violated("votes-with-what-it-acknowledged", what);
        }
    }

    /// Those who serve at this moment, each with its epoch.
    pub(crate) fn serving(&mut self, serving: &[(usize, Epoch)]) {
        for (node, epoch) in serving {
            self.served = self.served.max(*epoch);
            if let Some((other, _)) = serving.iter().find(|(other, _)| other != node) {
                self.violated("one-serves", format!("nodes {node} and {other} serve at the same moment"));
            }
        }
    }

    /// A leader has taken the operator's word that nobody else is promoted before `until`.
    pub(crate) fn vouched_for(&mut self, node: usize, life: u64, epoch: Epoch, until: Time) {
        let before = self.vouched[node].filter(|vouched| vouched.life == life && vouched.epoch == epoch);
        let until = before.map_or(until, |vouched| vouched.until.max(until));
        self.vouched[node] = Some(Vouched { life, epoch, until });
    }

    /// It does not lead any more: nobody needs the word that was given.
    pub(crate) fn resigned(&mut self, node: usize) {
        self.vouched[node] = None;
    }

    /// A node takes the order to lead by force: nobody else may be vouched for.
    pub(crate) fn promoted(&mut self, node: usize, now: Time) {
        self.forced = true;
        let others = self.vouched.iter().enumerate().filter(|(other, _)| *other != node);
        let held = others.filter_map(|(other, vouched)| vouched.map(|vouched| (other, vouched)));
        if let Some((other, vouched)) = held.into_iter().find(|(_, vouched)| vouched.until > now) {
            let what =
                format!("node {node} is promoted while node {other} is vouched for in {}", vouched.epoch);
            self.violated("one-is-vouched-for", what);
        }
    }

    /// A leader that commits alone answers a client: nobody newer may have served yet.
    pub(crate) fn answered(&mut self, node: usize, epoch: Epoch) {
        if self.async_mode && epoch < self.served {
            let what = format!("node {node} answers in {epoch} after {} has served", self.served);
            self.violated("no-late-answer", what);
        }
    }

    /// A message is handed out that lies in this batch.
    pub(crate) fn delivered(&mut self, node: usize, index: LogIndex) {
        self.figures.delivered += 1;
        if !self.committed.contains_key(&index) {
            self.violated(
                "deliver-committed-only",
                format!("node {node} delivers from {index}, which is not committed"),
            );
        }
    }

    fn carries_no_promise(&self) -> bool {
        self.forced || self.may_forget
    }

    /// The disk of a node is gone, and with it what counted as a copy.
    pub(crate) fn disk_gone(&mut self, node: usize) {
        self.copies[node] = Copy::default();
        self.lost[node] = true;
    }

    /// Part of it may be gone.
    pub(crate) fn loses(&mut self, node: usize) {
        self.lost[node] = true;
    }

    /// It has all back.
    pub(crate) fn caught_up(&mut self, node: usize) {
        self.lost[node] = false;
    }

    /// The whole log through `last`, as it was written.
    pub(crate) fn history(&self, last: EntryId) -> Result<Vec<Batch>, String> {
        let mut log = Vec::new();
        let mut id = last;
        while id != EntryId::ZERO {
            let born = self.born.get(&id).ok_or_else(|| format!("nobody has ever written {id}"))?;
            log.push(Batch::decode(&born.bytes).map_err(|error| format!("{id}: {error}"))?);
            id = born.prev;
        }
        log.reverse();
        Ok(log)
    }

    /// What was taken away from the beginning of a log and is not part of this one.
    pub(crate) fn given_up(&self, log: &BTreeSet<EntryId>) -> Vec<Batch> {
        let elsewhere = self.given_up.difference(log);
        elsewhere.filter_map(|id| Batch::decode(&self.born.get(id)?.bytes).ok()).collect()
    }

    /// Entries that were committed and were not carried on by those in `kept`, as a log.
    pub(crate) fn overridden(&self, kept: &BTreeSet<EntryId>) -> Vec<EntryId> {
        self.committed.values().flat_map(BTreeMap::keys).filter(|id| !kept.contains(id)).copied().collect()
    }
}
