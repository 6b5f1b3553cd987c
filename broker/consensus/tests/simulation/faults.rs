//! What goes wrong: crashes, cuts in both or one direction, lost connections, needless hand-overs.

use mainstay_consensus::{Event, Mode, Role};

use crate::plan::{Bug, MILLI, SECOND};
use crate::world::{Happening, World};

impl World {
    pub(crate) fn fault(&mut self) {
        if self.calm {
            return;
        }
        match self.rng.below(if self.plan.losses { 29 } else { 26 }) {
            0..=3 => {
                let victim = self.victim();
                self.crash_for_a_while(victim);
            }
            4 => {
                for node in 0..self.nodes.len() {
                    self.crash_for_a_while(node);
                }
            }
            5..=7 => self.isolate(true, true),
            8 => self.isolate(true, false),
            9 => self.isolate(false, true),
            10 => {
                let (from, to) = (self.any(), self.any());
                self.network.cut(from, to);
            }
            11..=14 => self.network.heal(),
            15..=16 => {
                let (node, peer) = (self.any(), self.any());
                let peer = self.nodes[peer].id;
                self.happen_disconnect(node, peer);
            }
            17..=18 => {
                let node = self.victim();
                let to = if self.rng.chance(500) { Some(self.any()) } else { None };
                let to = to.map(|to| self.nodes[to].id);
                self.step(node, Event::StepDown { to });
            }
            19..=21 => self.part_two(),
            22..=24 => self.needless_order(),
            25 => self.forget_leader(),
            26..=27 => {
                let victim = self.victim();
                self.lose_power(victim);
            }
            _ => self.blackout(),
        }
        let gap = self.rng.between(1, 2 * self.plan.fault_gap);
        self.after(gap, Happening::Fault);
    }

    fn any(&mut self) -> usize {
        self.rng.index(self.nodes.len())
    }

    /// A leader more often than not.
    fn victim(&mut self) -> usize {
        let now = self.now;
        let leads = |node: &crate::node::Node| {
            node.core.as_ref().is_some_and(|core| core.view(node.local(now)).role == Role::Leader)
        };
        let leaders: Vec<_> = (0..self.nodes.len()).filter(|at| leads(&self.nodes[*at])).collect();
        if leaders.is_empty() || self.rng.chance(300) { self.any() } else { self.rng.pick(&leaders) }
    }

    fn crash_for_a_while(&mut self, node: usize) {
        self.crash(node);
        let id = self.nodes[node].id;
        if self.rng.chance(700) {
            for other in 0..self.nodes.len() {
                self.after(MILLI, Happening::Disconnect { node: other, peer: id });
            }
        }
        let down = if self.rng.chance(500) { 50 * MILLI } else { 3 * SECOND };
        let down = self.rng.between(MILLI, down);
        self.after(down, Happening::Restart { node });
    }

    /// The machine fails. With flush Sync, what was persisted stays.
    fn lose_power(&mut self, node: usize) {
        self.crash_for_a_while(node);
        let wiped = self.rng.chance(100);
        let victim = &self.nodes[node];
        if !wiped && !self.plan.flush_async {
            return;
        }
        let (kept, written) = (victim.synced, victim.disk.len());
        let kept = if wiped { 0 } else { self.rng.between(kept as u64, written as u64) as usize };
        self.checks.statistics.losses += 1;
        self.nodes[node].lose(kept, self.plan.bug != Some(Bug::UnnoticedLoss));
        self.checks.excuse(&self.nodes);
    }

    /// Every machine fails at once, or all but one.
    fn blackout(&mut self) {
        let spared = if self.rng.chance(500) { self.any() } else { usize::MAX };
        for node in (0..self.nodes.len()).filter(|node| *node != spared) {
            self.lose_power(node);
        }
    }

    fn isolate(&mut self, outward: bool, inward: bool) {
        let node = self.victim();
        self.cut_off(node, outward, inward);
    }

    fn cut_off(&mut self, node: usize, outward: bool, inward: bool) {
        for other in 0..self.nodes.len() {
            if outward {
                self.network.cut(node, other);
            }
            if inward {
                self.network.cut(other, node);
            }
        }
    }

    /// Two nodes lose each other; the rest hears both.
    fn part_two(&mut self) {
        let (one, other) = (self.victim(), self.any());
        self.network.cut(one, other);
        self.network.cut(other, one);
    }

    fn happen_disconnect(&mut self, node: usize, peer: mainstay_record::NodeId) {
        self.step(node, Event::Disconnected { peer });
    }

    /// While a leader still relies on what the others have promised it, nobody hears it any more, some of them restart,
    /// and one is told to lead at once.
    fn forget_leader(&mut self) {
        let leader = self.victim();
        let others: Vec<_> = (0..self.nodes.len()).filter(|node| *node != leader).collect();
        if others.is_empty() {
            return;
        }
        let forced = self.plan.membership.mode() == Mode::Async;
        if forced && !self.operator.may_force(self.now) {
            return;
        }
        self.checks.forced |= forced;
        self.cut_off(leader, true, true);
        if self.rng.chance(500) {
            for node in &others {
                self.crash(*node);
                let down = self.rng.between(MILLI, 10 * MILLI);
                self.after(down, Happening::Restart { node: *node });
            }
        }
        let (node, epoch) = (self.rng.pick(&others), self.highest() + 1);
        if forced {
            self.operator.ledger.promotes(self.now + 3 * SECOND);
        }
        if forced && self.operator.ledger.barred.contains(&self.nodes[node].id) {
            return;
        }
        self.after(11 * MILLI, Happening::Order { node, forced, epoch, valid: 2 * SECOND });
    }

    fn highest(&self) -> u64 {
        self.nodes.iter().map(|node| node.hard.granted.number).max().unwrap_or(0)
    }

    /// An operator of the past, or one that knows nothing.
    fn needless_order(&mut self) {
        let node = self.any();
        let highest = self.highest();
        let epoch = (highest + 2).saturating_sub(self.rng.below(4));
        let valid = self.rng.between(0, 2 * SECOND);
        self.after(0, Happening::Order { node, forced: false, epoch, valid });
    }
}
