//! The status people look at: leader, members, conditions. Built from one round; times come from what was recorded, so
//! that the same round twice gives the same status.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use mainstay_crds::{
    BrokerGroupStatus,
    condition::{self, reason},
    group::{MemberStatus, QuarantinedTail},
};

use super::{
    leader::{Leader, Leadership},
    observed::{Mode, Observed, Report, Role},
};

/// A condition before it is known since when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub type_: &'static str,
    pub holds: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    pub fn new(type_: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, holds, reason, message: message.into() }
    }
}

/// The conditions of `verdicts`, each with the time of its last change of status.
pub fn conditions(
    verdicts: Vec<Verdict>,
    recorded: &[Condition],
    generation: Option<i64>,
    wall: Timestamp,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|verdict| {
            let status = if verdict.holds { "True" } else { "False" };
            let since = recorded
                .iter()
                .find(|old| old.type_ == verdict.type_ && old.status == status)
                .map_or(Time(wall), |old| old.last_transition_time.clone());
            Condition {
                type_: verdict.type_.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.to_owned(),
                message: verdict.message,
                last_transition_time: since,
                observed_generation: generation,
            }
        })
        .collect()
}

/// The status that this round calls for; `order`, `membership` and `last_failover` are taken over as they are on record.
pub fn status(observed: &Observed, leadership: Leadership<'_>, blocked: Option<&str>) -> BrokerGroupStatus {
    let leader = leadership.healthy();
    let recorded = &observed.recorded;
    let quarantined = quarantined(observed);
    let mut verdicts =
        vec![ready(observed, leader), writable(leadership, blocked), failover_ready(observed, leader)];
    if !quarantined.is_empty() {
        let records: i64 = quarantined.iter().map(|tail| tail.records).sum();
        let message =
            format!("{records} records of former leaders lie in {} quarantine files", quarantined.len());
        verdicts.push(Verdict::new(condition::QUARANTINED, true, reason::TAIL_PUT_ASIDE, message));
    }
    BrokerGroupStatus {
        observed_generation: observed.generation,
        order: recorded.order.clone(),
        membership: recorded.membership.clone(),
        leader: leader.map(|leader| leader.member.to_owned()).or_else(|| recorded.leader.clone()),
        leader_node_id: leader
            .map(|leader| leader.node.to_string())
            .or_else(|| recorded.leader_node_id.clone()),
        epoch: leader.map(|leader| signed(leader.epoch.number)).or(recorded.epoch),
        writable: leader.is_some_and(|leader| leader.serving && leader.writable),
        members: members(observed, leader),
        last_failover: recorded.last_failover.clone(),
        quarantined,
        conditions: conditions(verdicts, &recorded.conditions, observed.generation, observed.wall),
    }
}

/// Whether two statuses say the same but for how far the logs have got, which changes all the time.
pub fn same_but_for_progress(a: &BrokerGroupStatus, b: &BrokerGroupStatus) -> bool {
    let still = |status: &BrokerGroupStatus| {
        let mut status = status.clone();
        for member in &mut status.members {
            member.persisted_index = None;
            member.lag = None;
        }
        status
    };
    still(a) == still(b)
}

fn ready(observed: &Observed, leader: Option<Leader<'_>>) -> Verdict {
    let ready = observed.members.iter().filter(|m| m.pod.as_ref().is_some_and(|pod| pod.ready)).count();
    let all = observed.members.len();
    if leader.is_none_or(|leader| !leader.serving) {
        return Verdict::new(condition::READY, false, reason::NO_LEADER, "no leader serves");
    }
    if ready < all {
        let message = format!("{ready} of {all} brokers are ready");
        return Verdict::new(condition::READY, false, reason::BROKERS_NOT_READY, message);
    }
    let old = observed.members.iter().filter(|m| m.pod.as_ref().is_some_and(|pod| pod.outdated)).count();
    if old > 0 {
        let message = format!("{old} of {all} brokers run what was asked for before");
        return Verdict::new(condition::READY, false, reason::ROLLING_OUT, message);
    }
    Verdict::new(condition::READY, true, reason::AS_EXPECTED, format!("{all} brokers are ready"))
}

