//! Judges what clients saw: reads their histories and looks for every broken promise about messages.
//!
//! A history is what one client program wrote down before and after each operation. The checker never guesses in favour
//! of the broker or against it: an operation whose end is not known may or may not have happened, and every rule is
//! stated so that it holds in both cases. Times of different clients are compared only when they come from one clock.

mod history;
mod invariants;
mod line;
mod reading;
mod report;
mod timeline;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use history::{
    Ack, Change, Client, Decision, Delivery, Filter, History, Interval, Kind, Moment, Order, Outcome,
    Position, Recall, Receipt, Receive, Role, Send, Settling, Verdict,
};
pub use reading::ReadError;
pub use report::{GroupReport, Report, Violation};
pub use timeline::{Pause, first_acknowledged_after, longest_pause};

use view::{TopicView, group_of_dead_letters};

/// What the deployment under test promised, so that only promises are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// What was acknowledged is kept.
    Kept,
    /// A failover may cut off a tail that was acknowledged. Every acknowledged message that is missing must be among
    /// the ones that the brokers reported as quarantined (message ids or ids from the bodies). Acknowledgements and
    /// attempt counts may be in the tail, so messages may come again.
    TailMayBeCut { quarantined: BTreeSet<String> },
}

/// How strictly to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub promise: Promise,
    /// How much too early a message may come again: the invisible time is counted on another machine's clock.
    pub invisible_tolerance: Duration,
    /// How much too early a delayed message may come: its time is told in whole milliseconds of the time of day.
    pub delay_tolerance: Duration,
    /// A send that is repeated with the same message id is stored once. Not so where the broker's clock jumps, by which
    /// it forgets message ids.
    pub stored_once: bool,
    /// Messages that retention may have taken before every group had them (message ids or ids from the bodies): they
    /// need not come. The other rules hold for them as well.
    pub expired: BTreeSet<String>,
    /// Moments of this machine's clock at which a leader was lost. A receive under way may have been answered anew by the
    /// next leader, without the messages that the lost answer had taken: like a receive that broke off.
    pub leader_lost: Vec<Moment>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            promise: Promise::Kept,
            invisible_tolerance: Duration::from_millis(500),
            delay_tolerance: Duration::from_millis(2),
            stored_once: true,
            expired: BTreeSet::new(),
            leader_lost: Vec::new(),
        }
    }
}

/// Checks histories of a deployment that keeps what it acknowledges.
#[must_use]
pub fn check(histories: &[History]) -> Report {
    check_with(histories, &Options::default())
}

/// Checks histories. Topics are independent of each other, but for those of dead letters; within one every history takes
/// part.
#[must_use]
pub fn check_with(histories: &[History], options: &Options) -> Report {
    let mut topics: BTreeMap<&str, Vec<&History>> = BTreeMap::new();
    for history in histories {
        topics.entry(&history.client.topic).or_default().push(history);
    }
    let mut report = Report::default();
    if topics.is_empty() {
        report.violations.push(Violation::NothingToCheck { what: "there is no history".to_owned() });
    }
    let (dead, topics): (Vec<_>, Vec<_>) =
        topics.into_iter().partition(|(topic, _)| group_of_dead_letters(topic).is_some());
    let mut views: Vec<TopicView<'_>> = topics
        .iter()
        .map(|(topic, histories)| TopicView::new(topic, histories, options, &mut report))
        .collect();
    let dead: Vec<TopicView<'_>> = dead
        .iter()
        .map(|(topic, histories)| TopicView::of_dead_letters(topic, histories, options, &views))
        .collect();
    for letters in &dead {
        for view in &mut views {
            let group = group_of_dead_letters(letters.topic).and_then(|group| view.groups.get_mut(group));
            if let Some(group) = group {
                group.graves = Some(letters.graves());
            }
        }
    }
    for view in views.iter().chain(&dead) {
        invariants::check(view, options, &mut report);
    }
    report
}
