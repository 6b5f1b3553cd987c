//! The status of a `BrokerCluster`: its groups in a few words, and whether its spec was accepted. Pure.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use mainstay_crds::{
    BrokerClusterStatus,
    cluster::{GroupSummary, Mode},
    condition::{self, reason},
};

use crate::{
    decide::{
        observed::Observed,
        picture::{Verdict, conditions},
    },
    names,
};

/// Why the spec is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
}

/// One group as it was seen last.
#[derive(Clone, Debug)]
pub struct GroupView {
    pub id: i32,
    pub name: String,
    pub mode: Mode,
    pub replicas: i32,
    pub observed: Option<Observed>,
    /// Its pods have not been compared yet with what was applied last.
    pub uncompared: bool,
}

impl GroupView {
    fn pods(&self, fits: impl Fn(&crate::decide::observed::Pod) -> bool) -> i32 {
        let members = self.observed.iter().flat_map(|observed| &observed.members);
        let count = members.filter(|member| member.pod.as_ref().is_some_and(&fits)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// A condition of the group as it is on record.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.observed.as_ref()?.recorded.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// The status that what was seen calls for.
pub fn status(
    cluster: &str,
    generation: Option<i64>,
    groups: &[GroupView],
    refusal: Option<&Refusal>,
    administrator_secret: Option<String>,
    recorded: &BrokerClusterStatus,
    wall: Timestamp,
) -> BrokerClusterStatus {
    let summaries: Vec<GroupSummary> = groups.iter().map(summary).collect();
    let ready: i32 = summaries.iter().map(|group| group.ready_members).sum();
    let all: i32 = summaries.iter().map(|group| group.members).sum();
    let mut verdicts = vec![
        ready_verdict(groups, refusal),
        all_groups(condition::WRITABLE, groups),
        all_groups(condition::FAILOVER_READY, groups),
    ];
    let quarantined = groups.iter().find_map(|group| group.condition(condition::QUARANTINED));
    if let Some(quarantined) = quarantined {
        verdicts.push(Verdict::new(
            condition::QUARANTINED,
            true,
            reason::TAIL_PUT_ASIDE,
            quarantined.message.clone(),
        ));
    }
    BrokerClusterStatus {
        observed_generation: generation,
        mode: groups.first().map(|group| format!("{:?}", group.mode)),
        replicas: groups.iter().map(|group| group.pods(|_| true)).min().unwrap_or(0),
        selector: names::cluster_selector(cluster),
        brokers: format!("{ready}/{all}"),
        leaders: summaries
            .iter()
            .map(|group| group.leader.as_deref().unwrap_or("-"))
            .collect::<Vec<_>>()
            .join(","),
        administrator_secret,
        groups: summaries,
        conditions: conditions(verdicts, &recorded.conditions, generation, wall),
    }
}

fn summary(group: &GroupView) -> GroupSummary {
    let recorded = group.observed.as_ref().map(|observed| &observed.recorded);
    GroupSummary {
        id: group.id,
        name: group.name.clone(),
        leader: recorded.and_then(|status| status.leader.clone()),
        epoch: recorded.and_then(|status| status.epoch),
        ready_members: group.pods(|pod| pod.ready),
        members: group.replicas,
        writable: recorded.is_some_and(|status| status.writable),
    }
}

fn ready_verdict(groups: &[GroupView], refusal: Option<&Refusal>) -> Verdict {
    match refusal {
        Some(refusal) => Verdict::new(condition::READY, false, refusal.reason, refusal.message.clone()),
        None => match groups.iter().find(|group| group.uncompared) {
            Some(group) => {
                let message = format!("{}: brokers may still run what was asked for before", group.name);
                Verdict::new(condition::READY, false, reason::ROLLING_OUT, message)
            }
            None => all_groups(condition::READY, groups),
        },
    }
}

/// True when it is true of every group; otherwise the first group's reason why not.
fn all_groups(type_: &'static str, groups: &[GroupView]) -> Verdict {
    if groups.is_empty() {
        return Verdict::new(type_, false, reason::NO_LEADER, "there is no broker group yet");
    }
    for group in groups {
        match group.condition(type_) {
            Some(condition) if condition.status == "True" => {}
            Some(condition) => {
                let message = format!("{}: {}", group.name, condition.message);
                return Verdict::new(type_, false, known_reason(&condition.reason), message);
            }
            None => {
                let message = format!("{} has not been looked at yet", group.name);
                return Verdict::new(type_, false, reason::NO_LEADER, message);
            }
        }
    }
    Verdict::new(type_, true, reason::AS_EXPECTED, "true of every broker group")
}

fn known_reason(text: &str) -> &'static str {
    [
        reason::BROKERS_NOT_READY,
        reason::ROLLING_OUT,
        reason::NO_WRITE_QUORUM,
        reason::SINGLE_REPLICA,
        reason::TOO_FEW_REPLICAS,
        reason::UNSHIPPED_TAIL,
        reason::ELECTION_BLOCKED,
    ]
    .into_iter()
    .find(|known| *known == text)
    .unwrap_or(reason::NO_LEADER)
}
