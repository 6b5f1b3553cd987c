//! The way out when the write quorum can no longer be had: the operator names a new membership.
//!
//! Safe only where every voter is needed to commit, so that each survivor has everything that was committed, and none of
//! those who are left out can commit anything without one of the survivors, who refuse every leader and candidate with
//! an older membership from here on. One of them that has not heard of it yet may still follow such a leader, and be
//! misled into a log that looks newer. So nothing is committed before everybody who is named refuses: the membership
//! itself takes every one of them, and is followed by the same that is not forced, which takes the usual quorums. The
//! operator must have written it down by compare-and-swap first, so that there is only one of that version.

use crate::core::{Core, State};
use crate::voters::Voters;
use crate::{Action, Membership, Mode, Moment, StepError};

impl Core {
    pub(crate) fn adopt_membership(
        &mut self,
        membership: Membership,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        let membership = membership.by_force();
        if self.memberships.adopted() == Some(&membership) {
            return Ok(());
        }
        self.adoptable(&membership)?;
        out.push(Action::StoreMembership(membership.clone()));
        let former = self.membership().members().to_vec();
        self.memberships.adopt(membership.clone());
        if matches!(self.state, State::Leader(_)) {
            self.seal_membership(membership, out);
            self.refresh_peers(&former, now);
            return Ok(());
        }
        self.following = None;
        self.become_follower(now);
        if self.membership().members() == [self.node()] {
            self.election_at = now;
        }
        Ok(())
    }

    fn adoptable(&self, membership: &Membership) -> Result<(), StepError> {
        let (current, version) = (self.membership(), membership.version());
        if version <= current.version() {
            return Err(StepError::StaleMembership { offered: version, known: current.version() });
        }
        if !current.wanted().same_kind(membership.wanted()) {
            return Err(StepError::ModeFixed);
        }
        if !membership.contains(self.node()) {
            return Err(StepError::NotMember { version });
        }
        if let Some(to) = self.handing_over_to() {
            return Err(StepError::HandingOver { to });
        }
        if !self.standing.caught_up {
            return Err(StepError::AdoptWhileCatchingUp);
        }
        let needs_all = |voters: &Voters| current.writers(voters) == voters.members().len();
        if membership.is_joint() || !current.in_force().all(needs_all) {
            return Err(StepError::AdoptionUnsafe);
        }
        Ok(())
    }

    /// A forced membership that comes with the log, or with a snapshot, is as good as an order.
    pub(crate) fn adopt_heard(&mut self, membership: &Membership, out: &mut Vec<Action>) {
        let known = self.memberships.adopted().map_or(0, Membership::version);
        if membership.is_forced() && membership.version() > known {
            out.push(Action::StoreMembership(membership.clone()));
            self.memberships.adopt(membership.clone());
        }
    }

    /// Leaders and candidates that know only older memberships are refused: what the operator named here, and what is
    /// committed here, is known to every leader that there may be. A promotion by force may have overridden the latter.
    pub(crate) fn oldest_membership(&self) -> u64 {
        let adopted = self.memberships.adopted().map_or(0, Membership::version);
        let committed = match self.membership().mode() {
            Mode::Async => 0,
            Mode::Sync { .. } | Mode::Raft => {
                self.memberships.at(self.commit).map_or(0, |(_, membership)| membership.version())
            }
        };
        adopted.max(committed)
    }
}
