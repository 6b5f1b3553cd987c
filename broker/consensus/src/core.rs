//! Skeleton.
use mainstay_record::{EntryId, NodeId};

use crate::{Action, Event, HardState, LogSummary, Moment, StepError, Timing, View};

/// What a core is told once.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    pub timing: Timing,
    /// Of the random waiting times; should differ between members.
    pub seed: u64,
    /// How many batches may be on their way to a follower beyond what it acknowledged.
    pub max_inflight_batches: u64,
}

/// The consensus state machine of one member of one group.
#[derive(Debug)]
pub struct Core {
    config: Config,
    log: LogSummary,
}

impl Core {
    pub fn new(config: Config, hard: HardState, log: LogSummary, now: Moment) -> Self {
        let _ = (hard, now);
        Self { config, log }
    }

    /// Takes one event and appends what must be done about it.
    ///
    /// # Errors
    /// The event was refused, see [`StepError`]. Actions that were appended must be executed nevertheless.
    pub fn step(&mut self, event: Event, now: Moment, actions: &mut Vec<Action>) -> Result<(), StepError> {
        let _ = (event, now, actions);
        Ok(())
    }

    /// The id of the batch that may be proposed next; `None` unless this node leads and takes proposals.
    pub fn next_entry(&self) -> Option<EntryId> {
        None
    }

    pub fn view(&self, now: Moment) -> View {
        let _ = now;
        View {
            role: crate::Role::Follower,
            epoch: self.log.last.epoch,
            granted: self.log.last.epoch,
            highest: self.log.last.epoch,
            leader: None,
            last: self.log.last,
            persisted: self.log.last.index,
            commit: mainstay_record::LogIndex::ZERO,
            serving: false,
            quorum_reachable: false,
            lease_remaining: std::time::Duration::ZERO,
            handing_over_to: None,
            membership: self.log.membership.clone(),
            members: Vec::new(),
            problem: None,
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn next_wakeup(&self) -> Moment {
        Moment(self.config.timing.heartbeat)
    }
}
