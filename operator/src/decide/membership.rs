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
    leader::{self, Leader},
    memory::Memory,
    naming,
    observed::{Mode, Moment, NodeId, Observed, Report, Role},
};

/// How long a new node must have been waiting before it takes the place of another.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a change has before it is asked for again.
pub const AGAIN: Duration = Duration::from_secs(30);

/// What is due, be it through the log or past it.
pub fn next_steps(
    observed: &Observed,
    leader: Option<Leader<'_>>,
    memory: &mut Memory,
    now: Moment,
) -> Vec<Action> {
    let mut steps = naming::on_record(observed);
    let claimant = leader::claimant(observed);
    let report = claimant.and_then(|claimant| observed.member(claimant.member)?.report.as_ref());
    let Some((claimant, report)) = claimant.zip(report) else { return steps };
    let Some(waiting) = waiting(observed, report, memory, now) else { return steps };
    let next = if leader.is_some_and(|leader| leader.serving && leader.node == claimant.node) {
        next_change(observed, claimant, report, waiting, memory, now)
    } else {
        naming::next(observed, report, waiting, memory, now)
    };
    steps.extend(next);
    steps
}

/// The change that the leader is to bring about, if one is due.
fn next_change(
    observed: &Observed,
    leader: Leader<'_>,
    report: &Report,
    waiting: Waiting,
    memory: &mut Memory,
    now: Moment,
) -> Option<Action> {
    // Whoever an order may yet promote must not be removed meanwhile.
    let promoting = observed.mode == Mode::Async
        && (memory.pending.is_some() || election::order_open(observed, memory, now));
    if promoting || report.changing || memory.change_asked.is_some_and(|at| now.since(at) < AGAIN) {
        return None;
    }
    let lost = lost(observed, report)?;
    memory.change_asked = Some(now);
    Some(Action::ChangeMembership {
        member: leader.member.to_owned(),
        version: report.membership_version,
        voters: replaced(report, lost, waiting.node),
        reason: waiting.reason(lost),
    })
}

/// A node that waits to be taken in, and the pod that it is.
pub(super) struct Waiting {
    pub(super) pod: String,
    pub(super) node: NodeId,
}

impl Waiting {
    pub(super) fn reason(&self, lost: NodeId) -> String {
        format!("{} has a new volume: node {} takes the place of node {lost}", self.pod, self.node)
    }
}

/// The leader's voters with one in the place of another, sorted.
pub(super) fn replaced(leader: &Report, lost: NodeId, new: NodeId) -> Vec<NodeId> {
    let mut voters: Vec<NodeId> = leader.voters.iter().copied().filter(|voter| *voter != lost).collect();
    voters.push(new);
    voters.sort_unstable();
    voters
}

/// Who has waited the longest to be taken in, once that is long enough.
fn waiting(observed: &Observed, leader: &Report, memory: &mut Memory, now: Moment) -> Option<Waiting> {
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
    let (pod, node) = outside.into_iter().min_by_key(|(_, node)| since(node))?;
    (now.since(since(&node)) >= PATIENCE).then_some(Waiting { pod, node })
}

/// A voter that no pod is, and that no pod which does not answer was when it last did.
pub(super) fn lost(observed: &Observed, leader: &Report) -> Option<NodeId> {
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
