//! Does the most urgent message come first? A receive brings none while one of a higher priority waits. It waited when its
//! send was acknowledged before the receive began, and a receive that began after this one had ended brought it, for the
//! first time. Messages of different brokers, and those whose broker is not told, are not compared.

use std::collections::BTreeMap;

use crate::history::{Kind, Moment};
use crate::report::{Report, Violation};
use crate::view::{GroupView, TopicView};

/// The first attempt of a message with a priority.
struct First<'a> {
    id: &'a str,
    priority: u32,
    /// From when on it waited at the latest, where that is known.
    waits: Option<Moment>,
    /// The receive that brought it began here.
    asked: Moment,
    came: Moment,
}

pub(super) fn check(view: &TopicView<'_>, report: &mut Report) {
    for (name, group) in &view.groups {
        for firsts in first_attempts(view, group).into_values() {
            report.violations.extend(judge(name, firsts));
        }
    }
}

/// By broker and clock.
fn first_attempts<'a>(
    view: &TopicView<'a>,
    group: &GroupView<'a>,
) -> BTreeMap<(&'a str, &'a str), Vec<First<'a>>> {
    let mut brokers: BTreeMap<(&str, &str), Vec<First<'_>>> = BTreeMap::new();
    for copy in group.copies() {
        let Some(sent) = view.sends.get(copy.id) else { continue };
        let Kind::Priority { priority } = sent.send.kind else { continue };
        let Some(first) = copy.deliveries.first().filter(|first| first.delivery.attempt == 1) else {
            continue;
        };
        let Some((broker, _)) = copy.position.queue.as_deref().and_then(|queue| queue.rsplit_once('/'))
        else {
            continue;
        };
        let (Some(receive), true) = (first.receive, sent.clock == first.clock) else { continue };
        let acknowledged = sent.send.outcome.ok().and(sent.send.call.completed);
        let (asked, came) = (receive.invoked, first.delivery.at);
        let first = First { id: copy.id, priority, waits: acknowledged, asked, came };
        brokers.entry((broker, sent.clock)).or_default().push(first);
    }
    brokers
}

/// Goes through the receives as they began, and knows of each priority which of the messages that had been acknowledged
/// by then was asked for last.
fn judge(name: &str, mut firsts: Vec<First<'_>>) -> Vec<Violation> {
    let mut waiting: Vec<(Moment, u32, Moment, &str)> = firsts
        .iter()
        .filter_map(|first| Some((first.waits?, first.priority, first.asked, first.id)))
        .collect();
    waiting.sort_unstable();
    let mut waiting = waiting.into_iter().peekable();
    firsts.sort_unstable_by_key(|first| first.asked);
    let mut last: BTreeMap<u32, (Moment, &str)> = BTreeMap::new();
    let mut found = Vec::new();
    for first in &firsts {
        while let Some((_, priority, asked, id)) = waiting.next_if(|(since, ..)| *since < first.asked) {
            let latest = last.entry(priority).or_insert((asked, id));
            *latest = (*latest).max((asked, id));
        }
        let urgent = last.range(first.priority + 1..).find(|(_, (asked, _))| *asked > first.came);
        found.extend(urgent.map(|(_, (_, urgent))| Violation::LessUrgentFirst {
            group: name.to_owned(),
            id: first.id.to_owned(),
            urgent: (*urgent).to_owned(),
        }));
    }
    found
}
