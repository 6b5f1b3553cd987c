//! Do message groups come in order? A consumer group that asks for order gets a message only when all earlier ones of its
//! message group are settled, or come with it in one receive. So one consumer holds a message group at a time, and what
//! comes again comes in order.
//!
//! A message is settled at the earliest when a consumer began to acknowledge it, or when it can have become a dead letter.

use std::collections::{BTreeMap, BTreeSet};

use super::dead_letters;
use crate::Options;
use crate::history::{Kind, Moment};
use crate::report::{Report, Violation};
use crate::view::{Copy, Delivered, GroupView, TopicView};

/// A call that brought messages: of which history, and which there.
type Batch = Option<(usize, usize)>;

/// The deliveries, by id and call, that may repeat an attempt.
pub(super) type Followers<'a> = BTreeSet<(&'a str, Batch)>;

/// Deliveries of messages that do not stand at the head of their message group in their receive, or of which that cannot
/// be known: the head may be unreadable, or may have become a dead letter just then.
pub(super) fn followers<'a>(view: &TopicView<'a>, group: &GroupView<'a>) -> Followers<'a> {
    let mut heads: BTreeMap<(&str, Batch), u64> = BTreeMap::new();
    let mut buried: BTreeMap<&str, u64> = BTreeMap::new();
    let in_groups = || {
        group.deliveries.iter().filter_map(|delivered| {
            let id = delivered.delivery.id.as_deref()?;
            Some((id, message_group(view, id)?, delivered))
        })
    };
    for (id, lane, delivered) in in_groups() {
        let offset = delivered.delivery.position.offset;
        let head = heads.entry((lane, delivered.batch)).or_insert(offset);
        *head = (*head).min(offset);
        if group.is_buried(id) {
            let lowest = buried.entry(lane).or_insert(offset);
            *lowest = (*lowest).min(offset);
        }
    }
    let unseen = group.graves.iter().flat_map(|graves| graves.letters.keys());
    let seen: BTreeSet<&str> = in_groups().map(|(id, ..)| id).collect();
    for lane in unseen.filter(|id| !seen.contains(*id)).filter_map(|id| message_group(view, id)) {
        buried.insert(lane, 0);
    }
    let follows = |(id, lane, delivered): (&'a str, &str, &Delivered<'a>)| {
        let offset = delivered.delivery.position.offset;
        let behind_head = heads.get(&(lane, delivered.batch)).is_some_and(|head| *head < offset);
        let behind_grave = buried.get(lane).is_some_and(|grave| *grave < offset);
        (behind_head || behind_grave || !delivered.is_whole).then_some((id, delivered.batch))
    };
    in_groups().filter_map(follows).collect()
}

fn message_group<'a>(view: &TopicView<'a>, id: &str) -> Option<&'a str> {
    match &view.sends.get(id)?.send.kind {
        Kind::Fifo { message_group } => Some(message_group),
        _ => None,
    }
}

/// A message group, in order of places.
#[derive(Default)]
struct Lane<'a> {
    queues: BTreeSet<&'a str>,
    messages: BTreeMap<u64, &'a str>,
}

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    if !options.keeps_progress() {
        return;
    }
    let lanes = lanes(view);
    for (name, lane) in &lanes {
        if lane.queues.len() > 1 {
            report.violations.push(Violation::GroupSplit {
                message_group: (*name).to_owned(),
                queues: lane.queues.iter().map(|queue| (*queue).to_owned()).collect(),
            });
        }
    }
    for (name, group) in view.groups.iter().filter(|(_, group)| group.is_ordered) {
        let mut copies: BTreeMap<(&str, u64), Copy<'_>> = BTreeMap::new();
        for copy in group.copies() {
            copies.insert((copy.id, copy.position.offset), copy);
        }
        for (lane_name, lane) in lanes.iter().filter(|(_, lane)| lane.queues.len() <= 1) {
            let judge = Judge { view, name, group, options, lane: lane_name };
            let messages =
                lane.messages.iter().map(|(offset, id)| judge.message(id, copies.get(&(*id, *offset))));
            let messages: Vec<Message<'_, '_>> = messages.collect();
            let found = judge.overtaken(&messages);
            // Who overtakes is a second holder as well.
            let found =
                if found.is_empty() { judge.held_twice(&messages).into_iter().collect() } else { found };
            report.violations.extend(found);
        }
    }
}

/// All message groups, with what is known to be in the queues.
fn lanes<'a>(view: &TopicView<'a>) -> BTreeMap<&'a str, Lane<'a>> {
    let mut lanes: BTreeMap<&str, Lane<'_>> = BTreeMap::new();
    for delivered in view.groups.values().flat_map(|group| &group.deliveries) {
        let Some(id) = delivered.delivery.id.as_deref() else { continue };
        let Some(name) = message_group(view, id) else { continue };
        let lane = lanes.entry(name).or_default();
        lane.queues.extend(delivered.delivery.position.queue.as_deref());
        lane.messages.insert(delivered.delivery.position.offset, id);
    }
    for (id, sent) in &view.sends {
        let offset = sent.send.outcome.ok().and_then(|receipt| receipt.offset);
        if let (Some(name), Some(offset)) = (message_group(view, id), offset) {
            lanes.entry(name).or_default().messages.insert(offset, id);
        }
    }
    lanes
}

/// A message of a message group, as one consumer group saw it.
struct Message<'m, 'a> {
    id: &'m str,
    /// From when on it may be settled; `None` if it certainly never was.
    settled: Option<Moment>,
    deliveries: &'m [Delivered<'a>],
    copy: Option<&'m Copy<'a>>,
}

impl Message<'_, '_> {
    fn may_be_settled(&self, by: Moment) -> bool {
        self.settled.is_some_and(|settled| settled <= by)
    }

