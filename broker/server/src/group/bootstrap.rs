//! How a new group agrees on its first members, without anybody in charge.
//!
//! A node that has no membership takes part in nothing. It founds one from the identities of all configured members,
//! once it has met all of them and none has one; or adopts that of a peer if it is in it. The result is the same on
//! each node, and it is stored before anything is granted, so that a volume that is lost later cannot make a second
//! group: its successor meets a peer whose membership does not name it, and waits to be taken in, as a node that has
//! nothing and counts for nothing.

use std::collections::BTreeMap;

use mainstay_consensus::{Membership, Mode};
use mainstay_record::NodeId;

use crate::replication::Met;

/// What a node without membership does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Wait; for whom or what is told to people.
    Wait(String),
    Take(Membership),
    /// There is a group, which it does not belong to.
    Join(Mode),
    /// It can take no part, and only people can change that.
    StayOut(String),
}

pub(super) fn decide(own: NodeId, mode: Mode, members: &[String], met: &BTreeMap<String, Met>) -> Decision {
    let known = met.values().filter_map(|said| said.adoption.membership.as_ref());
    if let Some(newest) = known.max_by_key(|membership| membership.version()) {
        return if newest.contains(own) {
            Decision::Take(newest.clone())
        } else {
            Decision::Join(newest.mode())
        };
    }
    let missing: Vec<&str> =
        members.iter().filter(|member| !met.contains_key(*member)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Decision::Wait(format!(
            "the group begins once all members have met; missing: {}",
            missing.join(", ")
        ));
    }
    let nodes = members.iter().filter_map(|member| met.get(member)).map(|said| said.node).collect();
    match Membership::new(1, mode, nodes) {
        Ok(membership) => Decision::Take(membership),
        Err(error) => Decision::StayOut(format!("the members cannot form a group: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::Adoption;

    fn node(raw: u64) -> NodeId {
        NodeId::new(raw).unwrap()
    }

    fn members() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    fn met(said: &[(&str, u64, Option<&Membership>)]) -> BTreeMap<String, Met> {
        let entry = |(name, raw, membership): &(&str, u64, Option<&Membership>)| {
            let adoption = Adoption { membership: membership.cloned(), takes_part: membership.is_some() };
            (String::from(*name), Met { node: node(*raw), adoption })
        };
        said.iter().map(entry).collect()
    }

    #[test]
    fn a_group_is_founded_once_all_have_met_and_by_each_alike() {
        let waiting = decide(node(2), Mode::Raft, &members(), &met(&[("a", 2, None)]));
        assert!(matches!(waiting, Decision::Wait(text) if text.ends_with("missing: b")));
        let all = met(&[("a", 2, None), ("b", 1, None)]);
        let founded = Membership::new(1, Mode::Raft, vec![node(1), node(2)]).unwrap();
        for own in [1, 2] {
            assert_eq!(decide(node(own), Mode::Raft, &members(), &all), Decision::Take(founded.clone()));
        }
    }

    #[test]
    fn an_existing_membership_is_adopted_by_those_in_it_and_keeps_others_out() {
        let founded = Membership::new(1, Mode::Raft, vec![node(1), node(2)]).unwrap();
        let seen = met(&[("a", 2, None), ("b", 1, Some(&founded))]);
        assert_eq!(decide(node(2), Mode::Raft, &members(), &seen), Decision::Take(founded.clone()));
        let replaced = met(&[("a", 3, None), ("b", 1, Some(&founded))]);
        assert_eq!(decide(node(3), Mode::Raft, &members(), &replaced), Decision::Join(Mode::Raft));
    }

    #[test]
    fn a_copied_volume_makes_no_group() {
        let all = met(&[("a", 1, None), ("b", 1, None)]);
        assert!(matches!(decide(node(1), Mode::Raft, &members(), &all), Decision::StayOut(_)));
    }
}
