//! The follower's side: takes batches of the leader, cuts a divergent tail, acknowledges what is persisted.
//!
//! What always holds: `matched` counts only entries that the leader of the followed epoch has shown to be its own, and
//! nothing above it is ever acknowledged or taken for committed.

use mainstay_planted::{Fault, planted};
use mainstay_record::{Batch, EntryId, Epoch, LogIndex, NodeId};

use crate::core::{Core, State};
use crate::membership_log::MembershipLog;
use crate::portrait::Portrait;
use crate::snapshot::Arrival;
use crate::{
    Action, Append, AppendHeader, AppendResponse, Membership, Message, Mode, Moment, StepError, TailFate,
};

/// What is known of the leader of `epoch`.
#[derive(Debug, Clone)]
pub(crate) struct Following {
    pub(crate) epoch: Epoch,
    /// Not heard for too long: who it was is no use to anyone.
    silent: bool,
    /// The own log equals the leader's through here.
    matched: LogIndex,
    acknowledged: LogIndex,
    /// A member that is catching up has everything once it has this, if it is of the leader's own epoch.
    pub(crate) caught_up_at: Option<LogIndex>,
    /// Newest round it sent.
    round: u64,
    /// Waits until the tail that it contradicts is persisted.
    deferred: Option<Append>,
    /// The same of a snapshot.
    pub(crate) arrived: Option<Arrival>,
}

impl Following {
    const fn new(epoch: Epoch) -> Self {
        let (matched, acknowledged) = (LogIndex::ZERO, LogIndex::ZERO);
        Self {
            epoch,
            silent: false,
            matched,
            acknowledged,
            caught_up_at: None,
            round: 0,
            deferred: None,
            arrived: None,
        }
    }

    /// A snapshot is in force: what was known of the log is void.
    pub(crate) fn installed(&mut self, base: LogIndex) {
        self.matched = base;
        self.acknowledged = base;
        self.deferred = None;
    }

    pub(crate) fn matches(&mut self, through: LogIndex) {
        self.matched = self.matched.max(through);
    }

    pub(crate) const fn matched(&self) -> LogIndex {
        self.matched
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { epoch, silent: _, matched, acknowledged, caught_up_at, round, deferred, arrived } = self;
        portrait.epoch(*epoch).word(matched.0).word(acknowledged.0).round(*epoch, *round);
        portrait.word(caught_up_at.map_or(u64::MAX, |at| at.0));
        match deferred {
            None => portrait.word(0),
            Some(append) => portrait.word(1).append(append),
        };
        match arrived {
            None => portrait.word(0),
            Some(arrival) => portrait.word(1).entry(arrival.base.base).round(arrival.epoch, arrival.round),
        };
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        if self.silent { None } else { self.epoch.leader() }
    }
}

/// How the batches of a message meet the own log.
enum Junction {
    /// The first `usize` batches are there already.
    Continues(usize),
    /// The batch at this place contradicts the own log.
    Contradicts(usize),
}

impl Core {
    pub(crate) fn append(
        &mut self,
        from: NodeId,
        append: Append,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        let header = append.header;
        check(from, &append)?;
        if header.epoch < self.hard.granted && !planted(Fault::AcceptStaleEpoch) {
            self.refuse(from, 0, Some(EntryId::ZERO), out);
            return Ok(());
        }
        if from == self.node() {
            return Err(StepError::Malformed { from, what: "it comes from this node itself" });
        }
        let own = self.oldest_membership();
        if header.membership < own {
            return Err(StepError::OldMembership { from, theirs: header.membership, own });
        }
        let memberships = read_memberships(from, &append.batches)?;
        self.follow(header, now, out);
        self.hear_commit(&header);
        if self.log.entry(header.prev.index) != Some(header.prev) {
            let deferred = self.following.as_ref().is_some_and(|following| following.deferred.is_some());
            if deferred && !append.batches.is_empty() {
                // It continues what waits for the disk, and comes again when that is settled.
                return Ok(());
            }
            let hint = self.log.agreement(header.prev.index, header.prev.epoch);
            self.refuse(from, header.round, hint, out);
            return Ok(());
        }
        let fresh = match self.junction(&append.batches) {
            Junction::Continues(known) => {
                let end = LogIndex(header.prev.index.0 + append.batches.len() as u64);
                if planted(Fault::TruncateCommitted) && end < self.log.persisted() {
                    self.cut(end, out);
                }
                known
            }
            Junction::Contradicts(at) => {
                let conflict = append.batches[at].index();
                if conflict <= self.commit && self.membership().mode() != Mode::Async {
                    return Err(StepError::CommittedConflict { from, index: conflict });
                }
                if self.log.persisted() < self.log.last().index {
                    // A tail is cut only when all of it is reported persisted: then no later report can be about
                    // an entry that was cut and came back.
                    self.defer(append);
                    return Ok(());
                }
                self.cut(conflict.prev(), out);
                at
            }
        };
        self.take(append, fresh, memberships, out);
        Ok(())
    }

