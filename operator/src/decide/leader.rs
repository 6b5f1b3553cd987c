//! Who leads, and whether that is still true. The operator's own link to a broker is no proof of anything: a leader is
//! given up only when the replicas do not hear it either, or when their word has been all there is for too long.

use std::time::Duration;

use super::{
    election,
    memory::Memory,
    observed::{Epoch, Mode, Moment, NodeId, Observed, Role},
};

/// For how long the followers' word that there is a leader stands in for the leader's own.
pub const HEARSAY: Duration = Duration::from_secs(3);
/// For how long a leader that answers may go without followers: it has only just been elected, or they are just back.
pub const LONELY: Duration = Duration::from_millis(1500);

/// A leader that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader<'a> {
    pub member: &'a str,
    pub node: NodeId,
    pub epoch: Epoch,
    pub last_index: u64,
    pub serving: bool,
    pub writable: bool,
}

/// What is to be thought of the group's leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership<'a> {
    /// It answers and leads.
    Healthy(Leader<'a>),
    /// It does not answer here, but followers hear it.
    Hearsay,
    /// It answers, but neither commits nor is followed.
    Lonely(Leader<'a>),
    Absent,
}

impl<'a> Leadership<'a> {
    pub fn healthy(self) -> Option<Leader<'a>> {
        if let Leadership::Healthy(leader) = self { Some(leader) } else { None }
    }
}

/// The leader of the newest epoch among those that answer, whether it can do anything or not.
pub fn claimant(observed: &Observed) -> Option<Leader<'_>> {
    observed
        .reports()
        .filter(|(_, report)| report.role == Role::Leader)
        .max_by_key(|(_, report)| report.epoch)
        .map(|(member, report)| Leader {
            member: &member.name,
            node: report.node,
            epoch: report.epoch,
            last_index: report.last_index,
            serving: report.serving,
            writable: report.writable,
        })
}

fn heard_by_another(observed: &Observed, node: NodeId) -> bool {
    observed.reports().any(|(_, report)| report.node != node && report.leader == Some(node))
}

/// Judges this round; how long a judgement has stood is the caller's to know.
pub fn leadership<'a>(observed: &'a Observed, memory: &Memory, now: Moment) -> Leadership<'a> {
    if let Some(leader) = claimant(observed) {
        // While an order above its epoch may still be acted on, somebody else may be promoted: it may not be vouched for.
        // An order that led nowhere is no reason to depose a leader that lives.
        let superseded = observed.mode == Mode::Async
            && leader.epoch.number < observed.ordered()
            && election::order_open(observed, memory, now);
        // In Async a leader commits alone, so its own word is all there is.
        let alone = matches!(observed.mode, Mode::None | Mode::Async);
        let followed = leader.writable || heard_by_another(observed, leader.node);
        return if (alone || followed) && !superseded {
            Leadership::Healthy(leader)
        } else {
            Leadership::Lonely(leader)
        };
    }
    let silent = |node: NodeId| observed.reports().all(|(_, report)| report.node != node);
    if observed.reports().any(|(_, report)| report.leader.is_some_and(silent)) {
        Leadership::Hearsay
    } else {
        Leadership::Absent
    }
}

/// How long the leaderless state must have lasted before an election is called.
pub fn patience(observed: &Observed, memory: &Memory, leadership: Leadership<'_>) -> Duration {
    // An unused group has nobody to wait for.
    if memory.leader.is_none() && observed.recorded.leader.is_none() {
        return Duration::ZERO;
    }
    match leadership {
        Leadership::Hearsay => observed.failover_delay.max(HEARSAY),
        Leadership::Lonely(_) => observed.failover_delay.max(LONELY),
        Leadership::Healthy(_) | Leadership::Absent => observed.failover_delay,
    }
}
