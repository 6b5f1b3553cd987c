//! All histories of one topic seen together: sends by id, deliveries and acknowledgements by consumer group.
//!
//! The topic of a group's dead letters is seen together with the sends of all topics, since its messages are theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Options;
use crate::history::{
    Ack, Change, Decision, Delivery, Filter, History, Interval, Moment, Order, Outcome, Position, Recall,
    Role, Send,
};
use crate::report::{Report, Violation};

const DEAD_LETTERS: &str = "%DLQ%";
/// How long after a caller gave up a receive may still begin to take.
const ON_ITS_WAY: Duration = Duration::from_secs(15);

pub(crate) struct TopicView<'a> {
    pub(crate) topic: &'a str,
    pub(crate) sends: BTreeMap<&'a str, Sent<'a>>,
    pub(crate) groups: BTreeMap<&'a str, GroupView<'a>>,
    /// By the id of the send.
    pub(crate) decisions: BTreeMap<&'a str, Vec<&'a Decision>>,
    pub(crate) recalls: BTreeMap<&'a str, Vec<&'a Recall>>,
    /// It holds the dead letters of a group.
    pub(crate) is_of_dead_letters: bool,
}

/// The consumer group whose dead letters are in this topic, if it is such a topic.
pub(crate) fn group_of_dead_letters(topic: &str) -> Option<&str> {
    topic.strip_prefix(DEAD_LETTERS)
}

/// What was seen of the dead letters of a group, by the id of the send.
#[derive(Default)]
pub(crate) struct Graves<'a> {
    pub(crate) letters: BTreeMap<&'a str, Vec<Delivered<'a>>>,
    /// When a consumer of them found nothing more.
    pub(crate) drained: Option<Moment>,
}

#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) send: &'a Send,
    pub(crate) clock: &'a str,
}

#[derive(Clone, Copy)]
pub(crate) struct Delivered<'a> {
    pub(crate) delivery: &'a Delivery,
    /// The call that brought it, where there is one.
    pub(crate) receive: Option<Interval>,
    /// Names that call: of which history, and which there.
    pub(crate) batch: Option<(usize, usize)>,
    /// Its number among all deliveries of its history: in which order they came.
    pub(crate) number: usize,
    /// All that the call took is in the history.
    pub(crate) is_whole: bool,
    pub(crate) clock: &'a str,
    pub(crate) client: &'a str,
    /// What its consumer asked for.
    pub(crate) filter: &'a Filter,
}

#[derive(Clone, Copy)]
pub(crate) struct Acked<'a> {
    pub(crate) ack: &'a Ack,
    pub(crate) clock: &'a str,
}

/// A receive that may have taken messages which its caller never saw.
#[derive(Clone, Copy)]
pub(crate) struct BrokenReceive<'a> {
    pub(crate) invoked: Moment,
    completed: Option<Moment>,
    /// It certainly took nothing, as far as the caller was told.
    is_refused: bool,
    pub(crate) clock: &'a str,
}

#[derive(Clone, Copy)]
pub(crate) struct Changed<'a> {
    pub(crate) change: &'a Change,
    pub(crate) clock: &'a str,
}

#[derive(Default)]
pub(crate) struct GroupView<'a> {
    /// It asks for message groups in order.
    pub(crate) is_ordered: bool,
    pub(crate) max_attempts: Option<u32>,
    /// Its dead letters, where somebody received them.
    pub(crate) graves: Option<Graves<'a>>,
    pub(crate) filters: Vec<&'a Filter>,
    pub(crate) deliveries: Vec<Delivered<'a>>,
    pub(crate) acks: Vec<Acked<'a>>,
    pub(crate) changes: Vec<Changed<'a>>,
    pub(crate) broken_receives: Vec<BrokenReceive<'a>>,
    /// Some consumer works behind our back: not every receive is in a history.
    pub(crate) unseen_receives: bool,
    /// When some consumer found nothing more, after every send had ended.
    pub(crate) drained: Option<Moment>,
}

/// Everything that happened to one stored message within a group, in order of attempts.
pub(crate) struct Copy<'a> {
    pub(crate) id: &'a str,
    pub(crate) position: &'a Position,
    pub(crate) deliveries: Vec<Delivered<'a>>,
    pub(crate) acks: Vec<Acked<'a>>,
    pub(crate) changes: Vec<Changed<'a>>,
}

