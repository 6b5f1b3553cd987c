//! A group on a bench: messages arrive at once, disks persist at once, and time passes only when a test says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mainstay_consensus::{
    Action, Append, AppendHeader, Config, Core, Event, HardState, LogBase, LogSummary, Membership, Message,
    Mode, Moment, Role, Standing, StepError, Timing, View,
};
use mainstay_record::{
    Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, NodeId, Timestamp,
};

pub(crate) const fn node(raw: u64) -> NodeId {
    NodeId::new(raw).expect("not zero")
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) struct Replica {
    pub(crate) core: Core,
    pub(crate) hard: HardState,
    pub(crate) standing: Standing,
    pub(crate) adopted: Option<Membership>,
    /// Where the log begins, and the log.
    pub(crate) base: LogBase,
    pub(crate) log: Vec<Batch>,
    pub(crate) actions: Vec<Action>,
}

pub(crate) struct Rig {
    pub(crate) now: Moment,
    pub(crate) replicas: BTreeMap<u64, Replica>,
    /// Neither send nor receive nor tick.
    pub(crate) down: BTreeSet<u64>,
    /// Messages of these are lost.
    pub(crate) mute: BTreeSet<u64>,
    /// Messages to these are lost.
    pub(crate) deaf: BTreeSet<u64>,
    pub(crate) persists: bool,
    /// Snapshots to these neither arrive nor fail.
    pub(crate) stalled: BTreeSet<u64>,
    inbox: VecDeque<(u64, u64, Event)>,
    /// How many messages were delivered.
    pub(crate) delivered: usize,
}

impl Rig {
    pub(crate) fn new(mode: Mode, members: u64) -> Self {
        Self::with_logs(mode, members, &BTreeMap::new())
    }

    /// A group whose members start with logs of these epochs, one entry each.
    pub(crate) fn with_logs(mode: Mode, members: u64, logs: &BTreeMap<u64, Vec<u64>>) -> Self {
        let ids = (1..=members).map(node).collect();
        let membership = Membership::new(1, mode, ids).unwrap();
        let mut rig = Self {
            now: Moment::default(),
            replicas: BTreeMap::new(),
            down: BTreeSet::new(),
            mute: BTreeSet::new(),
            deaf: BTreeSet::new(),
            persists: true,
            stalled: BTreeSet::new(),
            inbox: VecDeque::new(),
            delivered: 0,
        };
        for raw in 1..=members {
            let log = log_of(logs.get(&raw).map_or(&[], Vec::as_slice));
            let core = start(raw, &log, &membership, rig.now);
            let base = core.log_base_at(LogIndex::ZERO).unwrap();
            let (hard, standing) = Default::default();
            rig.replicas
                .insert(raw, Replica { core, hard, standing, adopted: None, base, log, actions: Vec::new() });
        }
        rig
    }

    /// A replica with nothing, which belongs to no group yet.
    pub(crate) fn join(&mut self, raw: u64, mode: Mode) {
        let membership = Membership::none(mode);
        let core = start(raw, &[], &membership, self.now);
        let base = core.log_base_at(LogIndex::ZERO).unwrap();
        let standing = Standing::default().after_loss();
        let replica = Replica {
            core,
            hard: HardState::default(),
            standing,
            adopted: None,
            base,
            log: Vec::new(),
            actions: Vec::new(),
        };
        self.replicas.insert(raw, replica);
        self.restart(raw);
    }

    pub(crate) fn view(&self, raw: u64) -> View {
        self.replicas[&raw].core.view(self.now)
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |raw: &&u64| !self.down.contains(raw) && self.view(**raw).role == Role::Leader;
        self.replicas.keys().filter(leads).max_by_key(|raw| self.view(**raw).epoch).copied()
    }

    /// Steps one node and delivers everything that comes of it.
    pub(crate) fn step(&mut self, raw: u64, event: Event) -> Result<(), StepError> {
        let result = self.step_quietly(raw, event);
        self.pump();
        result
    }

    pub(crate) fn order(&mut self, raw: u64, order: mainstay_consensus::Order) -> Result<(), StepError> {
        self.step(raw, Event::Order(order))
    }

    pub(crate) fn propose(&mut self, raw: u64) -> Result<(), StepError> {
        let batch = self.sealed(raw, BatchKind::Data, b"data");
        self.step(raw, Event::Propose { batch })
    }

