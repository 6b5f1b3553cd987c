//! Is a place in a queue one message for ever, and do places follow the order of sending? A place never shows two
//! messages; a receipt names a place where the message is; what is sent after an acknowledgement comes behind it in the
//! same queue; a group that has found nothing more has seen every place, and never goes back to an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use crate::Options;
use crate::history::{Kind, Moment, Position};
use crate::report::{Report, Violation};
use crate::view::{GroupView, Sent, TopicView};

/// Where each message was seen, by all groups together, and with which message id.
type Places<'a> = BTreeMap<&'a str, BTreeMap<&'a Position, &'a str>>;

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    let places = one_message_each(view, options, report);
    if !view.is_of_dead_letters {
        receipts(view, &places, options, report);
        order(view, &places, options, report);
    }
    if options.keeps_progress() {
        view.groups.iter().for_each(|(name, group)| steps_forward(view, name, group, report));
    }
    if options.keeps_progress() && !is_any_expired(view, options) {
        gaps(view, &places, report);
    }
}

/// Where retention has taken messages before a group had them, their places are what it has not seen.
fn is_any_expired(view: &TopicView<'_>, options: &Options) -> bool {
    view.sends.values().any(|sent| options.may_be_expired(sent.send))
}

fn one_message_each<'a>(view: &'a TopicView<'_>, options: &Options, report: &mut Report) -> Places<'a> {
    let mut places: Places<'a> = BTreeMap::new();
    let mut holders: BTreeMap<&Position, (&str, &str)> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for delivered in view.groups.values().flat_map(|group| &group.deliveries) {
        let delivery = delivered.delivery;
        let Some(id) = delivery.id.as_deref() else { continue };
        places.entry(id).or_default().insert(&delivery.position, &delivery.message_id);
        if delivery.position.queue.is_none() {
            continue;
        }
        let holder = holders.entry(&delivery.position).or_insert((id, &delivery.message_id));
        let excused = options.is_quarantined(id, Some(&delivery.message_id))
            || options.is_quarantined(holder.0, Some(holder.1))
            || (!options.keeps_progress() && (is_moved(view, id) || is_moved(view, holder.0)));
        if holder.0 != id && !excused && told.insert((&delivery.position, id)) {
            report.violations.push(Violation::PositionShared {
                position: delivery.position.clone(),
                first: holder.0.to_owned(),
                second: id.to_owned(),
            });
        }
    }
    places
}

/// Whether something else than its send puts the message into its queue: that may be cut off without the message.
fn is_moved(view: &TopicView<'_>, id: &str) -> bool {
    let kind = view.sends.get(id).map(|sent| &sent.send.kind);
    view.is_of_dead_letters || matches!(kind, Some(Kind::Delay { .. } | Kind::Transaction))
}

/// What was cut off may have been stored before by another request for the same send, at another place.
fn receipts(view: &TopicView<'_>, places: &Places<'_>, options: &Options, report: &mut Report) {
    for (id, sent) in &view.sends {
        let Some(receipt) = sent.send.outcome.ok() else { continue };
        let Some(offset) = receipt.offset else { continue };
        if options.is_quarantined(id, Some(&receipt.message_id)) {
            continue;
        }
        let Some(delivered) = places.get(id) else { continue };
        if delivered.keys().all(|position| position.offset != offset) {
            report.violations.push(Violation::ReceiptElsewhere {
                id: (*id).to_owned(),
                offset,
                delivered: delivered.keys().map(|position| (*position).clone()).collect(),
            });
        }
    }
}

/// A message in a queue, as the order of sending sees it.
struct Placed<'a> {
    id: &'a str,
    message_id: &'a str,
    sent: Sent<'a>,
    offset: u64,
}

fn order(view: &TopicView<'_>, places: &Places<'_>, options: &Options, report: &mut Report) {
    let mut queues: BTreeMap<(&str, &str), Vec<Placed<'_>>> = BTreeMap::new();
    for (id, positions) in places {
        let Some(sent) = view.sends.get(id) else { continue };
        for (position, message_id) in positions {
            let Some(queue) = position.queue.as_deref() else { continue };
            let placed = Placed { id, message_id, sent: *sent, offset: position.offset };
            queues.entry((queue, sent.clock)).or_default().push(placed);
        }
    }
    for ((queue, _), placed) in queues {
        order_in_queue(queue, placed, options, report);
    }
}

/// Goes through the sends by the time they began, and remembers the highest place acknowledged before.
fn order_in_queue(queue: &str, mut placed: Vec<Placed<'_>>, options: &Options, report: &mut Report) {
    let mut acknowledged: Vec<(Moment, u64, &str)> =
        placed.iter().filter_map(|placed| acknowledged_here(placed, options)).collect();
    acknowledged.sort_unstable();
    let mut acknowledged = acknowledged.into_iter().peekable();
    placed.sort_by_key(|placed| placed.sent.send.call.invoked);
    let mut highest: Option<(u64, &str)> = None;
    for later in &placed {
        while let Some((_, offset, id)) =
            acknowledged.next_if(|(completed, ..)| *completed < later.sent.send.call.invoked)
        {
            highest = highest.max(Some((offset, id)));
        }
        if options.is_quarantined(later.id, Some(later.message_id)) {
            // Where it was before it was cut off says nothing about what took its place.
            continue;
        }
        if let Some((earlier_offset, earlier)) = highest
            && later.offset < earlier_offset
        {
            report.violations.push(Violation::OffsetBackwards {
                queue: queue.to_owned(),
                earlier: earlier.to_owned(),
                earlier_offset,
                later: later.id.to_owned(),
                later_offset: later.offset,
            });
        }
    }
}

