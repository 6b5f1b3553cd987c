//! Hand-made groups, and what a decision holds.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use mainstay_crds::{
    BrokerGroupStatus,
    group::{NamedMembership, Order, OrderKind},
};
use mainstay_operator::decide::{
    Decision,
    action::Action,
    decide,
    memory::Memory,
    observed::{Epoch, Member, Mode, Moment, NodeId, Observed, Pod, Report, Role},
};

pub(crate) const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

pub(crate) fn at(millis: u64) -> Moment {
    Moment(Duration::from_millis(millis))
}

pub(crate) fn epoch(number: u64, candidate: u64) -> Epoch {
    Epoch { number, candidate }
}

pub(crate) fn report(node: u64, role: Role) -> Report {
    Report {
        node: NodeId(node),
        role,
        epoch: epoch(0, 0),
        granted: epoch(0, 0),
        highest: epoch(0, 0),
        leader: None,
        last_epoch: epoch(0, 0),
        last_index: 0,
        persisted_index: 0,
        serving: false,
        writable: false,
        membership_version: 1,
        write_quorum: 1,
        voters: Vec::new(),
        changing: false,
        quarantined: Vec::new(),
        problem: String::new(),
        clock_ms: 77_000,
        received: at(0),
    }
}

/// A group whose members 1.. have booted and have never had a leader.
pub(crate) fn fresh(mode: Mode, replicas: u64) -> Observed {
    let member = |ordinal: u64| Member {
        name: format!("orders-0-{ordinal}"),
        pod: Some(Pod {
            uid: format!("uid-{ordinal}"),
            ready: true,
            deleting: false,
            outdated: false,
            role_label: None,
            routable: true,
        }),
        report: Some(report(ordinal + 1, Role::Follower)),
    };
    Observed {
        mode,
        failover_delay: Duration::ZERO,
        members: (0..replicas).map(member).collect(),
        recorded: BrokerGroupStatus::default(),
        generation: Some(1),
        wall: Timestamp::UNIX_EPOCH,
    }
}

/// The same with member `leader` leading epoch `number` and everybody in step at index 100.
pub(crate) fn led(mode: Mode, replicas: u64, leader: usize, number: u64) -> Observed {
    let mut observed = fresh(mode, replicas);
    let node = leader as u64 + 1;
    for (ordinal, member) in observed.members.iter_mut().enumerate() {
        let report = member.report.as_mut().expect("answers");
        report.epoch = epoch(number, node);
        report.granted = report.epoch;
        report.highest = report.epoch;
        report.last_epoch = report.epoch;
        report.last_index = 100;
        report.persisted_index = 100;
        report.leader = Some(NodeId(node));
        if ordinal == leader {
            report.role = Role::Leader;
            report.serving = true;
            report.writable = true;
            report.voters = (1..=replicas).map(NodeId).collect();
            report.write_quorum = mode.write_quorum(replicas as usize);
        }
    }
    observed
}

/// Lets the shell's part happen: labels, status and orders come to pass in the observed world.
pub(crate) fn execute(observed: &mut Observed, actions: &[Action]) {
    for action in actions {
        match action {
            Action::Label { member, role, routable, .. } => {
                let member = observed.members.iter_mut().find(|m| m.name == *member).expect("known");
                let pod = member.pod.as_mut().expect("has a pod");
                pod.routable = *routable;
                if let Some(role) = role {
                    pod.role_label = Some((*role).to_owned());
                }
            }
            Action::Publish(status) => {
                let (order, named) = (observed.recorded.order.clone(), observed.recorded.membership.clone());
                observed.recorded = (**status).clone();
                observed.recorded.order = order;
                observed.recorded.membership = named;
            }
            Action::Order { epoch, supersedes, member, kind, reason, .. } => {
                assert_eq!(*supersedes, observed.ordered(), "an order supersedes the one on record");
                observed.recorded.order = Some(Order {
                    epoch: *epoch as i64,
                    member: member.clone(),
                    kind: *kind,
                    reason: reason.clone(),
                    issued_at: Time(observed.wall),
                });
            }
            Action::NameMembership { version, voters, min_in_sync, reason } => {
                assert!(*version > observed.named(), "a version is given out once");
                observed.recorded.membership = Some(NamedMembership {
                    version: *version as i64,
                    node_ids: voters.iter().map(ToString::to_string).collect(),
                    min_in_sync: *min_in_sync as i32,
                    reason: reason.clone(),
                    at: Time(observed.wall),
                });
            }
            _ => {}
        }
    }
}

/// A healthy group that the operator has seen, labelled and published.
pub(crate) fn converged(mode: Mode, replicas: u64) -> (Observed, Memory) {
    let mut observed = led(mode, replicas, 0, 1);
    let mut memory = Memory::new(at(0));
    for round in 0..3 {
        let decision = decide(&observed, &memory, at(round * 1000));
        execute(&mut observed, &decision.actions);
        memory = decision.memory;
    }
    (observed, memory)
}

pub(crate) fn silence(observed: &mut Observed, ordinal: usize) {
    let node = observed.members[ordinal].report.take().expect("answered").node;
    observed.members[ordinal].pod = None;
    for member in &mut observed.members {
        if let Some(report) = member.report.as_mut().filter(|report| report.leader == Some(node)) {
            report.leader = None;
        }
    }
}

pub(crate) fn orders(decision: &Decision) -> Vec<(u64, String, OrderKind)> {
    decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Order { epoch, member, kind, .. } => Some((*epoch, member.clone(), *kind)),
            _ => None,
        })
        .collect()
}

pub(crate) fn grants(decision: &Decision) -> Vec<(NodeId, u64)> {
    decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::GrantLease { node, as_of_clock_ms, .. } => Some((*node, *as_of_clock_ms)),
            _ => None,
        })
        .collect()
}

pub(crate) fn events(decision: &Decision) -> Vec<&'static str> {
    let reason =
        |action: &Action| if let Action::Event { reason, .. } = action { Some(*reason) } else { None };
    decision.actions.iter().filter_map(reason).collect()
}

pub(crate) fn published(decision: &Decision) -> &BrokerGroupStatus {
    fn status(action: &Action) -> Option<&BrokerGroupStatus> {
        if let Action::Publish(status) = action { Some(status) } else { None }
    }
    decision.actions.iter().find_map(status).expect("publishes")
}
