//! Does a message come again only when it may? Attempts of a stored message count up by one from 1, none comes twice,
//! none before the invisible time of the one before is over, and none after an acknowledgement was confirmed. So the place
//! of a consumer group in a queue never goes back: it would give out a first attempt twice.

use std::time::Duration;

use super::group_key;
use super::ordering::{self, Followers};
use crate::Options;
use crate::history::Moment;
use crate::report::{Report, Violation};
use crate::view::{Copy, Delivered, GroupView, TopicView};

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    for (name, group) in &view.groups {
        let mut redeliveries = 0;
        let mut violations = Vec::new();
        let follows = if group.is_ordered { ordering::followers(view, group) } else { Followers::default() };
        for copy in group.copies() {
            redeliveries += copy.deliveries.len().saturating_sub(1) as u64;
            if options.keeps_progress() {
                let judge = Judge { view, name, group, options, copy: &copy, follows: &follows };
                violations.extend(judge.counting());
                violations.extend(judge.backwards());
                violations.extend(judge.too_early());
                violations.extend(judge.after_ack());
            }
        }
        report.violations.extend(violations);
        report.groups.entry(group_key(view, name)).or_default().redeliveries = redeliveries;
    }
}

struct Judge<'a> {
    view: &'a TopicView<'a>,
    name: &'a str,
    group: &'a GroupView<'a>,
    options: &'a Options,
    copy: &'a Copy<'a>,
    follows: &'a Followers<'a>,
}

impl Judge<'_> {
    fn counting(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut previous = 0;
        for (number, delivered) in self.copy.deliveries.iter().enumerate() {
            let attempt = delivered.delivery.attempt;
            if attempt == previous && number > 0 && !self.may_repeat(delivered) {
                found.push(Violation::AttemptRepeated {
                    group: self.name.to_owned(),
                    id: self.copy.id.to_owned(),
                    position: self.copy.position.clone(),
                    attempt,
                });
            }
            let missing = attempt.saturating_sub(previous + 1);
            let nothing_counted = attempt == 0;
            if nothing_counted
                || (missing > 0
                    && !self.group.may_have_missed(missing, delivered.clock, delivered.delivery.at))
            {
                found.push(Violation::AttemptSkipped {
                    group: self.name.to_owned(),
                    id: self.copy.id.to_owned(),
                    position: self.copy.position.clone(),
                    previous,
                    attempt,
                    missing,
                });
            }
            previous = attempt;
        }
        found
    }

    /// In a group that gets message groups in order, a message that was delivered behind another one comes again with it,
    /// and is not counted.
    fn may_repeat(&self, delivered: &Delivered<'_>) -> bool {
        self.group.is_ordered && self.follows.contains(&(self.copy.id, delivered.batch))
    }

    /// A later call must not bring an earlier attempt.
    fn backwards(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for pair in self.copy.deliveries.windows(2) {
            let (lower, higher) = (&pair[0], &pair[1]);
            let began = lower.receive.map(|receive| receive.invoked);
            if lower.clock == higher.clock
                && lower.delivery.attempt < higher.delivery.attempt
                && began.is_some_and(|began| began > higher.delivery.at)
            {
                found.push(Violation::AttemptBackwards {
                    group: self.name.to_owned(),
                    id: self.copy.id.to_owned(),
                    position: self.copy.position.clone(),
                    previous: higher.delivery.attempt,
                    attempt: lower.delivery.attempt,
                });
            }
        }
        found
    }

    /// The earliest moment at which the broker can have handed this delivery out for its invisible time. What came in a
    /// receive that broke off is given back.
    fn earliest_handing_out(&self, delivered: &Delivered<'_>) -> Option<Moment> {
        let received = delivered.receive?.invoked;
        if !delivered.is_whole {
            return None;
        }
        let sent = self.view.sends.get(self.copy.id).filter(|sent| sent.clock == delivered.clock);
        Some(sent.map_or(received, |sent| received.max(sent.send.call.invoked)))
    }

    fn too_early(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for pair in self.copy.deliveries.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            let mut early = self.early_by(first, second);
            // What is not counted does not tell which of the two was handed out first.
            if first.delivery.attempt == second.delivery.attempt {
                early = early.min(self.early_by(second, first));
            }
            let Some(early) = early.filter(|early| *early > self.options.invisible_tolerance) else {
                continue;
            };
            found.push(Violation::TooEarly {
                group: self.name.to_owned(),
                id: self.copy.id.to_owned(),
                position: self.copy.position.clone(),
                attempt: second.delivery.attempt,
                early,
            });
        }
        found
    }

    /// How long before the end of the invisible time of `first` `second` came, if that one was handed out later. `None`
    /// where nothing is known.
    fn early_by(&self, first: &Delivered<'_>, second: &Delivered<'_>) -> Option<Duration> {
        let from = self.earliest_handing_out(first).filter(|_| first.clock == second.clock)?;
        let visible = self.copy.visible_again(first, from, second.delivery.at)?;
        Some(visible.since(second.delivery.at))
    }

    /// A confirmed acknowledgement says that no other attempt was under way, so a higher attempt that arrives after
    /// the confirmation was handed out after it; so was whatever a call brings that began after it.
    fn after_ack(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for acked in self.copy.acks.iter().filter(|acked| acked.ack.outcome.ok().is_some()) {
            let Some(confirmed) = acked.ack.call.completed else { continue };
            let again = self.copy.deliveries.iter().find(|delivered| {
                let higher = delivered.delivery.attempt > acked.ack.attempt;
                let began_after = delivered.receive.is_some_and(|receive| receive.invoked > confirmed);
                delivered.clock == acked.clock
                    && (began_after || (higher && delivered.delivery.at > confirmed))
            });
            if let Some(delivered) = again {
                found.push(Violation::RedeliveredAfterAck {
                    group: self.name.to_owned(),
                    id: self.copy.id.to_owned(),
                    position: self.copy.position.clone(),
                    acked: acked.ack.attempt,
                    attempt: delivered.delivery.attempt,
                });
            }
        }
        found
    }
}
