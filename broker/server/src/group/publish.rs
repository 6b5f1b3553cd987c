//! What the driver tells everybody else: its view of the group whenever that changes, its status when asked, and that it
//! cannot go on.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use mainstay_messaging::Metadata;
use mainstay_planted::{Fault, planted};
use mainstay_record::LogIndex;
use tokio::sync::watch;
use tracing::info;

use super::driver::Driver;
use super::error::ProposeError;
use super::status::Status;
use super::view::{GroupView, Leader, Role};

/// What the driver tells everybody else.
pub(super) struct Publisher {
    pub(super) view: watch::Sender<GroupView>,
    /// The last batch applied, in whichever turn.
    pub(super) applied: watch::Sender<LogIndex>,
    pub(super) metadata: Arc<ArcSwap<Metadata>>,
    /// Set once, when this node cannot go on.
    pub(super) fatal: watch::Sender<Option<Arc<str>>>,
}

impl Driver {
    /// Looks at the core after it reported a change, and tells everybody.
    pub(super) fn look(&mut self) {
        let view = self.core.view(self.clock.now());
        let before = std::mem::replace(&mut self.view, view);
        if before.membership != self.view.membership {
            self.tell_membership();
            self.log_clock.retain_members(|node| self.view.membership.contains(node));
        }
        let led = before.role == mainstay_consensus::Role::Leader;
        let leads = self.view.role == mainstay_consensus::Role::Leader;
        if led && (!leads || before.epoch != self.view.epoch) {
            let not_leader = ProposeError::NotLeader { leader: self.view.leader };
            let unknown = if planted(Fault::TellUnknownAsRefused) {
                not_leader.clone()
            } else {
                ProposeError::LeadershipLost
            };
            self.proposals.refuse_all(&not_leader, &unknown);
            self.answer_polls(&not_leader);
            self.gifts.stop();
        }
        if before.role != self.view.role || before.epoch != self.view.epoch {
            info!(group = %self.identity.group, role = ?self.view.role, epoch = %self.view.epoch, "role changed");
            self.caught_up = false;
            self.elapsing = None;
            self.begins_versions = leads && self.must_begin_versions();
        }
        self.publish();
    }

    fn tell_membership(&self) {
        let membership = &self.view.membership;
        info!(group = %self.identity.group, version = membership.version(), members = ?membership.members(),
            joint = membership.is_joint(), "the membership has changed");
        self.adopt.send_modify(|adoption| adoption.membership = Some(membership.clone()));
    }

    pub(super) fn answer_polls(&mut self, error: &ProposeError) {
        for poll in self.polls.drain().into_iter().chain(self.judging.drain()) {
            let _ = poll.reply.send(Err(error.clone().into()));
        }
    }

    pub(super) fn publish(&self) {
        let view = GroupView {
            group: self.identity.group,
            node: self.identity.node,
            role: match (&self.failed, self.view.role) {
                (Some(_), _) => Role::Fenced,
                (None, _) if !self.view.membership.contains(self.identity.node) => Role::Learner,
                (None, mainstay_consensus::Role::Follower) => Role::Follower,
                (None, mainstay_consensus::Role::Candidate) => Role::Candidate,
                (None, mainstay_consensus::Role::Leader) => Role::Leader,
            },
            epoch: self.view.epoch,
            leader: self.view.leader.map(|node| Leader { node, member: self.directory.member(node) }),
            caught_up: self.caught_up,
            serving: self.view.serving && self.caught_up && self.failed.is_none(),
            writable: self.view.quorum_reachable && self.failed.is_none(),
            short_of_space: self.short_of_space,
            problem: self.problem(),
        };
        self.metrics.viewed(&self.view);
        self.publisher.view.send_if_modified(|published| {
            let changed = *published != view;
            *published = view;
            changed
        });
    }

    fn problem(&self) -> String {
        match (&self.failed, &self.taking, &self.view.problem) {
            (Some(reason), _, _) => reason.to_string(),
            (None, Some(taking), _) => taking.describe(),
            (None, None, Some(problem)) => problem.to_string(),
            (None, None, None) => String::new(),
        }
    }

    pub(super) fn status(&self, now: Instant) -> Status {
        let at = self.clock.moment(now);
        Status {
            at,
            consensus: Some(self.core.view(at)),
            applied: self.applied,
            replayed: self.replayed,
            snapshot: self.snapshots.newest(),
            first: self.log.first(),
        }
    }

    /// This node cannot go on: everybody who waits is told, and the broker stops.
    pub(super) fn fail(&mut self, reason: &str) {
        if self.failed.is_some() {
            return;
        }
        tracing::error!(group = %self.identity.group, reason, "this node takes no part any more");
        let reason: Arc<str> = reason.into();
        self.failed = Some(Arc::clone(&reason));
        self.actions.clear();
        let error = ProposeError::Failed(Arc::clone(&reason));
        self.proposals.refuse_all(&error, &error);
        self.answer_polls(&error);
        self.publish();
        self.publisher.fatal.send_replace(Some(reason));
    }
}
