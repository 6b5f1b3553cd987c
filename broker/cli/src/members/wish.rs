//! What is asked for, and which membership that comes to. Refused here is what names a wrong argument; the rest is for the
//! leader to refuse.

use std::fmt;

use anyhow::{bail, ensure};
use mainstay_proto::control::{ChangeMembershipRequest, Mode, StatusResponse};
use mainstay_record::NodeId;

use super::picture::{self, Picture, hex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Replace { old: NodeId, new: NodeId },
    Add { node: NodeId },
    Remove { node: NodeId },
    MinInSync { copies: u32 },
}

/// The membership that there shall be, and the version it is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) version: u64,
    /// Sorted.
    pub(super) voters: Vec<u64>,
    pub(super) write_quorum: u32,
    min_in_sync: Option<u32>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voters: Vec<String> = self.voters.iter().map(|node| hex(*node)).collect();
        write!(f, "members {}; {} of them commit", voters.join(", "), self.write_quorum)
    }
}

impl Plan {
    pub(super) fn request(&self) -> ChangeMembershipRequest {
        ChangeMembershipRequest {
            version: self.version,
            node_ids: self.voters.clone(),
            min_in_sync: self.min_in_sync,
        }
    }
}

impl Wish {
    pub(super) fn plan(self, picture: &Picture) -> anyhow::Result<Plan> {
        let (group, leader) = (picture.group, picture.leader()?);
        let version = leader.membership_version;
        ensure!(
            !leader.changing,
            "a change of broker group {group} is under way (version {version}): wait until it is through, or take it back \
             with `mainstay member abandon`"
        );
        let mut voters = picture::voters(leader);
        match self {
            Self::Replace { old, new } => {
                ensure!(old != new, "OLD and NEW are the same node {old}");
                leave(group, &mut voters, "OLD", old)?;
                join(picture, &mut voters, "NEW", new)?;
            }
            Self::Add { node } => join(picture, &mut voters, "NODE", node)?,
            Self::Remove { node } => {
                leave(group, &mut voters, "NODE", node)?;
                ensure!(!voters.is_empty(), "NODE: {node} is the last member of broker group {group}");
                let needed = leader.write_quorum;
                ensure!(
                    leader.mode() != Mode::Sync || needed as usize <= voters.len(),
                    "NODE: without {node} {} members are left, but {needed} must have each message: lower that first with \
                     `mainstay member min-in-sync`",
                    voters.len()
                );
            }
            Self::MinInSync { copies } => check_copies(leader, group, voters.len(), copies)?,
        }
        voters.sort_unstable();
        let min_in_sync = if let Self::MinInSync { copies } = self { Some(copies) } else { None };
        let write_quorum = match leader.mode() {
            Mode::Raft => voters.len() as u32 / 2 + 1,
            _ => min_in_sync.unwrap_or(leader.write_quorum),
        };
        Ok(Plan { version, voters, write_quorum, min_in_sync })
    }
}

fn leave(group: u32, voters: &mut Vec<u64>, argument: &str, node: NodeId) -> anyhow::Result<()> {
    if !voters.contains(&node.get()) {
        let known: Vec<String> = voters.iter().map(|voter| hex(*voter)).collect();
        bail!(
            "{argument}: {node} is no member of broker group {group}; its members are {}",
            known.join(", ")
        );
    }
    voters.retain(|voter| *voter != node.get());
    Ok(())
}

fn join(picture: &Picture, voters: &mut Vec<u64>, argument: &str, node: NodeId) -> anyhow::Result<()> {
    let group = picture.group;
    ensure!(!voters.contains(&node.get()), "{argument}: {node} is a member of broker group {group} already");
    // The leader would wait for it for ever.
    ensure!(
        picture.answers().any(|status| status.node_id == node.get()),
        "{argument}: no broker of group {group} that answers is node {node}"
    );
    voters.push(node.get());
    Ok(())
}

fn check_copies(leader: &StatusResponse, group: u32, voters: usize, copies: u32) -> anyhow::Result<()> {
    ensure!(
        leader.mode() == Mode::Sync,
        "COPIES: how many members must have a message can be chosen in mode Sync only; broker group {group} is in mode {}",
        leader.mode().as_str_name().to_lowercase()
    );
    ensure!(
        copies >= 1 && copies as usize <= voters,
        "COPIES: {copies} is not 1 to {voters}, the number of members"
    );
    ensure!(copies != leader.write_quorum, "COPIES: it is {copies} already");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::sync_group;
    use super::*;

    fn node(raw: u64) -> NodeId {
        NodeId::new(raw).unwrap()
    }

    fn refusal(wish: Wish, picture: &Picture) -> String {
        wish.plan(picture).unwrap_err().to_string()
    }

    #[test]
    fn wishes_come_to_sets_of_voters() {
        let picture = sync_group(true);
        let voters = |wish: Wish| wish.plan(&picture).unwrap().voters;
        assert_eq!(voters(Wish::Replace { old: node(2), new: node(9) }), [1, 3, 9]);
        assert_eq!(voters(Wish::Add { node: node(9) }), [1, 2, 3, 9]);
        assert_eq!(voters(Wish::Remove { node: node(1) }), [2, 3]);
        let plan = Wish::MinInSync { copies: 3 }.plan(&picture).unwrap();
        assert_eq!((plan.voters.clone(), plan.write_quorum), (vec![1, 2, 3], 3));
        let request = plan.request();
        assert_eq!((request.version, request.min_in_sync), (1, Some(3)));
        let kept = Wish::Add { node: node(9) }.plan(&picture).unwrap();
        assert_eq!((kept.request().min_in_sync, kept.write_quorum), (None, 2));
    }

    #[test]
    fn raft_commits_with_a_majority_of_whoever_there_shall_be() {
        let mut picture = sync_group(true);
        picture.brokers[0].status.as_mut().unwrap().set_mode(Mode::Raft);
        assert_eq!(Wish::Add { node: node(9) }.plan(&picture).unwrap().write_quorum, 3);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let mut picture = sync_group(true);
        let same = refusal(Wish::Replace { old: node(9), new: node(9) }, &picture);
        assert!(same.contains("OLD and NEW"), "{same}");
        let stranger = refusal(Wish::Replace { old: node(7), new: node(9) }, &picture);
        assert!(stranger.starts_with("OLD: 0000000000000007 is no member"), "{stranger}");
        let absent = refusal(Wish::Replace { old: node(2), new: node(8) }, &picture);
        assert!(absent.starts_with("NEW: no broker"), "{absent}");
        let again = refusal(Wish::Add { node: node(3) }, &picture);
        assert!(again.starts_with("NODE: 0000000000000003 is a member"), "{again}");
        for copies in [0, 4] {
            let many = refusal(Wish::MinInSync { copies }, &picture);
            assert!(many.starts_with(&format!("COPIES: {copies} is not 1 to 3")), "{many}");
        }
        assert!(refusal(Wish::MinInSync { copies: 2 }, &picture).contains("already"));
        picture.brokers[0].status.as_mut().unwrap().write_quorum = 3;
        let few = refusal(Wish::Remove { node: node(2) }, &picture);
        assert!(few.contains("min-in-sync"), "{few}");
        picture.brokers[0].status.as_mut().unwrap().changing = true;
        let busy = refusal(Wish::Remove { node: node(2) }, &picture);
        assert!(busy.contains("under way") && busy.contains("abandon"), "{busy}");
        picture.brokers[0].status = None;
        assert!(refusal(Wish::Remove { node: node(2) }, &picture).contains("no leader"));
    }
}
