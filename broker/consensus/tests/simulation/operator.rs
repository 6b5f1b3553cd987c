//! The operator: restless and often late while the chaos lasts, sensible afterwards. What it never does: vouch for two
//! leaders at once, or force a promotion while it vouches for another leader.

use std::time::Duration;

use mainstay_consensus::{Mode, Problem, Role, View};
use mainstay_record::Epoch;

use crate::changes::Ledger;
use crate::plan::{MILLI, SECOND};
use crate::world::{Happening, World};

const LEASE: u64 = SECOND;
/// How long the operator waits for a lease that it granted to end, counted from the status that it is based on. Both
/// its own clock and the leader's may be off by 5 %.
const WAIT: u64 = LEASE * 112 / 100;

#[derive(Default)]
pub(crate) struct Operator {
    /// Highest number it has written down.
    pub(crate) epoch: u64,
    /// Whom it vouches for, and until when (true time) it must not change its mind.
    vouches: Option<(Epoch, u64)>,
    leaderless_since: Option<u64>,
    pub(crate) ledger: Ledger,
}

impl Operator {
    /// Whether nobody whom it has vouched for can still rely on that.
    pub(crate) fn may_force(&self, now: u64) -> bool {
        self.vouches.is_none_or(|(_, until)| now > until)
    }
}

impl World {
    pub(crate) fn operate(&mut self) {
        self.unbar();
        match self.plan.membership.mode() {
            Mode::Raft => {}
            Mode::Sync { .. } => self.see_to_leader(false),
            Mode::Async => {
                self.vouch();
                let forced = self.nodes.len() > 1 && !self.rng.chance(300);
                self.see_to_leader(forced);
            }
        }
        let gap = if self.calm { 200 * MILLI } else { self.rng.between(1, 2 * self.plan.operator_gap) };
        self.after(gap, Happening::Operate);
    }

    fn views(&self) -> Vec<(usize, View)> {
        let view = |(at, node): (usize, &crate::node::Node)| {
            node.core.as_ref().map(|core| (at, core.view(node.local(self.now))))
        };
        self.nodes.iter().enumerate().filter_map(view).collect()
    }

    /// Lends its lease to the newest leader, one at a time.
    fn vouch(&mut self) {
        let views = self.views();
        let leaders = views.iter().filter(|(_, view)| view.role == Role::Leader);
        let Some((at, view)) = leaders.max_by_key(|(_, view)| view.epoch) else { return };
        let free = self.operator.vouches.is_none_or(|(epoch, until)| epoch == view.epoch || self.now > until);
        if !free || (!self.calm && self.rng.chance(self.plan.reluctance)) {
            return;
        }
        self.operator.vouches = Some((view.epoch, self.now + WAIT));
        let node = &self.nodes[*at];
        let until = node.local(self.now).plus(Duration::from_micros(LEASE));
        let lease = Happening::Lease { node: *at, life: node.life, epoch: view.epoch, until, sent: self.now };
        let delay = if self.calm { MILLI } else { self.rng.between(1, self.plan.order_delay) };
        self.after(delay, lease);
    }

    fn see_to_leader(&mut self, forced: bool) {
        let views = self.views();
        let led = views.iter().any(|(_, view)| view.role == Role::Leader && view.quorum_reachable);
        if led && (self.calm || !self.rng.chance(self.plan.restlessness)) {
            self.operator.leaderless_since = None;
            return;
        }
        let since = *self.operator.leaderless_since.get_or_insert(self.now);
        if self.calm && self.now < since + SECOND {
            return;
        }
        if forced && !self.operator.may_force(self.now) {
            return;
        }
        self.operator.leaderless_since = None;
        let newest = self.newest_membership();
        let sensible = |(at, view): &&(usize, View)| {
            let id = self.nodes[*at].id;
            // When everybody is heard and nobody leads, nothing newer can be in force.
            let allowed = !forced || self.calm || !self.operator.ledger.barred.contains(&id);
            let named = !self.nodes[*at].written_off;
            allowed && named && view.problem != Some(Problem::NotMember)
        };
        let rank = |(at, view): &&(usize, View)| {
            (view.last, newest.as_ref().is_some_and(|newest| newest.contains(self.nodes[*at].id)))
        };
        let best = views.iter().filter(sensible).max_by_key(rank).map(|(at, _)| *at);
        let Some(best) = best else { return };
        let node = if self.calm || self.rng.chance(700) { best } else { self.rng.index(self.nodes.len()) };
        if forced && !self.calm && self.operator.ledger.barred.contains(&self.nodes[node].id) {
            return;
        }
        let highest = views.iter().map(|(_, view)| view.highest.number).max().unwrap_or(0);
        let known = self.operator.epoch.max(highest);
        // Two candidates for one number, now and then.
        let fresh = self.calm || self.operator.epoch == 0 || self.rng.chance(800);
        let epoch = if fresh { known + 1 } else { self.operator.epoch };
        self.operator.epoch = self.operator.epoch.max(epoch);
        self.checks.forced |= forced;
        let copies = if !self.calm && self.rng.chance(200) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.calm { MILLI } else { self.rng.between(1, self.plan.order_delay) };
            let valid = if self.calm { 3 * SECOND } else { self.rng.between(100 * MILLI, 3 * SECOND) };
            if forced {
                self.operator.ledger.promotes(self.now + delay + valid);
            }
            self.after(delay, Happening::Order { node, forced, epoch, valid });
        }
    }
}