    /// A batch that would be next on this node, leader or not.
    pub(crate) fn sealed(&self, raw: u64, kind: BatchKind, payload: &[u8]) -> Batch {
        let replica = &self.replicas[&raw];
        let next = LogIndex(replica.base.base.index.0 + replica.log.len() as u64 + 1);
        let id = replica.core.next_entry().unwrap_or(EntryId { epoch: self.view(raw).epoch, index: next });
        seal(kind, payload, id)
    }

    fn step_quietly(&mut self, raw: u64, event: Event) -> Result<(), StepError> {
        let mut actions = Vec::new();
        let Some(replica) = self.replicas.get_mut(&raw) else { return Ok(()) };
        let result = replica.core.step(event, self.now, &mut actions);
        replica.actions.extend(actions.iter().cloned());
        let mut later = Vec::new();
        for action in actions {
            self.execute(raw, action, &mut later);
        }
        for event in later {
            self.step_quietly(raw, event).unwrap();
        }
        result
    }

    fn execute(&mut self, raw: u64, action: Action, later: &mut Vec<Event>) {
        let Some(replica) = self.replicas.get_mut(&raw) else { return };
        match action {
            Action::Append(batches) => {
                replica.log.extend(batches);
                let last = replica.log.last().map(Batch::id).unwrap();
                if self.persists {
                    later.push(Event::Persisted { last });
                }
            }
            Action::Truncate { keep, .. } => {
                replica.log.truncate((keep.0 - replica.base.base.index.0) as usize);
            }
            Action::Send { to, message } => {
                self.inbox.push_back((raw, to.get(), Event::Message { from: node(raw), message }));
            }
            Action::SendSnapshot { to, epoch, round } => {
                let base = replica.base.clone();
                let event = Event::SnapshotArrived { from: node(raw), epoch, base, round };
                if !self.stalled.contains(&to.get()) {
                    self.inbox.push_back((raw, to.get(), event));
                    self.inbox.push_back((raw, raw, Event::SnapshotEnded { to, epoch }));
                }
            }
            Action::InstallSnapshot { base } => {
                replica.base = replica.core.log_base_at(base.index).unwrap();
                assert_eq!(replica.base.base, base);
                replica.log.clear();
            }
            Action::SendEntries { to, header, from, through } => {
                let kept = replica.base.base.index.0 as usize;
                let batches = replica.log[from.0 as usize - 1 - kept..through.0 as usize - kept].to_vec();
                let message = Message::Append(Append { header: AppendHeader { ..header }, batches });
                self.inbox.push_back((raw, to.get(), Event::Message { from: node(raw), message }));
            }
            Action::Seal { kind, payload } => {
                let batch = self.sealed(raw, kind, &payload);
                later.push(Event::Propose { batch });
            }
            Action::StoreHardState(hard) => replica.hard = hard,
            Action::StoreMembership(membership) => replica.adopted = Some(membership),
            Action::StoreStanding(standing) => replica.standing = standing,
            Action::Rewind { .. } | Action::Commit { .. } | Action::RoleChanged => {}
        }
    }

    fn pump(&mut self) {
        while let Some((from, to, event)) = self.inbox.pop_front() {
            let down = self.down.contains(&from) || self.down.contains(&to);
            if down || (from != to && (self.mute.contains(&from) || self.deaf.contains(&to))) {
                continue;
            }
            self.delivered += 1;
            // A refusal is the receiver's business; tests look at what it did.
            let _ = self.step_quietly(to, event);
        }
    }

    /// The process starts again with what it stored; peers notice.
    pub(crate) fn restart(&mut self, raw: u64) {
        let membership = self.view(raw).membership;
        let Some(replica) = self.replicas.get_mut(&raw) else { return };
        replica.core = restart(raw, replica, &membership, self.now);
        let others: Vec<_> = self.replicas.keys().copied().filter(|other| *other != raw).collect();
        for other in others {
            self.step(other, Event::Disconnected { peer: node(raw) }).unwrap();
        }
    }

    /// Gives up the log through the entry at `index`.
    pub(crate) fn compact(&mut self, raw: u64, index: u64) {
        let replica = &self.replicas[&raw];
        let count = (index - replica.base.base.index.0) as usize;
        let base = replica.log[count - 1].id();
        self.step(raw, Event::Compacted { base }).unwrap();
        let replica = self.replicas.get_mut(&raw).unwrap();
        replica.log.drain(..count);
        replica.base = replica.core.log_base_at(base.index).unwrap();
    }

