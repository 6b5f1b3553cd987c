//! Which messages arrive and when. Every pair of ends has two directions, each of which can be cut.

use std::collections::BTreeSet;

use crate::plan::NetworkPlan;
use crate::rng::Rng;
use crate::time::{MILLI, Time};

/// Somebody who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Node(usize),
    Operator(usize),
    Api,
    Client(usize),
}

#[derive(Debug)]
pub(crate) struct Network {
    plan: NetworkPlan,
    cut: BTreeSet<(End, End)>,
    /// When the last message of an ordered direction arrives.
    last: std::collections::BTreeMap<(End, End), Time>,
}

impl Network {
    pub(crate) fn new(plan: NetworkPlan) -> Self {
        Self { plan, cut: BTreeSet::new(), last: std::collections::BTreeMap::new() }
    }

    pub(crate) fn cut(&mut self, from: End, to: End) {
        if from != to {
            self.cut.insert((from, to));
        }
    }

    pub(crate) fn cut_both(&mut self, one: End, other: End) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn mend_both(&mut self, one: End, other: End) {
        self.cut.remove(&(one, other));
        self.cut.remove(&(other, one));
    }

    pub(crate) fn calm_down(&mut self) {
        self.mend();
        self.plan = NetworkPlan::CALM;
    }

    pub(crate) fn is_cut(&self, from: End, to: End) -> bool {
        self.cut.contains(&(from, to))
    }

    fn delay(&self, rng: &mut Rng) -> Time {
        let usual = rng.between(self.plan.delay / 10, self.plan.delay);
        let late = self.plan.straggle > 0 && rng.chance(self.plan.stragglers);
        usual + if late { rng.between(0, self.plan.straggle) } else { 0 }
    }

    /// After how long each copy of a message between replicas arrives.
    pub(crate) fn messages(&mut self, from: End, to: End, now: Time, rng: &mut Rng) -> Vec<Time> {
        if self.is_cut(from, to) || rng.chance(self.plan.loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.plan.duplication) { 2 } else { 1 };
        let ordered = self.plan.ordered();
        (0..copies)
            .map(|_| {
                let delay = self.delay(rng);
                if !ordered {
                    return delay;
                }
                let last = self.last.entry((from, to)).or_default();
                *last = (*last).max(now + delay);
                *last - now
            })
            .collect()
    }

    /// After how long something arrives on a stream of its own. What is lost is sent again; a cut breaks the stream.
    pub(crate) fn stream(&mut self, from: End, to: End, rng: &mut Rng) -> Option<Time> {
        let again = if rng.chance(self.plan.loss) { 200 * MILLI } else { 0 };
        (!self.is_cut(from, to)).then(|| self.delay(rng).max(MILLI / 10) + again)
    }

    /// After how long a request or an answer arrives, if it does. It never arrives twice: a connection carries it.
    pub(crate) fn call(&mut self, from: End, to: End, rng: &mut Rng) -> Option<Time> {
        let lost = self.is_cut(from, to) || rng.chance(self.plan.loss);
        (!lost).then(|| self.delay(rng).max(MILLI / 10))
    }
}
