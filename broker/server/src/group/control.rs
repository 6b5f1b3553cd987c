//! The part of the handle that operators, probes and a graceful stop use.

use mainstay_consensus::{Event, Membership, Mode, Moment, Order};
use mainstay_record::{Epoch, NodeId};
use mainstay_storage::{Log, LogMetrics, QuarantineFile};
use tokio::sync::oneshot;

use super::handle::GroupHandle;
use super::input::{Input, OrderError};
use super::status::Status;

impl GroupHandle {
    /// Everything this node knows about itself and its group; `None` when the broker stops.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Input::Status).await
    }

    /// Campaigns for the epoch with this number until the order expires.
    pub async fn campaign(&self, epoch: u64, expires: Moment) -> Result<(), OrderError> {
        self.order(Event::Order(Order::Campaign { epoch, expires })).await
    }

    /// Leads the epoch with this number with the grants that can be had (`async` only).
    pub async fn promote(&self, epoch: u64, expires: Moment) -> Result<(), OrderError> {
        self.order(Event::Order(Order::Promote { epoch, expires })).await
    }

    /// The operator starts no other leader before `until`, which it counted from an earlier [`Status::at`] of this
    /// node.
    pub async fn grant_lease(&self, epoch: Epoch, until: Moment) -> Result<(), OrderError> {
        self.order(Event::OperatorLease { epoch, until }).await
    }

    /// Begins to hand leadership over; watch the view to see it done.
    pub async fn step_down(&self, to: Option<NodeId>) -> Result<(), OrderError> {
        self.order(Event::StepDown { to }).await
    }

    /// Begins to bring about another set of voters; the view and the status tell how far that is.
    pub async fn change_membership(&self, mode: Mode, members: Vec<NodeId>) -> Result<(), OrderError> {
        self.order(Event::ChangeMembership { mode, members }).await
    }

    /// Forgets a change that still waits for new voters to catch up.
    pub async fn abandon_change(&self) -> Result<(), OrderError> {
        self.order(Event::AbandonChange).await
    }

    /// Takes the membership that the operator has named since the write quorum is lost for good.
    pub async fn adopt_membership(&self, membership: Membership) -> Result<(), OrderError> {
        self.order(Event::AdoptMembership { membership }).await
    }

    /// The broker's monotonic clock, as in [`Status::at`].
    pub fn clock_now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// Divergent tails that were put aside on this node.
    pub fn quarantined(&self) -> Vec<QuarantineFile> {
        self.shared.log.quarantined()
    }

    /// No longer tells of a tail whose messages are in the log again.
    pub(crate) fn dismiss_quarantined(&self, file: &QuarantineFile) {
        self.shared.log.dismiss(file);
    }

    /// For readers of the past.
    pub(crate) fn log(&self) -> &Log {
        &self.shared.log
    }

    pub(crate) fn log_metrics(&self) -> LogMetrics {
        self.shared.log.metrics()
    }

    /// Takes nothing new and returns when everybody who waited has been answered.
    pub(crate) async fn drain(&self) {
        let _ = self.ask(Input::Drain).await;
    }

    /// Closes the log and ends the driver.
    pub(crate) async fn stop(&self) {
        let _ = self.ask(Input::Stop).await;
    }

    async fn order(&self, event: Event) -> Result<(), OrderError> {
        let (reply, answer) = oneshot::channel();
        self.shared.inputs.send(Input::Order { event, reply }).map_err(|_| OrderError::ShuttingDown)?;
        answer.await.unwrap_or(Err(OrderError::ShuttingDown))
    }

    async fn ask<R>(&self, input: impl FnOnce(oneshot::Sender<R>) -> Input) -> Option<R> {
        let (reply, answer) = oneshot::channel();
        self.shared.inputs.send(input(reply)).ok()?;
        answer.await.ok()
    }
}
