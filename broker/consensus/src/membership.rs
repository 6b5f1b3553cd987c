//! Who belongs to a group and how many of them make a quorum.
//!
//! What always holds of a [`Membership`]: at least one member, sorted, none twice, and the write quorum and the grant
//! quorum meet (`write_quorum() + grant_quorum() > N`).

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_record::NodeId;

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
    mode: Mode,
    members: Vec<NodeId>,
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
const FIXED_LEN: usize = 18;

impl Membership {
    /// Sorts the members.
    ///
    /// # Errors
    /// No member, a member twice, or a `min_in_sync` that the members cannot satisfy.
    pub fn new(version: u64, mode: Mode, mut members: Vec<NodeId>) -> Result<Self, MembershipError> {
        members.sort_unstable();
        if members.is_empty() {
            return Err(MembershipError::NoMembers);
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(MembershipError::Duplicate(pair[0]));
        }
        if let Mode::Sync { min_in_sync } = mode
            && (min_in_sync == 0 || min_in_sync as usize > members.len())
        {
            return Err(MembershipError::MinInSync { min_in_sync, members: members.len() });
        }
        Ok(Self { version, mode, members })
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Sorted, at least one.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    /// W: how many members must hold a batch persisted to commit it, the leader included.
    pub fn write_quorum(&self) -> usize {
        match self.mode {
            Mode::Async => 1,
            Mode::Sync { min_in_sync } => min_in_sync as usize,
            Mode::Raft => self.members.len() / 2 + 1,
        }
    }

    /// N-W+1: how many members must grant an epoch, the candidate included, so that every write quorum is met.
    pub fn grant_quorum(&self) -> usize {
        self.members.len() - self.write_quorum() + 1
    }

    /// How many members, the leader included, must promise a lease so that no other leader can be started without
    /// waiting it out. In [`Mode::Async`] each member can be promoted by force, so it takes every one.
    pub fn lease_quorum(&self) -> usize {
        match self.mode {
            Mode::Async => self.members.len(),
            Mode::Sync { .. } | Mode::Raft => self.write_quorum(),
        }
    }

    /// The bytes that [`Self::decode`] takes: for a membership batch, a small state file or the wire.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(FIXED_LEN + 8 * self.members.len());
        bytes.put_u8(FORMAT);
        bytes.put_u64_le(self.version);
        let (mode, min_in_sync) = match self.mode {
            Mode::Async => (1, 0),
            Mode::Sync { min_in_sync } => (2, min_in_sync),
            Mode::Raft => (3, 0),
        };
        bytes.put_u8(mode);
        bytes.put_u32_le(min_in_sync);
        bytes.put_u32_le(self.members.len() as u32);
        for member in &self.members {
            bytes.put_u64_le(member.get());
        }
        bytes.freeze()
    }

    /// # Errors
    /// Bytes that [`Self::encode`] does not write, or members that make no membership.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembershipError> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_LEN>() else {
            return Err(MembershipError::BadLength(bytes.len()));
        };
        if fixed[0] != FORMAT {
            return Err(MembershipError::UnknownFormat(fixed[0]));
        }
        let min_in_sync = le_u32(&fixed[10..14]);
        let mode = match fixed[9] {
            1 => Mode::Async,
            2 => Mode::Sync { min_in_sync },
            3 => Mode::Raft,
            other => return Err(MembershipError::UnknownMode(other)),
        };
        if rest.len() != (le_u32(&fixed[14..18]) as usize).saturating_mul(8) {
            return Err(MembershipError::BadLength(bytes.len()));
        }
        let members: Option<Vec<_>> = rest.chunks_exact(8).map(|raw| NodeId::new(le_u64(raw))).collect();
        Self::new(le_u64(&fixed[1..9]), mode, members.ok_or(MembershipError::ZeroMember)?)
    }
}

fn le_u32(raw: &[u8]) -> u32 {
    raw.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn le_u64(raw: &[u8]) -> u64 {
    raw.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
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
            let bytes = membership.encode();
            assert_eq!(Membership::decode(&bytes), Ok(membership));
            for length in 0..bytes.len() {
                assert!(Membership::decode(&bytes[..length]).is_err());
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
