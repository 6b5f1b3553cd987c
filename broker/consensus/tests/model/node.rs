//! One replica of the model: its core while it runs, its log as the process sees it, its disk, and what is still on
//! the way to the disk.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mainstay_consensus::{Config, Core, HardState, LogSummary, Membership, Moment, Standing};
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, LogIndex, LogPosition, NodeId};

use crate::scope::Scope;

#[derive(Debug, Clone)]
pub(crate) enum DiskOp {
    Append(Vec<Batch>),
    Truncate(LogIndex),
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// While the process runs.
    pub(crate) core: Option<Core>,
    /// True time of its start, in microseconds.
    booted: u64,
    /// Parts per thousand of true time.
    rate: u64,
    /// Durable.
    pub(crate) disk: Vec<Batch>,
    pub(crate) hard: HardState,
    pub(crate) standing: Standing,
    pub(crate) adopted: Option<Membership>,
    pub(crate) quarantine: Vec<Batch>,
    /// Was on the disk when the machine lost power for the so-many-eth time.
    pub(crate) lost: BTreeMap<EntryId, u64>,
    /// As the process sees it.
    pub(crate) log: Vec<Batch>,
    /// How many entries of the log the state machine has taken.
    pub(crate) applied: u64,
    /// Not durable yet, in order.
    pub(crate) queue: VecDeque<DiskOp>,
    /// The epoch it leads.
    pub(crate) leads: Option<Epoch>,
    /// Losses that others have told this leader of, in this reign.
    pub(crate) heard_losses: BTreeMap<NodeId, u64>,
}

impl Node {
    pub(crate) fn new(id: NodeId, rate: u64) -> Self {
        Self {
            id,
            core: None,
            booted: 0,
            rate,
            disk: Vec::new(),
            hard: HardState::default(),
            standing: Standing::default(),
            adopted: None,
            quarantine: Vec::new(),
            lost: BTreeMap::new(),
            log: Vec::new(),
            applied: 0,
            queue: VecDeque::new(),
            leads: None,
            heard_losses: BTreeMap::new(),
        }
    }

    /// Joins with nothing.
    pub(crate) fn newcomer(id: NodeId, rate: u64) -> Self {
        Self { standing: Standing::default().after_loss(), ..Self::new(id, rate) }
    }

    /// The membership in force by what its log says, and the one before while that counts as well.
    pub(crate) fn memberships(&self, told: &Membership) -> (Membership, Option<Membership>) {
        let newest = self.log.iter().rev().find(|batch| batch.header().kind == BatchKind::Membership);
        let newest = newest.map(|batch| Membership::decode(&batch.record(0).unwrap()).unwrap());
        // A planted fault has the nodes believe something else of the first one.
        let newest = newest.filter(|newest| newest.version() > told.version()).unwrap_or(told.clone());
        let old = newest.replaces();
        (newest, old)
    }

    pub(crate) fn start(&mut self, scope: &Scope, seed: u64, now: u64) {
        self.booted = now;
        self.log = self.disk.clone();
        self.applied = 0;
        let config =
            Config { node: self.id, timing: scope.timing.clone(), seed, max_inflight_batches: scope.window };
        let summary = LogSummary {
            standing: self.standing,
            adopted: self.adopted.clone(),
            ..summarise(&self.disk, &scope.first(self.id))
        };
        self.core = Some(Core::new(config, self.hard, summary, self.local(now)));
    }

    /// The process ends, after the first `written` operations reached the disk.
    pub(crate) fn crash(&mut self, written: usize) {
        for _ in 0..written {
            self.write();
        }
        self.core = None;
        self.leads = None;
        self.heard_losses.clear();
        self.queue.clear();
        self.log.clear();
        self.applied = 0;
    }

    /// The machine of a crashed process fails, and of its disk only the first `kept` entries survive.
    pub(crate) fn lose(&mut self, kept: usize, noticed: bool) {
        let losses = self.standing.after_loss().losses;
        self.lost.extend(self.disk.split_off(kept).iter().map(|batch| (batch.id(), losses)));
        if noticed {
            self.standing = self.standing.after_loss();
        }
    }

    /// The oldest operation reaches the disk; tells what is persisted then, if that is to be reported.
    pub(crate) fn write(&mut self) -> Option<EntryId> {
        match self.queue.pop_front()? {
            DiskOp::Append(batches) => {
                let last = batches.last().map(Batch::id);
                self.disk.extend(batches);
                last
            }
            DiskOp::Truncate(keep) => {
                self.disk.truncate(keep.0 as usize);
                None
            }
        }
    }

    pub(crate) fn local(&self, now: u64) -> Moment {
        Moment(Duration::from_micros((now - self.booted) * self.rate / 1000))
    }

    /// The first true time at which the own clock shows `moment`.
    pub(crate) fn true_time(&self, moment: Moment) -> u64 {
        let micros = moment.0.as_nanos().div_ceil(1000) as u64;
        self.booted + (micros * 1000).div_ceil(self.rate)
    }

    pub(crate) fn serves(&self, now: u64) -> bool {
        self.core.as_ref().is_some_and(|core| core.serving(self.local(now)))
    }

    pub(crate) fn entry(&self, index: LogIndex) -> EntryId {
        let at = (index.0 as usize).wrapping_sub(1);
        self.log.get(at).map_or(EntryId::ZERO, Batch::id)
    }

    pub(crate) fn last(&self) -> EntryId {
        self.log.last().map_or(EntryId::ZERO, Batch::id)
    }

    pub(crate) fn end(&self) -> LogPosition {
        self.log.last().map_or(LogPosition(0), |batch| batch.header().end_position())
    }

    /// Whether the entry was ever persisted on this node and not cut since: what a leader may count that has heard of
    /// so many losses of this node.
    pub(crate) fn keeps(&self, id: EntryId, heard: u64) -> bool {
        let lost_unheard = || self.lost.get(&id).is_some_and(|losses| *losses > heard);
        holds(&self.disk, id) || self.sets_aside(id) || lost_unheard()
    }

    /// Whether the entry can still come back from this node.
    pub(crate) fn has(&self, id: EntryId) -> bool {
        holds(&self.disk, id) || holds(&self.log, id) || self.sets_aside(id)
    }

    fn sets_aside(&self, id: EntryId) -> bool {
        self.quarantine.iter().any(|batch| batch.id() == id)
    }
}

fn holds(log: &[Batch], id: EntryId) -> bool {
    let at = (id.index.0 as usize).wrapping_sub(1);
    log.get(at).is_some_and(|batch| batch.id() == id)
}

fn summarise(disk: &[Batch], first: &Membership) -> LogSummary {
    let mut summary = LogSummary {
        base: EntryId::ZERO,
        last: EntryId::ZERO,
        epochs: Vec::new(),
        membership: first.clone(),
        memberships: Vec::new(),
        adopted: None,
        standing: Standing::default(),
    };
    for batch in disk {
        let id = batch.id();
        if summary.epochs.last().is_none_or(|(epoch, _)| *epoch != id.epoch) {
            summary.epochs.push((id.epoch, id.index));
        }
        if batch.header().kind == BatchKind::Membership {
            let membership = Membership::decode(&batch.record(0).unwrap()).unwrap();
            summary.memberships.push((id.index, membership));
        }
        summary.last = id;
    }
    summary
}
