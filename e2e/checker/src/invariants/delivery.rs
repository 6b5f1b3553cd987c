//! Does everything that was acknowledged arrive, and nothing else? Every acknowledged message comes to every group that
//! asked for it, or is a dead letter of it; every message that comes was asked for by the consumer that gets it, and was
//! sent, with the same body, by a send that did not certainly fail. A delayed message need not come when it was taken back, a half message only when it was committed.

use std::collections::BTreeSet;

use super::group_key;
use crate::Options;
use crate::history::{Kind, Outcome, Send, Verdict};
use crate::report::{Report, Violation};
use crate::view::{Delivered, GroupView, TopicView};

pub(super) fn check(view: &TopicView<'_>, options: &Options, report: &mut Report) {
    for (name, group) in &view.groups {
        count(view, name, group, report);
        for delivered in &group.deliveries {
            report.violations.extend(judge(view, name, delivered));
        }
        if !view.is_of_dead_letters {
            nothing_lost(view, name, group, options, report);
        }
    }
}

fn count(view: &TopicView<'_>, name: &str, group: &GroupView<'_>, report: &mut Report) {
    let ids: BTreeSet<&str> = group.deliveries.iter().filter_map(|d| d.delivery.id.as_deref()).collect();
    let unknown = |id: &&&str| {
        view.sends.get(**id).is_some_and(|sent| matches!(sent.send.outcome, Outcome::Unknown(_)))
    };
    let counts = report.groups.entry(group_key(view, name)).or_default();
    counts.deliveries = group.deliveries.len() as u64;
    counts.received = ids.len() as u64;
    counts.received_unknown = ids.iter().filter(unknown).count() as u64;
    counts.confirmed = group.acks.iter().filter(|acked| acked.ack.outcome.ok().is_some()).count() as u64;
}

fn judge(view: &TopicView<'_>, group: &str, delivered: &Delivered<'_>) -> Vec<Violation> {
    let delivery = delivered.delivery;
    let group = group.to_owned();
    let position = delivery.position.clone();
    let mut found = Vec::new();
    if delivery.corrupted {
        let message_id = delivery.message_id.clone();
        found.push(Violation::DigestMismatch { group: group.clone(), message_id });
    }
    let Some((id, sent)) = delivery.id.as_deref().and_then(|id| view.sends.get_key_value(id)) else {
        let message_id = delivery.message_id.clone();
        let client = delivered.client.to_owned();
        found.push(Violation::Phantom { group, client, message_id, position });
        return found;
    };
    let id = (*id).to_owned();
    if sent.send.checksum != delivery.checksum {
        found.push(Violation::BodyChanged {
            group: group.clone(),
            id: id.clone(),
            position: position.clone(),
            sent: sent.send.checksum.clone(),
            found: delivery.checksum.clone(),
        });
    }
    let tag = sent.send.tag.as_deref();
    if !delivered.filter.accepts(tag) {
        let tag = tag.map(str::to_owned);
        found.push(Violation::Unasked { group: group.clone(), id: id.clone(), tag });
    }
    if let Outcome::Failed(error) = &sent.send.outcome {
        found.push(Violation::FailedSendDelivered { group, id, position, error: error.clone() });
    }
    found
}

fn nothing_lost(
    view: &TopicView<'_>,
    name: &str,
    group: &GroupView<'_>,
    options: &Options,
    report: &mut Report,
) {
    let received: BTreeSet<&str> = group.deliveries.iter().filter_map(|d| d.delivery.id.as_deref()).collect();
    let key = group_key(view, name);
    for (id, sent) in &view.sends {
        let Some(receipt) = sent.send.outcome.ok() else { continue };
        if received.contains(id) || !group.expects(sent.send) || group.is_buried(id) {
            continue;
        }
        if !is_owed(view, id, sent.send, options) {
            continue;
        }
        let counts = report.groups.entry(key.clone()).or_default();
        if options.is_quarantined(id, Some(&receipt.message_id)) {
            counts.quarantined.push((*id).to_owned());
            continue;
        }
        if options.is_expired(id, Some(&receipt.message_id)) {
            counts.expired.push((*id).to_owned());
            continue;
        }
        counts.lost.push((*id).to_owned());
        report.violations.push(Violation::Lost {
            group: name.to_owned(),
            id: (*id).to_owned(),
            message_id: receipt.message_id.clone(),
        });
    }
}

/// Whether what else was done about the message leaves it due.
fn is_owed(view: &TopicView<'_>, id: &str, send: &Send, options: &Options) -> bool {
    match send.kind {
        Kind::Normal | Kind::Fifo { .. } | Kind::Priority { .. } => true,
        Kind::Delay { .. } => {
            let recalls = view.recalls.get(id).into_iter().flatten();
            !recalls.into_iter().any(|recall| recall.outcome.is_possible())
        }
        // A commit may be cut off without its message.
        Kind::Transaction => {
            let mut decisions = view.decisions.get(id).into_iter().flatten();
            options.keeps_progress()
                && decisions
                    .any(|decision| decision.verdict == Verdict::Commit && decision.outcome.ok().is_some())
        }
    }
}
