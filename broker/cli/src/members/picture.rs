//! One broker group as its brokers describe it, and the leader's word in it.

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use mainstay_proto::control::{BrokerStatus, ClusterStatusRequest, MemberStatus, Part, Role, StatusResponse};

use crate::connect::{Admin, refused};

#[derive(Debug)]
pub(super) struct Picture {
    pub(super) group: u32,
    pub(super) brokers: Vec<BrokerStatus>,
}

impl Picture {
    pub(super) async fn look(admin: &mut Admin, group: u32) -> anyhow::Result<Self> {
        let pictures = look_at_all(admin).await?;
        of(&pictures, group)?;
        let found = pictures.into_iter().find(|picture| picture.group == group);
        found.ok_or_else(|| anyhow!("there is no broker group {group}"))
    }

    /// Brokers that answer.
    pub(super) fn answers(&self) -> impl Iterator<Item = &StatusResponse> {
        self.brokers.iter().filter_map(|broker| broker.status.as_ref())
    }

    /// Of the newest epoch, should a former one not know yet.
    pub(super) fn leader(&self) -> anyhow::Result<&StatusResponse> {
        let epoch = |status: &StatusResponse| status.epoch.map(|epoch| (epoch.number, epoch.candidate));
        let leading = self.answers().filter(|status| status.role() == Role::Leader).max_by_key(|s| epoch(s));
        leading.ok_or_else(|| anyhow!("broker group {} has no leader that answers", self.group))
    }
}

/// Members that count, while a change goes through the log those of before included.
pub(super) fn voters(leader: &StatusResponse) -> Vec<u64> {
    let mut voters: Vec<u64> = leader.members.iter().filter(|m| counts(m)).map(|m| m.node_id).collect();
    voters.sort_unstable();
    voters
}

pub(super) fn counts(member: &MemberStatus) -> bool {
    member.part() == Part::Voter
}

pub(super) fn hex(node: u64) -> String {
    format!("{node:016x}")
}

/// All groups, each as its own brokers describe it.
pub(super) async fn look_at_all(admin: &mut Admin) -> anyhow::Result<Vec<Picture>> {
    let answer = admin.cluster_status(ClusterStatusRequest {}).await.map_err(|status| refused(&status))?;
    let mut groups: BTreeMap<u32, Vec<BrokerStatus>> = BTreeMap::new();
    for broker in answer.into_inner().brokers {
        groups.entry(broker.group).or_default().push(broker);
    }
    Ok(groups.into_iter().map(|(group, brokers)| Picture { group, brokers }).collect())
}

/// The one of this group.
pub(super) fn of(pictures: &[Picture], group: u32) -> anyhow::Result<&Picture> {
    if let Some(found) = pictures.iter().find(|picture| picture.group == group) {
        return Ok(found);
    }
    let known: Vec<String> = pictures.iter().map(|picture| picture.group.to_string()).collect();
    bail!("--group {group}: there is no such broker group, only {}", known.join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use mainstay_proto::control::{Epoch, Mode};

    use super::*;

    /// Three brokers, nodes 1 to 3, of which the first leads; a fourth may wait as node 9.
    pub(crate) fn sync_group(waiting: bool) -> Picture {
        let broker = |node: u64, role: Role| BrokerStatus {
            member: format!("orders-0-{}", node - 1),
            status: Some(StatusResponse {
                member: format!("orders-0-{}", node - 1),
                node_id: node,
                role: role.into(),
                epoch: Some(Epoch { number: 4, candidate: 1 }),
                membership_version: 1,
                last_index: 100,
                persisted_index: 90,
                mode: Mode::Sync.into(),
                write_quorum: 2,
                ..StatusResponse::default()
            }),
            ..BrokerStatus::default()
        };
        let mut brokers = vec![broker(1, Role::Leader), broker(2, Role::Follower), broker(3, Role::Follower)];
        if waiting {
            brokers.push(broker(9, Role::Learner));
        }
        let mut picture = Picture { group: 0, brokers };
        lead(&mut picture, 1, &[1, 2, 3]);
        picture
    }

    /// The leader knows this membership.
    pub(crate) fn lead(picture: &mut Picture, version: u64, voters: &[u64]) {
        let member = |node: &u64| MemberStatus {
            node_id: *node,
            member: format!("orders-0-{}", node - 1),
            persisted_index: 95,
            heard_ms_ago: Some(12),
            part: Part::Voter.into(),
        };
        let leader = picture.brokers[0].status.as_mut().unwrap();
        leader.membership_version = version;
        leader.members = voters.iter().map(member).collect();
    }

    #[test]
    fn the_newest_leader_counts_and_unknown_groups_are_named() {
        let mut picture = sync_group(false);
        let former = picture.brokers[1].status.as_mut().unwrap();
        former.set_role(Role::Leader);
        former.epoch = Some(Epoch { number: 3, candidate: 2 });
        assert_eq!(picture.leader().unwrap().node_id, 1);
        assert_eq!(voters(picture.leader().unwrap()), [1, 2, 3]);
        picture.brokers[0].status = None;
        assert_eq!(picture.leader().unwrap().node_id, 2);
        let error = of(&[picture], 7).unwrap_err().to_string();
        assert!(error.contains("--group 7"), "{error}");
    }
}
