//! What the operator may tell a node: to campaign, to lead by force, and (Async) that its lease is vouched for.

use mainstay_record::Epoch;

use crate::core::{Core, State};
use crate::{Action, Mode, Moment, Order, StepError};

impl Core {
    pub(crate) fn order(
        &mut self,
        order: Order,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        let (number, expires) = match order {
            Order::Campaign { epoch, expires } | Order::Promote { epoch, expires } => (epoch, expires),
        };
        let epoch = Epoch::new(number, self.node());
        if matches!(&self.state, State::Candidate(campaign) if campaign.epoch == epoch) {
            return Ok(());
        }
        if !self.takes_part() {
            return Err(StepError::NotMember { version: self.membership().version() });
        }
        if number <= self.hard.granted.number {
            return Err(StepError::StaleOrder { ordered: number, granted: self.hard.granted });
        }
        if expires <= now {
            return Err(StepError::ExpiredOrder { ordered: number, expires });
        }
        if self.in_charge(now) {
            return Err(StepError::AlreadyLeads { epoch: self.epoch() });
        }
        if matches!(order, Order::Promote { .. }) && self.membership().mode() != Mode::Async {
            return Err(StepError::NotAsync);
        }
        self.problem = None;
        let released = match &self.state {
            State::Leader(reign) => Some(reign.epoch),
            State::Follower | State::Candidate(_) => None,
        };
        match order {
            Order::Campaign { .. } => self.start_order(epoch, expires, released, now, out),
            Order::Promote { .. } => self.start_promotion(epoch, expires, now, out),
        }
        Ok(())
    }

    pub(crate) fn operator_lease(&mut self, epoch: Epoch, until: Moment) -> Result<(), StepError> {
        if !self.takes_operator_lease() {
            return Err(StepError::NotAsync);
        }
        let leader = self.leader();
        let State::Leader(reign) = &mut self.state else { return Err(StepError::NotLeader { leader }) };
        if reign.epoch != epoch {
            return Err(StepError::WrongEpoch { offered: epoch, led: reign.epoch });
        }
        reign.operator_lease = reign.operator_lease.max(until);
        Ok(())
    }
}
