//! The simulated world: true time, a queue of what happens when, the nodes, and the driver that executes what their
//! cores ask for.

use std::collections::BTreeMap;

use mainstay_consensus::{
    Action, AppendHeader, Event, Membership, Message, Mode, Moment, Order, Role, TailFate,
};
use mainstay_record::{Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, NodeId, Timestamp};

use crate::checks::Checks;
use crate::network::Network;
use crate::node::{DiskOp, Node};
use crate::operator::Operator;
use crate::plan::{Bug, MILLI, Plan, SECOND};
use crate::rng::Rng;
use crate::snapshots::Shipment;

#[derive(Debug)]
pub(crate) enum Happening {
    Deliver { to: usize, from: NodeId, message: Message },
    Disconnect { node: usize, peer: NodeId },
    Wake { node: usize, life: u64 },
    DiskDone { node: usize, life: u64 },
    Reported { node: usize, life: u64, last: EntryId },
    Restart { node: usize },
    Propose,
    Fault,
    Compact,
    Change,
    LoseDisk,
    Adopt,
    Snapshot(Shipment),
    SnapshotEnded { node: usize, to: NodeId, epoch: Epoch },
    Operate,
    Order { node: usize, forced: bool, epoch: u64, valid: u64 },
    Lease { node: usize, life: u64, epoch: Epoch, until: Moment, sent: u64 },
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) operator: Operator,
    pub(crate) checks: Checks,
    /// No more faults from here on.
    pub(crate) calm: bool,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    proposals: u64,
    clients_stopped: bool,
    pub(crate) trace: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, mut rng: Rng, trace: bool) -> Self {
        let network = Network::new(plan.nodes.len(), &plan);
        let nobody = Membership::none(plan.told.mode());
        let first = |id| if plan.told.contains(id) { &plan.told } else { &nobody };
        let mut nodes: Vec<_> = plan.nodes.iter().map(|id| Node::new(*id, first(*id))).collect();
        for node in &mut nodes {
            let rate = plan.clock_rate(&mut rng);
            node.start(&plan, 0, rng.next(), rate);
        }
        let mut world = Self {
            operator: Operator::default(),
            checks: Checks::default(),
            network,
            nodes,
            now: 0,
            calm: false,
            queue: BTreeMap::new(),
            sequence: 0,
            proposals: 0,
            clients_stopped: false,
            plan,
            rng,
            trace,
        };
        for at in 0..world.nodes.len() {
            world.wake(at);
        }
        world.after(0, Happening::Propose);
        world.after(world.plan.fault_gap, Happening::Fault);
        world.after(0, Happening::Operate);
        world.after(SECOND, Happening::Compact);
        if world.plan.change_gap > 0 {
            world.after(SECOND, Happening::Change);
        }
        if world.plan.disk_lost {
            let at = world.rng.between(SECOND, world.plan.chaos);
            world.after(at, Happening::LoseDisk);
        }
        world
    }

    pub(crate) fn after(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            if self.trace {
                eprintln!("{:>9.3} {happening:?}", at as f64 / 1000.0);
            }
            self.happen(happening);
            self.checks.serving(&self.nodes, self.now);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { to, from, message } => self.step(to, Event::Message { from, message }),
            Happening::Disconnect { node, peer } => self.step(node, Event::Disconnected { peer }),
            Happening::Wake { node, life } if self.nodes[node].life == life => {
                self.nodes[node].wake_at = u64::MAX;
                self.step(node, Event::Tick);
            }
            Happening::DiskDone { node, life } if self.nodes[node].life == life => self.disk_done(node),
            Happening::Reported { node, life, last } if self.nodes[node].life == life => {
                self.nodes[node].reported = self.nodes[node].reported.max(last.index.0);
                self.step(node, Event::Persisted { last });
            }
            Happening::Wake { .. } | Happening::DiskDone { .. } | Happening::Reported { .. } => {}
            Happening::Restart { node } => self.restart(node),
            Happening::Propose => self.client(),
            Happening::Fault => self.fault(),
            Happening::Compact => self.compact(),
            Happening::Change => self.change(),
            Happening::LoseDisk => self.lose_disk(),
            Happening::Adopt => self.adopt(),
            Happening::SnapshotEnded { node, to, epoch } => {
                self.step(node, Event::SnapshotEnded { to, epoch })
            }
            Happening::Snapshot(shipment) => self.snapshot_arrives(shipment),
            Happening::Operate => self.operate(),
            Happening::Order { node, forced, epoch, valid } => {
                let now = self.nodes[node].local(self.now);
                let expires = now.plus(std::time::Duration::from_micros(valid));
                let order = match forced {
                    false => Order::Campaign { epoch, expires },
                    true => Order::Promote { epoch, expires },
                };
                self.step(node, Event::Order(order));
            }
            Happening::Lease { node, life, epoch, until, sent } if self.nodes[node].life == life => {
                let late = self.nodes[node].local(self.now).since(self.nodes[node].local(sent));
                let from_arrival = self.plan.bug == Some(Bug::LeaseFromArrival);
                let until = if from_arrival { until.plus(late) } else { until };
                self.step(node, Event::OperatorLease { epoch, until });
            }
            Happening::Lease { .. } => {}
        }
    }

    pub(crate) fn crash(&mut self, node: usize) {
        self.nodes[node].crash();
        self.checks.excuse(&self.nodes);
    }

    fn restart(&mut self, at: usize) {
        if self.nodes[at].core.is_some() {
            return;
        }
        let rate = self.plan.clock_rate(&mut self.rng);
        let seed = self.rng.next();
        self.nodes[at].start(&self.plan, self.now, seed, rate);
        self.wake(at);
    }

    pub(crate) fn proposed(&self) -> u64 {
        self.proposals
    }

    pub(crate) fn stop_clients(&mut self) {
        self.clients_stopped = true;
    }

    /// Whether a node that serves now has applied a batch proposed after the first `before`.
    pub(crate) fn served_since(&self, before: u64) -> bool {
        self.nodes.iter().any(|node| {
            let serves = node.core.as_ref().is_some_and(|core| core.serving(node.local(self.now)));
            let recent = |batch: &Batch| {
                let number =
                    batch.record(0).and_then(|record| Some(u64::from_le_bytes(record[..].try_into().ok()?)));
                batch.header().kind == BatchKind::Data && number > Some(before)
            };
            let applied = node.count_through(LogIndex(node.applied.len() as u64));
            serves && node.log[..applied].iter().rev().any(recent)
        })
    }

    /// Proposes to every node that would take it.
    fn client(&mut self) {
        if self.clients_stopped {
            return;
        }
        for at in 0..self.nodes.len() {
            let leads = self.nodes[at].core.as_ref().is_some_and(|core| core.next_entry().is_some());
            // As a driver does, a client waits when too much is uncommitted.
            if leads && (self.nodes[at].last_index().0 as usize) < self.nodes[at].applied.len() + 40 {
                self.proposals += 1;
                let payload = self.proposals.to_le_bytes();
                self.propose(at, BatchKind::Data, &payload);
            }
        }
        let gap = self.rng.between(1, 2 * self.plan.propose_gap);
        self.after(gap, Happening::Propose);
    }

    fn propose(&mut self, at: usize, kind: BatchKind, payload: &[u8]) {
        let node = &self.nodes[at];
        let Some(id) = node.core.as_ref().and_then(|core| core.next_entry()) else { return };
        let mut builder = BatchBuilder::default();
        builder.push(payload);
        let batch = builder.seal(kind, GroupId(0), id, node.end(), Timestamp(self.now));
        self.step(at, Event::Propose { batch });
    }

    /// One event for one node, and everything that it asks for.
    pub(crate) fn step(&mut self, at: usize, event: Event) {
        let node = &mut self.nodes[at];
        let now = node.local(self.now);
        if let Event::Message { from, message: Message::AppendResponse(response) } = &event
            && node.leads == Some(response.epoch)
        {
            let heard = node.heard_losses.entry(*from).or_default();
            *heard = response.standing.losses.max(*heard);
        }
        let Some(core) = &mut node.core else { return };
        let mut actions = Vec::new();
        let result = core.step(event, now, &mut actions);
        self.checks.statistics.steps += 1;
        assert!(self.checks.statistics.steps < 200_000, "check bounded-traffic: messages beget messages");
        if self.trace {
            eprintln!("          {} {result:?} {actions:?}", node.id);
        }
        if let Err(
            ref error @ (mainstay_consensus::StepError::CommittedConflict { .. }
            | mainstay_consensus::StepError::Malformed { .. }
            | mainstay_consensus::StepError::Misplaced { .. }),
        ) = result
        {
            panic!("check no-corruption: {} says: {error}", node.id);
        }
        if let Err(error) = &result {
            assert!(crate::changes::expected(error), "check wishes: {} says: {error}", node.id);
        }
        if actions.contains(&Action::RoleChanged) {
            let view = core.view(now);
            let leads = (view.role == Role::Leader).then_some(view.epoch);
            if leads.is_some() && node.leads != leads {
                self.checks.became_leader(node, view.epoch);
            }
            if node.leads != leads {
                node.heard_losses.clear();
            }
            node.leads = leads;
        }
        let mut seals = Vec::new();
        for action in actions {
            match action {
                Action::Seal { kind, payload } => seals.push((kind, payload)),
                other => self.execute(at, other),
            }
        }
        Checks::applied(&self.nodes[at]);
        for (kind, payload) in seals {
            self.propose(at, kind, &payload);
        }
        self.wake(at);
    }

    fn execute(&mut self, at: usize, action: Action) {
        Checks::sends(&self.nodes[at], &action);
        let mode = self.plan.membership.mode();
        match action {
            Action::StoreHardState(hard) => {
                if self.plan.bug != Some(Bug::ForgetHardState) {
                    self.nodes[at].hard = hard;
                }
            }
            Action::StoreMembership(membership) => self.nodes[at].adopted = Some(membership),
            Action::StoreStanding(standing) => {
                self.checks.statistics.caught_up += 1;
                self.nodes[at].standing = standing;
            }
            Action::Append(batches) => {
                for batch in &batches {
                    self.checks.appended(&self.nodes[at], batch);
                    self.nodes[at].log.push(batch.clone());
                    self.checks.membership(&self.nodes, at, batch, self.plan.window);
                }
                self.enqueue(at, DiskOp::Append(batches));
            }
            Action::Truncate { keep, fate } => self.truncate(at, keep, fate, mode),
            Action::Rewind { through } => {
                self.checks.statistics.rewinds += 1;
                self.nodes[at].applied.truncate(through.0 as usize);
            }
            Action::Send { to, message } => self.send(at, to, message),
            Action::SendEntries { to, header, from, through } => {
                self.send_entries(at, to, header, from, through)
            }
            Action::Commit { through } => self.commit(at, through, mode),
            Action::SendSnapshot { to, epoch, round } => self.send_snapshot(at, to, epoch, round),
            Action::InstallSnapshot { base } => self.install_snapshot(at, base),
            Action::Seal { .. } => unreachable!("sealed by step"),
            Action::RoleChanged => {}
        }
    }

    fn truncate(&mut self, at: usize, keep: LogIndex, fate: TailFate, mode: Mode) {
        self.checks.truncates(&self.nodes[at], keep, fate, mode);
        let node = &mut self.nodes[at];
        if fate == TailFate::Quarantine && self.plan.bug != Some(Bug::DropTails) {
            let kept = node.count_through(keep);
            let tail = node.log.iter().skip(kept).cloned();
            self.checks.statistics.quarantined += tail.len() as u64;
            node.quarantine.extend(tail);
        }
        node.log.truncate(node.count_through(keep));
        node.reported = node.reported.min(keep.0);
        self.enqueue(at, DiskOp::Truncate(keep));
    }

    fn commit(&mut self, at: usize, through: LogIndex, mode: Mode) {
        let now = self.nodes[at].local(self.now);
        let Some(view) = self.nodes[at].core.as_ref().map(|core| core.view(now)) else { return };
        if view.role == Role::Leader {
            let node = &self.nodes[at];
            let id = node.entry(through);
            self.checks.leader_commits(&self.nodes, node, view.epoch, id, &self.plan.membership);
            if mode != Mode::Async {
                Checks::no_older_serves(&self.nodes, view.epoch, self.now);
            }
        }
        while (self.nodes[at].applied.len() as u64) < through.0 {
            let index = LogIndex(self.nodes[at].applied.len() as u64 + 1);
            let id = self.nodes[at].entry(index);
            self.nodes[at].applied.push(id);
            self.checks.committed(&self.nodes[at], id, view.epoch, mode);
        }
        Checks::applied(&self.nodes[at]);
    }

    fn send_entries(
        &mut self,
        at: usize,
        to: NodeId,
        header: AppendHeader,
        from: LogIndex,
        through: LogIndex,
    ) {
        assert_eq!(header.prev, self.nodes[at].entry(from.prev()), "prev is the entry before the first");
        let node = &self.nodes[at];
        let range = node.count_through(from.prev())..node.count_through(through);
        let mut batches: Vec<Batch> = node.log[range].to_vec();
        if self.rng.chance(50) {
            // The driver may send less than it was asked to.
            batches.truncate(self.rng.index(batches.len()));
        }
        let mut prev = header.prev;
        while !batches.is_empty() {
            let rest = batches.split_off(self.rng.between(1, batches.len() as u64) as usize);
            let header = AppendHeader { prev, ..header };
            prev = batches.last().map_or(prev, Batch::id);
            self.send(at, to, Message::Append(mainstay_consensus::Append { header, batches }));
            batches = rest;
        }
    }

    fn send(&mut self, at: usize, to: NodeId, message: Message) {
        if let Message::TimeoutNow(_) = message {
            self.checks.statistics.handovers += 1;
        }
        let from = self.nodes[at].id;
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return };
        for delay in self.network.delays(at, to, self.now, &mut self.rng) {
            self.after(delay, Happening::Deliver { to, from, message: message.clone() });
        }
    }

    fn enqueue(&mut self, at: usize, op: DiskOp) {
        let took = self.rng.between(0, self.plan.disk);
        let node = &mut self.nodes[at];
        let life = node.life;
        // One sync takes all that is queued, so waiting does not add up; order stays.
        node.disk_free_at = node.disk_free_at.max(self.now + took);
        let (done, last) = (node.disk_free_at - self.now, node.entry(node.last_index()));
        let appends = matches!(op, DiskOp::Append(_));
        node.disk_queue.push_back(op);
        self.after(done, Happening::DiskDone { node: at, life });
        if appends {
            let early = self.plan.bug == Some(Bug::PersistEarly);
            let lag = if !self.calm && self.rng.chance(100) { self.rng.between(0, 50 * MILLI) } else { 0 };
            let node = &mut self.nodes[at];
            let told = if early { self.now } else { node.disk_free_at } + lag;
            node.report_free_at = node.report_free_at.max(told);
            let delay = node.report_free_at - self.now;
            self.after(delay, Happening::Reported { node: at, life, last });
        }
    }

    fn disk_done(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        match node.disk_queue.pop_front() {
            Some(DiskOp::Append(batches)) => {
                node.disk.extend(batches);
                if !self.plan.flush_async || self.rng.chance(100) {
                    node.synced = node.disk.len();
                }
            }
            Some(DiskOp::Truncate(keep)) => {
                node.disk.truncate(node.count_through(keep));
                node.synced = node.synced.min(node.disk.len());
            }
            None => {}
        }
    }

    /// Sees to it that the node's next wake-up is in the queue.
    pub(crate) fn wake(&mut self, at: usize) {
        let slow = if !self.calm && self.rng.chance(10) { self.rng.between(0, 500 * MILLI) } else { 0 };
        let node = &mut self.nodes[at];
        let Some(core) = &node.core else { return };
        let due = node.true_time(core.next_wakeup()).max(self.now);
        if due < node.wake_at && due < self.now + 100 * crate::plan::SECOND {
            node.wake_at = due;
            let life = node.life;
            self.after(due + slow - self.now, Happening::Wake { node: at, life });
        }
    }
}
