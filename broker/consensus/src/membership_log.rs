//! Which membership is in force. It takes effect when its batch is appended, committed or not, and loses it when that
//! batch is cut off.

use mainstay_record::{Batch, BatchKind, LogIndex};

use crate::portrait::Portrait;
use crate::{LogSummary, Membership, MembershipError};

#[derive(Debug, Clone)]
pub(crate) struct MembershipLog {
    /// In log order, never empty: the first is the one the process started with.
    entries: Vec<(LogIndex, Membership)>,
    /// By order of the operator: in force until the log has one as new.
    adopted: Option<Membership>,
}

impl MembershipLog {
    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { entries, adopted } = self;
        portrait.word(entries.len() as u64);
        for (at, membership) in entries {
            portrait.word(at.0).membership(membership);
        }
        portrait.word(adopted.as_ref().map_or(0, Membership::version));
    }

    /// Of a log at start.
    pub(crate) fn of(log: &LogSummary) -> Self {
        let mut entries = log.memberships.clone();
        if entries.first().is_none_or(|(at, _)| *at > log.base.index) {
            entries.insert(0, (LogIndex::ZERO, log.membership.clone()));
        }
        Self { entries, adopted: log.adopted.clone() }
    }

    fn newest(&self) -> &(LogIndex, Membership) {
        // The list is never empty; indexing by a length that is at least one keeps this total.
        &self.entries[self.entries.len() - 1]
    }

    pub(crate) fn current(&self) -> &Membership {
        let newest = &self.newest().1;
        self.adopted.as_ref().filter(|adopted| adopted.version() > newest.version()).unwrap_or(newest)
    }

    /// Where in the log the membership in force stands; `None` while it does not.
    pub(crate) fn in_log_at(&self) -> Option<LogIndex> {
        let (at, newest) = self.newest();
        (*at > LogIndex::ZERO && newest == self.current()).then_some(*at)
    }

    pub(crate) const fn adopted(&self) -> Option<&Membership> {
        self.adopted.as_ref()
    }

    pub(crate) fn adopt(&mut self, membership: Membership) {
        self.adopted = Some(membership);
    }

    /// A snapshot is in force, which begins with this one.
    pub(crate) fn start_over(&mut self, at: LogIndex, membership: Membership) {
        self.entries = vec![(at, membership)];
    }

    /// The membership that `batch` carries, if it is of that kind.
    pub(crate) fn read(batch: &Batch) -> Result<Option<Membership>, MembershipError> {
        if batch.header().kind != BatchKind::Membership {
            return Ok(None);
        }
        Membership::decode(&batch.record(0).unwrap_or_default()).map(Some)
    }

    pub(crate) fn appended(&mut self, at: LogIndex, membership: Membership) {
        self.entries.push((at, membership));
    }

    /// What was in force at `index`, and everything newer.
    pub(crate) fn since(&self, index: LogIndex) -> impl Iterator<Item = &Membership> {
        let after = self.entries.partition_point(|(at, _)| *at <= index);
        self.entries[after.saturating_sub(1)..].iter().map(|(_, membership)| membership)
    }

    /// The membership in force at `base`, and where it stands, if that is known.
    pub(crate) fn at(&self, base: LogIndex) -> Option<&(LogIndex, Membership)> {
        let after = self.entries.partition_point(|(at, _)| *at <= base);
        self.entries.get(after.checked_sub(1)?)
    }

    /// What came before the one in force at `base` can never come back.
    pub(crate) fn compacted(&mut self, base: LogIndex) {
        let after = self.entries.partition_point(|(at, _)| *at <= base);
        self.entries.drain(..after.saturating_sub(1));
    }

    pub(crate) fn truncated(&mut self, keep: LogIndex) {
        while self.entries.len() > 1 && self.entries[self.entries.len() - 1].0 > keep {
            self.entries.pop();
        }
        if let [(at, _)] = self.entries.as_mut_slice()
            && *at > keep
        {
            // Its batch is gone, but a node that has once belonged to a group keeps knowing whom to talk to.
            *at = LogIndex::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_record::NodeId;

    use super::*;
    use crate::Mode;

    #[test]
    fn a_cut_brings_the_older_membership_back() {
        let of = |version| Membership::new(version, Mode::Raft, vec![NodeId::new(1).unwrap()]).unwrap();
        let mut log = MembershipLog { entries: vec![(LogIndex::ZERO, of(1))], adopted: None };
        assert!(log.in_log_at().is_none());
        log.appended(LogIndex(2), of(1));
        log.appended(LogIndex(7), of(2));
        log.truncated(LogIndex(7));
        assert_eq!((log.current().version(), log.in_log_at().is_some()), (2, true));
        log.truncated(LogIndex(6));
        assert_eq!((log.current().version(), log.in_log_at().is_some()), (1, true));
        log.truncated(LogIndex(1));
        assert_eq!((log.current().version(), log.in_log_at().is_some()), (1, false));
    }
}
