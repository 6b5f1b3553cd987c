//! The members of a group as rows: those that its leader knows, then brokers that it does not know.

use mainstay_proto::control::{BrokerStatus, MemberStatus, Part, Role, StatusResponse};
use serde::Serialize;

use super::picture::{Picture, hex};
use crate::output::Row;

#[derive(Debug, Serialize)]
pub(super) struct MemberRow {
    group: u32,
    /// Absent for a node that no broker is any more.
    member: Option<String>,
    node_id: Option<String>,
    part: &'static str,
    leads: bool,
    persisted_index: Option<u64>,
    /// Entries behind the leader.
    lag: Option<u64>,
    heard_ms_ago: Option<u64>,
    membership_version: u64,
    changing: bool,
    write_quorum: u32,
}

impl Row for MemberRow {
    const COLUMNS: &'static [&'static str] = &[
        "group",
        "member",
        "node",
        "part",
        "leads",
        "persisted",
        "lag",
        "heard",
        "version",
        "changing",
        "write quorum",
    ];

    fn cells(&self) -> Vec<String> {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.group.to_string(),
            text(&self.member),
            text(&self.node_id),
            self.part.to_owned(),
            self.leads.to_string(),
            number(self.persisted_index),
            number(self.lag),
            self.heard_ms_ago.map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms ago")),
            self.membership_version.to_string(),
            self.changing.to_string(),
            self.write_quorum.to_string(),
        ]
    }
}

pub(super) fn rows(picture: &Picture) -> Vec<MemberRow> {
    let leader = picture.leader().ok();
    let known = leader.map_or(&[][..], |leader| &leader.members);
    let mut rows: Vec<MemberRow> = leader
        .map(|leader| known.iter().map(|member| known_row(picture, leader, member)).collect())
        .unwrap_or_default();
    for broker in &picture.brokers {
        let node = broker.status.as_ref().map(|status| status.node_id);
        let listed = known.iter().any(|member| match node {
            Some(node) => member.node_id == node,
            None => member.member == broker.member,
        });
        if !listed {
            rows.push(other_row(picture, leader, broker));
        }
    }
    rows.sort_by(|one, other| (&one.member, &one.node_id).cmp(&(&other.member, &other.node_id)));
    rows
}

fn known_row(picture: &Picture, leader: &StatusResponse, member: &MemberStatus) -> MemberRow {
    // What a broker says about itself is newer than whom the leader last met under its name.
    let is = |broker: &&BrokerStatus| broker.status.as_ref().is_some_and(|s| s.node_id == member.node_id);
    let name = picture.brokers.iter().find(is).map(|broker| broker.member.clone());
    let met = (!member.member.is_empty()).then(|| member.member.clone());
    MemberRow {
        group: picture.group,
        member: name.or(met),
        node_id: Some(hex(member.node_id)),
        part: match member.part() {
            Part::Voter => "voter",
            Part::Newcomer => "newcomer",
            Part::Leaving => "leaving",
            Part::Unspecified => "unknown",
        },
        leads: member.node_id == leader.node_id,
        persisted_index: Some(member.persisted_index),
        lag: Some(leader.last_index.saturating_sub(member.persisted_index)),
        heard_ms_ago: member.heard_ms_ago,
        membership_version: leader.membership_version,
        changing: leader.changing,
        write_quorum: leader.write_quorum,
    }
}

fn other_row(picture: &Picture, leader: Option<&StatusResponse>, broker: &BrokerStatus) -> MemberRow {
    let own = broker.status.as_ref();
    let told = leader.or(own);
    let persisted = own.map(|status| status.persisted_index);
    MemberRow {
        group: picture.group,
        member: Some(broker.member.clone()),
        node_id: own.map(|status| hex(status.node_id)),
        part: match own.map(StatusResponse::role) {
            None => "unreachable",
            Some(Role::Learner) => "waiting",
            Some(Role::Bootstrapping) => "bootstrapping",
            Some(Role::Fenced) => "fenced",
            // Without a leader nobody can tell.
            Some(_) => "unknown",
        },
        leads: false,
        persisted_index: persisted,
        lag: leader.zip(persisted).map(|(leader, persisted)| leader.last_index.saturating_sub(persisted)),
        heard_ms_ago: None,
        membership_version: told.map_or(0, |status| status.membership_version),
        changing: told.is_some_and(|status| status.changing),
        write_quorum: told.map_or(0, |status| status.write_quorum),
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::sync_group;
    use super::*;

    fn seen(picture: &Picture) -> Vec<(String, String, &'static str)> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows(picture).into_iter().map(|row| (text(row.member), text(row.node_id), row.part)).collect()
    }

    #[test]
    fn a_lost_node_and_the_one_that_waits_for_its_place_are_both_there() {
        let mut picture = sync_group(false);
        // Pod 2 has come back as another node; the leader has met it under this name.
        let leader = picture.brokers[0].status.as_mut().unwrap();
        leader.members[2].member.clear();
        let returned = picture.brokers[2].status.as_mut().unwrap();
        returned.node_id = 9;
        returned.set_role(Role::Learner);
        let expected = [
            ("-", "0000000000000003", "voter"),
            ("orders-0-0", "0000000000000001", "voter"),
            ("orders-0-1", "0000000000000002", "voter"),
            ("orders-0-2", "0000000000000009", "waiting"),
        ];
        assert_eq!(seen(&picture), expected.map(|(pod, node, part)| (pod.into(), node.into(), part)));
        let row = rows(&picture).remove(3);
        assert_eq!((row.persisted_index, row.lag, row.write_quorum), (Some(90), Some(10), 2));
    }

    #[test]
    fn without_a_leader_everybody_tells_of_itself() {
        let mut picture = sync_group(false);
        picture.brokers[0].status = None;
        let parts: Vec<_> = seen(&picture).into_iter().map(|(_, _, part)| part).collect();
        assert_eq!(parts, ["unreachable", "unknown", "unknown"]);
    }
}
