//! The voter's side: whether to grant an epoch, or to say that one would.
//!
//! A grant is stored before it is told. It needs an epoch above every granted one, a candidate whose log is at least
//! as good, and no running promise to another leader. A forced promotion (Async) needs only the first. A voter that is
//! catching up grants on condition that every member does.

use std::time::Duration;

use mainstay_planted::{Fault, planted};
use mainstay_record::NodeId;

use crate::core::{Core, State};
use crate::{Action, Message, Mode, Moment, StepError, VoteRequest, VoteResponse};

impl Core {
    pub(crate) fn vote_request(
        &mut self,
        from: NodeId,
        request: VoteRequest,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        if request.epoch.leader() != Some(from) || from == self.node() {
            return Err(StepError::Malformed { from, what: "it asks for an epoch of another node" });
        }
        // Who takes part is for the candidate's log to say, which may know of a change that this one does not: without the
        // word of a new member that has caught up, but not heard that it is one, nobody might be elected.
        let joins = !self.is_member() && !self.standing.caught_up;
        if joins || request.membership < self.oldest_membership() {
            return Ok(());
        }
        if !request.pre_vote {
            self.note(request.epoch);
        }
        let willing = self.would_grant(&request, now);
        if willing && !request.pre_vote {
            self.give_grant(&request, now, out);
        }
        if !willing {
            self.hurry_if_better(&request, now);
        }
        let counts = self.standing.caught_up || planted(Fault::GrantAfterLoss);
        let response = VoteResponse {
            epoch: request.epoch,
            pre_vote: request.pre_vote,
            granted: willing && counts,
            if_all: willing && !counts,
            highest: self.hard.granted,
            last: self.log.last(),
        };
        out.push(Action::Send { to: from, message: Message::VoteResponse(response) });
        Ok(())
    }

    fn would_grant(&self, request: &VoteRequest, now: Moment) -> bool {
        // Asked again for what was granted already: the answer was lost.
        let again = !request.pre_vote && request.epoch == self.hard.granted;
        if request.epoch <= self.hard.granted && !again {
            return false;
        }
        if request.forced && self.membership().mode() == Mode::Async {
            return true;
        }
        (request.last >= self.log.last() || planted(Fault::GrantToStaleLog))
            && !self.promise.blocks(request.released, now)
            && !self.in_charge_despite(request, now)
    }

    /// A leader that holds its lease or reaches its members is not deposed, unless it asked for it.
    fn in_charge_despite(&self, request: &VoteRequest, now: Moment) -> bool {
        match &self.state {
            State::Leader(reign) => {
                let released = reign.released() && request.released == Some(reign.epoch);
                !released && self.in_charge(now)
            }
            State::Follower | State::Candidate(_) => false,
        }
    }

    pub(crate) fn in_charge(&self, now: Moment) -> bool {
        match &self.state {
            State::Leader(reign) => now < self.lease_end(reign) || !self.cut_off(reign, now),
            State::Follower | State::Candidate(_) => false,
        }
    }

    fn give_grant(&mut self, request: &VoteRequest, now: Moment, out: &mut Vec<Action>) {
        self.grant(request.epoch, out);
        if self.following.as_ref().is_some_and(|following| following.epoch < request.epoch) {
            self.following = None;
        }
        self.become_follower(now);
    }

    /// Priority to the best log: who must refuse a worse candidate, and could campaign itself, does so soon.
    fn hurry_if_better(&mut self, request: &VoteRequest, now: Moment) {
        let better = request.last < self.log.last() && !self.promise.blocks(None, now);
        if better && matches!(self.state, State::Follower) && self.elects_itself() {
            let soon = self.jitter.within(&(Duration::ZERO..self.config.timing.heartbeat));
            self.election_at = self.election_at.min(now.plus(soon));
        }
    }
}
