//! A planned hand-over, seen from the driver: nothing new goes into the log, whoever waits for something in it is answered,
//! and only then is the core told to hand over. So nobody is left with an unknown outcome.
//!
//! What arrives meanwhile waits. The next leader does it, or this one when no successor can be had.

use std::time::{Duration, Instant};

use mainstay_consensus::Event;
use tokio::sync::oneshot;

use super::driver::Driver;
use super::input::OrderError;

/// How long those who wait may hold up the hand-over.
const PATIENCE: Duration = Duration::from_millis(500);

/// An order to hand over that has to wait.
#[derive(Debug)]
pub(super) struct SteppingDown {
    event: Event,
    reply: oneshot::Sender<Result<(), OrderError>>,
    until: Instant,
}

impl Driver {
    pub(super) fn step_down(
        &mut self,
        event: Event,
        reply: oneshot::Sender<Result<(), OrderError>>,
        now: Instant,
    ) {
        let leads = self.view.role == mainstay_consensus::Role::Leader;
        if leads && self.failed.is_none() && self.stepping_down.is_none() {
            self.stepping_down = Some(SteppingDown { event, reply, until: now + PATIENCE });
        } else {
            // A second order is answered as the core sees it.
            let _ = reply.send(self.order(event, now));
        }
    }

    /// Tells the core once nobody waits for an outcome, or it has taken too long.
    pub(super) fn step_down_when_quiet(&mut self, now: Instant) {
        let due = |order: &mut SteppingDown| now >= order.until || self.proposals.nothing_pending();
        if let Some(order) = self.stepping_down.take_if(due) {
            let _ = order.reply.send(self.order(order.event, now));
        }
    }
}
