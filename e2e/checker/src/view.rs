//! All histories of one topic seen together: sends by id, deliveries and acknowledgements by consumer group.

use std::collections::BTreeMap;

use crate::Options;
use crate::history::{Ack, Delivery, Filter, History, Interval, Moment, Outcome, Position, Role, Send};
use crate::report::{Report, Violation};

pub(crate) struct TopicView<'a> {
    pub(crate) topic: &'a str,
    pub(crate) sends: BTreeMap<&'a str, Sent<'a>>,
    pub(crate) groups: BTreeMap<&'a str, GroupView<'a>>,
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
    pub(crate) clock: &'a str,
    pub(crate) client: &'a str,
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
    pub(crate) clock: &'a str,
}

#[derive(Default)]
pub(crate) struct GroupView<'a> {
    pub(crate) filters: Vec<&'a Filter>,
    pub(crate) deliveries: Vec<Delivered<'a>>,
    pub(crate) acks: Vec<Acked<'a>>,
    pub(crate) broken_receives: Vec<BrokenReceive<'a>>,
    /// Some consumer works behind our back: not every receive is in a history.
    pub(crate) unseen_receives: bool,
    /// Some consumer found nothing more after every send had ended.
    pub(crate) drained: bool,
}

/// Everything that happened to one stored message within a group, in order of attempts.
pub(crate) struct Copy<'a> {
    pub(crate) id: &'a str,
    pub(crate) position: &'a Position,
    pub(crate) deliveries: Vec<Delivered<'a>>,
    pub(crate) acks: Vec<Acked<'a>>,
}

impl<'a> TopicView<'a> {
    /// Also counts what was done and notes ids that were used twice.
    pub(crate) fn new(
        topic: &'a str,
        histories: &[&'a History],
        options: &Options,
        report: &mut Report,
    ) -> Self {
        let mut view = Self { topic, sends: BTreeMap::new(), groups: BTreeMap::new() };
        for history in histories {
            view.add_sends(history, report);
            if let Role::Consumer { group, filter } = &history.client.role {
                let group = view.groups.entry(group).or_default();
                group.filters.push(filter);
                group.add(history, options);
            }
        }
        for history in histories {
            if let (Role::Consumer { group, .. }, Some(drained)) = (&history.client.role, history.drained) {
                let clock = history.client.clock.as_str();
                let after_all = view.sends.values().all(|sent| {
                    let end = sent.send.call.completed.unwrap_or(sent.send.call.invoked);
                    sent.clock == clock && end < drained
                });
                if let Some(group) = view.groups.get_mut(group.as_str()) {
                    group.drained |= after_all;
                }
            }
        }
        view
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
    fn add(&mut self, history: &'a History, options: &Options) {
        let clock = history.client.clock.as_str();
        for delivery in &history.deliveries {
            let receive =
                delivery.receive.and_then(|call| history.receives.get(call)).map(|receive| receive.call);
            self.unseen_receives |= receive.is_none();
            self.deliveries.push(Delivered { delivery, receive, clock, client: &history.client.name });
        }
        self.acks.extend(history.acks.iter().map(|ack| Acked { ack, clock }));
        let answered_anew = |call: &Interval| {
            let under_way =
                |lost: &Moment| call.invoked < *lost && call.completed.is_none_or(|end| *lost < end);
            options.leader_lost.iter().any(under_way)
        };
        let broken = history
            .receives
            .iter()
            .filter(|receive| receive.outcome.ok().is_none() || answered_anew(&receive.call));
        self.broken_receives
            .extend(broken.map(|receive| BrokenReceive { invoked: receive.call.invoked, clock }));
    }

    pub(crate) fn expects(&self, send: &Send) -> bool {
        self.filters.iter().any(|filter| filter.accepts(send.tag.as_deref()))
    }

    /// Deliveries and acknowledgements by stored message. Foreign bodies are left out.
    pub(crate) fn copies(&self) -> Vec<Copy<'a>> {
        let mut copies: BTreeMap<(&str, &Position), Copy<'a>> = BTreeMap::new();
        let empty = |id, position| Copy { id, position, deliveries: Vec::new(), acks: Vec::new() };
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
        let mut copies: Vec<_> = copies.into_values().collect();
        for copy in &mut copies {
            copy.deliveries.sort_by_key(|delivered| (delivered.delivery.attempt, delivered.delivery.at));
        }
        copies
    }
}
