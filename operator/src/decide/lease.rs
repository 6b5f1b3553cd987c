//! The lease that the operator vouches for in Async mode: while it runs nobody else is promoted.
//!
//! It is counted from a reading of the leader's own clock, and here from when that reading had arrived, which is later.
//! So it is over on the leader before it is over here, whatever the network does to the grant.

use std::time::Duration;

use mainstay_planted::{Fault, planted};

use super::{
    action::Action,
    leader::Leader,
    memory::{Grant, Memory},
    observed::{Mode, Moment, Observed, Role},
};

/// How long a grant lasts.
pub const LEASE: Duration = Duration::from_secs(3);
/// What two clocks may differ in the course of a lease: far more than real ones do.
pub const DRIFT: Duration = Duration::from_millis(100);

/// Renews the leader's lease, unless another leader may still hold one.
pub fn grant(observed: &Observed, leader: Leader<'_>, memory: &mut Memory, now: Moment) -> Option<Action> {
    if observed.mode != Mode::Async || observed.members.len() < 2 || memory.pending.is_some() {
        return None;
    }
    let report = observed.member(leader.member)?.report.as_ref()?;
    let same =
        memory.grant.as_ref().is_some_and(|grant| grant.node == leader.node && grant.epoch == leader.epoch);
    if !same && !may_move(observed, leader, memory, now) && !planted(Fault::VouchTwice) {
        return None;
    }
    memory.grant = Some(Grant { node: leader.node, epoch: leader.epoch, until: report.received.plus(LEASE) });
    Some(Action::GrantLease {
        member: leader.member.to_owned(),
        node: leader.node,
        epoch: leader.epoch,
        as_of_clock_ms: report.clock_ms,
        duration: LEASE,
    })
}

/// A leader other than the one that was granted last may be vouched for: nobody else can hold a lease any more, or it is
/// the leader on record, which an earlier operator must have vouched for if it vouched for any.
fn may_move(observed: &Observed, leader: Leader<'_>, memory: &Memory, now: Moment) -> bool {
    if memory.grant.as_ref().is_some_and(|grant| grant.epoch > leader.epoch) {
        return false;
    }
    let on_record = memory.grant.is_none()
        && observed.recorded.leader_node_id.as_deref() == Some(leader.node.to_string().as_str())
        && observed.recorded.epoch.and_then(|epoch| u64::try_from(epoch).ok()) == Some(leader.epoch.number);
    on_record || is_over_except(observed, Some(leader), memory, now)
}

/// Whether every lease that this operator or an earlier one may have vouched for is over.
pub fn is_over(observed: &Observed, memory: &Memory, now: Moment) -> bool {
    is_over_except(observed, None, memory, now)
}

fn is_over_except(observed: &Observed, leader: Option<Leader<'_>>, memory: &Memory, now: Moment) -> bool {
    let everybody_says_no = observed.members.iter().all(|member| {
        member.report.as_ref().is_some_and(|report| {
            report.role != Role::Leader || leader.is_some_and(|leader| leader.node == report.node)
        })
    });
    if everybody_says_no {
        return true;
    }
    match &memory.grant {
        None => now.since(memory.started) >= LEASE + DRIFT,
        Some(grant) => {
            let resigned = observed.reports().any(|(_, report)| {
                report.node == grant.node && (report.role != Role::Leader || report.epoch > grant.epoch)
            });
            resigned || now >= grant.until.plus(DRIFT)
        }
    }
}
