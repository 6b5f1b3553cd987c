//! How much of the log is kept, as the real driver decides it: the leader has messages trimmed by a command in the log,
//! and each replica removes the segments that neither a message nor a restart needs.

use std::time::Duration;

use mainstay_consensus::{Event, MemberView, Moment};
use mainstay_messaging::{Command, SegmentInfo, Trim, plan};
use mainstay_record::{LogIndex, NodeId};

use super::requests::{OWN, Waiter};
use super::{Broker, Scene};
use crate::plan::Bug;

/// How often it is looked whether something may go.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A peer that was not heard for so long counts as not connected.
const CONNECTED: Duration = Duration::from_millis(1500);
impl Broker {
    pub(super) fn look_after_retention(&mut self, scene: &mut Scene<'_>) {
        if scene.now < self.look_at || self.failed.is_some() || self.disk.is_none() {
            return;
        }
        self.look_at = scene.now.plus(LOOK_AGAIN);
        self.look(scene);
        self.trim(scene);
        self.forget_segments(scene);
        self.note_beginning(scene);
        self.snapshot_when_due(scene);
    }

    /// On a leader: has the messages of old segments forgotten by everybody.
    fn trim(&mut self, scene: &mut Scene<'_>) {
        let policy = &scene.plan.retention;
        let unlimited = policy.max_age_ms.is_none() && policy.max_bytes.is_none();
        let current = self.view.serving && self.caught_up && self.applied >= self.committed;
        let Some(disk) = self.disk.as_ref().filter(|_| !unlimited && current) else { return };
        let segments: Vec<_> = disk.segments().iter().map(segment).collect();
        let unconsumed = match scene.plan.bug {
            Some(Bug::TrimUnconsumed) => None,
            _ => self.state.unconsumed_from(),
        };
        let through = plan(policy, &segments, unconsumed, self.stamp(scene));
        let through = through.map(|through| through.min(self.applied));
        if let Some(through) = through
            && self.state.trims(through)
        {
            let command = Command::Trim(Trim { through });
            self.requests.add(Waiter { request: OWN, command, since: scene.now, poll_until: None, slot: 0 });
        }
    }

    /// Through where no message of the log is needed any more.
    fn unneeded(&self) -> LogIndex {
        self.state.first_needed().map_or(self.applied, LogIndex::prev)
    }

    /// Lets go of whole segments that neither a message nor a restart needs, nor a follower that is at them now.
    pub(super) fn forget_segments(&mut self, scene: &mut Scene<'_>) {
        let covered = match scene.plan.bug {
            Some(Bug::ForgetUncovered) => Some(self.applied),
            _ => self.snapshots.covers(),
        };
        let Some(covered) = covered.filter(|_| self.taking.is_none() && self.gifts.is_empty()) else {
            return;
        };
        // The core refuses a beginning behind what it knows to be committed.
        let through = covered.min(self.unneeded()).min(self.followed_from(scene.now)).min(self.committed);
        if let Some(disk) = self.disk.as_mut().filter(|disk| through >= disk.first()) {
            disk.forget(through);
        }
    }

    /// Through where every follower that is connected has the log.
    fn followed_from(&self, now: Moment) -> LogIndex {
        let base = self.entries.base();
        let within_reach = |member: &&MemberView| member.matched >= base && self.is_connected(member.id, now);
        let followers = self.view.members.iter().filter(within_reach);
        followers.map(|member| member.matched).min().unwrap_or(self.applied)
    }

    fn is_connected(&self, peer: NodeId, now: Moment) -> bool {
        self.heard.get(&peer).is_some_and(|at| at.plus(CONNECTED) > now)
    }

    /// Tells the core when the log's beginning has gone.
    fn note_beginning(&mut self, scene: &mut Scene<'_>) {
        let base = self.disk.as_ref().map(|disk| disk.base().last);
        let Some(base) = base.filter(|base| base.index > self.view.base.index) else { return };
        if self.taking.is_none() {
            self.step(Event::Compacted { base }, scene);
            self.look(scene);
        }
    }

    /// Whether a whole segment could go if only the snapshots were newer.
    pub(super) fn waits_for_snapshot(&self) -> bool {
        let (covered, unneeded) = (self.snapshots.covers(), self.unneeded());
        let segments = self.disk.as_ref().map(super::disk::Disk::segments).unwrap_or_default();
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