    fn place_in(&self, batch: (usize, usize)) -> Option<usize> {
        self.deliveries.iter().position(|delivered| delivered.batch == Some(batch))
    }
}

struct Judge<'j> {
    view: &'j TopicView<'j>,
    name: &'j str,
    group: &'j GroupView<'j>,
    options: &'j Options,
    lane: &'j str,
}

impl Judge<'_> {
    fn message<'m, 'a>(&self, id: &'m str, copy: Option<&'m Copy<'a>>) -> Message<'m, 'a> {
        let deliveries = copy.map_or(&[][..], |copy| &copy.deliveries);
        Message { id, settled: self.settled(id, copy), deliveries, copy }
    }

    fn settled(&self, id: &str, copy: Option<&Copy<'_>>) -> Option<Moment> {
        let sent = self.view.sends.get(id)?;
        if self.group.may_skip(sent.send) || self.options.may_be_expired(sent.send) {
            return Some(Moment(0));
        }
        let acks = copy.into_iter().flat_map(|copy| &copy.acks);
        let acked = acks.filter(|acked| acked.ack.outcome.is_possible()).map(|acked| acked.ack.call.invoked);
        let drained = self.group.graves.as_ref().is_some_and(|graves| graves.drained > self.group.drained);
        let may_be_dead = self.group.is_buried(id) || !drained;
        let dead = match copy {
            _ if !may_be_dead => None,
            Some(copy) => dead_letters::earliest(self.group, copy, Moment(u64::MAX), self.options),
            None => dead_letters::unseen(self.group),
        };
        acked.chain(dead).min()
    }

    /// Nothing comes before an earlier message is settled, but together with it.
    fn overtaken(&self, messages: &[Message<'_, '_>]) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        let mut latest_settled = Some(Moment(0));
        let mut last_call = Moment(0);
        for (number, message) in messages.iter().enumerate() {
            for delivered in message.deliveries {
                let by = delivered.delivery.at;
                let fine = latest_settled.is_some_and(|latest| latest <= by) && last_call <= by;
                // What was unreadable in the same receive is not seen.
                if fine || !delivered.is_whole {
                    continue;
                }
                let earlier = &messages[..number];
                let overtaken = earlier.iter().rev().find(|earlier| overtakes(delivered, earlier));
                if let Some(overtaken) = overtaken.filter(|overtaken| told.insert(overtaken.id)) {
                    found.push(Violation::Overtaken {
                        group: self.name.to_owned(),
                        message_group: self.lane.to_owned(),
                        earlier: overtaken.id.to_owned(),
                        later: message.id.to_owned(),
                        attempt: delivered.delivery.attempt,
                    });
                }
            }
            latest_settled = match (latest_settled, message.settled) {
                (Some(latest), Some(settled)) => Some(latest.max(settled)),
                _ => None,
            };
            let calls = message.deliveries.iter().filter_map(|delivered| delivered.receive);
            last_call = calls.map(|call| call.invoked).fold(last_call, Moment::max);
        }
        found
    }

    /// While a consumer holds a message, no other one gets one of its message group.
    fn held_twice(&self, messages: &[Message<'_, '_>]) -> Option<Violation> {
        let mut all: Vec<(&Message<'_, '_>, &Delivered<'_>)> = messages
            .iter()
            .flat_map(|message| message.deliveries.iter().map(move |delivered| (message, delivered)))
            .filter(|(_, delivered)| delivered.receive.is_some())
            .collect();
        all.sort_by_key(|(_, delivered)| delivered.delivery.at);
        let mut held: Vec<(&Message<'_, '_>, &Delivered<'_>, Moment)> = Vec::new();
        for (message, delivered) in all {
            let now = delivered.delivery.at;
            held.retain(|(holding, _, until)| *until > now && !holding.may_be_settled(now));
            let began = delivered.receive.map_or(now, |call| call.invoked);
            let other = held.iter().find(|(holding, by, _)| {
                holding.id != message.id && by.batch != delivered.batch && by.delivery.at <= began
            });
            if let Some((holding, by, _)) = other {
                return Some(Violation::HeldTwice {
                    group: self.name.to_owned(),
                    message_group: self.lane.to_owned(),
                    first: holding.id.to_owned(),
                    holder: by.client.to_owned(),
                    second: message.id.to_owned(),
                    client: delivered.client.to_owned(),
                });
            }
            if let Some(until) = self.held_until(message, delivered) {
                held.push((message, delivered, until));
            }
        }
        None
    }

    /// Until when the message is certainly hidden.
    fn held_until(&self, message: &Message<'_, '_>, delivered: &Delivered<'_>) -> Option<Moment> {
        let from = delivered.receive?.invoked;
        let copy = message.copy?;
        let changed = copy.changes.iter().any(|changed| changed.change.call.invoked >= delivered.delivery.at);
        let visible = delivered.delivery.invisible.filter(|_| !changed).map(|time| from.plus(time))?;
        Some(visible.minus(self.options.invisible_tolerance))
    }
}

/// Whether this delivery of a later message came before the earlier one was done with.
fn overtakes(delivered: &Delivered<'_>, earlier: &Message<'_, '_>) -> bool {
    let by = delivered.delivery.at;
    let Some(batch) = delivered.batch else {
        // One after the other is what a listener is told, whatever came together.
        let before = earlier.deliveries.iter().any(|first| first.delivery.at <= by);
        return !before && !earlier.may_be_settled(by);
    };
    if let Some(place) = earlier.place_in(batch) {
        return earlier.deliveries[place].number > delivered.number;
    }
    let comes_later =
        || earlier.deliveries.iter().any(|again| again.receive.is_some_and(|call| call.invoked > by));
    !earlier.may_be_settled(by) || comes_later()
}
