//! Leases: the promise a follower gives, and what a leader may conclude from the promises it was given.
//!
//! A follower that accepts a message of its leader promises to help no other leader for `Timing::lease`, counted from
//! when it received the message. The leader relies on 9/10 of that, counted from before it sent the message, and needs
//! the promise of so many members that every set which can start another leader contains one of them.

use std::time::Duration;

use mainstay_planted::{Fault, planted};
use mainstay_record::Epoch;

use crate::leader::Reign;
use crate::portrait::Portrait;
use crate::replication::Progress;
use crate::voters::Voters;
use crate::{Mode, Moment, core::Core, core::State};

/// What this node promised to the leader of `to`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    to: Epoch,
    until: Moment,
}

impl Promise {
    /// A restarted node does not know what it promised, only that it was to the leader of no newer epoch than it had
    /// granted; so it keeps that for a whole lease.
    pub(crate) fn after_restart(granted: Epoch, until: Moment) -> Self {
        Self { to: granted, until }
    }

    /// Never shortens what was promised before.
    pub(crate) fn extend(&mut self, to: Epoch, until: Moment) {
        *self = Self { to, until: self.until.max(until) };
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { to, until } = *self;
        if portrait.until(until).is_ahead(until) {
            portrait.epoch(to);
        }
    }

    pub(crate) const fn until(&self) -> Moment {
        self.until
    }

    /// Whether it forbids to help another leader. A leader that released its lease needs the promise no longer.
    pub(crate) fn blocks(&self, released: Option<Epoch>, now: Moment) -> bool {
        now < self.until && released != Some(self.to)
    }
}

/// Marks a message with the moment it was made, so that the answer tells from when the promise counts. Never zero,
/// which asks for no promise.
pub(crate) fn round_at(now: Moment) -> u64 {
    u64::try_from(now.0.as_micros()).unwrap_or(u64::MAX - 1).saturating_add(1)
}

/// The moment a round was made at, rounded down; `None` when no promise was asked for.
pub(crate) fn round_start(round: u64) -> Option<Moment> {
    round.checked_sub(1).map(|micros| Moment(Duration::from_micros(micros)))
}

impl Core {
    /// Until when no other leader can have been started; [`Moment::NEVER`] where the own consent suffices.
    pub(crate) fn lease_end(&self, reign: &Reign) -> Moment {
        if reign.released() && !planted(Fault::ServeAfterRelease) {
            return Moment::default();
        }
        let promised = |node| match reign.peer(node) {
            _ if node == self.node() => Some(Moment::NEVER),
            Some(peer) => peer.promised_from,
            None => None,
        };
        let reached = |voters: &Voters| voters.reached(voters.lease_quorum(), promised).flatten();
        let by_members = self.membership().in_force().map(reached).min().flatten();
        let by_members =
            by_members.map_or(Moment::default(), |from| from.plus(self.config.timing.relied_lease()));
        // The operator forces nobody, but who has removed itself can be succeeded without force, too.
        let stays = self.membership().wanted().contains(self.node());
        if stays { by_members.max(reign.operator_lease) } else { by_members }
    }

    /// Whether this node may serve now: it leads, knows everything that was ever committed, and holds its lease. Cheap
    /// enough to ask before every delivery.
    pub fn serving(&self, now: Moment) -> bool {
        match &self.state {
            State::Leader(reign) => {
                let leased = now < self.lease_end(reign) || planted(Fault::ServeAfterLease);
                self.commit >= reign.first && leased
            }
            State::Follower | State::Candidate(_) => false,
        }
    }

    /// Whether so many were heard within a lease, this leader included, that what is proposed can be committed.
    pub(crate) fn writers_heard(&self, reign: &Reign, now: Moment) -> bool {
        self.heard_from(reign, |voters| self.membership().writers(voters), now)
    }

    fn heard_from(&self, reign: &Reign, needed: impl Fn(&Voters) -> usize, now: Moment) -> bool {
        let lately =
            |peer: &Progress| peer.heard_at.is_some_and(|heard| now < heard.plus(self.config.timing.lease));
        let heard = |node| node == self.node() || reign.peer(node).is_some_and(lately);
        self.membership().in_force().all(|voters| voters.count(heard) >= needed(voters))
    }

    /// Whether a leader has lost touch with those whose promise it would need.
    pub(crate) fn cut_off(&self, reign: &Reign, now: Moment) -> bool {
        now >= reign.since.plus(self.config.timing.lease)
            && !self.heard_from(reign, Voters::lease_quorum, now)
    }

    /// Async only: the operator's promise stands in for those of the members.
    pub(crate) fn takes_operator_lease(&self) -> bool {
        self.membership().mode() == Mode::Async
    }
}

#[cfg(test)]
mod tests {
    use mainstay_record::NodeId;

    use super::*;

    #[test]
    fn a_round_never_starts_later_than_it_was_made() {
        for nanos in [0, 1, 999, 1000, 1_234_567] {
            let now = Moment(Duration::from_nanos(nanos));
            let start = round_start(round_at(now)).unwrap();
            assert!(start <= now && now.since(start) < Duration::from_micros(1));
        }
        assert_eq!(round_start(0), None);
    }

    #[test]
    fn a_promise_blocks_all_but_the_released_epoch() {
        let epoch = |number| Epoch::new(number, NodeId::new(1).unwrap());
        let at = |millis| Moment(Duration::from_millis(millis));
        let mut promise = Promise::after_restart(epoch(3), at(100));
        assert!(promise.blocks(None, at(99)) && promise.blocks(Some(epoch(2)), at(99)));
        assert!(!promise.blocks(Some(epoch(3)), at(99)) && !promise.blocks(None, at(100)));
        promise.extend(epoch(4), at(50));
        assert!(promise.blocks(Some(epoch(3)), at(99)), "extending must not shorten");
    }
}
