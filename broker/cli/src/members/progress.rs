//! How far a change is, by what the brokers say.

use mainstay_proto::control::{Part, StatusResponse};

use super::picture::{self, Picture, hex};
use super::wish::Plan;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    Through {
        version: u64,
    },
    Going(String),
    /// The leader knows nothing of it any more.
    GivenUp(String),
}

pub(super) fn of(plan: &Plan, picture: &Picture) -> Progress {
    let leader = match picture.leader() {
        Ok(leader) => leader,
        Err(error) => return Progress::Going(error.to_string()),
    };
    let (version, same) = (leader.membership_version, picture::voters(leader) == plan.voters);
    if leader.changing {
        return Progress::Going(step(plan, leader));
    }
    if same && leader.write_quorum == plan.write_quorum && version > plan.version {
        return Progress::Through { version };
    }
    let leads = &leader.member;
    Progress::GivenUp(if version == plan.version {
        format!("{leads} leads and knows nothing of it: it was taken back, or another node led before")
    } else {
        format!("{leads} leads under version {version} of the membership, which is another one")
    })
}

/// While a change is under way.
fn step(plan: &Plan, leader: &StatusResponse) -> String {
    let version = leader.membership_version;
    if version > plan.version {
        return format!(
            "members of before and after must both agree until that is committed (version {version})"
        );
    }
    let newcomers = leader.members.iter().filter(|member| member.part() == Part::Newcomer);
    let lines: Vec<String> = newcomers
        .map(|member| {
            let heard = if member.heard_ms_ago.is_some() { "" } else { ", not heard yet" };
            let (node, has) = (hex(member.node_id), member.persisted_index);
            format!("{node} is caught up: has {has} of {} entries{heard}", leader.last_index)
        })
        .collect();
    if lines.is_empty() { "waits for the members to be heard".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::control::MemberStatus;
    use mainstay_record::NodeId;

    use super::super::picture::tests::{lead, sync_group};
    use super::super::wish::Wish;
    use super::*;

    #[test]
    fn a_change_is_followed_to_its_end() {
        let mut picture = sync_group(true);
        let node = |raw| NodeId::new(raw).unwrap();
        let plan = Wish::Replace { old: node(3), new: node(9) }.plan(&picture).unwrap();
        let leader = picture.brokers[0].status.as_mut().unwrap();
        leader.changing = true;
        let newcomer = MemberStatus { node_id: 9, part: Part::Newcomer.into(), ..MemberStatus::default() };
        leader.members.push(newcomer);
        let Progress::Going(line) = of(&plan, &picture) else { panic!("it goes on") };
        assert!(line.contains("0000000000000009 is caught up: has 0 of 100"), "{line}");
        lead(&mut picture, 2, &[1, 2, 3, 9]);
        let Progress::Going(line) = of(&plan, &picture) else { panic!("it goes on") };
        assert!(line.contains("version 2"), "{line}");
        picture.brokers[0].status.as_mut().unwrap().changing = false;
        lead(&mut picture, 3, &[1, 2, 9]);
        assert_eq!(of(&plan, &picture), Progress::Through { version: 3 });
    }

    #[test]
    fn a_change_that_its_leader_took_with_it_is_told() {
        let mut picture = sync_group(true);
        let plan = Wish::Add { node: NodeId::new(9).unwrap() }.plan(&picture).unwrap();
        assert!(matches!(of(&plan, &picture), Progress::GivenUp(why) if why.contains("knows nothing of it")));
        lead(&mut picture, 5, &[1, 2]);
        assert!(matches!(of(&plan, &picture), Progress::GivenUp(why) if why.contains("version 5")));
        picture.brokers[0].status = None;
        assert!(matches!(of(&plan, &picture), Progress::Going(line) if line.contains("no leader")));
    }

    #[test]
    fn the_same_voters_are_no_proof_of_another_write_quorum() {
        let mut picture = sync_group(false);
        let plan = Wish::MinInSync { copies: 3 }.plan(&picture).unwrap();
        lead(&mut picture, 3, &[1, 2, 3]);
        assert!(matches!(of(&plan, &picture), Progress::GivenUp(_)));
        picture.brokers[0].status.as_mut().unwrap().write_quorum = 3;
        assert_eq!(of(&plan, &picture), Progress::Through { version: 3 });
    }
}
