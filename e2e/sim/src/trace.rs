//! The fingerprint of a run: two runs of one seed must agree in every event. For people, every event as text.

use crate::time::Time;

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    /// Print every event.
    loud: bool,
}

impl Trace {
    pub(crate) const fn new(loud: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, loud }
    }

    /// Mixes in something that happened.
    pub(crate) fn mix(&mut self, value: u64) {
        let mixed = (self.hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ (mixed >> 29);
    }

    pub(crate) fn event(&mut self, now: Time, kind: u64) {
        self.events += 1;
        self.mix(now);
        self.mix(kind);
    }

    pub(crate) fn say(&self, now: Time, text: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{:>11.6} {}", now as f64 / 1e6, text());
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }
}
