//! What goes wrong, when and with whom; and how each of it comes to an end.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mainstay_consensus::Role;
use mainstay_storage::{FileSystem, Operation};

use super::{Happening, World, end};
use crate::broker::Input;
use crate::network::End;
use crate::plan::Fault;
use crate::time::{MILLI, SECOND, Time};

const LOG: &str = "/data/log";
const HOUR_MS: u64 = 3_600_000;
/// A smaller jump may pass for the drift of a clock, so that being early by as much is no mistake.
const SEEN_JUMP_MS: i64 = 5_000;

/// An end of something bad.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mending {
    Network,
    /// Cut off and back again, so many times more.
    Flap {
        node: usize,
        left: u64,
    },
    Space {
        node: usize,
    },
    Api,
    /// The time in which a pod has to end by itself.
    Grace {
        member: usize,
    },
    Power {
        node: usize,
        life: u64,
    },
    /// Something goes wrong with a refill that is under way.
    Refill {
        giver: usize,
        taker: usize,
    },
    /// A leader that ships nothing is lost.
    Orphan {
        node: usize,
    },
}

impl World {
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        if let Some(trial) = self.plan.trial {
            return self.blow(trial);
        }
        let gap = self.rng.between(self.plan.fault_gap / 4, self.plan.fault_gap * 2);
        self.after(gap, Happening::Fault);
        if self.now < self.quiet_until {
            return;
        }
        if self.rng.chance(80) {
            self.quiet_until = self.now + self.rng.between(2 * SECOND, 8 * SECOND);
            self.network.mend();
            return;
        }
        let fault = self.rng.pick(&self.plan.faults);
        self.trace.say(self.now, || format!("FAULT {fault:?}"));
        self.strike(fault);
    }

    fn strike(&mut self, fault: Fault) {
        let victim = self.victim();
        match fault {
            Fault::Kill => {
                self.kill(victim);
                self.back_later(victim);
            }
            Fault::PowerCut => self.power_cut(victim),
            Fault::PowerCutAll => {
                for node in 0..self.machines.len() {
                    self.cut_power(node);
                    self.back_later(node);
                }
            }
            Fault::Pause => {
                let time = self.rng.pick(&[300, 1500, 6000]) * MILLI;
                let until = self.now + self.rng.between(50 * MILLI, time);
                // Never shortened: what waits comes in the order in which it happened.
                let machine = &mut self.machines[victim];
                machine.paused_until = machine.paused_until.max(until);
            }
            Fault::Isolate | Fault::OneWay | Fault::CutPair | Fault::Ring | Fault::Split => {
                self.partition(fault, victim);
            }
            Fault::Flap => {
                let left = self.rng.between(2, 12);
                self.mend(Mending::Flap { node: victim, left });
            }
            Fault::Disconnect => {
                let peer = self.machines[self.rng.index(self.machines.len())].id;
                self.after(0, Happening::PeerGone { node: victim, peer });
            }
            Fault::SlowDisk => {
                let (by, time) = (self.rng.between(50, 1000) * MILLI, self.rng.between(1, 8) * SECOND);
                let machine = &mut self.machines[victim];
                (machine.slow_by, machine.slow_until) = (by, self.now + time);
            }
            Fault::StuckDisk => {
                let time = self.rng.between(1, 10) * SECOND;
                self.machines[victim].stuck_until = self.now + time;
            }
            Fault::FailedSync => self.fail(victim, Operation::SyncData),
            Fault::FailedWrite => self.fail(victim, Operation::Write),
            Fault::FailedRead => self.fail(victim, Operation::Read),
            Fault::NoSpace => {
                let time = self.rng.between(1, 8) * SECOND;
                self.machines[victim].full_until = self.now + time;
                self.machines[victim].disk.set_full(true);
                self.after(time, Happening::Mends { what: Mending::Space { node: victim } });
            }
            Fault::Damage => self.damage(),
            Fault::Orphan => self.orphan(),
            Fault::LazyPowerCut => self.lazy_power_cut(victim),
            Fault::LoseLog => self.lose_log(victim),
            Fault::Absence => self.absence(victim),
            Fault::LoseVolume => self.lose_volume(),
            Fault::WallJump => {
                let jump = self.rng.between(0, 2 * HOUR_MS) as i64 - HOUR_MS as i64;
                let seen = jump.signum() * jump.abs().max(SEEN_JUMP_MS);
                self.machines[victim].clock.set(seen);
            }
            Fault::StepDown => {
                let to = self.machines[self.rng.index(self.machines.len())].id;
                let to = self.rng.chance(500).then_some(to);
                self.input(victim, Input::StepDown { to });
            }
            Fault::Stop => self.input(victim, Input::Stop),
            Fault::Roll => self.api.pods.iter_mut().for_each(|pod| pod.outdated = true),
            Fault::OperatorCrash | Fault::OperatorPause | Fault::ApiDown => self.trouble_operators(fault),
        }
    }

    /// A leader more often than not.
    fn victim(&mut self) -> usize {
        let leads = |node: &usize| {
            self.machines[*node]
                .broker
                .as_ref()
                .is_some_and(|broker| broker.core().view(broker.clock.at(self.now)).role == Role::Leader)
        };
        let leaders: Vec<usize> = (0..self.machines.len()).filter(leads).collect();
        if leaders.is_empty() || self.rng.chance(350) {
            self.rng.index(self.machines.len())
        } else {
            self.rng.pick(&leaders)
        }
    }

    pub(super) fn back_later(&mut self, node: usize) {
        let down = self.downtime();
        self.after(down, Happening::Start { node });
    }

    /// At once, or in the middle of what the broker does next.
    pub(super) fn power_cut(&mut self, node: usize) {
        if self.machines[node].is_up() && self.rng.chance(600) {
            let change = self.rng.pick(&[1, 2, 3, 5, 10, 30]);
            self.machines[node].disk.cut_power_at(change);
            self.machines[node].power_fails = true;
            let after = self.rng.between(MILLI, 300 * MILLI);
            let life = self.machines[node].life;
            self.after(after, Happening::Mends { what: Mending::Power { node, life } });
        } else {
            self.cut_power(node);
            self.back_later(node);
        }
    }

    pub(super) fn fail(&mut self, node: usize, operation: Operation) {
        let after = self.rng.pick(&[0, 0, 1, 3, 20]);
        self.machines[node].disk.fail(operation, "", after, ErrorKind::Other);
    }

    fn partition(&mut self, fault: Fault, victim: usize) {
        let nodes = self.machines.len();
        let others: Vec<usize> = (0..nodes).filter(|node| *node != victim).collect();
        match fault {
            Fault::OneWay => {
                let outward = self.rng.chance(500);
                for other in others {
                    let (from, to) = if outward { (victim, other) } else { (other, victim) };
                    self.network.cut(end(from), end(to));
                }
            }
            Fault::CutPair => {
                let other = self.rng.pick(&others);
                self.network.cut_both(end(victim), end(other));
            }
            Fault::Ring => {
                for node in 0..nodes {
                    self.network.cut(end(node), end((node + 1) % nodes));
                }
            }
            Fault::Split => {
                let side: Vec<bool> = (0..nodes).map(|_| self.rng.chance(500)).collect();
                for one in 0..nodes {
                    for other in (0..nodes).filter(|other| side[one] != side[*other]) {
                        self.network.cut(end(one), end(other));
                    }
                }
            }
            _ => others.into_iter().for_each(|other| self.network.cut_both(end(victim), end(other))),
        }
        self.estrange(victim);
        let time = self.rng.pick(&[400, 2000, 8000]) * MILLI;
        let time = self.rng.between(100 * MILLI, time);
        self.after(time, Happening::Mends { what: Mending::Network });
    }

    /// The operators and some of the clients lose the victim as well, or only them.
    fn estrange(&mut self, victim: usize) {
        if self.rng.chance(500) {
            for operator in 0..self.offices.len() {
                self.network.cut_both(end(victim), End::Operator(operator));
            }
        }
        if self.rng.chance(100) {
            self.network.cut_both(End::Operator(0), End::Api);
        }
        for client in 0..self.clients.len() {
            if self.rng.chance(300) {
                self.network.cut_both(end(victim), End::Client(client));
            }
        }
    }

    fn trouble_operators(&mut self, fault: Fault) {
        let operator = self.rng.index(self.offices.len());
        match fault {
            Fault::OperatorCrash => {
                let down = self.rng.between(100 * MILLI, 5 * SECOND);
                self.operator_ends(operator, down);
            }
            Fault::OperatorPause => {
                let time = self.rng.between(100 * MILLI, 15 * SECOND);
                self.offices[operator].paused_until = self.now + time;
            }
            _ => {
                self.api.down = true;
                let time = self.rng.between(SECOND, 12 * SECOND);
                self.after(time, Happening::Mends { what: Mending::Api });
            }
        }
    }

    /// Changes what lies on a disk: a flipped bit, a sector written to the wrong place, a sector that is gone.
    fn damage(&mut self) {
        let Some(node) = self.one_to_lose() else { return };
        let disk = self.machines[node].disk.clone();
        let Ok(names) = disk.list(Path::new(LOG)) else { return };
        let segments: Vec<PathBuf> = names
            .iter()
            .filter(|name| name.to_string_lossy().ends_with(".seg"))
            .map(|name| Path::new(LOG).join(name))
            .collect();
        if segments.is_empty() {
            return;
        }
        let segment = &segments[self.rng.index(segments.len())];
        let Ok(content) = disk.contents(segment) else { return };
        // Somewhere in what is in use, which a segment's end is not.
        let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let (at, from) = (self.rng.index(used), self.rng.index(used));
        let (bit, kind) = (self.rng.below(8) as u8, self.rng.below(3));
        let changed = disk.corrupt(segment, |content| match kind {
            0 => content[at] ^= 1 << bit,
            1 => {
                let length = 512.min(content.len() - at.max(from));
                content.copy_within(from..from + length, at);
            }
            _ => content[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
        });
        self.machines[node].damaged |= changed.is_ok();
        self.trace
            .say(self.now, || format!("    damage {kind} to {} of node {node} at {at}", segment.display()));
    }

    pub(super) fn mend(&mut self, what: Mending) {
        match what {
            Mending::Network => self.network.mend(),
            Mending::Flap { node, left } => self.flap(node, left),
            Mending::Space { node } => {
                if self.now >= self.machines[node].full_until {
                    self.machines[node].disk.set_full(false);
                }
            }
            Mending::Api => self.api.down = false,
            Mending::Grace { member } => {
                if self.api.pods[member].deleting {
                    self.kill(member);
                    self.api.replace_pod(member);
                    self.back_later(member);
                }
            }
            Mending::Refill { giver, taker } => self.disturb(giver, taker),
            Mending::Orphan { node } => self.lose_orphan(node),
            Mending::Power { node, life } => {
                if self.machines[node].life == life {
                    self.cut_power(node);
                    self.back_later(node);
                }
            }
        }
    }

    fn flap(&mut self, node: usize, left: u64) {
        for other in 0..self.machines.len() {
            if left.is_multiple_of(2) || self.calm {
                self.network.mend_both(end(node), end(other));
            } else {
                self.network.cut_both(end(node), end(other));
            }
        }
        if let Some(left) = left.checked_sub(1) {
            let after = self.rng.between(50 * MILLI, 1500 * MILLI) as Time;
            self.after(after, Happening::Mends { what: Mending::Flap { node, left } });
        }
    }
}
