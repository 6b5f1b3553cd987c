//! The driver: steps a core and executes what it asks for, as `Action` demands, or with a planted mistake.

use mainstay_consensus::{Action, Append, AppendHeader, Event, Message, Role, StepError, TailFate};
use mainstay_record::{Batch, BatchBuilder, BatchKind, GroupId, LogIndex, NodeId, Timestamp};

use crate::checks::{Checked, Violation};
use crate::node::DiskOp;
use crate::scope::{Fault, Pace};
use crate::world::{Flight, World};

/// A group that exchanges more than this without time passing will never come to rest.
const RESTLESS: usize = 2000;

impl World {
    /// One event for one node, and everything that it asks for.
    pub(crate) fn step(&mut self, at: usize, event: Event) -> Checked {
        let seed = self.scope.seeds[at];
        let now = self.now;
        let node = self.node(at);
        let local = node.local(now);
        if let Event::Message { from, message: Message::AppendResponse(response) } = &event
            && node.leads == Some(response.epoch)
            && response.standing.losses > 0
        {
            let heard = node.heard_losses.entry(*from).or_default();
            *heard = response.standing.losses.max(*heard);
        }
        let Some(core) = &mut node.core else { return Ok(()) };
        let mut actions = Vec::new();
        core.reseed(seed);
        let result = core.step(event, local, &mut actions);
        let refused = result.is_err();
        if let Err(
            error @ (StepError::CommittedConflict { .. }
            | StepError::Malformed { .. }
            | StepError::Misplaced { .. }
            | StepError::BadMembership { .. }),
        ) = result
        {
            return Err(Violation::new("no-corruption", format!("{} says: {error}", node.id)));
        }
        if actions.contains(&Action::RoleChanged) {
            let view = core.view(local);
            let leads = (view.role == Role::Leader).then_some(view.epoch);
            let begins = leads.filter(|_| node.leads != leads);
            if node.leads != leads {
                node.heard_losses.clear();
            }
            node.leads = leads;
            if let Some(epoch) = begins {
                self.became_leader(at, epoch)?;
            }
        }
        self.refused = refused;
        let mut seals = Vec::new();
        for action in actions {
            match action {
                Action::Seal { kind, payload } => seals.push((kind, payload)),
                other => self.execute(at, other)?,
            }
        }
        self.rewound(at)?;
        self.logs_match(at)?;
        for (kind, payload) in seals {
            self.propose(at, kind, &payload)?;
        }
        Ok(())
    }

    /// Proposes to a node, if it takes proposals.
    pub(crate) fn propose(&mut self, at: usize, kind: BatchKind, payload: &[u8]) -> Checked {
        let node = &self.nodes[at];
        let Some(id) = node.core.as_ref().and_then(|core| core.next_entry()) else { return Ok(()) };
        let mut builder = BatchBuilder::default();
        builder.push(payload);
        let batch = builder.seal(kind, GroupId(0), id, node.end(), Timestamp(0));
        self.step(at, Event::Propose { batch })
    }

    fn execute(&mut self, at: usize, action: Action) -> Checked {
        match action {
            Action::StoreHardState(hard) => self.node(at).hard = hard,
            Action::StoreMembership(membership) => self.node(at).adopted = Some(membership),
            Action::StoreStanding(standing) => {
                self.tally.caught_up += 1;
                self.node(at).standing = standing;
            }
            Action::Append(batches) => return self.append(at, batches),
            Action::Truncate { keep, fate } => return self.truncate(at, keep, fate),
            Action::Rewind { through } => {
                let node = self.node(at);
                node.applied = node.applied.min(through.0);
            }
            Action::Send { to, message } => return self.send(at, to, message),
            Action::SendEntries { to, header, from, through } => {
                return self.send_entries(at, to, header, from, through);
            }
            Action::Commit { through } => return self.commit(at, through),
            Action::SendSnapshot { .. } | Action::InstallSnapshot { .. } => {
                let what = format!("{} asks for {action:?}, but no log here begins late", self.nodes[at].id);
                return Err(Violation::new("whole-logs", what));
            }
            Action::Seal { .. } | Action::RoleChanged => {}
        }
        Ok(())
    }

    fn append(&mut self, at: usize, batches: Vec<Batch>) -> Checked {
        let early = self.scope.has(Fault::PersistedEarly);
        let node = self.node(at);
        for batch in &batches {
            let next = LogIndex(node.log.len() as u64 + 1);
            if batch.index() != next {
                let what = format!("{} appends {} where {next} is next", node.id, batch.id());
                return Err(Violation::new("log-without-gaps", what));
            }
            node.log.push(batch.clone());
        }
        let last = node.last();
        let joint = batches.iter().any(|batch| batch.header().kind == BatchKind::Membership);
        node.queue.push_back(DiskOp::Append(batches));
        if joint {
            self.learners_have_caught_up(at)?;
        }
        if early { self.step(at, Event::Persisted { last }) } else { Ok(()) }
    }

