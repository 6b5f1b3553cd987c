//! One simulated replica: its clock, its disk with the operations still on the way to it, and its core while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mainstay_consensus::{Config, Core, HardState, LogBase, LogSummary, Membership, Moment, Standing};
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, LogIndex, LogPosition, NodeId};

use crate::plan::Plan;

#[derive(Debug)]
pub(crate) enum DiskOp {
    Append(Vec<Batch>),
    Truncate(LogIndex),
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) core: Option<Core>,
    /// Counts starts, so that what was meant for an earlier process is recognised.
    pub(crate) life: u64,
    booted: u64,
    /// Parts per thousand of true time.
    rate: u64,
    /// Where the log begins, durable, with the state there.
    pub(crate) base: LogBase,
    pub(crate) snapshot: Vec<EntryId>,
    /// What follows, durable.
    pub(crate) disk: Vec<Batch>,
    pub(crate) hard: HardState,
    pub(crate) standing: Standing,
    pub(crate) adopted: Option<Membership>,
    /// The operator believes that its disk is lost.
    pub(crate) written_off: bool,
    pub(crate) quarantine: Vec<Batch>,
    /// Of `disk`, what survives when the machine loses power.
    pub(crate) synced: usize,
    /// Was on the disk when the machine lost power for the so-many-eth time.
    pub(crate) lost: BTreeMap<EntryId, u64>,
    /// As the running process sees it.
    pub(crate) log: Vec<Batch>,
    pub(crate) applied: Vec<EntryId>,
    pub(crate) disk_queue: VecDeque<DiskOp>,
    pub(crate) disk_free_at: u64,
    /// Told to the core.
    pub(crate) reported: u64,
    pub(crate) report_free_at: u64,
    pub(crate) wake_at: u64,
    /// The epoch it leads.
    pub(crate) leads: Option<Epoch>,
    /// Losses that others have told this leader of, in this reign.
    pub(crate) heard_losses: BTreeMap<NodeId, u64>,
    /// Snapshots that have arrived.
    pub(crate) staged: Vec<(LogBase, Vec<EntryId>)>,
}