    /// The machine fails with flush Async: only the first `kept` entries survive.
    pub(crate) fn lose_power(&mut self, raw: u64, kept: usize) {
        let Some(replica) = self.replicas.get_mut(&raw) else { return };
        replica.log.truncate(kept);
        replica.standing = replica.standing.after_loss();
        self.restart(raw);
    }

    /// Lets time pass in small steps, waking whoever is due.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.plus(duration);
        while self.now < end {
            self.now = self.now.plus(millis(5)).min(end);
            self.wake();
        }
    }

    /// Lets time pass until `done`, at most `limit`; tells how long it took.
    pub(crate) fn pass_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !done(self) {
            assert!(self.now.since(begin) < limit, "still not after {limit:?}");
            self.pass(millis(5));
        }
        self.now.since(begin)
    }

    fn wake(&mut self) {
        let raws: Vec<_> = self.replicas.keys().copied().filter(|raw| !self.down.contains(raw)).collect();
        for raw in raws {
            if self.replicas[&raw].core.next_wakeup() <= self.now {
                self.step(raw, Event::Tick).unwrap();
            }
        }
    }

    /// A Raft group with a serving leader.
    pub(crate) fn led(mode: Mode, members: u64) -> (Self, u64) {
        let mut rig = Self::new(mode, members);
        if mode != Mode::Raft {
            let expires = rig.now.plus(millis(1000));
            rig.order(1, mainstay_consensus::Order::Campaign { epoch: 1, expires }).unwrap();
        }
        rig.pass_until(millis(5000), |rig| rig.leader().is_some_and(|raw| rig.view(raw).serving));
        let leader = rig.leader().unwrap();
        (rig, leader)
    }
}

pub(crate) fn start(raw: u64, log: &[Batch], membership: &Membership, now: Moment) -> Core {
    let (base, epochs, membership_at) = (EntryId::ZERO, Vec::new(), LogIndex::ZERO);
    let whole = LogBase { base, epochs, membership: membership.clone(), membership_at };
    Core::new(config(raw), HardState::default(), summary(&whole, log, membership), now)
}

fn config(raw: u64) -> Config {
    Config { node: node(raw), timing: Timing::default(), seed: raw, max_inflight_batches: 8 }
}

/// A core over what a replica has stored.
fn restart(raw: u64, replica: &Replica, membership: &Membership, now: Moment) -> Core {
    let summary = LogSummary {
        adopted: replica.adopted.clone(),
        standing: replica.standing,
        ..summary(&replica.base, &replica.log, membership)
    };
    Core::new(config(raw), replica.hard, summary, now)
}

fn summary(base: &LogBase, log: &[Batch], membership: &Membership) -> LogSummary {
    let mut epochs: Vec<(Epoch, LogIndex)> = base.epochs.clone();
    for id in log.iter().map(Batch::id) {
        if epochs.last().is_none_or(|(epoch, _)| *epoch != id.epoch) {
            epochs.push((id.epoch, id.index));
        }
    }
    let last = log.last().map_or(base.base, Batch::id);
    let in_log = base.membership_at > LogIndex::ZERO;
    let mut memberships: Vec<_> =
        in_log.then(|| (base.membership_at, base.membership.clone())).into_iter().collect();
    for batch in log.iter().filter(|batch| batch.header().kind == BatchKind::Membership) {
        memberships.push((batch.index(), Membership::decode(&batch.record(0).unwrap()).unwrap()));
    }
    let membership = membership.clone();
    let (adopted, standing) = (None, Standing::default());
    LogSummary { base: base.base, last, epochs, membership, memberships, adopted, standing }
}

fn log_of(epochs: &[u64]) -> Vec<Batch> {
    let entry = |(at, epoch): (usize, &u64)| {
        let id = EntryId { epoch: Epoch::new(*epoch, node(1 + epoch % 3)), index: LogIndex(at as u64 + 1) };
        seal(BatchKind::Data, &epoch.to_le_bytes(), id)
    };
    epochs.iter().enumerate().map(entry).collect()
}

pub(crate) fn seal(kind: BatchKind, payload: &[u8], id: EntryId) -> Batch {
    let mut builder = BatchBuilder::default();
    builder.push(payload);
    builder.seal(kind, GroupId(0), id, LogPosition(id.index.0 * 100), Timestamp(0))
}