    /// Recognises the sender as the leader.
    pub(crate) fn follow(&mut self, header: AppendHeader, now: Moment, out: &mut Vec<Action>) {
        self.grant(header.epoch, out);
        self.note(header.epoch);
        let resign = match &self.state {
            State::Follower => false,
            State::Candidate(campaign) => campaign.yields_to(header.epoch),
            State::Leader(_) => true,
        };
        if resign {
            self.become_follower(now);
        }
        let following = match &mut self.following {
            Some(following) if following.epoch == header.epoch => following,
            other => other.insert(Following::new(header.epoch)),
        };
        following.silent = false;
        following.round = following.round.max(header.round);
        self.forget_problem(header.epoch, now);
        if header.round != 0 {
            self.promise.extend(header.epoch, now.plus(self.config.timing.lease));
        }
        self.rest(now);
    }

    /// A campaign that failed is no problem any more once a newer epoch has a leader, or the leader that it was called
    /// against has stayed for so long that somebody must have vouched for it.
    fn forget_problem(&mut self, led: Epoch, now: Moment) {
        let kept = self.config.timing.election.end.saturating_mul(3);
        let fresh = now < self.problem_since.plus(kept);
        self.problem = self.problem.filter(|problem| fresh && problem.epoch() >= Some(led));
    }

    fn junction(&self, batches: &[Batch]) -> Junction {
        for (at, batch) in batches.iter().enumerate() {
            match self.log.entry(batch.index()) {
                Some(own) if own == batch.id() => {}
                Some(_) => return Junction::Contradicts(at),
                None => return Junction::Continues(at),
            }
        }
        Junction::Continues(batches.len())
    }

    fn defer(&mut self, append: Append) {
        if let Some(following) = &mut self.following {
            following.deferred = Some(append);
        }
    }

    pub(crate) fn cut(&mut self, keep: LogIndex, out: &mut Vec<Action>) {
        let fate = match self.membership().mode() {
            // One persisted copy commits, so any of it may have been acknowledged.
            Mode::Async if !planted(Fault::DiscardTail) => TailFate::Quarantine,
            Mode::Async | Mode::Sync { .. } | Mode::Raft => TailFate::Discard,
        };
        self.log.truncate(keep);
        self.memberships.truncated(keep);
        out.push(Action::Truncate { keep, fate });
        if self.commit > keep {
            self.commit = keep;
            out.push(Action::Rewind { through: keep });
        }
    }

    /// Appends what is new of a message that continues the own log, and answers it.
    fn take(
        &mut self,
        append: Append,
        known: usize,
        memberships: Vec<(LogIndex, Membership)>,
        out: &mut Vec<Action>,
    ) {
        let Append { header, mut batches } = append;
        let end = LogIndex(header.prev.index.0 + batches.len() as u64);
        let fresh = batches.split_off(known);
        for batch in &fresh {
            self.log.append(batch.id());
        }
        let first = header.prev.index.0 + known as u64 + 1;
        for (at, membership) in memberships.into_iter().filter(|(at, _)| at.0 >= first) {
            self.adopt_heard(&membership, out);
            self.memberships.appended(at, membership);
        }
        let awaits_disk = !fresh.is_empty();
        if awaits_disk {
            out.push(Action::Append(fresh));
        }
        let Some(following) = &mut self.following else { return };
        following.matched = following.matched.max(end);
        let shared =
            if planted(Fault::DeliverUncommitted) { self.log.last().index } else { following.matched };
        let commit = header.commit.min(shared);
        if commit > self.commit {
            self.commit = commit;
            out.push(Action::Commit { through: commit });
        }
        self.follower_catches_up(out);
        if !awaits_disk {
            self.acknowledge(header.round, out);
        }
    }

