//! The pure core of the operator: from what was seen of a group, what it remembers and the time, to what is to be done.
//!
//! No client, no clock, no task: the same input gives the same output, and converged input gives no action (but for the
//! lease of an Async leader, which has to be renewed). The operator supplies liveness only; a wrong, late or repeated
//! decision costs an election, never a message.

pub mod action;
pub mod election;
pub mod leader;
pub mod lease;
pub mod membership;
pub mod memory;
pub mod naming;
pub mod observed;
pub mod picture;
pub mod restart;
pub mod routing;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mainstay_crds::{BrokerGroupStatus, group::FailoverRecord};

use action::Action;
use election::Standstill;
use leader::{Leader, Leadership};
use memory::{Memory, SeenLeader};
use observed::{Mode, Moment, Observed};

/// Time between two rounds while all is well.
pub const CALM: Duration = Duration::from_secs(1);
/// The same in Async mode, where the leader lives on a lease that is renewed each round.
pub const LEASED: Duration = Duration::from_millis(500);
/// The same while there is no healthy leader.
pub const ALERT: Duration = Duration::from_millis(200);
/// How stale the members' progress may get in the status.
pub const PROGRESS: Duration = Duration::from_secs(10);
/// A leader that changes so soon after it was asked to hand over has not failed.
const HANDED_OVER: Duration = Duration::from_secs(30);

/// What a round leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub actions: Vec<Action>,
    pub memory: Memory,
    /// When to look again.
    pub next: Duration,
}

/// Decides what to do about a group.
pub fn decide(observed: &Observed, memory: &Memory, now: Moment) -> Decision {
    let mut memory = memory.clone();
    memory.note_silence(observed, now);
    memory.note_order(observed.ordered(), now);
    let leadership = leader::leadership(observed, &memory, now);
    let mut actions = routing::labels(observed, leadership);
    let mut blocked = None;
    let mut failover = None;
    match leadership.healthy() {
        Some(leader) => {
            failover = note_leader(observed, leader, &mut memory, now, &mut actions);
            actions.extend(lease::grant(observed, leader, &mut memory, now));
        }
        None => match election::elect(observed, leadership, &mut memory, now) {
            Ok(order) => {
                if let Action::Order { member, kind, epoch, reason, .. } = &order {
                    let note = format!("{kind:?} of {member} in epoch {epoch}: {reason}");
                    actions.push(Action::Event { warning: false, reason: "ElectionOrdered", note });
                }
                actions.insert(0, order);
            }
            Err(Standstill::Patience) => {}
            Err(Standstill::Blocked(why)) => blocked = Some(why),
        },
    }
    let sound = restart::is_sound(observed, leadership.healthy());
    memory.sound_since = if sound { memory.sound_since.or(Some(now)) } else { None };
    actions.extend(restart::next_step(observed, leadership.healthy(), &mut memory, now));
    for action in membership::next_steps(observed, leadership.healthy(), &mut memory, now) {
        let told = match &action {
            Action::ChangeMembership { reason, .. } => Some(("ReplacingMember", reason.clone())),
            Action::NameMembership { version, reason, .. } => {
                Some(("MembershipNamed", format!("membership {version}, not through the log: {reason}")))
            }
            _ => None,
        };
        let event = |(reason, note)| Action::Event { warning: true, reason, note };
        actions.extend(told.map(event));
        actions.push(action);
    }
    publish(observed, leadership, blocked.as_deref(), failover, &mut memory, now, &mut actions);
    let next = if memory.leaderless_since.is_some() {
        ALERT
    } else if observed.mode == Mode::Async {
        LEASED
    } else {
        CALM
    };
    Decision { actions, memory, next }
}

/// Takes note of a healthy leader; returns the failover if it came about by one.
fn note_leader(
    observed: &Observed,
    leader: Leader<'_>,
    memory: &mut Memory,
    now: Moment,
    actions: &mut Vec<Action>,
) -> Option<FailoverRecord> {
    if !leader.serving {
        // Elected but not serving yet: the failover is not over.
        if memory.leader.as_ref().is_none_or(|seen| seen.epoch != leader.epoch) {
            memory.pending = None;
            return None;
        }
    }
    let recorded = &observed.recorded;
    let same = recorded.leader.as_deref() == Some(leader.member)
        && recorded.leader_node_id.as_deref() == Some(leader.node.to_string().as_str())
        && recorded.epoch == Some(picture::signed(leader.epoch.number));
    let gone_since = memory.leaderless_since.or(memory.leader.as_ref().map(|seen| seen.at));
    if !same {
        // A group settles anew under a new leader.
        memory.sound_since = None;
    }
    let record = if same { None } else { announce(observed, leader, memory, gone_since, now, actions) };
    memory.leaderless_since = None;
    memory.pending = None;
    memory.failures = 0;
    memory.failed_candidate = None;
    memory.retry_at = Moment::default();
    memory.leader = Some(SeenLeader {
        member: leader.member.to_owned(),
        node: leader.node,
        epoch: leader.epoch,
        at: now,
    });
    record
}

