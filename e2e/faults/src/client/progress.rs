//! How far the clients of one scenario are: counts, and which acknowledged messages have not come yet.

use std::collections::{HashMap, HashSet};

use mainstay_checker::Moment;
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Inner {
    acknowledged: HashSet<String>,
    /// By consumer group.
    received: HashMap<String, HashSet<String>>,
    /// Begin and end of every send that was acknowledged.
    sends: Vec<(Moment, Moment)>,
    counts: Counts,
    last_refusal: Option<(Moment, String)>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    /// Acknowledgements of deliveries that the broker confirmed.
    pub(crate) confirmed: usize,
}

/// Shared by all clients of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Inner>);

impl Progress {
    pub(super) fn acknowledged(&self, id: &str, invoked: Moment) {
        let mut inner = self.0.lock();
        inner.acknowledged.insert(id.to_owned());
        inner.sends.push((invoked, Moment::now()));
        inner.counts.acknowledged += 1;
    }

    pub(super) fn refused(&self, why: &str) {
        let mut inner = self.0.lock();
        inner.counts.refused += 1;
        inner.last_refusal = Some((Moment::now(), why.to_owned()));
    }

    pub(super) fn unknown(&self) {
        self.0.lock().counts.unknown += 1;
    }

    pub(super) fn received(&self, group: &str, id: String) {
        let mut inner = self.0.lock();
        match inner.received.get_mut(group) {
            Some(ids) => ids.insert(id),
            None => inner.received.entry(group.to_owned()).or_default().insert(id),
        };
    }

    pub(super) fn confirmed(&self) {
        self.0.lock().counts.confirmed += 1;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().counts
    }

    /// Acknowledged messages that have not come to this consumer group.
    pub(crate) fn missing(&self, group: &str) -> usize {
        let inner = self.0.lock();
        match inner.received.get(group) {
            Some(received) => inner.acknowledged.difference(received).count(),
            None => inner.acknowledged.len(),
        }
    }

    /// When the first send that began at `moment` or later was acknowledged.
    pub(crate) fn first_acknowledged_after(&self, moment: Moment) -> Option<Moment> {
        let inner = self.0.lock();
        inner.sends.iter().filter(|(invoked, _)| *invoked >= moment).map(|(_, completed)| *completed).min()
    }

    /// The newest refusal, if it came after `moment`.
    pub(crate) fn refused_after(&self, moment: Moment) -> Option<String> {
        let inner = self.0.lock();
        inner.last_refusal.as_ref().filter(|(at, _)| *at >= moment).map(|(_, why)| why.clone())
    }
}
