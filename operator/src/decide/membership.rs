//! Replacing a replica whose volume is lost: its pod comes back with an empty volume, which is a new node, and takes the
//! place of the node that nobody is any more.
//!
//! The leader changes the membership through the log, with the quorums of before and after in force until that is
//! committed; so a wrong wish costs time, not a message. What is kept here is that nobody is given up who may still be
//! there: a node counts as lost only when every pod that is not known to be it answers.

use std::time::Duration;

use super::{
    action::Action,
    election,
    leader::Leader,
    memory::Memory,
    observed::{Mode, Moment, NodeId, Observed, Report, Role},
};

/// How long a new node must have been waiting before it takes the place of another.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a change has before it is asked for again.
pub const AGAIN: Duration = Duration::from_secs(30);

/// The change that is due, if one is.
pub fn next_change(
    observed: &Observed,
    leader: Option<Leader<'_>>,
    memory: &mut Memory,
    now: Moment,
) -> Option<Action> {
    let leader = leader.filter(|leader| leader.serving)?;
    let report = observed.member(leader.member)?.report.as_ref()?;
    let waiting = waiting(observed, report, memory, now);
    let (pod, new) = waiting?;
    // Whoever an order may yet promote must not be removed meanwhile.
    let promoting = observed.mode == Mode::Async
        && (memory.pending.is_some() || election::order_open(observed, memory, now));
    if promoting || report.changing || memory.change_asked.is_some_and(|at| now.since(at) < AGAIN) {
        return None;
    }
    let lost = lost(observed, report)?;
    memory.change_asked = Some(now);
    let mut voters: Vec<NodeId> = report.voters.iter().copied().filter(|voter| *voter != lost).collect();
    voters.push(new);
    voters.sort_unstable();
    Some(Action::ChangeMembership {
        member: leader.member.to_owned(),
        version: report.membership_version,
        voters,
        reason: format!("{pod} has a new volume: node {new} takes the place of node {lost}"),
    })
}

/// The pod and node that have waited the longest to be taken in, once that is long enough.
fn waiting(
    observed: &Observed,
    leader: &Report,
    memory: &mut Memory,
    now: Moment,
) -> Option<(String, NodeId)> {
    let outside: Vec<(String, NodeId)> = observed
        .reports()
        .filter(|(_, report)| report.role == Role::Learner && !leader.voters.contains(&report.node))
        .map(|(member, report)| (member.name.clone(), report.node))
        .collect();
    memory.outside_since.retain(|node, _| outside.iter().any(|(_, known)| known == node));
    for (_, node) in &outside {
        memory.outside_since.entry(*node).or_insert(now);
    }
    let since = |node: &NodeId| memory.outside_since.get(node).copied().unwrap_or(now);
    let first = outside.into_iter().min_by_key(|(_, node)| since(node))?;
    (now.since(since(&first.1)) >= PATIENCE).then_some(first)
}

/// A voter that no pod is, and that no pod which does not answer was when it last did.
fn lost(observed: &Observed, leader: &Report) -> Option<NodeId> {
    let silent = observed.members.iter().filter(|member| member.report.is_none());
    let may_be: Option<Vec<String>> = silent
        .map(|member| {
            let known = observed.recorded.members.iter().find(|old| old.pod == member.name);
            known.and_then(|old| old.node_id.clone())
        })
        .collect();
    // A pod that never answered could be anybody.
    let may_be = may_be?;
    let there = |voter: &NodeId| {
        observed.reports().any(|(_, report)| report.node == *voter) || may_be.contains(&voter.to_string())
    };
    leader.voters.iter().copied().find(|voter| !there(voter))
}
