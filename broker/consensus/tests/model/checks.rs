//! What must hold in every state. Each check has a name, so that a planted fault can be told by what caught it.

use mainstay_consensus::{AppendResponse, Message, Mode, TailFate, VoteResponse};
use mainstay_record::{EntryId, Epoch, LogIndex};

use crate::node::Node;
use crate::scope::Fault;
use crate::world::World;

#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) check: &'static str,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(check: &'static str, what: String) -> Self {
        Self { check, what }
    }
}

pub(crate) type Checked = Result<(), Violation>;

fn ensure(holds: bool, check: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(check, what())) }
}

/// What must be remembered to check later states.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// By index: entries that were taken for committed, and the oldest epoch that counted each. One entry per index,
    /// unless a promotion was forced.
    pub(crate) committed: Vec<Vec<(EntryId, Epoch)>>,
    /// Epochs that had a leader.
    pub(crate) reigns: Vec<Epoch>,
    /// Machines that ever lost something, as bits.
    pub(crate) failed: u32,
    /// A forced promotion was accepted.
    pub(crate) forced: bool,
    pub(crate) proposals: u64,
}

impl History {
    pub(crate) fn last_committed(&self) -> u64 {
        self.committed.iter().rposition(|known| !known.is_empty()).map_or(0, |at| at as u64 + 1)
    }
}

/// Shows that a search reaches what it is to check.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) reigns: u64,
    pub(crate) commits: u64,
    pub(crate) truncations: u64,
    pub(crate) quarantined: u64,
    pub(crate) losses: u64,
    pub(crate) caught_up: u64,
    /// Committed entries that nobody has any more, after as many machines failed as make a write quorum.
    pub(crate) excused: u64,
    /// States in which somebody serves.
    pub(crate) served: u64,
    /// States in which two nodes lead, each in its epoch.
    pub(crate) rivals: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.reigns += other.reigns;
        self.commits += other.commits;
        self.truncations += other.truncations;
        self.quarantined += other.quarantined;
        self.losses += other.losses;
        self.caught_up += other.caught_up;
        self.excused += other.excused;
        self.served += other.served;
        self.rivals += other.rivals;
    }
}

impl World {
    pub(crate) fn became_leader(&mut self, at: usize, epoch: Epoch) -> Checked {
        self.tally.reigns += 1;
        let node = &self.nodes[at];
        let new = !self.history.reigns.contains(&epoch);
        ensure(new, "one-leader-per-epoch", || format!("{} leads {epoch}, which was led before", node.id))?;
        if !self.history.forced {
            for (id, by) in self.history.committed.iter().flatten() {
                let has = *by >= epoch || node.entry(id.index) == *id;
                ensure(has, "leader-completeness", || {
                    format!("leader {epoch} lacks {id}, committed by {by}")
                })?;
            }
        }
        self.history().reigns.push(epoch);
        Ok(())
    }

    /// A leader counts copies; whoever follows believes it.
    pub(crate) fn leader_counts(&self, at: usize, through: LogIndex) -> Checked {
        let node = &self.nodes[at];
        let id = node.entry(through);
        let Some(epoch) = node.leads else {
            let known = self.was_committed(id);
            return ensure(known, "follows-a-commit", || {
                format!("{} takes {id} for committed, which no leader did", node.id)
            });
        };
        ensure(id.epoch == epoch, "own-epoch-commits", || format!("leader {epoch} counted {id}"))?;
        let heard = |other: &Node| node.heard_losses.get(&other.id).copied().unwrap_or(0);
        let (membership, old) = node.memberships(&self.scope.membership);
        for membership in [Some(membership), old].into_iter().flatten() {
            let voters = self.nodes.iter().filter(|other| membership.voters().contains(&other.id));
            let copies = voters.filter(|other| other.keeps(id, heard(other))).count();
            ensure(copies >= membership.write_quorum(), "write-quorum", || {
                format!("leader {epoch} committed {id} with {copies} durable copies")
            })?;
        }
        Ok(())
    }

    /// Whoever is new has nearly everything when it begins to count.
    pub(crate) fn learners_have_caught_up(&self, at: usize) -> Checked {
        let (membership, old) = self.nodes[at].memberships(&self.scope.membership);
        let (Some(old), Some(_)) = (old, self.nodes[at].leads) else { return Ok(()) };
        let end = self.nodes[at].log.len() as u64;
        for new in self.nodes.iter().filter(|node| membership.contains(node.id) && !old.contains(node.id)) {
            let has = new.disk.len() as u64;
            let caught_up = new.standing.caught_up && has + self.scope.window + 1 >= end;
            ensure(caught_up || new.leads.is_some(), "learners-caught-up", || {
                format!("{} has {has} of {end} entries, but counts", new.id)
            })?;
        }
        Ok(())
    }

    fn was_committed(&self, id: EntryId) -> bool {
        let known = self.history.committed.get((id.index.0 as usize).wrapping_sub(1));
        known.is_some_and(|known| known.iter().any(|(known, _)| *known == id))
    }

