//! Replacing a lost replica where every one is needed to commit (Sync with `minInSync` = replicas): no change can go
//! through the log any more, so the operator names the membership.
//!
//! That loses nothing: whoever is left has everything that was committed, and who is left out can commit nothing without
//! those who are left, who refuse every leader with an older membership from then on. What is kept here is that
//! - a membership is named once everybody who is left answers, and leaves out only a node that no pod is any more;
//! - it has a version above every one that anybody knows, and what was named before is known to everybody first;
//! - as many copies as before are needed to acknowledge;
//! - brokers are told only what is on record, where each version is written once, by compare-and-swap.

use std::time::Duration;

use super::{
    action::Action,
    membership::{Waiting, lost, replaced},
    memory::Memory,
    observed::{Mode, Moment, NodeId, Observed, Report},
};

/// How long writing a membership down has before it is tried again.
pub const AGAIN: Duration = Duration::from_secs(3);

/// The membership that is to be named, if there is no other way. `leader` leads, or at least says so.
pub(super) fn next(
    observed: &Observed,
    leader: &Report,
    waiting: Waiting,
    memory: &mut Memory,
    now: Moment,
) -> Option<Action> {
    let Mode::Sync { .. } = observed.mode else { return None };
    let all_needed = !leader.voters.is_empty() && leader.write_quorum == leader.voters.len();
    if !all_needed || leader.writable || leader.changing {
        return None;
    }
    // A silent pod is needed as well: there is nothing to win before it is back, and its word may be missing.
    if observed.members.iter().any(|member| member.report.is_none()) {
        return None;
    }
    let known = observed.reports().map(|(_, report)| report.membership_version).max().unwrap_or(0);
    let newest = known.max(observed.named());
    if leader.membership_version < newest || memory.named_at.is_some_and(|at| now.since(at) < AGAIN) {
        return None;
    }
    let lost = lost(observed, leader)?;
    memory.named_at = Some(now);
    Some(Action::NameMembership {
        version: newest.saturating_add(1),
        voters: replaced(leader, lost, waiting.node),
        min_in_sync: u32::try_from(leader.write_quorum).ok()?,
        reason: waiting.reason(lost),
    })
}

/// Tells whoever belongs to the membership on record, and takes part already, but does not know it.
pub(super) fn on_record(observed: &Observed) -> Vec<Action> {
    let version = observed.named();
    let Some(named) = &observed.recorded.membership else { return Vec::new() };
    let voters: Option<Vec<NodeId>> = named.node_ids.iter().map(|node| NodeId::parse(node)).collect();
    let (Some(voters), Ok(min_in_sync)) = (voters, u32::try_from(named.min_in_sync)) else {
        return Vec::new();
    };
    let ignorant = |report: &Report| {
        report.role.takes_part() && report.membership_version < version && voters.contains(&report.node)
    };
    observed
        .reports()
        .filter(|(_, report)| ignorant(report))
        .map(|(member, _)| Action::AdoptMembership {
            member: member.name.clone(),
            version,
            voters: voters.clone(),
            min_in_sync,
        })
        .collect()
}
