//! Logs that begin late: giving up the beginning, and taking over the state of a leader that gave it up.
//!
//! What always holds: a log begins after a committed entry, and what a node gives up for a snapshot is in it, or is not
//! in the leader's log. So nothing committed is dropped that the leader does not have; where one copy commits
//! ([`Mode::Async`]), what the leader lacks is set aside first.

use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::core::Core;
use crate::log::LogTable;
use crate::{Action, AppendHeader, LogBase, LogSummary, Mode, Moment, Standing, StepError};

/// A snapshot that is on the disk, but not in force.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) from: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) base: LogBase,
    pub(crate) round: u64,
}

impl Core {
    /// What describes a log that begins after the entry at `index`; `None` where that is before the own log or the
    /// membership that it started with, or not committed.
    pub fn log_base_at(&self, index: LogIndex) -> Option<LogBase> {
        let base = self.log.entry(index).filter(|base| base.index <= self.commit)?;
        let (membership_at, membership) = self.memberships.at(index)?.clone();
        Some(LogBase { base, epochs: self.log.epochs_through(index).to_vec(), membership, membership_at })
    }

    /// This member as it starts after its log has gone. What it granted must be stored: the log may have been all that
    /// proved it.
    #[must_use]
    pub fn without_log(&self, standing: Standing, now: Moment) -> Self {
        let log = LogSummary {
            base: EntryId::ZERO,
            last: EntryId::ZERO,
            epochs: Vec::new(),
            memberships: Vec::new(),
            membership: self.membership().clone(),
            adopted: self.memberships.adopted().cloned(),
            standing,
        };
        Self::new(self.config.clone(), self.hard, log, now)
    }

    /// The last index, at or below `through`, at which a log with these epochs has the same entry as the own one.
    pub fn shared_with(&self, epochs: &[(Epoch, LogIndex)], through: LogIndex) -> LogIndex {
        self.log.shared_with(epochs, through)
    }

    pub(crate) fn compacted(&mut self, base: EntryId) -> Result<(), StepError> {
        let bad = |what| Err(StepError::BadBase { base, what });
        if self.log.entry(base.index) != Some(base) {
            return bad("it is not in the log");
        }
        if base.index > self.commit.min(self.log.persisted()) {
            return bad("it is not committed and persisted");
        }
        self.log.compact(base);
        self.memberships.compacted(base.index);
        Ok(())
    }

    pub(crate) fn snapshot_arrived(
        &mut self,
        arrival: Arrival,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        let Arrival { from, epoch, round, .. } = arrival;
        let base = arrival.base.base;
        check(self.node(), &arrival)?;
        let useless = |what| Err(StepError::UselessSnapshot { epoch, what });
        if epoch < self.hard.granted {
            self.refuse(from, 0, Some(EntryId::ZERO), out);
            return useless("a newer epoch is granted");
        }
        let membership = arrival.base.membership.version();
        let following = self.following.as_ref().is_some_and(|following| following.epoch == epoch);
        if !following && membership < self.oldest_membership() {
            return useless("its leader may know an older membership only");
        }
        let header = AppendHeader { epoch, membership, prev: base, commit: LogIndex::ZERO, losses: 0, round };
        self.follow(header, now, out);
        let same = self.log.entry(base.index) == Some(base);
        let Some(following) = &mut self.following else { return Ok(()) };
        if same {
            following.matches(base.index);
        }
        if base.index.max(self.log.base().index) <= following.matched() {
            self.acknowledge(round, out);
            return useless("nothing of it is missing here");
        }
        if self.membership().mode() != Mode::Async && base.index <= self.commit {
            if base.index >= self.log.base().index {
                return Err(StepError::CommittedConflict { from, index: base.index });
            }
            // The leader has our base, too, and streams from there.
            self.refuse(from, round, None, out);
            return useless("the own log begins later");
        }
        if self.log.persisted() < self.log.last().index {
            // As before a cut: no later report may be about an entry that is gone.
            if let Some(following) = &mut self.following {
                following.arrived = Some(arrival);
            }
            return Ok(());
        }
        self.install(arrival, out);
        Ok(())
    }

    fn install(&mut self, arrival: Arrival, out: &mut Vec<Action>) {
        let LogBase { base, epochs, membership, membership_at } = arrival.base;
        if self.membership().mode() == Mode::Async {
            let shared = self.log.shared_with(&epochs, base.index).max(self.log.base().index);
            if shared < self.log.last().index {
                self.cut(shared, out);
            }
        }
        self.adopt_heard(&membership, out);
        self.log = LogTable::empty(base, epochs);
        self.memberships.start_over(membership_at, membership);
        self.commit = base.index;
        out.push(Action::InstallSnapshot { base });
        if let Some(following) = &mut self.following {
            following.installed(base.index);
        }
        self.follower_catches_up(out);
        self.acknowledge(arrival.round, out);
    }
}

fn check(node: NodeId, arrival: &Arrival) -> Result<(), StepError> {
    let Arrival { from, epoch, base, .. } = arrival;
    let malformed = |what| Err(StepError::Malformed { from: *from, what });
    if epoch.leader() != Some(*from) || *from == node {
        return malformed("its snapshot is of another node's epoch");
    }
    if base.base.epoch > *epoch || base.membership_at > base.base.index {
        return malformed("its snapshot begins after its reign");
    }
    let grows = |pair: &[(Epoch, LogIndex)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
    let ends = base.epochs.last().is_none_or(|(of, at)| *of <= base.base.epoch && *at <= base.base.index);
    if !base.epochs.windows(2).all(grows) || !ends {
        return malformed("the epochs of its snapshot do not fit");
    }
    Ok(())
}
