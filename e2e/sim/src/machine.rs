//! A machine: its clock, its disk with what is wrong with it, and the broker that runs on it, if one does.

use mainstay_record::NodeId;
use mainstay_storage::MemFileSystem;

use crate::broker::Broker;
use crate::time::{MachineClock, Time};

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) clock: MachineClock,
    pub(crate) disk: MemFileSystem,
    pub(crate) broker: Option<Broker>,
    /// Counts processes, so that what was meant for an earlier one is recognised.
    pub(crate) life: u64,
    /// The next wake-up that is in the queue.
    pub(crate) wake_at: Time,
    /// Reports of the disk reach the driver in order.
    pub(crate) reported_at: Time,
    /// The process does not run until then (SIGSTOP); its clock does.
    pub(crate) paused_until: Time,
    /// An fdatasync takes this much longer until `slow_until`, and does not end at all before `stuck_until`.
    pub(crate) slow_by: Time,
    pub(crate) slow_until: Time,
    pub(crate) stuck_until: Time,
    /// The power fails in the middle of what the broker does next.
    pub(crate) power_fails: bool,
    /// No space on the disk until then.
    pub(crate) full_until: Time,
    /// What lies on the disk was changed behind the broker's back: it may refuse to go on for good.
    pub(crate) damaged: bool,
    /// When it ended, its word did not count in elections: it may have lost what it acknowledged.
    pub(crate) doubtful: bool,
    /// It has refused.
    pub(crate) lost: Option<String>,
    /// Starts that failed in a row.
    pub(crate) failures: u64,
}

impl Machine {
    pub(crate) fn new(id: NodeId, clock: MachineClock, disk: MemFileSystem) -> Self {
        Self {
            id,
            clock,
            disk,
            broker: None,
            life: 0,
            wake_at: Time::MAX,
            reported_at: 0,
            paused_until: 0,
            slow_by: 0,
            slow_until: 0,
            stuck_until: 0,
            power_fails: false,
            full_until: 0,
            damaged: false,
            doubtful: false,
            lost: None,
            failures: 0,
        }
    }

    /// The process is gone, whatever it was doing. What it wrote stays in the page cache.
    pub(crate) fn kill(&mut self) {
        self.disk = if self.power_fails { self.disk.crash() } else { self.disk.kill() };
        self.gone();
    }

    /// So is everything that was not forced to the disk.
    pub(crate) fn cut_power(&mut self) {
        self.disk = self.disk.crash();
        self.gone();
    }

    fn gone(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.doubtful = !broker.counts();
        }
        self.life += 1;
        self.wake_at = Time::MAX;
        self.paused_until = 0;
        self.power_fails = false;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.broker.is_some()
    }
}
