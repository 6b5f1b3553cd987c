//! Members whose word counts, and how many of them make each kind of quorum.
//!
//! What always holds but of [`Voters::nobody`]: at least one, sorted, none twice, and any write quorum meets any grant
//! quorum (`write_quorum() + grant_quorum() > N`).

use bytes::{BufMut, BytesMut};
use mainstay_record::NodeId;

use crate::{MembershipError, Mode};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Voters {
    mode: Mode,
    members: Vec<NodeId>,
}

/// Mode, `min_in_sync`, number of members.
const FIXED_LEN: usize = 9;

impl Voters {
    pub(crate) fn new(mode: Mode, mut members: Vec<NodeId>) -> Result<Self, MembershipError> {
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
        Ok(Self { mode, members })
    }

    pub(crate) const fn nobody(mode: Mode) -> Self {
        Self { mode, members: Vec::new() }
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether only `min_in_sync` may differ.
    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.mode) == std::mem::discriminant(&other.mode)
    }

    pub(crate) fn members(&self) -> &[NodeId] {
        &self.members
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    pub(crate) fn write_quorum(&self) -> usize {
        match self.mode {
            Mode::Async => 1,
            Mode::Sync { min_in_sync } => min_in_sync as usize,
            Mode::Raft => self.members.len() / 2 + 1,
        }
    }

    pub(crate) fn grant_quorum(&self) -> usize {
        (self.members.len() + 1).saturating_sub(self.write_quorum()).max(1)
    }

    pub(crate) fn lease_quorum(&self) -> usize {
        match self.mode {
            Mode::Async => self.members.len(),
            Mode::Sync { .. } | Mode::Raft => self.write_quorum(),
        }
    }

    /// How many of them have it.
    pub(crate) fn count(&self, has: impl Fn(NodeId) -> bool) -> usize {
        self.members.iter().filter(|member| has(**member)).count()
    }

    /// The largest value that `count` of them reach.
    pub(crate) fn reached<T: Ord + Copy>(&self, count: usize, value: impl Fn(NodeId) -> T) -> Option<T> {
        let mut values: Vec<T> = self.members.iter().map(|member| value(*member)).collect();
        values.sort_unstable_by(|one, other| other.cmp(one));
        count.checked_sub(1).map_or_else(|| values.first().copied(), |at| values.get(at).copied())
    }

    pub(crate) fn put(&self, bytes: &mut BytesMut) {
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
    }

    /// From the front of the bytes.
    pub(crate) fn take(bytes: &mut &[u8]) -> Result<Self, MembershipError> {
        let bad_length = || MembershipError::BadLength(bytes.len());
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_LEN>() else { return Err(bad_length()) };
        let min_in_sync = le_u32(&fixed[1..5]);
        let mode = match fixed[0] {
            1 => Mode::Async,
            2 => Mode::Sync { min_in_sync },
            3 => Mode::Raft,
            other => return Err(MembershipError::UnknownMode(other)),
        };
        let length = (le_u32(&fixed[5..]) as usize).saturating_mul(8);
        let Some((members, rest)) = rest.split_at_checked(length) else { return Err(bad_length()) };
        let members: Option<Vec<_>> = members.chunks_exact(8).map(|raw| NodeId::new(le_u64(raw))).collect();
        *bytes = rest;
        Self::new(mode, members.ok_or(MembershipError::ZeroMember)?)
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

    #[test]
    fn reached_is_the_quorums_value() {
        let members = (1..=5).filter_map(NodeId::new).collect();
        let voters = Voters::new(Mode::Raft, members).unwrap();
        let values = [5, 1, 9, 7, 7];
        let reached = |count| voters.reached(count, |node| values[node.get() as usize - 1]);
        assert_eq!([1, 2, 3, 4, 5].map(reached), [Some(9), Some(7), Some(7), Some(5), Some(1)]);
        assert_eq!(reached(6), None);
    }
}
