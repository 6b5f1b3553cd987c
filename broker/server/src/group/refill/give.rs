//! The leader's side: gives a follower its log and the newest snapshot, one refill per follower at a time.

use std::collections::BTreeMap;
use std::time::Instant;

use mainstay_consensus::Event;
use mainstay_record::{Epoch, NodeId};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::Offer;
use crate::group::driver::Driver;
use crate::group::input::Input;
use crate::replication::{GiveError, RefillSender};

/// The refills that are under way.
#[derive(Debug)]
pub(in crate::group) struct Gifts {
    sender: RefillSender,
    running: BTreeMap<NodeId, AbortHandle>,
}

/// How one ended.
#[derive(Debug)]
pub(crate) struct Given {
    to: NodeId,
    epoch: Epoch,
    result: Result<(), GiveError>,
}

impl Gifts {
    pub(in crate::group) const fn new(sender: RefillSender) -> Self {
        Self { sender, running: BTreeMap::new() }
    }

    pub(in crate::group) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Of no use any more: this node does not lead.
    pub(in crate::group) fn stop(&mut self) {
        for (_, task) in std::mem::take(&mut self.running) {
            task.abort();
        }
    }
}

impl Drop for Gifts {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Driver {
    /// Executes [`mainstay_consensus::Action::SendSnapshot`].
    pub(in crate::group) fn give_refill(&mut self, to: NodeId, epoch: Epoch, round: u64) {
        let giving = self.prepare_refill(to, epoch, round);
        let inputs = self.snapshots.inputs();
        let task = tokio::spawn(async move {
            let result = match giving {
                Ok(giving) => giving.await,
                Err(error) => Err(error),
            };
            if let Some(inputs) = inputs.upgrade() {
                let _ = inputs.send(Input::Given(Given { to, epoch, result }));
            }
        });
        if let Some(older) = self.gifts.running.insert(to, task.abort_handle()) {
            older.abort();
        }
    }

    fn prepare_refill(
        &mut self,
        to: NodeId,
        epoch: Epoch,
        round: u64,
    ) -> Result<impl Future<Output = Result<(), GiveError>> + use<>, GiveError> {
        let member = self.directory.member(to).ok_or(GiveError::Unknown(to))?;
        let Some(snapshot) = self.snapshots.usable_newest() else {
            self.snapshots.want();
            return Err(GiveError::NoSnapshot);
        };
        let log_base = self.log.base_at(self.log.first().prev())?;
        let snapshot_base = snapshot.base.clone();
        let offer = Offer { from: self.identity.node, epoch, round, log_base, snapshot_base };
        info!(group = %self.identity.group, %to, member, through = %offer.snapshot_base.last,
            "gives a follower log and state: it lacks what this log no longer has");
        let (sender, log, store) = (self.gifts.sender.clone(), self.log.clone(), self.snapshots.store());
        Ok(async move { sender.give(&member, to, offer, log, store, snapshot).await })
    }

    pub(in crate::group) fn refill_given(&mut self, given: Given, now: Instant) {
        let Given { to, epoch, result } = given;
        self.gifts.running.remove(&to);
        self.step(Event::SnapshotEnded { to, epoch }, now);
        match result {
            Ok(()) => info!(group = %self.identity.group, %to, "a follower has taken over log and state"),
            Err(error) => {
                warn!(group = %self.identity.group, %to, %error, "a follower could not be refilled")
            }
        }
    }
}