    fn truncate(&mut self, at: usize, keep: LogIndex, fate: TailFate) -> Checked {
        self.tail_may_go(at, keep, fate)?;
        self.tally.truncations += 1;
        let (ignored, dropped) =
            (self.scope.has(Fault::TruncationNotWritten), self.scope.has(Fault::TailDropped));
        let node = self.node(at);
        let tail = node.log.split_off(keep.0 as usize);
        let aside = tail.len() as u64;
        if !ignored {
            node.queue.push_back(DiskOp::Truncate(keep));
        }
        if fate == TailFate::Quarantine && !dropped {
            node.quarantine.extend(tail);
            self.tally.quarantined += aside;
        }
        Ok(())
    }

    fn commit(&mut self, at: usize, through: LogIndex) -> Checked {
        let from = self.nodes[at].applied;
        if through.0 as usize > self.nodes[at].log.len() {
            let what = format!("{} commits {through}, which its log has not", self.nodes[at].id);
            return Err(Violation::new("commits-what-it-has", what));
        }
        self.leader_counts(at, through)?;
        for index in from + 1..=through.0 {
            self.takes_for_committed(at, LogIndex(index))?;
        }
        let node = self.node(at);
        node.applied = node.applied.max(through.0);
        Ok(())
    }

    fn send_entries(
        &mut self,
        at: usize,
        to: NodeId,
        header: AppendHeader,
        from: LogIndex,
        through: LogIndex,
    ) -> Checked {
        let node = &self.nodes[at];
        if header.prev != node.entry(from.prev()) {
            let what = format!("{} names {} as the entry before {from}", node.id, header.prev);
            return Err(Violation::new("prev-is-before", what));
        }
        let batches = node.log[from.0 as usize - 1..through.0 as usize].to_vec();
        self.send(at, to, Message::Append(Append { header, batches }))
    }

    fn send(&mut self, at: usize, to: NodeId, message: Message) -> Checked {
        self.tells_what_is_stored(at, &message)?;
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return Ok(()) };
        if self.pace(at, to) == Pace::Down {
            return Ok(());
        }
        let on_link = |flight: &Flight| flight.from == at && flight.to == to;
        if self.pace(at, to) == Pace::Slow {
            if self.flights.iter().any(|flight| on_link(flight) && flight.message == message) {
                return Ok(());
            }
            if self.flights.iter().filter(|flight| on_link(flight)).count() >= self.scope.link_capacity {
                let oldest = self.flights.iter().position(|flight| on_link(flight));
                oldest.map(|oldest| self.flights.remove(oldest));
            }
        }
        if self.pace(at, to) == Pace::Echo {
            self.flights.push(std::rc::Rc::new(Flight {
                from: at,
                to,
                message: message.clone(),
                held: true,
            }));
        }
        self.flights.push(std::rc::Rc::new(Flight { from: at, to, message, held: false }));
        Ok(())
    }

    pub(crate) fn deliver(&mut self, flight: &Flight) -> Checked {
        let from = self.nodes[flight.from].id;
        self.step(flight.to, Event::Message { from, message: flight.message.clone() })
    }

    /// The oldest disk operation is done and reported.
    pub(crate) fn persist(&mut self, at: usize) -> Checked {
        let early = self.scope.has(Fault::PersistedEarly);
        match self.node(at).write() {
            Some(last) if !early => self.step(at, Event::Persisted { last }),
            _ => Ok(()),
        }
    }

    pub(crate) fn crash(&mut self, at: usize, written: usize) {
        let forgotten = self.scope.has(Fault::HardStateForgotten);
        let node = self.node(at);
        node.crash(written);
        if forgotten {
            node.hard = mainstay_consensus::HardState::default();
        }
    }

    pub(crate) fn lose_power(&mut self, at: usize, kept: usize) {
        self.crash(at, self.nodes[at].queue.len());
        let noticed = !self.scope.has(Fault::LossUnnoticed);
        self.node(at).lose(kept, noticed);
        self.tally.losses += 1;
        self.history().failed |= 1 << at;
    }

    pub(crate) fn restart(&mut self, at: usize) {
        let (scope, now) = (std::rc::Rc::clone(&self.scope), self.now);
        if self.nodes[at].core.is_none() {
            self.node(at).start(&scope, scope.seeds[at], now);
        }
    }

    /// Whether a node that is never late has something due.
    fn notices(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let Some(core) = &node.core else { return false };
        let local = node.local(self.now);
        self.ticks[at] == Pace::Prompt
            && core.next_wakeup() <= local
            && core.view(local).role != Role::Follower
    }

    /// Whatever is prompt happens now.
    pub(crate) fn settle(&mut self) -> Checked {
        for _ in 0..RESTLESS {
            let writes = |at: &usize| self.disks[*at] == Pace::Prompt && !self.nodes[*at].queue.is_empty();
            if let Some(at) = (0..self.nodes.len()).find(writes) {
                self.persist(at)?;
                continue;
            }
            let prompt = |flight: &std::rc::Rc<Flight>| {
                !flight.held && matches!(self.pace(flight.from, flight.to), Pace::Prompt | Pace::Echo)
            };
            if let Some(first) = self.flights.iter().position(prompt) {
                let flight = self.flights.remove(first);
                self.deliver(&flight)?;
                continue;
            }
            let Some(at) = (0..self.nodes.len()).find(|at| self.notices(*at)) else { return Ok(()) };
            self.step(at, Event::Tick)?;
        }
        Err(Violation::new("comes-to-rest", format!("still busy after {RESTLESS} messages")))
    }
}
