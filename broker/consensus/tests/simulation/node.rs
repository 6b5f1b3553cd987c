//! One simulated replica: its clock, its disk with the operations still on the way to it, and its core while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mainstay_consensus::{Config, Core, HardState, LogSummary, Membership, Moment, Standing};
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
    /// Durable.
    pub(crate) disk: Vec<Batch>,
    pub(crate) hard: HardState,
    pub(crate) standing: Standing,
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
}

impl Node {
    pub(crate) fn new(id: NodeId) -> Self {
        Self {
            id,
            core: None,
            life: 0,
            booted: 0,
            rate: 1000,
            disk: Vec::new(),
            hard: HardState::default(),
            standing: Standing::default(),
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
        }
    }

    pub(crate) fn start(&mut self, plan: &Plan, now: u64, seed: u64, rate: u64) {
        self.life += 1;
        self.booted = now;
        self.rate = rate;
        self.log = self.disk.clone();
        self.applied.clear();
        self.reported = self.log.len() as u64;
        self.disk_free_at = now;
        self.report_free_at = now;
        self.wake_at = u64::MAX;
        let config =
            Config { node: self.id, timing: plan.timing.clone(), seed, max_inflight_batches: plan.window };
        let summary = LogSummary { standing: self.standing, ..summarise(&self.disk, &plan.told) };
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
        self.log.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    pub(crate) fn entry(&self, index: LogIndex) -> EntryId {
        self.batch(index).map_or(EntryId::ZERO, Batch::id)
    }

    pub(crate) fn end(&self) -> LogPosition {
        self.log.last().map_or(LogPosition(0), |batch| batch.header().end_position())
    }

    /// Whether the entry was ever persisted on this node and not cut since: what a leader may count that has heard of
    /// so many losses of this node.
    pub(crate) fn keeps(&self, id: EntryId, heard: u64) -> bool {
        let at = (id.index.0 as usize).wrapping_sub(1);
        self.disk.get(at).is_some_and(|batch| batch.id() == id)
            || self.sets_aside(id)
            || self.lost.get(&id).is_some_and(|losses| *losses > heard)
    }

    /// Whether the entry can still come back from this node.
    pub(crate) fn has(&self, id: EntryId) -> bool {
        let at = (id.index.0 as usize).wrapping_sub(1);
        let in_log = |log: &[Batch]| log.get(at).is_some_and(|batch| batch.id() == id);
        in_log(&self.disk) || in_log(&self.log) || self.sets_aside(id)
    }

    pub(crate) fn sets_aside(&self, id: EntryId) -> bool {
        self.quarantine.iter().any(|batch| batch.id() == id)
    }
}

fn summarise(disk: &[Batch], first: &Membership) -> LogSummary {
    let mut epochs: Vec<(Epoch, LogIndex)> = Vec::new();
    let mut summary = LogSummary {
        last: EntryId::ZERO,
        epochs: Vec::new(),
        membership: first.clone(),
        membership_at: LogIndex::ZERO,
        standing: Standing::default(),
    };
    for batch in disk {
        let id = batch.id();
        if epochs.last().is_none_or(|(epoch, _)| *epoch != id.epoch) {
            epochs.push((id.epoch, id.index));
        }
        if batch.header().kind == BatchKind::Membership {
            summary.membership = Membership::decode(&batch.record(0).unwrap()).unwrap();
            summary.membership_at = id.index;
        }
        summary.last = id;
    }
    LogSummary { epochs, ..summary }
}
