//! Does a message become a dead letter exactly when it may? After as many attempts as the group has, or when a consumer
//! asks for it; once; with its own body and message id; and not at all when it was acknowledged in time. Then it never
//! comes to the group again.

use std::collections::BTreeSet;

use crate::Options;
use crate::history::{Interval, Moment, Settling};
use crate::report::{Report, Violation};
use crate::view::{Copy, Delivered, Graves, GroupView, TopicView};

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    for (name, group) in &view.groups {
        let Some(most) = group.max_attempts else { continue };
        for copy in group.copies() {
            report.violations.extend(too_often(name, most, &copy));
            if options.keeps_progress()
                && let Some(graves) = &group.graves
            {
                let judge = Judge { name, group, graves, options, copy: &copy };
                report.violations.extend(judge.burial());
            }
        }
        if options.keeps_progress()
            && let Some(graves) = &group.graves
        {
            unseen_ones(view, name, group, graves, report);
        }
    }
}

/// The earliest moment at which the message can have become a dead letter. `None` when it cannot have by `until`.
pub(super) fn earliest(
    group: &GroupView<'_>,
    copy: &Copy<'_>,
    until: Moment,
    options: &Options,
) -> Option<Moment> {
    let forwards = copy
        .acks
        .iter()
        .filter(|acked| acked.ack.how == Settling::Forward && acked.ack.outcome.is_possible());
    let forwarded = forwards.map(|acked| acked.ack.call.invoked).min();
    let exhausted = group.max_attempts.and_then(|most| exhausted(group, copy, most, until, options));
    forwarded.into_iter().chain(exhausted).min()
}

/// When a message of which the group saw no attempt can have become a dead letter.
pub(super) fn unseen(group: &GroupView<'_>) -> Option<Moment> {
    let most = group.max_attempts?;
    group.may_have_missed(most, "", Moment(0)).then_some(Moment(0))
}

/// When the last attempt is over.
fn exhausted(
    group: &GroupView<'_>,
    copy: &Copy<'_>,
    most: u32,
    until: Moment,
    options: &Options,
) -> Option<Moment> {
    let last = copy.deliveries.iter().rfind(|delivered| delivered.delivery.attempt == most);
    let Some(last) = last else {
        let last = copy.deliveries.last();
        let seen = last.map_or(0, |last| last.delivery.attempt);
        let since = last.and_then(|last| last.receive).map_or(Moment(0), |receive| receive.invoked);
        return group.may_have_taken(most.saturating_sub(seen), since, until).then_some(Moment(0));
    };
    let from = last.receive.map_or(Moment(0), |receive| receive.invoked);
    let visible = copy.visible_again(last, from, Moment(u64::MAX));
    Some(visible.map_or(from, |visible| visible.minus(options.invisible_tolerance).max(from)))
}

fn too_often(name: &str, most: u32, copy: &Copy<'_>) -> Option<Violation> {
    let delivered = copy.deliveries.iter().find(|delivered| delivered.delivery.attempt > most)?;
    Some(Violation::TooManyAttempts {
        group: name.to_owned(),
        id: copy.id.to_owned(),
        attempt: delivered.delivery.attempt,
        most,
    })
}

/// Dead letters of which the group saw no attempt: enough receives must have broken off.
fn unseen_ones(
    view: &TopicView<'_>,
    name: &str,
    group: &GroupView<'_>,
    graves: &Graves<'_>,
    report: &mut Report,
) {
    let seen: BTreeSet<&str> = group.deliveries.iter().filter_map(|d| d.delivery.id.as_deref()).collect();
    if unseen(group).is_some() {
        return;
    }
    let ids = graves.letters.keys().filter(|id| view.sends.contains_key(*id) && !seen.contains(*id));
    report.violations.extend(ids.map(|id| Violation::BuriedEarly {
        group: name.to_owned(),
        id: (*id).to_owned(),
        attempts: 0,
        most: group.max_attempts.unwrap_or(0),
    }));
}

struct Judge<'a> {
    name: &'a str,
    group: &'a GroupView<'a>,
    graves: &'a Graves<'a>,
    options: &'a Options,
    copy: &'a Copy<'a>,
}

