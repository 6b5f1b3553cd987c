//! Faults that take something away from a node for good, each only where the group must survive it.
//!
//! A node whose word does not count in elections has lost what it acknowledged as well, and counts against what may be
//! lost at the same time.

use std::path::Path;

use mainstay_storage::{FileSystem, MemFileSystem};

use super::faults::Mending;
use super::{Happening, World};
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
        self.back_later(node);
    }

    /// The folder of the log is empty when the node comes back.
    pub(super) fn lose_log(&mut self, node: usize) {
        if !self.spares(node) {
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
