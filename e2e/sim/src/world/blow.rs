//! A trial's one fault: it strikes the leader of a healthy group under load, once, and ends after a while.

use std::collections::BTreeSet;

use mainstay_messaging::Outcome;
use mainstay_record::NodeId;
use mainstay_storage::MemFileSystem;

use super::healing::message_ids;
use super::{Happening, World, end, faults::Mending};
use crate::broker;
use crate::network::End;
use crate::plan::Kind;
use crate::time::{MILLI, SECOND, Time};
use crate::trial::{Blow, Loss, Trial};
use crate::wire::Reply;

/// How long a leader stays cut off: much longer than its lease and the failover.
const CUT: Time = 7 * SECOND;
/// What was on its way when the fault struck has arrived by then.
pub(super) const UNDER_WAY: Time = 20 * MILLI;

/// What was struck, when, and what others had then.
#[derive(Debug)]
pub(super) struct Scar {
    pub(super) at: Time,
    pub(super) victim: usize,
    /// When a cut ends; otherwise the moment of the blow.
    pub(super) ends: Time,
    /// Messages in the logs of all others at that moment.
    pub(super) elsewhere: BTreeSet<String>,
}

impl World {
    /// The trial's fault, after a time in which replication lags where the mode does not wait for it.
    pub(super) fn blow(&mut self, trial: Trial) {
        if self.scar.is_some() {
            return;
        }
        let Some((victim, _)) = self.leader() else {
            // It strikes a healthy group.
            return self.after(50 * MILLI, Happening::Fault);
        };
        if trial.kind == Kind::Async && !self.lags {
            self.lags = true;
            self.cut_replication(victim);
            let lag = self.rng.between(20 * MILLI, 300 * MILLI);
            return self.after(lag, Happening::Fault);
        }
        self.trace.say(self.now, || format!("BLOW {:?} to node {victim}", trial.blow));
        let others = self.brokers().filter(|(node, _)| *node != victim);
        let elsewhere = others
            .filter_map(|(_, broker)| broker.batches().ok())
            .flat_map(|log| message_ids(&log))
            .collect();
        let ends = self.now + if trial.blow == Blow::LeaderCutOff { CUT } else { 0 };
        self.scar = Some(Scar { at: self.now, victim, ends, elsewhere });
        self.oracle.may_forget = trial.allowed.forgets();
        self.land(trial, victim);
    }

    fn land(&mut self, trial: Trial, victim: usize) {
        if trial.blow != Blow::LeaderCutOff {
            self.network.mend();
        }
        match trial.blow {
            Blow::ProcessKilled => {
                self.kill(victim);
                self.back_later(victim);
            }
            Blow::PowerLostOneNode => {
                self.cut_power(victim);
                self.back_later(victim);
            }
            Blow::PowerLostAllNodes => {
                for node in 0..self.machines.len() {
                    self.cut_power(node);
                    self.back_later(node);
                }
            }
            Blow::DiskLost => self.lose_disk(victim),
            Blow::LeaderCutOff => {
                self.cut_off(victim);
                self.after(CUT, Happening::Mends { what: Mending::Network });
            }
        }
    }

    pub(super) fn cut_replication(&mut self, victim: usize) {
        for other in (0..self.machines.len()).filter(|other| *other != victim) {
            self.network.cut_both(end(victim), end(other));
        }
    }

    /// From the other replicas and the operators; who has no other replicas, from the clients.
    fn cut_off(&mut self, victim: usize) {
        self.cut_replication(victim);
        for operator in 0..self.offices.len() {
            self.network.cut_both(end(victim), End::Operator(operator));
        }
        if self.machines.len() == 1 {
            for client in 0..self.clients.len() {
                self.network.cut_both(end(victim), End::Client(client));
            }
        }
    }

    /// As the real broker does it: the new volume has a node id of its own, which founds a group if it is alone in its
    /// configuration, and stays out of a group that does not know it.
    fn lose_disk(&mut self, victim: usize) {
        self.kill(victim);
        self.oracle.disk_gone(victim);
        if self.machines.len() > 1 {
            let machine = &mut self.machines[victim];
            machine.damaged = true;
            machine.lost = Some("its volume is not the one that joined".to_owned());
            return;
        }
        let disk = MemFileSystem::new(self.rng.next());
        let membership = NodeId::new(1001).and_then(|id| {
            mainstay_consensus::Membership::new(1, self.plan.membership.mode(), vec![id]).ok()
        });
        let Some(membership) = membership.filter(|founded| broker::found(&disk, founded).is_ok()) else {
            panic!("a new data folder cannot be made");
        };
        self.machines[victim].id = membership.members()[0];
        self.machines[victim].disk = disk.kill();
        self.back_later(victim);
    }

    /// Who is cut off from all others must not acknowledge where more than one copy is promised.
    pub(super) fn watch_cut_off(&mut self, node: usize, reply: &Reply) {
        let (Some(trial), Some(scar)) = (self.plan.trial, &self.scar) else { return };
        let published = matches!(reply, Reply::Done(Outcome::Published { .. }));
        let cut_off = node == scar.victim && scar.at + UNDER_WAY < self.now && self.now < scar.ends;
        if published && cut_off && trial.allowed == Loss::Nothing {
            let what = format!("node {node} acknowledges, and has been cut off since {} µs", scar.at);
            self.oracle.violated("cut-off-does-not-acknowledge", what);
        }
    }
}
