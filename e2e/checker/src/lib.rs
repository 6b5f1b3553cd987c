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
    Ack, Client, Delivery, Filter, History, Interval, Moment, Outcome, Position, Receipt, Receive, Role, Send,
};
pub use reading::ReadError;
pub use report::{GroupReport, Report, Violation};
pub use timeline::{Pause, first_acknowledged_after, longest_pause};

use view::TopicView;

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

/// Checks histories. Topics are independent of each other; within one every history takes part.
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
    for (topic, histories) in topics {
        let view = TopicView::new(topic, &histories, options, &mut report);
        invariants::check(&view, options, &mut report);
    }
    report
}
