//! Is a message stored as often as it was sent? One request stores at most one copy. A client library repeats a request
//! whose answer it did not get, so where it does not tell how often, its limit counts. Deliveries of one copy are no
//! duplicates but attempts, which have their own rules.

use std::collections::{BTreeMap, BTreeSet};

use super::group_key;
use crate::history::Position;
use crate::report::{Report, Violation};
use crate::view::TopicView;

/// Requests for one send by a client library that does not tell how many it made.
const MOST_TRIES: u32 = 3;

pub(super) fn check(view: &TopicView<'_>, report: &mut Report) {
    for (name, group) in &view.groups {
        let mut copies: BTreeMap<&str, BTreeSet<&Position>> = BTreeMap::new();
        for delivered in &group.deliveries {
            if let Some(id) = delivered.delivery.id.as_deref() {
                copies.entry(id).or_default().insert(&delivered.delivery.position);
            }
        }
        let mut duplicates = 0;
        for (id, positions) in copies {
            duplicates += positions.len() as u64 - 1;
            let Some(sent) = view.sends.get(id) else { continue };
            let tries = sent.send.tries.unwrap_or(MOST_TRIES);
            if positions.len() > tries.max(1) as usize && !told_by_some_only(&positions) {
                report.violations.push(Violation::Duplicate {
                    group: (*name).to_owned(),
                    id: id.to_owned(),
                    positions: positions.into_iter().cloned().collect(),
                    tries,
                });
            }
        }
        report.groups.entry(group_key(view, name)).or_default().duplicates = duplicates;
    }
}

/// Consumers of one group that name queues and others that do not: the same copy may appear as two.
fn told_by_some_only(positions: &BTreeSet<&Position>) -> bool {
    let told = positions.iter().filter(|position| position.queue.is_some()).count();
    told > 0 && told < positions.len()
}
