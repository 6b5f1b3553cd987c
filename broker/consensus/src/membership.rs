//! Who belongs to a group and how many of them make a quorum.
//!
//! What always holds of a [`Membership`] but [`Membership::none`]: at least one member, sorted, none twice, and while a
//! change is under way (joint) every quorum takes one of the old voters and one of the new.

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_planted::{Fault, planted};
use mainstay_record::NodeId;

use crate::voters::Voters;

/// How a group replicates and who calls its elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One persisted copy commits; the operator promotes.
    Async,
    /// `min_in_sync` persisted copies commit; the operator tells a replica to campaign.
    Sync { min_in_sync: u32 },
    /// A majority commits; the replicas elect by themselves.
    Raft,
}

/// The members of a group under one version. Carried in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    version: u64,
    voters: Voters,
    /// Those before, while a change is under way.
    old: Option<Voters>,
    /// All of both, sorted.
    members: Vec<NodeId>,
    /// Named by the operator, see [`crate::Event::AdoptMembership`].
    forced: bool,
}

/// Why members and mode, or bytes, make no membership.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("members is empty")]
    NoMembers,
    #[error("member {0} is named twice")]
    Duplicate(NodeId),
    #[error("min_in_sync is {min_in_sync}, but must be 1 to {members} (the number of members)")]
    MinInSync { min_in_sync: u32, members: usize },
    #[error("encoded membership: format version {0} is unknown")]
    UnknownFormat(u8),
    #[error("encoded membership: mode {0} is unknown")]
    UnknownMode(u8),
    #[error("encoded membership: {0} bytes do not fit its content")]
    BadLength(usize),
    #[error("encoded membership: a member id is zero")]
    ZeroMember,
}

const FORMAT: u8 = 1;
const JOINT_FORMAT: u8 = 2;
const FORCED_FORMAT: u8 = 3;

impl Membership {
    /// Sorts the members.
    ///
    /// # Errors
    /// No member, a member twice, or a `min_in_sync` that the members cannot satisfy.
    pub fn new(version: u64, mode: Mode, members: Vec<NodeId>) -> Result<Self, MembershipError> {
        Ok(Self::of(version, Voters::new(mode, members)?, None))
    }

    /// Of a node that belongs to no group yet.
    pub fn none(mode: Mode) -> Self {
        Self::of(0, Voters::nobody(mode), None)
    }

    /// `None` of a node that belongs to no group yet.
    pub fn known(self) -> Option<Self> {
        (!self.members.is_empty()).then_some(self)
    }

    fn of(version: u64, voters: Voters, old: Option<Voters>) -> Self {
        let mut members = voters.members().to_vec();
        members.extend(old.iter().flat_map(Voters::members));
        members.sort_unstable();
        members.dedup();
        Self { version, voters, old, members, forced: false }
    }

    /// Named by the operator: until it is committed, which takes everybody, nobody may have heard of it who could help a
    /// leader of older memberships.
    pub(crate) fn by_force(self) -> Self {
        Self { forced: true, ..self }
    }

    pub(crate) const fn is_forced(&self) -> bool {
        self.forced
    }

    /// The first step of a change: the voters in force and those that are wanted.
    pub(crate) fn joint(&self, wanted: Voters) -> Self {
        Self::of(self.version + 1, wanted, Some(self.voters.clone()))
    }

