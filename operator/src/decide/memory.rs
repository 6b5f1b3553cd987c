//! What the operator remembers of a group between two rounds. Losing it (a restart) costs time, never safety: whatever an
//! earlier operator may have done is waited out from `started`.

use std::{collections::BTreeMap, time::Duration};

use super::observed::{Epoch, Moment, NodeId, Observed};

/// A leader that was seen healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenLeader {
    pub member: String,
    pub node: NodeId,
    pub epoch: Epoch,
    pub at: Moment,
}

/// An order that was given and has not led to a leader yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub epoch: u64,
    pub member: String,
    pub sent: Moment,
    /// The broker said no, or the order never got out.
    pub refused: bool,
}

/// A lease that was vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub node: NodeId,
    pub epoch: Epoch,
    /// Over for the leader before this.
    pub until: Moment,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Since when this operator alone decides about the group.
    pub started: Moment,
    /// Since when there is no healthy leader.
    pub leaderless_since: Option<Moment>,
    /// Since when everything is as it should be.
    pub sound_since: Option<Moment>,
    pub leader: Option<SeenLeader>,
    pub pending: Option<Pending>,
    /// The newest order on record, whoever gave it, and when it was first seen there.
    pub order_seen: Option<(u64, Moment)>,
    /// Orders in a row that led nowhere, and who got the last of them.
    pub failures: u32,
    pub failed_candidate: Option<String>,
    pub retry_at: Moment,
    pub grant: Option<Grant>,
    /// When the leader was asked to hand over.
    pub handover: Option<Moment>,
    pub published: Option<Moment>,
    /// Since when each node has been waiting to be taken in.
    pub outside_since: BTreeMap<NodeId, Moment>,
    /// When a change of the membership was last asked for.
    pub change_asked: Option<Moment>,
    /// When a membership was last named.
    pub named_at: Option<Moment>,
    /// Since when each member has not answered.
    pub silent_since: BTreeMap<String, Moment>,
}

impl Memory {
    pub fn new(started: Moment) -> Self {
        Self { started, ..Self::default() }
    }

    /// How long a member has not answered; zero while it does.
    pub fn silent_for(&self, member: &str, now: Moment) -> Duration {
        self.silent_since.get(member).map_or(Duration::ZERO, |since| now.since(*since))
    }

    /// The order of this epoch did not reach its broker, or was refused: no need to wait for it.
    pub fn order_refused(&mut self, epoch: u64) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.epoch == epoch) {
            pending.refused = true;
        }
    }

    pub(super) fn note_order(&mut self, ordered: u64, now: Moment) {
        if ordered != 0 && self.order_seen.is_none_or(|(seen, _)| seen != ordered) {
            self.order_seen = Some((ordered, now));
        }
    }

    pub(super) fn note_silence(&mut self, observed: &Observed, now: Moment) {
        for member in &observed.members {
            if member.report.is_some() {
                self.silent_since.remove(&member.name);
            } else {
                self.silent_since.entry(member.name.clone()).or_insert(now);
            }
        }
    }
}
