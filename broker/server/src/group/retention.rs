//! How much of the log is kept. The leader decides which messages go, by a command in the log; each replica then removes
//! what its own messages and snapshots no longer need.

use std::time::{Duration, Instant};

use mainstay_consensus::{Event, MemberView};
use mainstay_messaging::{Command, Retention, SegmentInfo, Trim, plan};
use mainstay_planted::{Fault, planted};
use mainstay_record::LogIndex;

use super::driver::Driver;

/// How often it is looked whether something may go.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What may go, and when it is looked at next.
#[derive(Debug)]
pub(super) struct Keeping {
    policy: Retention,
    look_at: Instant,
}

impl Keeping {
    pub(super) fn new(policy: Retention, now: Instant) -> Self {
        Self { policy, look_at: now }
    }
}

impl Driver {
    pub(super) fn look_after_retention(&mut self, now: Instant) {
        if now < self.keeping.look_at || self.failed.is_some() {
            return;
        }
        self.keeping.look_at = now + LOOK_AGAIN;
        // As the followers are now.
        self.look();
        self.trim(now);
        self.forget();
        self.go_on_without_space(now);
        self.note_beginning(now);
        self.snapshot_when_due(now);
    }

    /// On a leader: has the messages of old segments forgotten by everybody.
    fn trim(&mut self, now: Instant) {
        let policy = &self.keeping.policy;
        let unlimited = policy.max_age_ms.is_none() && policy.max_bytes.is_none();
        if unlimited || !self.view.serving || !self.caught_up || self.applied < self.committed {
            return;
        }
        let segments: Vec<_> = self.log.segments().iter().map(segment).collect();
        let through = plan(policy, &segments, self.state.unconsumed_from(), self.stamp());
        // What is not applied yet has not been looked at.
        let through = through.map(|through| through.min(self.applied));
        if let Some(through) = through
            && self.state.trims(through)
        {
            self.proposals.add_own(vec![Command::Trim(Trim { through })], now);
        }
    }

    /// Through where no message of the log is needed any more.
    fn unneeded(&self) -> LogIndex {
        self.state.first_needed().map_or(self.applied, LogIndex::prev)
    }

    /// Lets go of whole segments that neither a message nor a restart needs, nor a follower that is at them now. One that
    /// is further behind is refilled.
    pub(super) fn forget(&self) {
        let covered =
            if planted(Fault::ForgetUncovered) { Some(self.applied) } else { self.snapshots.covers() };
        let Some(covered) = covered else { return };
        if self.taking.is_some() || (!self.gifts.is_idle() && !self.short_of_space) {
            return;
        }
        // The core refuses a beginning behind what it knows to be committed, and would never ask for a refill then.
        let through = covered.min(self.unneeded()).min(self.followed_from()).min(self.committed);
        if through >= self.log.first() {
            self.log.forget(through);
        }
    }

    /// The log goes when two snapshots stand for it. On a full disk that nobody receives from, nothing would come into the
    /// log after the first of them, and the second would be of the same: so something does.
    fn go_on_without_space(&mut self, now: Instant) {
        let quiet = self.applied == self.committed && self.proposals.is_empty();
        let stuck = self.short_of_space && quiet && self.snapshots.newest() == Some(self.applied);
        if stuck && self.view.serving && self.caught_up && self.waits_for_snapshot() {
            let through = self.unneeded();
            self.proposals.add_own(vec![Command::Trim(Trim { through })], now);
        }
    }

    /// Through where every follower that is connected has the log.
    fn followed_from(&self) -> LogIndex {
        if self.short_of_space {
            return self.applied;
        }
        let base = self.log.first().prev();
        let within_reach =
            |member: &&MemberView| member.matched >= base && self.outbox.is_connected(member.id);
        let followers = self.view.members.iter().filter(within_reach);
        followers.map(|member| member.matched).min().unwrap_or(self.applied)
    }

    /// Tells the core when the log's beginning has gone.
    fn note_beginning(&mut self, now: Instant) {
        let base = self.log.first().prev();
        if self.taking.is_some() || base <= self.view.base.index {
            return;
        }
        if let Ok(base) = self.log.base_at(base) {
            self.step(Event::Compacted { base: base.last }, now);
            self.look();
        }
    }

    /// Whether a whole segment could go if only the snapshots were newer.
    pub(super) fn waits_for_snapshot(&self) -> bool {
        let (covered, unneeded) = (self.snapshots.covers(), self.unneeded());
        let segments = self.log.segments();
        // The newest stays in any case.
        let older = segments.len().saturating_sub(1);
        segments[..older]
            .iter()
            .any(|segment| segment.last <= unneeded && covered.is_none_or(|covered| segment.last > covered))
    }
}

fn segment(segment: &mainstay_storage::SegmentInfo) -> SegmentInfo {
    let mainstay_storage::SegmentInfo { first, last, file_bytes, newest, .. } = *segment;
    SegmentInfo { first, last, bytes: file_bytes, newest }
}
