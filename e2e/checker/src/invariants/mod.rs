//! The rules. Each file holds the rules about one question; all of them work on one topic.

mod attempts;
mod dead_letters;
mod delays;
mod delivery;
mod ordering;
mod positions;
mod priorities;
mod storing;
mod transactions;

use crate::history::{Outcome, Send};
use crate::report::{Report, Violation};
use crate::view::TopicView;
use crate::{Options, Promise};

pub(crate) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    if view.groups.is_empty() {
        let what = format!("topic {} has no consumer history", view.topic);
        report.violations.push(Violation::NothingToCheck { what });
    }
    if !view.is_of_dead_letters && !view.sends.values().any(|sent| sent.send.outcome.ok().is_some()) {
        let what = format!("no send to topic {} was acknowledged", view.topic);
        report.violations.push(Violation::NothingToCheck { what });
    }
    for name in view.groups.keys() {
        report.groups.entry(group_key(view, name)).or_default();
    }
    delivery::check(view, options, report);
    positions::check(view, options, report);
    attempts::check(view, options, report);
    if view.is_of_dead_letters {
        return;
    }
    storing::check(view, options, report);
    ordering::check(view, options, report);
    dead_letters::check(view, options, report);
    delays::check(view, options, report);
    priorities::check(view, report);
    transactions::check(view, options, report);
}

fn group_key(view: &TopicView<'_>, group: &str) -> String {
    format!("{}/{group}", view.topic)
}

impl Options {
    /// Whether this message was reported as cut off by a failover.
    fn is_quarantined(&self, id: &str, message_id: Option<&str>) -> bool {
        match &self.promise {
            Promise::Kept => false,
            Promise::TailMayBeCut { quarantined } => {
                quarantined.contains(id) || message_id.is_some_and(|id| quarantined.contains(id))
            }
        }
    }

    /// Whether retention may have taken this message before every group had it.
    fn is_expired(&self, id: &str, message_id: Option<&str>) -> bool {
        self.expired.contains(id) || message_id.is_some_and(|id| self.expired.contains(id))
    }

    /// The same of what was sent. Nothing tells the message id of a send with an unknown outcome.
    fn may_be_expired(&self, send: &Send) -> bool {
        match &send.outcome {
            Outcome::Ok(receipt) => self.is_expired(&send.id, Some(&receipt.message_id)),
            Outcome::Unknown(_) => !self.expired.is_empty(),
            Outcome::Failed(_) => false,
        }
    }

    /// Whether acknowledgements and attempt counts are kept across failovers.
    fn keeps_progress(&self) -> bool {
        match self.promise {
            Promise::Kept => true,
            Promise::TailMayBeCut { .. } => false,
        }
    }
}