/// The moment from which on everything sent must come behind this message.
fn acknowledged_here<'a>(placed: &Placed<'a>, options: &Options) -> Option<(Moment, u64, &'a str)> {
    let receipt = placed.sent.send.outcome.ok()?;
    let completed = placed.sent.send.call.completed?;
    let here = receipt.offset == Some(placed.offset);
    let kept = !options.is_quarantined(placed.id, Some(&receipt.message_id));
    (here && kept).then_some((completed, placed.offset, placed.id))
}

fn gaps(view: &TopicView<'_>, places: &Places<'_>, report: &mut Report) {
    let mut used: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for position in places.values().flat_map(BTreeMap::keys) {
        if let Some(queue) = position.queue.as_deref() {
            used.entry(queue).or_default().insert(position.offset);
        }
    }
    for (name, group) in &view.groups {
        let whole = group.filters.iter().all(|filter| **filter == crate::Filter::All);
        if group.drained.is_none() || !whole {
            continue;
        }
        let mut unseen_graves = unseen_graves(group);
        let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for delivered in &group.deliveries {
            let position = &delivered.delivery.position;
            if let Some(queue) = position.queue.as_deref() {
                seen.entry(queue).or_default().insert(position.offset);
            }
        }
        for (queue, used) in &used {
            let (Some(first), Some(last)) = (used.first(), used.last()) else { continue };
            let nothing = BTreeSet::new();
            for offsets in holes(seen.get(queue).unwrap_or(&nothing), *first, *last) {
                let missing = offsets.end() - offsets.start() + 1;
                if missing <= unseen_graves {
                    unseen_graves -= missing;
                    continue;
                }
                report.violations.push(Violation::Gap {
                    group: (*name).to_owned(),
                    queue: (*queue).to_owned(),
                    offsets,
                });
            }
        }
    }
}

/// Dead letters of which nobody saw an attempt: their places are where nothing was received.
fn unseen_graves(group: &GroupView<'_>) -> u64 {
    let Some(graves) = &group.graves else { return 0 };
    let seen: BTreeSet<&str> = group.deliveries.iter().filter_map(|d| d.delivery.id.as_deref()).collect();
    graves.letters.keys().filter(|id| !seen.contains(*id)).count() as u64
}

/// When it was asked for, when it came, and where it is in its queue.
type FirstAttempt = (Moment, Moment, u64);

/// A group whose consumers all ask for the same gets first attempts from each queue in the order of their places, unless
/// messages wait for others of their message groups.
fn steps_forward(view: &TopicView<'_>, name: &str, group: &GroupView<'_>, report: &mut Report) {
    let same = group.filters.windows(2).all(|pair| pair[0] == pair[1]);
    let in_groups = |sent: &Sent<'_>| matches!(sent.send.kind, Kind::Fifo { .. });
    if group.is_ordered || !same || view.sends.values().any(in_groups) {
        return;
    }
    let mut queues: BTreeMap<(&str, &str), Vec<FirstAttempt>> = BTreeMap::new();
    for copy in group.copies() {
        // What came before is for other rules to judge.
        let first = copy.deliveries.iter().min_by_key(|delivered| delivered.delivery.at);
        let Some(first) = first.filter(|first| first.delivery.attempt == 1) else { continue };
        if let (Some(queue), Some(call)) = (copy.position.queue.as_deref(), first.receive) {
            let step = (call.invoked, first.delivery.at, copy.position.offset);
            queues.entry((queue, first.clock)).or_default().push(step);
        }
    }
    for ((queue, _), mut steps) in queues {
        steps.sort_unstable();
        let mut arrived: Vec<(Moment, u64)> = steps.iter().map(|(_, at, offset)| (*at, *offset)).collect();
        arrived.sort_unstable();
        let mut arrived = arrived.into_iter().peekable();
        let mut highest = None;
        for (invoked, _, offset) in steps {
            while let Some((_, before)) = arrived.next_if(|(at, _)| *at < invoked) {
                highest = highest.max(Some(before));
            }
            if let Some(before) = highest.filter(|before| offset < *before) {
                report.violations.push(Violation::StepBack {
                    group: name.to_owned(),
                    queue: queue.to_owned(),
                    before,
                    offset,
                });
            }
        }
    }
}

fn holes(seen: &BTreeSet<u64>, first: u64, last: u64) -> Vec<std::ops::RangeInclusive<u64>> {
    let mut holes = Vec::new();
    let mut next = first;
    for &offset in seen.range(first..=last) {
        if offset > next {
            holes.push(next..=offset - 1);
        }
        next = offset + 1;
    }
    if next <= last {
        holes.push(next..=last);
    }
    holes
}
