//! Whether this node's word counts in elections: a log that may lack what it once acknowledged proves nothing.
//!
//! A member whose log may have lost acknowledged entries (its machine failed with flush Async, its log was empty or
//! damaged) catches up first. It follows and acknowledges as usual, but its grant counts only together with those of
//! *all* members: then nobody is left who could know more, and the best log that survived wins. So a group whose
//! members all lost power becomes available again, and a single such member overrules nobody.
//!
//! It has caught up once it holds everything that anybody may have committed counting on it:
//! - What older leaders committed, or still can, is before the first batch of the leader it follows now, since that
//!   one was elected by members whose word counted.
//! - What this leader committed counting on a lost copy is not above its commit index at any time after it learned of
//!   the loss; from then on it counts only what was acknowledged since. That it has learned is told by
//!   [`crate::AppendHeader::losses`].
//!
//! So: everything through a commit index that is of the leader's own epoch, told after the leader knew, persisted.

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_planted::{Fault, planted};
use mainstay_record::{LogIndex, NodeId};

use crate::core::Core;
use crate::election::Campaign;
use crate::{Action, AppendHeader};

/// What a node knows about the completeness of its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// How often acknowledged entries may have vanished from this node's log, ever. One more, durably, before a core is
    /// started on such a log; never less.
    pub losses: u64,
    /// Whether everything that may have vanished last is back.
    pub caught_up: bool,
}

impl Default for Standing {
    /// Nothing was ever lost.
    fn default() -> Self {
        Self { losses: 0, caught_up: true }
    }
}

/// Bytes that are no standing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandingError {
    #[error("standing: format version {0} is unknown")]
    UnknownFormat(u8),
    #[error("standing: {0} bytes, expected {LEN}")]
    BadLength(usize),
    #[error("standing: {0} is neither caught up (1) nor catching up (0)")]
    BadFlag(u8),
}

const FORMAT: u8 = 1;
const LEN: usize = 10;

impl Standing {
    /// After one more loss.
    #[must_use]
    pub const fn after_loss(self) -> Self {
        Self { losses: self.losses + 1, caught_up: false }
    }

    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(LEN);
        bytes.put_u8(FORMAT);
        bytes.put_u64_le(self.losses);
        bytes.put_u8(u8::from(self.caught_up));
        bytes.freeze()
    }

    /// # Errors
    /// Bytes that [`Self::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, StandingError> {
        let raw: &[u8; LEN] = bytes.try_into().map_err(|_| StandingError::BadLength(bytes.len()))?;
        if raw[0] != FORMAT {
            return Err(StandingError::UnknownFormat(raw[0]));
        }
        let mut losses = [0; 8];
        losses.copy_from_slice(&raw[1..9]);
        let caught_up = match raw[9] {
            0 => false,
            1 => true,
            other => return Err(StandingError::BadFlag(other)),
        };
        Ok(Self { losses: u64::from_le_bytes(losses), caught_up })
    }
}

impl Core {
    /// Whether the grants of a campaign suffice: enough of members whose word counts, or those of all members.
    pub(crate) fn elected(&self, campaign: &Campaign) -> bool {
        let small = usize::from(planted(Fault::SmallGrantQuorum));
        let granted = |node| node == self.node() || campaign.grants.contains(&node);
        let counted =
            self.membership().in_force().all(|voters| voters.count(granted) + small >= voters.grant_quorum());
        let agreed = |node: &NodeId| granted(*node) || campaign.conditional.contains(node);
        let everybody = self.membership().members().iter().all(agreed);
        (self.standing.caught_up && counted) || everybody
    }

    /// Notes what the leader says it has committed, if it knows what this node lost.
    pub(crate) fn hear_commit(&mut self, header: &AppendHeader) {
        let knows = header.losses == self.standing.losses || planted(Fault::CatchUpEarly);
        if self.standing.caught_up || !knows {
            return;
        }
        if let Some(following) = &mut self.following {
            following.caught_up_at.get_or_insert(header.commit);
        }
    }

    /// On a follower, whenever more of its log is known to be the leader's, or persisted.
    pub(crate) fn follower_catches_up(&mut self, out: &mut Vec<Action>) {
        if self.standing.caught_up {
            return;
        }
        let Some(following) = &mut self.following else { return };
        let Some(at) = following.caught_up_at else { return };
        if at > following.matched().min(self.log.persisted()) {
            return;
        }
        if self.log.entry(at).is_some_and(|entry| entry.epoch == following.epoch) {
            self.caught_up(out);
        } else {
            // The leader had nothing of its own epoch committed yet; a later message tells more.
            following.caught_up_at = None;
        }
    }

    /// A leader that was elected by all members has all that is left, and a batch of its own is committed now.
    pub(crate) fn leader_catches_up(&mut self, first: LogIndex, out: &mut Vec<Action>) {
        if !self.standing.caught_up && self.commit >= first {
            self.caught_up(out);
        }
    }

    fn caught_up(&mut self, out: &mut Vec<Action>) {
        self.standing.caught_up = true;
        out.push(Action::StoreStanding(self.standing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_round_trips_and_damage_is_refused() {
        for standing in [Standing::default(), Standing::default().after_loss()] {
            assert_eq!(Standing::decode(&standing.encode()), Ok(standing));
        }
        let bytes = Standing::default().after_loss().encode();
        assert_eq!(Standing::decode(&bytes[..9]), Err(StandingError::BadLength(9)));
        let damaged = |at: usize| {
            let mut bytes = bytes.to_vec();
            bytes[at] = 7;
            Standing::decode(&bytes)
        };
        assert_eq!(damaged(0), Err(StandingError::UnknownFormat(7)));
        assert_eq!(damaged(9), Err(StandingError::BadFlag(7)));
    }
}