impl Judge<'_> {
    fn burial(&self) -> Vec<Violation> {
        let Some(letters) = self.graves.letters.get(self.copy.id) else {
            return self.missing().into_iter().collect();
        };
        let mut found = Vec::new();
        let positions: BTreeSet<_> = letters.iter().map(|letter| &letter.delivery.position).collect();
        if positions.len() > 1 && self.is_only_copy() {
            found.push(Violation::BuriedTwice {
                group: self.name.to_owned(),
                id: self.copy.id.to_owned(),
                positions: positions.into_iter().cloned().collect(),
            });
        }
        let Some(first) = letters.iter().min_by_key(|letter| letter.delivery.at) else { return found };
        found.extend(self.origin(first));
        match self.earliest(first.delivery.at).filter(|earliest| *earliest <= first.delivery.at) {
            None => found.push(Violation::BuriedEarly {
                group: self.name.to_owned(),
                id: self.copy.id.to_owned(),
                attempts: self.copy.deliveries.last().map_or(0, |last| last.delivery.attempt),
                most: self.group.max_attempts.unwrap_or(0),
            }),
            Some(earliest) if self.is_only_copy() && self.was_acknowledged_before(earliest) => found
                .push(Violation::BuriedAfterAck { group: self.name.to_owned(), id: self.copy.id.to_owned() }),
            Some(_) => (),
        }
        if self.is_only_copy() {
            found.extend(self.delivered_after(first));
        }
        found
    }

    fn delivered_after(&self, letter: &Delivered<'_>) -> Option<Violation> {
        let is_later = |receive: Interval| receive.invoked > letter.delivery.at;
        let again = self.copy.deliveries.iter().find(|delivered| delivered.receive.is_some_and(is_later))?;
        Some(Violation::DeliveredAfterBurial {
            group: self.name.to_owned(),
            id: self.copy.id.to_owned(),
            attempt: again.delivery.attempt,
        })
    }

    /// Of whichever copy the first grave is.
    fn earliest(&self, until: Moment) -> Option<Moment> {
        if self.is_only_copy() {
            return earliest(self.group, self.copy, until, self.options);
        }
        let copies = self.group.copies().into_iter().filter(|copy| copy.id == self.copy.id);
        copies.filter_map(|copy| earliest(self.group, &copy, until, self.options)).min()
    }

    /// Where a send was stored more than once each copy may have a grave, and a grave does not tell whose it is.
    fn is_only_copy(&self) -> bool {
        let positions =
            self.group.deliveries.iter().filter(|d| d.delivery.id.as_deref() == Some(self.copy.id));
        positions.map(|delivered| &delivered.delivery.position).collect::<BTreeSet<_>>().len() <= 1
    }

    fn origin(&self, letter: &Delivered<'_>) -> Option<Violation> {
        let origin = &self.copy.deliveries.first()?.delivery.message_id;
        (letter.delivery.message_id != *origin).then(|| Violation::OriginLost {
            group: self.name.to_owned(),
            id: self.copy.id.to_owned(),
            message_id: origin.clone(),
            found: letter.delivery.message_id.clone(),
        })
    }

    fn was_acknowledged_before(&self, moment: Moment) -> bool {
        self.copy.acks.iter().any(|acked| {
            acked.ack.how == Settling::Acknowledge
                && acked.ack.outcome.ok().is_some()
                && acked.ack.call.completed.is_some_and(|completed| completed < moment)
        })
    }

    /// Who had the last attempt and never acknowledged it, or asked for it, must find it among the dead letters.
    fn missing(&self) -> Option<Violation> {
        let most = self.group.max_attempts?;
        let (Some(drained), Some(letters)) = (self.group.drained, self.graves.drained) else { return None };
        let message_id = self.copy.deliveries.first().map(|first| first.delivery.message_id.as_str());
        if letters <= drained || self.options.is_expired(self.copy.id, message_id) {
            return None;
        }
        let mut acks = self.copy.acks.iter().map(|acked| acked.ack).filter(|ack| ack.outcome.is_possible());
        let exhausted = self.copy.deliveries.last().is_some_and(|last| last.delivery.attempt >= most);
        let due = match self.copy.acks.iter().find(|acked| acked.ack.how == Settling::Forward) {
            Some(forward) => {
                forward.ack.outcome.ok().is_some() && acks.all(|ack| ack.how == Settling::Forward)
            }
            None => exhausted && acks.next().is_none(),
        };
        due.then(|| Violation::NotBuried { group: self.name.to_owned(), id: self.copy.id.to_owned() })
    }
}
