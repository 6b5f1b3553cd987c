//! Is a message stored as often as it was sent? A request that is repeated with the same message id stores nothing new as
//! long as the broker remembers it. Where it does not, or the library makes a new id, one request stores at most one copy;
//! and where a library does not tell how often it sent a request, its limit counts. Deliveries of one copy are no
//! duplicates but attempts, which have their own rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::group_key;
use crate::Options;
use crate::history::{Kind, Position, Send};
use crate::report::{Report, Violation};
use crate::view::TopicView;

/// Requests for one send by a client library that does not tell how many it made.
const MOST_TRIES: u32 = 3;
/// A send that took no longer is within what the broker remembers, whoever led meanwhile.
const REMEMBERED: Duration = Duration::from_secs(50);

/// Where a send was delivered, and under which message ids.
#[derive(Default)]
struct Copies<'a> {
    positions: BTreeSet<&'a Position>,
    message_ids: BTreeSet<&'a str>,
}

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    for (name, group) in &view.groups {
        let mut sends: BTreeMap<&str, Copies<'_>> = BTreeMap::new();
        for delivered in &group.deliveries {
            if let Some(id) = delivered.delivery.id.as_deref() {
                let copies = sends.entry(id).or_default();
                copies.positions.insert(&delivered.delivery.position);
                copies.message_ids.insert(&delivered.delivery.message_id);
            }
        }
        let mut duplicates = 0;
        for (id, copies) in sends {
            let count = copies.positions.len();
            duplicates += count as u64 - 1;
            let Some(sent) = view.sends.get(id) else { continue };
            let allowed = allowed(id, sent.send, &copies, options);
            if count > allowed as usize && !told_by_some_only(&copies.positions) {
                report.violations.push(Violation::Duplicate {
                    group: (*name).to_owned(),
                    id: id.to_owned(),
                    positions: copies.positions.into_iter().cloned().collect(),
                    allowed,
                });
            }
        }
        report.groups.entry(group_key(view, name)).or_default().duplicates = duplicates;
    }
}

/// How many copies there may be.
fn allowed(id: &str, send: &Send, copies: &Copies<'_>, options: &Options) -> u32 {
    let by_tries = send.tries.unwrap_or(MOST_TRIES).max(1);
    let [message_id] = copies.message_ids.iter().copied().collect::<Vec<_>>()[..] else { return by_tries };
    let took = send.call.completed.map_or(Duration::ZERO, |completed| completed.since(send.call.invoked));
    let moved_again =
        matches!(send.kind, Kind::Delay { .. } | Kind::Transaction) && !options.keeps_progress();
    if moved_again {
        // What put it into its queue may be cut off and done again, any number of times.
        return u32::MAX;
    }
    if options.stored_once && took < REMEMBERED && !options.is_quarantined(id, Some(message_id)) {
        1
    } else {
        by_tries
    }
}

/// Consumers of one group that name queues and others that do not: the same copy may appear as two.
fn told_by_some_only(positions: &BTreeSet<&Position>) -> bool {
    let told = positions.iter().filter(|position| position.queue.is_some()).count();
    told > 0 && told < positions.len()
}
