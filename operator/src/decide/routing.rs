//! Labels that make the group's Service follow the leader. Routing only, never safety: a follower that gets a request
//! forwards it.
//!
//! A pod is born routable. While a leader serves only its pod stays so; as soon as there is none every pod is routable
//! again, so that clients reach somebody who holds their request until there is one, with the operator or without it.

use super::{
    action::{Action, FOLLOWER, LEADER},
    leader::Leadership,
    observed::Observed,
};

/// Label changes that are due, those that open a way before those that close one.
pub fn labels(observed: &Observed, leadership: Leadership<'_>) -> Vec<Action> {
    let serving = leadership.healthy().filter(|leader| leader.serving);
    if serving.is_none() && matches!(leadership, Leadership::Healthy(_) | Leadership::Hearsay) {
        return Vec::new();
    }
    let mut changes = Vec::new();
    for member in &observed.members {
        let Some(pod) = &member.pod else { continue };
        let leads = serving.map(|leader| leader.member == member.name);
        let role = leads.map(|leads| if leads { LEADER } else { FOLLOWER });
        let routable = leads.unwrap_or(true);
        let role_differs = role.is_some() && role != pod.role_label.as_deref();
        if role_differs || routable != pod.routable {
            changes.push((
                !routable,
                Action::Label { member: member.name.clone(), uid: pod.uid.clone(), role, routable },
            ));
        }
    }
    changes.sort_by_key(|(closes, _)| *closes);
    changes.into_iter().map(|(_, change)| change).collect()
}
