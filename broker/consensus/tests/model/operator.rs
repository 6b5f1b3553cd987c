//! The operator: orders whomever it likes, with old and new numbers, and vouches for leaders.
//!
//! An order that is late or comes twice is one that carries a number of the past. What the operator never does, unless
//! that is the planted fault: vouch for two leaders at once, or order a promotion while it vouches for another leader.

use std::time::Duration;

use mainstay_consensus::{Event, Mode, Moment, Order};
use mainstay_record::Epoch;

use crate::checks::Checked;
use crate::scope::Fault;
use crate::world::World;

/// Microseconds.
const LEASE: u64 = 900_000;
/// How long the operator keeps to what it vouched for: its own clock and the leader's may each be off by 5 %.
const KEEPS: u64 = LEASE * 112 / 100;
const VALID: Duration = Duration::from_millis(2700);

/// A lease on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Voucher {
    pub(crate) to: usize,
    pub(crate) epoch: Epoch,
    pub(crate) until: Moment,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Operator {
    /// The highest number it has written down.
    pub(crate) number: u64,
    /// Whom it vouches for, and until when it keeps to that (true time).
    pub(crate) vouches: Option<(Epoch, u64)>,
    pub(crate) vouchers: Vec<Voucher>,
}

impl World {
    /// The next number above everything the operator could read.
    pub(crate) fn fresh_number(&self) -> u64 {
        let granted = self.nodes.iter().map(|node| node.hard.granted.number).max().unwrap_or(0);
        granted.max(self.operator.number) + 1
    }

    fn vouches(&self) -> Option<Epoch> {
        let breaks = self.scope.has(Fault::TwoVouchers);
        self.operator.vouches.filter(|(_, until)| !breaks && self.now <= *until).map(|(epoch, _)| epoch)
    }

    pub(crate) fn may_promote(&self, at: usize) -> bool {
        let vouches = self.vouches();
        self.scope.mode() == Mode::Async && (vouches.is_none() || vouches == self.nodes[at].leads)
    }

    pub(crate) fn may_vouch(&self, at: usize) -> bool {
        let Some(epoch) = self.nodes[at].leads else { return false };
        self.scope.mode() == Mode::Async && self.vouches().is_none_or(|vouched| vouched == epoch)
    }

    pub(crate) fn order(&mut self, at: usize, promote: bool, number: u64) -> Checked {
        self.operator.number = self.operator.number.max(number);
        let expires = self.nodes[at].local(self.now).plus(VALID);
        let order = match promote {
            true => Order::Promote { epoch: number, expires },
            false => Order::Campaign { epoch: number, expires },
        };
        self.step(at, Event::Order(order))?;
        if promote && !self.refused {
            self.history().forced = true;
        }
        Ok(())
    }

    /// Writes a voucher for the leader.
    pub(crate) fn vouch(&mut self, at: usize) {
        let Some(epoch) = self.nodes[at].leads else { return };
        let until = self.nodes[at].local(self.now).plus(Duration::from_micros(LEASE));
        self.operator.vouches = Some((epoch, self.now + KEEPS));
        self.operator.vouchers.retain(|voucher| voucher.epoch != epoch || voucher.until != until);
        self.operator.vouchers.push(Voucher { to: at, epoch, until });
    }

    /// A voucher arrives.
    pub(crate) fn lend(&mut self, which: usize) -> Checked {
        let voucher = self.operator.vouchers.remove(which);
        let arrives = self.nodes[voucher.to].local(self.now);
        let late = self.scope.has(Fault::LeaseFromArrival);
        let until = if late { arrives.plus(Duration::from_micros(LEASE)) } else { voucher.until };
        self.step(voucher.to, Event::OperatorLease { epoch: voucher.epoch, until })
    }
}