    /// The last step: the wanted alone.
    pub(crate) fn settled(&self) -> Self {
        Self::of(self.version + 1, self.voters.clone(), None)
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    pub const fn mode(&self) -> Mode {
        self.voters.mode()
    }

    /// Everybody who takes part, while a change is under way the old voters included. Sorted.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The members but those that a change under way removes. Sorted.
    pub fn voters(&self) -> &[NodeId] {
        self.voters.members()
    }

    /// Whether a change is under way: both the old and the new quorums are in force.
    pub const fn is_joint(&self) -> bool {
        self.old.is_some()
    }

    /// While a change is under way, the membership before it.
    pub fn replaces(&self) -> Option<Self> {
        let old = self.old.clone()?;
        Some(Self::of(self.version.saturating_sub(1), old, None))
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    /// W: how many voters must hold a batch persisted to commit it, the leader included.
    pub fn write_quorum(&self) -> usize {
        self.voters.write_quorum()
    }

    /// N-W+1: how many voters must grant an epoch, the candidate included, so that every write quorum is met.
    pub fn grant_quorum(&self) -> usize {
        self.voters.grant_quorum()
    }

    /// How many voters, the leader included, must promise a lease so that no other leader can be started without
    /// waiting it out. In [`Mode::Async`] each member can be promoted by force, so it takes every one.
    pub fn lease_quorum(&self) -> usize {
        self.voters.lease_quorum()
    }

    /// The sets of voters each of which must agree.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &Voters> {
        std::iter::once(&self.voters).chain(self.old.as_ref().filter(|_| !planted(Fault::NewQuorumOnly)))
    }

    /// How many of the voters must hold a batch: everybody while the membership is forced, so that each of them refuses
    /// leaders of older memberships by then.
    pub(crate) fn writers(&self, voters: &Voters) -> usize {
        if self.forced { voters.members().len() } else { voters.write_quorum() }
    }

    pub(crate) const fn wanted(&self) -> &Voters {
        &self.voters
    }

    /// The bytes that [`Self::decode`] takes: for a membership batch, a small state file or the wire.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(64);
        bytes.put_u8(match self.old {
            Some(_) => JOINT_FORMAT,
            None if self.forced => FORCED_FORMAT,
            None => FORMAT,
        });
        bytes.put_u64_le(self.version);
        self.voters.put(&mut bytes);
        if let Some(old) = &self.old {
            old.put(&mut bytes);
        }
        bytes.freeze()
    }

    /// # Errors
    /// Bytes that [`Self::encode`] does not write, or members that make no membership.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembershipError> {
        let bad_length = MembershipError::BadLength(bytes.len());
        let Some((fixed, mut rest)) = bytes.split_first_chunk::<9>() else { return Err(bad_length) };
        let (joint, forced) = match fixed[0] {
            FORMAT => (false, false),
            JOINT_FORMAT => (true, false),
            FORCED_FORMAT => (false, true),
            other => return Err(MembershipError::UnknownFormat(other)),
        };
        let mut version = [0; 8];
        version.copy_from_slice(&fixed[1..]);
        let voters = Voters::take(&mut rest)?;
        let old = joint.then(|| Voters::take(&mut rest)).transpose()?;
        if !rest.is_empty() {
            return Err(bad_length);
        }
        Ok(Self { forced, ..Self::of(u64::from_le_bytes(version), voters, old) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).rev().filter_map(NodeId::new).collect()
    }

    #[test]
    fn any_write_quorum_meets_any_grant_quorum() {
        for count in 1..=7 {
            let sync = (1..=count as u32).map(|min_in_sync| Mode::Sync { min_in_sync });
            for mode in [Mode::Async, Mode::Raft].into_iter().chain(sync) {
                let membership = Membership::new(1, mode, nodes(count)).unwrap();
                let (write, grant) = (membership.write_quorum(), membership.grant_quorum());
                assert!(write >= 1 && grant >= 1 && write + grant == count as usize + 1, "{mode:?} {count}");
                assert!(membership.lease_quorum() + grant > count as usize);
            }
        }
        let pair = Membership::new(1, Mode::Raft, nodes(2)).unwrap();
        assert_eq!((pair.write_quorum(), pair.grant_quorum()), (2, 1));
    }

    #[test]
    fn encoding_round_trips_and_damage_is_refused() {
        for mode in [Mode::Async, Mode::Sync { min_in_sync: 2 }, Mode::Raft] {
            let membership = Membership::new(9, mode, nodes(3)).unwrap();
            let joint = membership.joint(Voters::new(mode, nodes(4)).unwrap());
            for membership in [membership.clone(), joint, membership.by_force()] {
                let bytes = membership.encode();
                assert_eq!(Membership::decode(&bytes), Ok(membership));
                for length in 0..bytes.len() {
                    assert!(Membership::decode(&bytes[..length]).is_err());
                }
                let longer = [&bytes[..], &[0]].concat();
                assert!(Membership::decode(&longer).is_err());
            }
        }
    }

    #[test]
    fn impossible_members_are_refused_by_name() {
        assert_eq!(Membership::new(1, Mode::Raft, vec![]), Err(MembershipError::NoMembers));
        let twice = vec![nodes(1)[0], nodes(1)[0]];
        assert_eq!(Membership::new(1, Mode::Raft, twice), Err(MembershipError::Duplicate(nodes(1)[0])));
        let mode = Mode::Sync { min_in_sync: 4 };
        let error = Membership::new(1, mode, nodes(3));
        assert_eq!(error, Err(MembershipError::MinInSync { min_in_sync: 4, members: 3 }));
    }
}
