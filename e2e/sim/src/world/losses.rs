//! Faults that take something away from a node for good, each only where the group must survive it.
//!
//! A node whose word does not count in elections has lost what it acknowledged as well, and counts against what may be
//! lost at the same time.

use std::path::Path;

use mainstay_storage::{FileSystem, Flush, MemFileSystem, Operation};

use super::faults::Mending;
use super::{Happening, World, end};
use crate::broker::Broker;
use crate::plan::Kind;
use crate::time::{MILLI, SECOND};

const LOG: &str = "/data/log";
const SNAPSHOTS: &str = "/data/snapshot";

impl World {
    /// Whether a node may lack what it once acknowledged, now.
    fn is_hurt(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        machine.damaged || machine.broker.as_ref().map_or(machine.doubtful, |broker| !broker.counts())
    }

    fn hurt(&self) -> usize {
        (0..self.machines.len()).filter(|node| self.is_hurt(*node)).count()
    }

    /// Whether one more may lose what it acknowledged, if it comes back.
    fn spares(&self, node: usize) -> bool {
        !self.is_hurt(node) && self.hurt() + 1 < self.plan.membership.write_quorum()
    }

    /// A node whose disk may be lost for good, if there is one. One whose disk is damaged may be damaged again.
    pub(super) fn one_to_lose(&mut self) -> Option<usize> {
        let more = self.hurt() < self.plan.losses;
        let candidates: Vec<usize> = (0..self.machines.len())
            .filter(|node| self.machines[*node].lost.is_none())
            .filter(|node| self.machines[*node].damaged || (more && !self.is_hurt(*node)))
            .collect();
        (!candidates.is_empty()).then(|| self.rng.pick(&candidates))
    }

    /// A leader whose one copy commits reaches nobody that could have its log, and goes on.
    pub(super) fn orphan(&mut self) {
        let Some((node, _)) = self.leader() else { return };
        self.cut_replication(node);
        let lag = self.rng.pick(&[200, 1000, 4000]) * MILLI;
        let lag = self.rng.between(50 * MILLI, lag);
        self.after(lag, Happening::Mends { what: Mending::Orphan { node } });
    }

    /// It is gone for longer than it takes to promote another.
    pub(super) fn lose_orphan(&mut self, node: usize) {
        if self.calm {
            return;
        }
        self.network.mend();
        self.oracle.figures.orphans += 1;
        self.kill(node);
        let down = self.rng.between(4 * SECOND, 15 * SECOND);
        self.after(down, Happening::Start { node });
    }

    pub(super) fn lazy_power_cut(&mut self, node: usize) {
        if !self.spares(node) {
            return;
        }
        self.oracle.figures.lazy_power_cuts += 1;
        self.cut_power(node);
        self.machines[node].doubtful = true;
        self.oracle.loses(node);
        self.back_later(node);
    }

    /// Refills are rare and over soon: what goes wrong with some of them is aimed at them.
    pub(super) fn disturb_later(&mut self, giver: usize, taker: usize) {
        if !self.calm && self.plan.trial.is_none() && self.rng.chance(500) {
            let after = self.rng.pick(&[20, 100, 600]) * MILLI;
            let after = self.rng.between(0, after);
            self.after(after, Happening::Mends { what: Mending::Refill { giver, taker } });
        }
    }

    pub(super) fn disturb(&mut self, giver: usize, taker: usize) {
        let under_way = self.machines[taker].broker.as_ref().is_some_and(Broker::is_refilling);
        if self.calm || !under_way {
            return;
        }
        let power = self.plan.flush == Flush::Sync;
        match self.rng.below(8) {
            0 | 1 if power => self.power_cut(taker),
            0..=2 => {
                self.kill(taker);
                self.back_later(taker);
            }
            3 => {
                self.kill(giver);
                self.back_later(giver);
            }
            4 => self.fail(taker, Operation::Write),
            5 => self.fail(taker, Operation::SyncData),
            6 => {
                let peer = self.machines[giver].id;
                self.after(0, Happening::PeerGone { node: taker, peer });
            }
            _ => {
                self.network.cut_both(end(giver), end(taker));
                let time = self.rng.between(SECOND, 7 * SECOND);
                self.after(time, Happening::Mends { what: Mending::Network });
            }
        }
    }

    /// While the others go on.
    pub(super) fn absence(&mut self, node: usize) {
        if self.leader().is_some_and(|(leader, _)| leader != node) {
            self.kill(node);
            let down = self.rng.between(5 * SECOND, 20 * SECOND);
            self.after(down, Happening::Start { node });
        }
    }

    /// Where one copy commits: the leader has all that this node has.
    fn has_nothing_of_its_own(&self, node: usize) -> bool {
        let last = self.machines[node].broker.as_ref().map(Broker::last);
        self.leader().is_some_and(|(leader, broker)| {
            leader != node && last.is_some_and(|last| broker.entries().get(last.index) == Some(last))
        })
    }

    /// The folder of the log is empty when the node comes back.
    pub(super) fn lose_log(&mut self, node: usize) {
        let spared = match self.plan.kind {
            Kind::Single | Kind::Async => self.has_nothing_of_its_own(node),
            Kind::Sync | Kind::Raft => self.spares(node),
        };
        if !spared {
            return;
        }
        self.kill(node);
        let machine = &mut self.machines[node];
        machine.disk.heal();
        let wiped = wipe(&machine.disk, LOG).and_then(|()| wipe(&machine.disk, SNAPSHOTS));
        if let Err(error) = wiped {
            panic!("a log cannot be removed: {error}");
        }
        machine.doubtful = true;
        self.oracle.figures.lost_logs += 1;
        self.oracle.disk_gone(node);
        self.back_later(node);
    }

    /// The node comes back with a volume that never joined a group: it has to stay out.
    pub(super) fn lose_volume(&mut self) {
        let Some(node) = self.one_to_lose() else { return };
        self.kill(node);
        self.oracle.figures.lost_volumes += 1;
        self.oracle.disk_gone(node);
        let disk = MemFileSystem::new(self.rng.next());
        let machine = &mut self.machines[node];
        machine.damaged = true;
        machine.disk = disk;
        self.back_later(node);
    }
}

fn wipe(disk: &MemFileSystem, folder: &str) -> std::io::Result<()> {
    let folder = Path::new(folder);
    if !disk.exists(folder)? {
        return Ok(());
    }
    for name in disk.list(folder)? {
        disk.remove(&folder.join(name))?;
    }
    disk.sync_dir(folder)
}