fn writable(leadership: Leadership<'_>, blocked: Option<&str>) -> Verdict {
    let no = |reason, message: &str| Verdict::new(condition::WRITABLE, false, reason, message);
    match (leadership, blocked) {
        (Leadership::Healthy(leader), _) if leader.serving && leader.writable => {
            Verdict::new(condition::WRITABLE, true, reason::AS_EXPECTED, "the leader commits")
        }
        (Leadership::Healthy(_), _) => {
            no(reason::NO_WRITE_QUORUM, "the leader does not reach enough replicas")
        }
        (_, Some(why)) => no(reason::ELECTION_BLOCKED, why),
        (Leadership::Hearsay, None) => {
            no(reason::NO_LEADER, "the leader that followers hear does not answer the operator")
        }
        _ => no(reason::NO_LEADER, "no leader is heard"),
    }
}

/// Would losing the leader now lose nothing acknowledged and leave a group that takes writes?
fn failover_ready(observed: &Observed, leader: Option<Leader<'_>>) -> Verdict {
    let no = |reason, message: String| Verdict::new(condition::FAILOVER_READY, false, reason, message);
    let replicas = observed.members.len();
    if replicas == 1 {
        return no(reason::SINGLE_REPLICA, "there is one replica only".to_owned());
    }
    let Some(leader) = leader else { return no(reason::NO_LEADER, "there is no leader".to_owned()) };
    let others: Vec<&Report> = observed
        .reports()
        .map(|(_, report)| report)
        .filter(|report| report.node != leader.node && report.role.takes_part())
        .collect();
    let needed = match observed.mode {
        Mode::Async | Mode::None => 1,
        mode => mode.grant_quorum(replicas).max(mode.write_quorum(replicas)),
    };
    if others.len() < needed {
        let message =
            format!("without the leader {} replicas would be left; it takes {needed}", others.len());
        return no(reason::TOO_FEW_REPLICAS, message);
    }
    if observed.mode == Mode::Async {
        let behind = others.iter().all(|report| report.persisted_index < leader.last_index);
        if behind {
            let message =
                "no replica has all that the leader has; what it lacks would be put aside".to_owned();
            return no(reason::UNSHIPPED_TAIL, message);
        }
    }
    Verdict::new(
        condition::FAILOVER_READY,
        true,
        reason::AS_EXPECTED,
        format!("{} replicas can take over", others.len()),
    )
}

fn members(observed: &Observed, leader: Option<Leader<'_>>) -> Vec<MemberStatus> {
    observed
        .members
        .iter()
        .map(|member| {
            let ready = member.pod.as_ref().is_some_and(|pod| pod.ready);
            let Some(report) = &member.report else {
                let known = observed.recorded.members.iter().find(|old| old.pod == member.name);
                return MemberStatus {
                    pod: member.name.clone(),
                    node_id: known.and_then(|old| old.node_id.clone()),
                    role: "Unreachable".to_owned(),
                    ready,
                    ..MemberStatus::default()
                };
            };
            MemberStatus {
                pod: member.name.clone(),
                node_id: Some(report.node.to_string()),
                role: role(report.role).to_owned(),
                ready,
                epoch: Some(signed(report.epoch.number)),
                persisted_index: Some(signed(report.persisted_index)),
                lag: leader.map(|leader| signed(leader.last_index.saturating_sub(report.persisted_index))),
                problem: (!report.problem.is_empty()).then(|| report.problem.clone()),
            }
        })
        .collect()
}

/// Tails known on brokers that answer; those of brokers that do not answer stay as they were recorded.
fn quarantined(observed: &Observed) -> Vec<QuarantinedTail> {
    let mut tails = Vec::new();
    for member in &observed.members {
        match &member.report {
            None => tails
                .extend(observed.recorded.quarantined.iter().filter(|old| old.pod == member.name).cloned()),
            Some(report) => tails.extend(report.quarantined.iter().map(|tail| QuarantinedTail {
                pod: member.name.clone(),
                file: tail.file.clone(),
                records: signed(tail.records),
                batches: signed(tail.batches),
                bytes: signed(tail.bytes),
                first_index: signed(tail.first_index),
                last_index: signed(tail.last_index),
            })),
        }
    }
    tails
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Bootstrapping => "Bootstrapping",
        Role::Follower => "Follower",
        Role::Candidate => "Candidate",
        Role::Leader => "Leader",
        Role::Learner => "Learner",
        Role::Fenced => "Fenced",
    }
}

/// Kubernetes knows signed integers only.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
