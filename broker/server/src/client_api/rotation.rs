//! Which queue comes next: round robin within each topic, without locks.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::FixedState;

/// Topics that share a counter still are spread evenly, only not each by itself.
const COUNTERS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Rotation {
    counters: Box<[AtomicU32]>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Rotation {
    /// Takes the next `turns` turns of `topic` and returns the first: a number that wraps around.
    pub(crate) fn turn(&self, topic: &str, turns: u32) -> u32 {
        let slot = FixedState::default().hash_one(topic) as usize % COUNTERS;
        self.counters[slot].fetch_add(turns, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_gets_its_turn_whatever_other_topics_do() {
        let rotation = Rotation::default();
        let mut seen = [0; 4];
        for _ in 0..8 {
            seen[rotation.turn("a", 1) as usize % 4] += 1;
            rotation.turn("b", 1);
        }
        assert_eq!(seen, [2; 4]);
        let first = rotation.turn("a", 3);
        assert_eq!(rotation.turn("a", 1), first + 3);
    }
}