    pub(crate) fn takes_for_committed(&mut self, at: usize, index: LogIndex) -> Checked {
        let node = &self.nodes[at];
        let (id, taker) = (node.entry(index), node.id);
        if self.was_committed(id) && node.leads.is_none() {
            return Ok(());
        }
        let by = node.leads.unwrap_or_default();
        self.tally.commits += 1;
        let forced = self.history.forced;
        let history = self.history();
        if history.committed.len() < index.0 as usize {
            history.committed.resize(index.0 as usize, Vec::new());
        }
        let known = &mut history.committed[index.0 as usize - 1];
        if let Some((_, oldest)) = known.iter_mut().find(|(known, _)| *known == id) {
            *oldest = (*oldest).min(by);
            return Ok(());
        }
        if let Some((other, _)) = known.first().filter(|_| !forced) {
            let what = format!("{taker} takes {id} for committed, but {other} was");
            return Err(Violation::new("committed-for-ever", what));
        }
        known.push((id, by));
        Ok(())
    }

    pub(crate) fn tail_may_go(&self, at: usize, keep: LogIndex, fate: TailFate) -> Checked {
        let node = &self.nodes[at];
        let written = node.queue.is_empty();
        ensure(written, "cut-after-persisted", || {
            format!("{} cuts a tail that is still being written", node.id)
        })?;
        let expected =
            if self.scope.mode() == Mode::Async { TailFate::Quarantine } else { TailFate::Discard };
        ensure(fate == expected, "tail-fate", || format!("{} cuts with {fate:?}", node.id))?;
        for batch in node.log.iter().skip(keep.0 as usize) {
            let kept = self.history.forced || !self.was_committed(batch.id());
            ensure(kept, "committed-kept", || format!("{} cuts committed {}", node.id, batch.id()))?;
        }
        Ok(())
    }

    /// The state machine of a node holds committed entries that are in its log, no more.
    pub(crate) fn rewound(&self, at: usize) -> Checked {
        let node = &self.nodes[at];
        for index in (1..=node.applied).map(LogIndex) {
            let id = node.entry(index);
            ensure(self.was_committed(id), "applied-is-committed", || {
                format!("{} has applied something at {index} where its log has {id}, not committed", node.id)
            })?;
        }
        Ok(())
    }

    /// Logs that share an entry are equal before it.
    pub(crate) fn logs_match(&self, at: usize) -> Checked {
        let log = &self.nodes[at].log;
        for other in self.nodes.iter().filter(|other| other.id != self.nodes[at].id) {
            let mut shared =
                log.iter().zip(&other.log).rev().skip_while(|(own, their)| own.id() != their.id());
            let parts = shared.find(|(own, their)| own != their);
            ensure(parts.is_none(), "log-matching", || {
                let place = parts.map(|(own, _)| own.id());
                format!(
                    "the logs of {} and {} meet again after they part at {place:?}",
                    self.nodes[at].id, other.id
                )
            })?;
        }
        Ok(())
    }

    /// What leaves a node is backed by what it has stored.
    pub(crate) fn tells_what_is_stored(&self, at: usize, message: &Message) -> Checked {
        let node = &self.nodes[at];
        let stored = node.hard.granted.max(node.disk.last().map_or(Epoch::ZERO, |batch| batch.id().epoch));
        let told = match message {
            Message::VoteResponse(VoteResponse { granted, if_all, pre_vote: false, epoch, .. })
                if *granted || *if_all =>
            {
                ensure(*epoch >= stored, "grants-only-newest", || {
                    format!("{} grants {epoch} after {stored}", node.id)
                })?;
                *epoch
            }
            Message::VoteRequest(request) if !request.pre_vote => request.epoch,
            Message::AppendResponse(AppendResponse { epoch, .. }) => *epoch,
            _ => return Ok(()),
        };
        ensure(told <= stored, "stored-before-told", || {
            format!("{} tells of epoch {told}, but has stored {stored}", node.id)
        })
    }

    fn serves(&self, node: &Node) -> bool {
        if self.scope.has(Fault::LeaseIgnored) {
            return node.leads.is_some_and(|epoch| node.entry(LogIndex(node.applied)).epoch == epoch);
        }
        node.serves(self.now)
    }

    /// What was committed is never destroyed, unless the disks of a whole write quorum lost something. Then what nobody
    /// has any more is excused; whatever one node has must still never be contradicted.
    fn nothing_is_destroyed(&mut self) -> Checked {
        let gone = |id: &EntryId| !self.nodes.iter().any(|node| node.has(*id));
        let gone: Vec<_> = self.history.committed.iter().flatten().map(|(id, _)| *id).filter(gone).collect();
        let Some(first) = gone.first() else { return Ok(()) };
        let may_go = self.history.failed.count_ones() as usize >= self.scope.membership.write_quorum();
        ensure(may_go, "nothing-destroyed", || format!("committed {first} is nowhere any more"))?;
        self.tally.excused += gone.len() as u64;
        for known in &mut self.history().committed {
            known.retain(|(id, _)| !gone.contains(id));
        }
        Ok(())
    }

    /// At any true time at most one node serves, and it knows everything that was ever committed.
    pub(crate) fn check_state(&mut self) -> Checked {
        self.nothing_is_destroyed()?;
        let mut serving = self.nodes.iter().filter(|node| self.serves(node));
        let (first, second) = (serving.next(), serving.next());
        if let (Some(first), Some(second)) = (first, second) {
            let what = format!("{} and {} serve at the same time", first.id, second.id);
            return Err(Violation::new("one-serves", what));
        }
        if let Some(node) = first {
            let committed = self.history.last_committed();
            ensure(self.history.forced || node.applied >= committed, "serving-knows-all", || {
                format!("{} serves without knowing of entry {committed}", node.id)
            })?;
        }
        let served = u64::from(first.is_some());
        self.tally.served += served;
        self.tally.rivals += u64::from(self.nodes.iter().filter(|node| node.leads.is_some()).count() > 1);
        Ok(())
    }
}
