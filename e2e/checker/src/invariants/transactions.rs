//! Is a half message seen only when its producer wants it? Nobody sees it before a commit was begun, nor ever after a
//! rollback was confirmed; and of two contrary decisions one is refused. That a committed one comes, and once, are the
//! rules about what is lost and what is stored.

use std::collections::BTreeSet;

use crate::Options;
use crate::history::{Decision, Kind, Verdict};
use crate::report::{Report, Violation};
use crate::view::TopicView;

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    if options.keeps_progress() {
        let both = |decisions: &[&Decision]| {
            [Verdict::Commit, Verdict::Rollback]
                .iter()
                .all(|verdict| decisions.iter().any(|decision| confirms(decision, *verdict)))
        };
        let contrary = view.decisions.iter().filter(|(_, decisions)| both(decisions));
        let violations = contrary.map(|(id, _)| Violation::DecidedTwice { id: (*id).to_owned() });
        report.violations.extend(violations);
    }
    for (name, group) in &view.groups {
        let mut told = BTreeSet::new();
        for delivered in &group.deliveries {
            let Some((id, sent)) =
                delivered.delivery.id.as_deref().and_then(|id| view.sends.get_key_value(id))
            else {
                continue;
            };
            if sent.send.kind != Kind::Transaction {
                continue;
            }
            let decisions = view.decisions.get(id).map_or(&[][..], Vec::as_slice);
            let came = delivered.delivery.at;
            let committed = decisions.iter().any(|decision| {
                decision.verdict == Verdict::Commit
                    && decision.outcome.is_possible()
                    && (sent.clock != delivered.clock || decision.call.invoked <= came)
            });
            let rolled_back = options.keeps_progress()
                && decisions.iter().any(|decision| confirms(decision, Verdict::Rollback));
            if (!committed || rolled_back) && told.insert(*id) {
                let (group, id) = ((*name).to_owned(), (*id).to_owned());
                report.violations.push(Violation::HalfDelivered { group, id, rolled_back });
            }
        }
    }
}

fn confirms(decision: &Decision, verdict: Verdict) -> bool {
    decision.verdict == verdict && decision.outcome.ok().is_some()
}