impl<'a> TopicView<'a> {
    /// Also counts what was done and notes ids that were used twice.
    pub(crate) fn new(
        topic: &'a str,
        histories: &[&'a History],
        options: &Options,
        report: &mut Report,
    ) -> Self {
        let mut view = Self::empty(topic);
        for history in histories {
            view.add_sends(history, report);
            for decision in &history.decisions {
                view.decisions.entry(&decision.id).or_default().push(decision);
            }
            for recall in &history.recalls {
                view.recalls.entry(&recall.id).or_default().push(recall);
            }
        }
        view.add_consumers(histories, options);
        view
    }

    /// The topic of a group's dead letters, which were sent to any of `topics`.
    pub(crate) fn of_dead_letters(
        topic: &'a str,
        histories: &[&'a History],
        options: &Options,
        topics: &[Self],
    ) -> Self {
        let sends = topics.iter().flat_map(|view| view.sends.iter().map(|(id, sent)| (*id, *sent)));
        let mut view = Self { is_of_dead_letters: true, sends: sends.collect(), ..Self::empty(topic) };
        view.add_consumers(histories, options);
        view
    }

    fn empty(topic: &'a str) -> Self {
        Self {
            topic,
            sends: BTreeMap::new(),
            groups: BTreeMap::new(),
            decisions: BTreeMap::new(),
            recalls: BTreeMap::new(),
            is_of_dead_letters: false,
        }
    }

    fn add_consumers(&mut self, histories: &[&'a History], options: &Options) {
        for (number, history) in histories.iter().enumerate() {
            if let Role::Consumer { group, filter, order, max_attempts } = &history.client.role {
                let group = self.groups.entry(group).or_default();
                group.filters.push(filter);
                group.is_ordered |= *order == Order::Fifo;
                group.max_attempts = group.max_attempts.or(*max_attempts);
                group.add(number, history, filter, options);
            }
        }
        for history in histories {
            if let (Role::Consumer { group, .. }, Some(drained)) = (&history.client.role, history.drained) {
                let clock = history.client.clock.as_str();
                let after_all = self.sends.values().all(|sent| {
                    let end = sent.send.call.completed.unwrap_or(sent.send.call.invoked);
                    sent.clock == clock && end < drained
                });
                if let Some(group) = self.groups.get_mut(group.as_str()).filter(|_| after_all) {
                    group.drained = group.drained.max(Some(drained));
                }
            }
        }
    }

    /// What there is to see of dead letters here.
    pub(crate) fn graves(&self) -> Graves<'a> {
        let mut graves = Graves::default();
        for group in self.groups.values() {
            graves.drained = graves.drained.max(group.drained);
            for delivered in &group.deliveries {
                if let Some(id) = delivered.delivery.id.as_deref() {
                    graves.letters.entry(id).or_default().push(*delivered);
                }
            }
        }
        graves
    }

    fn add_sends(&mut self, history: &'a History, report: &mut Report) {
        for send in &history.sends {
            report.sent += 1;
            match send.outcome {
                Outcome::Ok(_) => report.acknowledged += 1,
                Outcome::Failed(_) => report.failed += 1,
                Outcome::Unknown(_) => report.unknown += 1,
            }
            let sent = Sent { send, clock: &history.client.clock };
            if self.sends.insert(&send.id, sent).is_some() {
                report.violations.push(Violation::IdReused { id: send.id.clone() });
            }
        }
    }
}

impl<'a> GroupView<'a> {
    fn add(&mut self, number: usize, history: &'a History, filter: &'a Filter, options: &Options) {
        let clock = history.client.clock.as_str();
        let is_broken = |receive: &crate::Receive| {
            let call = receive.call;
            let under_way =
                |lost: &Moment| call.invoked < *lost && call.completed.is_none_or(|end| *lost < end);
            receive.outcome.ok().is_none() || options.leader_lost.iter().any(under_way)
        };
        for (place, delivery) in history.deliveries.iter().enumerate() {
            let receive = delivery.receive.and_then(|call| history.receives.get(call));
            self.unseen_receives |= receive.is_none();
            self.deliveries.push(Delivered {
                delivery,
                receive: receive.map(|receive| receive.call),
                batch: delivery.receive.map(|call| (number, call)),
                number: place,
                is_whole: receive.is_some_and(|receive| !is_broken(receive)),
                clock,
                client: &history.client.name,
                filter,
            });
        }
        self.acks.extend(history.acks.iter().map(|ack| Acked { ack, clock }));
        self.changes.extend(history.changes.iter().map(|change| Changed { change, clock }));
        let broken = history.receives.iter().filter(|receive| is_broken(receive));
        self.broken_receives.extend(broken.map(|receive| BrokenReceive {
            invoked: receive.call.invoked,
            completed: receive.call.completed,
            is_refused: !receive.outcome.is_possible(),
            clock,
        }));
    }

    pub(crate) fn expects(&self, send: &Send) -> bool {
        self.filters.iter().any(|filter| filter.accepts(send.tag.as_deref()))
    }

    /// It may pass over this message because one of its consumers asks for others.
    pub(crate) fn may_skip(&self, send: &Send) -> bool {
        !self.filters.iter().all(|filter| filter.accepts(send.tag.as_deref()))
    }

    /// The message is a dead letter of the group.
    pub(crate) fn is_buried(&self, id: &str) -> bool {
        self.graves.as_ref().is_some_and(|graves| graves.letters.contains_key(id))
    }

    /// Receives that may have taken so many messages which nobody saw, before `moment`.
    pub(crate) fn may_have_missed(&self, count: u32, clock: &str, moment: Moment) -> bool {
        let before = |broken: &&BrokenReceive<'_>| broken.clock != clock || broken.invoked < moment;
        let count = count as usize;
        self.unseen_receives || self.broken_receives.iter().filter(before).take(count).count() == count
    }

    /// Receives that may have taken so many messages which nobody saw, between two moments of one clock.
    pub(crate) fn may_have_taken(&self, count: u32, from: Moment, until: Moment) -> bool {
        let between = |broken: &&BrokenReceive<'_>| {
            let reached = broken.completed.is_none_or(|completed| completed.plus(ON_ITS_WAY) >= from);
            !broken.is_refused && broken.invoked < until && reached
        };
        let count = count as usize;
        self.unseen_receives || self.broken_receives.iter().filter(between).take(count).count() == count
    }

    /// Deliveries, changes and acknowledgements by stored message. Foreign bodies are left out.
    pub(crate) fn copies(&self) -> Vec<Copy<'a>> {
        let mut copies: BTreeMap<(&str, &Position), Copy<'a>> = BTreeMap::new();
        let empty = |id, position| Copy {
            id,
            position,
            deliveries: Vec::new(),
            acks: Vec::new(),
            changes: Vec::new(),
        };
        for delivered in &self.deliveries {
            let Some(id) = delivered.delivery.id.as_deref() else { continue };
            let position = &delivered.delivery.position;
            let copy = copies.entry((id, position)).or_insert_with(|| empty(id, position));
            copy.deliveries.push(*delivered);
        }
        for acked in &self.acks {
            let Some(id) = acked.ack.id.as_deref() else { continue };
            let position = &acked.ack.position;
            copies.entry((id, position)).or_insert_with(|| empty(id, position)).acks.push(*acked);
        }
        for changed in &self.changes {
            let Some(id) = changed.change.id.as_deref() else { continue };
            let position = &changed.change.position;
            copies.entry((id, position)).or_insert_with(|| empty(id, position)).changes.push(*changed);
        }
        let mut copies: Vec<_> = copies.into_values().collect();
        for copy in &mut copies {
            copy.deliveries.sort_by_key(|delivered| (delivered.delivery.attempt, delivered.delivery.at));
        }
        copies
    }
}

impl Copy<'_> {
    /// The earliest moment at which the message can have come back after this delivery of it, as far as calls before
    /// `until` say. `None` where nothing is known.
    pub(crate) fn visible_again(&self, first: &Delivered<'_>, from: Moment, until: Moment) -> Option<Moment> {
        let delivery = first.delivery;
        let mut visible = delivery.invisible.map(|invisible| from.plus(invisible));
        let mut last = Moment(0);
        for Changed { change, clock } in &self.changes {
            let applies = *clock == first.clock
                && change.attempt == delivery.attempt
                && (delivery.at..=until).contains(&change.call.invoked);
            if !applies || !change.outcome.is_possible() {
                continue;
            }
            change.outcome.ok()?;
            if change.call.invoked >= last {
                last = change.call.invoked;
                visible = Some(last.plus(change.invisible));
            }
        }
        visible
    }
}
