//! Figures of runs, which show that they reach what they are to test.

use mainstay_messaging::Outcome;

/// Shows that the runs reach what they are to test.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub reigns: u64,
    pub committed: u64,
    pub cuts: u64,
    pub quarantined: u64,
    pub rewinds: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub starts: u64,
    pub fatal: u64,
    pub lost_disks: u64,
    pub orders: u64,
    pub grants: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Replicas that have taken log and state from their leader.
    pub refills: u64,
    /// Refills that were begun and not completed.
    pub refills_cut: u64,
    /// Logs that were emptied because no snapshot reaches what was left of them.
    pub begun_anew: u64,
    /// Times that the beginning of a log was removed.
    pub forgotten: u64,
    /// Messages that retention took, once for each replica that was told so as leader.
    pub trimmed: u64,
    /// Leaders that shipped nothing for a while and were lost then.
    pub orphans: u64,
    /// Power cuts of one node with flush Async.
    pub lazy_power_cuts: u64,
    /// Logs that were gone when their node came back, and whole volumes.
    pub lost_logs: u64,
    pub lost_volumes: u64,
    /// Delayed messages that came into their queues.
    pub released: u64,
    pub recalled: u64,
    /// Messages that became dead letters.
    pub buried: u64,
    /// Half messages whose decision was confirmed, and questions about those without one.
    pub decided: u64,
    pub checks: u64,
    /// Sends that had been stored before.
    pub repeated: u64,
    /// Groups without a leader for ever: a disk was lost while another log was being refilled.
    pub stuck: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.reigns += other.reigns;
        self.committed += other.committed;
        self.cuts += other.cuts;
        self.quarantined += other.quarantined;
        self.rewinds += other.rewinds;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.starts += other.starts;
        self.fatal += other.fatal;
        self.lost_disks += other.lost_disks;
        self.orders += other.orders;
        self.grants += other.grants;
        self.snapshots += other.snapshots;
        self.refills += other.refills;
        self.refills_cut += other.refills_cut;
        self.begun_anew += other.begun_anew;
        self.forgotten += other.forgotten;
        self.trimmed += other.trimmed;
        self.orphans += other.orphans;
        self.lazy_power_cuts += other.lazy_power_cuts;
        self.lost_logs += other.lost_logs;
        self.lost_volumes += other.lost_volumes;
        self.released += other.released;
        self.recalled += other.recalled;
        self.buried += other.buried;
        self.decided += other.decided;
        self.checks += other.checks;
        self.repeated += other.repeated;
        self.stuck += other.stuck;
    }

    /// A leader tells somebody of this.
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Trimmed { messages } => self.trimmed += messages,
            Outcome::Published { duplicate: true, .. } => self.repeated += 1,
            Outcome::Received { dead_letters, .. } => self.buried += u64::from(*dead_letters),
            Outcome::DeadLettered(Ok(())) => self.buried += 1,
            Outcome::Elapsed { released, .. } => self.released += u64::from(*released),
            Outcome::Recalled(Ok(_)) => self.recalled += 1,
            Outcome::TransactionEnded(Ok(_)) => self.decided += 1,
            _ => {}
        }
    }
}
