//! Does a delayed message come at its time? Never before it, and never when it was taken back. How late messages came is
//! counted, not judged: a group may have had nobody who asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::group_key;
use crate::Options;
use crate::history::{Kind, Moment};
use crate::report::{Report, Violation};
use crate::view::TopicView;

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    for (name, group) in &view.groups {
        let mut first: BTreeMap<&str, Duration> = BTreeMap::new();
        for delivered in &group.deliveries {
            let Some((id, sent)) =
                delivered.delivery.id.as_deref().and_then(|id| view.sends.get_key_value(id))
            else {
                continue;
            };
            let Kind::Delay { deliver_at } = sent.send.kind else { continue };
            let came = delivered.delivery.at;
            if sent.clock == delivered.clock {
                let late = came.since(deliver_at);
                first.entry(id).and_modify(|before| *before = (*before).min(late)).or_insert(late);
                report.violations.extend(early(name, id, deliver_at, came, options));
            }
        }
        report.violations.extend(first.keys().filter_map(|id| taken_back(view, name, id, options)));
        let mut late: Vec<Duration> = first.into_values().collect();
        late.sort_unstable();
        report.groups.entry(group_key(view, name)).or_default().lateness = late;
    }
}

fn early(name: &str, id: &str, due: Moment, came: Moment, options: &Options) -> Option<Violation> {
    let early = due.since(came);
    (early > options.delay_tolerance).then(|| Violation::BeforeItsTime {
        group: name.to_owned(),
        id: id.to_owned(),
        early,
    })
}

/// A recall that was confirmed may be cut off with the tail.
fn taken_back(view: &TopicView<'_>, name: &str, id: &str, options: &Options) -> Option<Violation> {
    let mut recalls = view.recalls.get(id)?.iter();
    let recalled = options.keeps_progress() && recalls.any(|recall| recall.outcome.ok().is_some());
    recalled.then(|| Violation::RecalledDelivered { group: name.to_owned(), id: id.to_owned() })
}