    pub(crate) fn acknowledge(&mut self, round: u64, out: &mut Vec<Action>) {
        let Some(following) = &mut self.following else { return };
        let Some(to) = following.epoch.leader() else { return };
        let persisted =
            if planted(Fault::AcknowledgeUnpersisted) { self.log.last().index } else { self.log.persisted() };
        let index = following.matched.min(persisted);
        following.acknowledged = following.acknowledged.max(index);
        let response = AppendResponse {
            epoch: self.hard.granted,
            accepted: true,
            round,
            index,
            index_epoch: Epoch::ZERO,
            floor: false,
            standing: self.standing,
        };
        out.push(Action::Send { to, message: Message::AppendResponse(response) });
    }

    /// `hint`: the last entry that can equal the leader's; `None` where that is before the own log.
    pub(crate) fn refuse(&self, to: NodeId, round: u64, hint: Option<EntryId>, out: &mut Vec<Action>) {
        let floor = hint.is_none();
        let hint = hint.unwrap_or(self.log.base());
        let response = AppendResponse {
            epoch: self.hard.granted,
            accepted: false,
            round,
            index: hint.index,
            index_epoch: hint.epoch,
            floor,
            standing: self.standing,
        };
        out.push(Action::Send { to, message: Message::AppendResponse(response) });
    }

    /// More of the own log is persisted: tells the leader without being asked.
    pub(crate) fn follower_persisted(&mut self, now: Moment, out: &mut Vec<Action>) -> Result<(), StepError> {
        let Some(following) = &mut self.following else { return Ok(()) };
        if following.epoch < self.hard.granted {
            return Ok(());
        }
        if self.log.persisted() == self.log.last().index
            && let Some(arrival) = following.arrived.take()
        {
            return self.snapshot_arrived(arrival, now, out);
        }
        let Some(following) = &mut self.following else { return Ok(()) };
        if self.log.persisted() == self.log.last().index
            && let (Some(append), Some(leader)) = (following.deferred.take(), following.epoch.leader())
        {
            return self.append(leader, append, now, out);
        }
        self.follower_catches_up(out);
        let Some(following) = &mut self.following else { return Ok(()) };
        if following.matched.min(self.log.persisted()) > following.acknowledged {
            let round = following.round;
            self.acknowledge(round, out);
        }
        Ok(())
    }

    pub(crate) fn follower_tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        if now < self.election_at {
            return;
        }
        if let Some(following) = &mut self.following {
            following.silent = true;
        }
        if self.elects_itself() {
            self.start_election(None, now, out);
        } else {
            self.election_at = Moment::NEVER;
        }
    }
}

/// Only the candidate of an epoch sends for it, and batches come without gaps and with epochs that only grow.
fn check(from: NodeId, append: &Append) -> Result<(), StepError> {
    let header = &append.header;
    let malformed = |what| Err(StepError::Malformed { from, what });
    if header.epoch.leader() != Some(from) {
        return malformed("its epoch is another node's");
    }
    let mut prev = header.prev;
    for batch in &append.batches {
        let id = batch.id();
        if id.index != prev.index.next() {
            return malformed("its batches have gaps");
        }
        if id.epoch < prev.epoch || id.epoch > header.epoch {
            return malformed("the epochs of its batches do not fit");
        }
        prev = id;
    }
    Ok(())
}

fn read_memberships(from: NodeId, batches: &[Batch]) -> Result<Vec<(LogIndex, Membership)>, StepError> {
    let mut found = Vec::new();
    for batch in batches {
        let index = batch.index();
        match MembershipLog::read(batch) {
            Ok(None) => {}
            Ok(Some(membership)) => found.push((index, membership)),
            Err(source) => return Err(StepError::BadMembership { from, index, source }),
        }
    }
    Ok(found)
}