fn announce(
    observed: &Observed,
    leader: Leader<'_>,
    memory: &Memory,
    gone_since: Option<Moment>,
    now: Moment,
    actions: &mut Vec<Action>,
) -> Option<FailoverRecord> {
    let (to, epoch) = (leader.member, leader.epoch.number);
    let event = |warning, reason, note| Action::Event { warning, reason, note };
    let Some(from) = observed.recorded.leader.clone() else {
        actions.push(event(false, "LeaderElected", format!("{to} leads, epoch {epoch}")));
        return None;
    };
    if memory.handover.is_some_and(|at| now.since(at) < HANDED_OVER) {
        actions.push(event(false, "LeaderHandedOver", format!("{from} handed over to {to}, epoch {epoch}")));
        return None;
    }
    let leaving = observed.member(&from).is_some_and(|m| m.pod.as_ref().is_some_and(|pod| pod.deleting));
    if leaving && memory.leaderless_since.is_none() && from != to {
        actions.push(event(false, "LeaderHandedOver", format!("{from} stops; {to} leads, epoch {epoch}")));
        return None;
    }
    let duration_ms = gone_since.map(|since| i64::try_from(now.since(since).as_millis()).unwrap_or(i64::MAX));
    let without =
        duration_ms.map_or_else(String::new, |millis| format!("; at most {millis} ms without a leader"));
    actions.push(event(true, "FailedOver", format!("{to} leads, epoch {epoch}; {from} was gone{without}")));
    let reason = observed
        .recorded
        .order
        .as_ref()
        .filter(|order| u64::try_from(order.epoch) == Ok(epoch))
        .map_or_else(|| "the replicas elected a new leader".to_owned(), |order| order.reason.clone());
    Some(FailoverRecord { from: Some(from), to: to.to_owned(), reason, at: Time(observed.wall), duration_ms })
}

fn publish(
    observed: &Observed,
    leadership: Leadership<'_>,
    blocked: Option<&str>,
    failover: Option<FailoverRecord>,
    memory: &mut Memory,
    now: Moment,
    actions: &mut Vec<Action>,
) {
    // A leader that has just been elected takes office in the status when it serves.
    let taking_office = leadership
        .healthy()
        .is_some_and(|leader| memory.leader.as_ref().is_none_or(|seen| seen.epoch != leader.epoch));
    let mut status = picture::status(observed, leadership, blocked);
    if taking_office {
        let recorded = &observed.recorded;
        status.leader = recorded.leader.clone();
        status.leader_node_id = recorded.leader_node_id.clone();
        status.epoch = recorded.epoch;
    }
    if failover.is_some() {
        status.last_failover = failover;
    }
    warn(observed, &status, blocked, actions);
    let stale = memory.published.is_none_or(|at| now.since(at) >= PROGRESS);
    let due = if stale {
        status != observed.recorded
    } else {
        !picture::same_but_for_progress(&status, &observed.recorded)
    };
    if due {
        memory.published = Some(now);
        actions.push(Action::Publish(Box::new(status)));
    }
}

/// Events for what has newly gone wrong.
fn warn(observed: &Observed, status: &BrokerGroupStatus, blocked: Option<&str>, actions: &mut Vec<Action>) {
    use mainstay_crds::condition::{WRITABLE, reason::ELECTION_BLOCKED};
    for tail in status.quarantined.iter().filter(|tail| !observed.recorded.quarantined.contains(tail)) {
        let note = format!(
            "{} put aside {} records ({} bytes) that it had acknowledged or taken as a leader and nobody else had: {}",
            tail.pod, tail.records, tail.bytes, tail.file
        );
        actions.push(Action::Event { warning: true, reason: "TailQuarantined", note });
    }
    let known =
        observed.recorded.conditions.iter().any(|c| c.type_ == WRITABLE && c.reason == ELECTION_BLOCKED);
    // Before the first leader it is only the brokers' start that is waited for.
    let led = observed.recorded.leader.is_some();
    if let Some(why) = blocked.filter(|_| led && !known) {
        actions.push(Action::Event { warning: true, reason: "ElectionBlocked", note: why.to_owned() });
    }
}
