//! Restarts of pods that run something old: one at a time, followers first, the leader only after it has handed over, and
//! only while everything else in the group is as it should be.

use std::time::Duration;

use super::{
    action::Action,
    leader::Leader,
    memory::Memory,
    observed::{Member, Moment, Observed},
};

/// How long a group must have been sound before the next of its pods is touched.
pub const SETTLED: Duration = Duration::from_secs(3);
/// How many entries behind the leader a follower may be and still count as caught up.
pub const CAUGHT_UP: u64 = 1000;
/// How long a leader has to hand over before it is asked again.
pub const HANDOVER: Duration = Duration::from_secs(15);
/// How long an old pod must have been silent and not ready before it is replaced although the group is not sound: the new
/// version may be what makes it start.
pub const HOPELESS: Duration = Duration::from_secs(30);

/// Every member is there, ready, takes part and keeps up with a leader that serves.
pub fn is_sound(observed: &Observed, leader: Option<Leader<'_>>) -> bool {
    let Some(leader) = leader.filter(|leader| leader.serving && leader.writable) else { return false };
    observed.members.iter().all(|member| {
        let ready = member.pod.as_ref().is_some_and(|pod| pod.ready && !pod.deleting);
        let in_step = member.report.as_ref().is_some_and(|report| {
            report.role.takes_part()
                && report.problem.is_empty()
                && report.persisted_index.saturating_add(CAUGHT_UP) >= leader.last_index
        });
        ready && in_step
    })
}

/// The next step of bringing old pods up to date, if one may be taken now.
pub fn next_step(
    observed: &Observed,
    leader: Option<Leader<'_>>,
    memory: &mut Memory,
    now: Moment,
) -> Option<Action> {
    let outdated = |member: &&Member| member.pod.as_ref().is_some_and(|pod| pod.outdated && !pod.deleting);
    let leads = |member: &&Member| leader.is_some_and(|leader| leader.member == member.name);
    if !is_sound(observed, leader) {
        let anyone_leaving = observed.members.iter().any(|m| m.pod.as_ref().is_none_or(|pod| pod.deleting));
        return observed
            .members
            .iter()
            .filter(outdated)
            .find(|member| {
                !anyone_leaving
                    && !leads(member)
                    && member.pod.as_ref().is_some_and(|pod| !pod.ready)
                    && memory.silent_for(&member.name, now) >= HOPELESS
            })
            .and_then(delete);
    }
    let sound_for = memory.sound_since.map_or(Duration::ZERO, |since| now.since(since));
    if sound_for < SETTLED {
        return None;
    }
    if let Some(follower) = observed.members.iter().filter(outdated).find(|member| !leads(member)) {
        return delete(follower);
    }
    let old_leader = observed.members.iter().find(outdated)?;
    if observed.members.len() == 1 {
        return delete(old_leader);
    }
    if memory.handover.is_some_and(|at| now.since(at) < HANDOVER) {
        return None;
    }
    let heir = observed
        .reports()
        .filter(|(member, _)| !leads(member))
        .max_by_key(|(_, report)| report.persisted_index)
        .map(|(_, report)| report.node)?;
    memory.handover = Some(now);
    Some(Action::StepDown { member: old_leader.name.clone(), to: heir, timeout: Duration::from_secs(5) })
}

fn delete(member: &Member) -> Option<Action> {
    let pod = member.pod.as_ref()?;
    Some(Action::DeletePod { member: member.name.clone(), uid: pod.uid.clone() })
}