impl Node {
    pub(crate) fn new(id: NodeId, first: &Membership) -> Self {
        Self {
            id,
            core: None,
            life: 0,
            booted: 0,
            rate: 1000,
            base: whole(first),
            snapshot: Vec::new(),
            disk: Vec::new(),
            hard: HardState::default(),
            standing: if first.contains(id) { Standing::default() } else { Standing::default().after_loss() },
            adopted: None,
            written_off: false,
            quarantine: Vec::new(),
            synced: 0,
            lost: BTreeMap::new(),
            log: Vec::new(),
            applied: Vec::new(),
            disk_queue: VecDeque::new(),
            disk_free_at: 0,
            reported: 0,
            report_free_at: 0,
            wake_at: u64::MAX,
            leads: None,
            heard_losses: BTreeMap::new(),
            staged: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, plan: &Plan, now: u64, seed: u64, rate: u64) {
        self.life += 1;
        self.booted = now;
        self.rate = rate;
        self.log = self.disk.clone();
        self.applied = self.snapshot.clone();
        self.staged.clear();
        self.reported = self.last_index().0;
        self.disk_free_at = now;
        self.report_free_at = now;
        self.wake_at = u64::MAX;
        let config =
            Config { node: self.id, timing: plan.timing.clone(), seed, max_inflight_batches: plan.window };
        let summary = LogSummary {
            standing: self.standing,
            adopted: self.adopted.clone(),
            ..summarise(&self.base, &self.disk)
        };
        self.core = Some(Core::new(config, self.hard, summary, self.local(now)));
    }

    /// Everything that was not durable is gone.
    pub(crate) fn crash(&mut self) {
        self.core = None;
        self.leads = None;
        self.life += 1;
        self.disk_queue.clear();
        self.log.clear();
        self.applied.clear();
    }

    /// Of what is on the disk only the first `kept` batches survive, besides what was synced.
    pub(crate) fn lose(&mut self, kept: usize, noticed: bool) {
        let losses = self.standing.after_loss().losses;
        self.lost.extend(self.disk.iter().skip(kept).map(|batch| (batch.id(), losses)));
        self.disk.truncate(kept);
        self.synced = kept;
        if noticed {
            self.standing = self.standing.after_loss();
        }
    }

    pub(crate) fn local(&self, now: u64) -> Moment {
        Moment(Duration::from_micros((now - self.booted) * self.rate / 1000))
    }

    /// The first true time at which the own clock shows `moment`.
    pub(crate) fn true_time(&self, moment: Moment) -> u64 {
        let micros = moment.0.as_nanos().div_ceil(1000).min(u128::from(u64::MAX / 4000)) as u64;
        self.booted + (micros * 1000).div_ceil(self.rate)
    }

    pub(crate) fn batch(&self, index: LogIndex) -> Option<&Batch> {
        self.log.get(place(index, &self.base)?)
    }

    pub(crate) fn entry(&self, index: LogIndex) -> EntryId {
        if index > self.base.base.index {
            return self.batch(index).map_or(EntryId::ZERO, Batch::id);
        }
        let known = |at: u64| self.applied.get(at as usize).copied();
        index.0.checked_sub(1).and_then(known).unwrap_or(EntryId::ZERO)
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        LogIndex(self.base.base.index.0 + self.log.len() as u64)
    }

    /// How many batches of the log are at or below `index`.
    pub(crate) fn count_through(&self, index: LogIndex) -> usize {
        index.0.saturating_sub(self.base.base.index.0) as usize
    }

    pub(crate) fn end(&self) -> LogPosition {
        self.log.last().map_or(LogPosition(0), |batch| batch.header().end_position())
    }

    /// Whether the entry was ever persisted on this node and not cut since: what a leader may count that has heard of
    /// so many losses of this node.
    pub(crate) fn keeps(&self, id: EntryId, heard: u64) -> bool {
        self.stores(&self.disk, id)
            || self.sets_aside(id)
            || self.lost.get(&id).is_some_and(|losses| *losses > heard)
    }

    /// The membership in force in its log, by what the log says, and the one before while that counts as well.
    pub(crate) fn memberships(&self, told: &Membership) -> (Membership, Option<Membership>) {
        let of = |batch: &Batch| Membership::decode(&batch.record(0).unwrap()).unwrap();
        let in_log = self.log.iter().filter(|batch| batch.header().kind == BatchKind::Membership).map(of);
        let known = [told.clone(), self.base.membership.clone()].into_iter().chain(in_log);
        let newest = known.chain(self.adopted.clone()).max_by_key(Membership::version).unwrap();
        // A planted bug has the nodes believe something else of the first one.
        let newest = if newest.version() == told.version() { told.clone() } else { newest };
        let old = newest.replaces();
        (newest, old)
    }

    /// Whether the entry can still come back from this node.
    pub(crate) fn has(&self, id: EntryId) -> bool {
        self.stores(&self.disk, id) || self.stores(&self.log, id) || self.sets_aside(id)
    }

    /// Whether it is in this log or in the state where it begins.
    fn stores(&self, log: &[Batch], id: EntryId) -> bool {
        match place(id.index, &self.base) {
            Some(at) => log.get(at).is_some_and(|batch| batch.id() == id),
            None => id.index.0.checked_sub(1).and_then(|at| self.snapshot.get(at as usize)) == Some(&id),
        }
    }

    pub(crate) fn sets_aside(&self, id: EntryId) -> bool {
        self.quarantine.iter().any(|batch| batch.id() == id)
    }
}

/// Where in a log that begins after `base` the entry is.
fn place(index: LogIndex, base: &LogBase) -> Option<usize> {
    Some(index.0.checked_sub(base.base.index.0 + 1)? as usize)
}

fn whole(membership: &Membership) -> LogBase {
    let (base, epochs, membership_at) = (EntryId::ZERO, Vec::new(), LogIndex::ZERO);
    LogBase { base, epochs, membership: membership.clone(), membership_at }
}

fn summarise(base: &LogBase, disk: &[Batch]) -> LogSummary {
    let LogBase { base, epochs, membership, membership_at } = base.clone();
    let standing = Standing::default();
    let in_log = membership_at > LogIndex::ZERO;
    let memberships = in_log.then(|| (membership_at, membership.clone())).into_iter().collect();
    let mut summary =
        LogSummary { base, last: base, epochs, membership, memberships, adopted: None, standing };
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
