//! What was seen lately: a bounded memory, by time and by number, that forgets in the order it learned.
//!
//! What falls out depends on the stamps of what comes in, so that replicas forget alike.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use mainstay_record::Timestamp;

/// Entries that are kept, and shared with a frozen state, together.
const PART_ENTRIES: usize = 1024;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) millis: u64,
    pub(crate) entries: usize,
}

/// What was learned, and when.
pub(crate) type Part<K, V> = Vec<(Timestamp, K, V)>;

#[derive(Debug, Clone)]
pub(crate) struct Window<K, V> {
    span: Span,
    /// All but the last are full. A part that is changed while a frozen state shares it is copied first.
    parts: VecDeque<Arc<Part<K, V>>>,
    /// Entries of the first part that are forgotten.
    skipped: usize,
    /// Number of the first entry of the first part.
    first: u64,
    /// The number of each entry.
    numbers: foldhash::HashMap<K, u64>,
}

impl<K: Copy + Eq + Hash, V: Copy + PartialEq> Window<K, V> {
    pub(crate) fn new(span: Span) -> Self {
        Self { span, parts: VecDeque::new(), skipped: 0, first: 0, numbers: foldhash::HashMap::default() }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let at = (self.numbers.get(key)? - self.first) as usize;
        let (_, _, value) = self.parts.get(at / PART_ENTRIES)?.get(at % PART_ENTRIES)?;
        Some(*value)
    }

    /// Learns something new, and forgets what is too old by then.
    pub(crate) fn insert(&mut self, now: Timestamp, key: K, value: V) {
        self.forget(now);
        let number = self.first + self.len_with_skipped() as u64;
        if self.numbers.insert(key, number).is_some() {
            debug_assert!(false, "learned twice");
        }
        match self.parts.back_mut() {
            Some(part) if part.len() < PART_ENTRIES => Arc::make_mut(part).push((now, key, value)),
            _ => {
                let mut part = Vec::with_capacity(PART_ENTRIES);
                part.push((now, key, value));
                self.parts.push_back(Arc::new(part));
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.oldest()
            && (now.millis_since(at) >= self.span.millis || self.numbers.len() >= self.span.entries)
        {
            self.numbers.remove(&key);
            self.skipped += 1;
            if self.parts.front().is_some_and(|part| part.len() == self.skipped) {
                self.first += self.skipped as u64;
                self.skipped = 0;
                self.parts.pop_front();
            }
        }
    }

    fn oldest(&self) -> Option<(Timestamp, K)> {
        let (at, key, _) = self.parts.front()?.get(self.skipped)?;
        Some((*at, *key))
    }

    fn len_with_skipped(&self) -> usize {
        self.parts.back().map_or(0, |last| (self.parts.len() - 1) * PART_ENTRIES + last.len())
    }

    /// The parts, and how many entries of the first are forgotten.
    pub(crate) fn parts(&self) -> (impl Iterator<Item = &Arc<Part<K, V>>>, usize) {
        (self.parts.iter(), self.skipped)
    }

    /// Takes the next entry of a snapshot. False when it cannot follow.
    #[must_use]
    pub(crate) fn restore(&mut self, at: Timestamp, key: K, value: V) -> bool {
        let newest = self.parts.back().and_then(|part| part.last());
        let follows = newest.is_none_or(|(newest, _, _)| *newest <= at);
        if !follows || self.numbers.len() >= self.span.entries || self.numbers.contains_key(&key) {
            return false;
        }
        // The newest there is decides what is too old: this one does not forget any.
        let span = std::mem::replace(&mut self.span, Span { millis: u64::MAX, entries: usize::MAX });
        self.insert(at, key, value);
        self.span = span;
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &(Timestamp, K, V)> {
        self.parts.iter().flat_map(|part| part.iter()).skip(self.skipped)
    }
}

/// How the entries are parted makes no difference.
impl<K: Copy + Eq + Hash, V: Copy + PartialEq> PartialEq for Window<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.span == other.span && self.entries().eq(other.entries())
    }
}

impl<K: Copy + Eq + Hash, V: Copy + PartialEq> Eq for Window<K, V> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_old_or_too_much_is_forgotten_oldest_first() {
        let mut window = Window::new(Span { millis: 100, entries: 3 });
        for n in 0..3u64 {
            window.insert(Timestamp(n), n, n * 10);
        }
        assert_eq!((window.get(&0), window.get(&2), window.get(&3)), (Some(0), Some(20), None));
        window.insert(Timestamp(3), 3, 30);
        assert_eq!((window.get(&0), window.get(&1), window.len()), (None, Some(10), 3));
        window.insert(Timestamp(102), 4, 40);
        assert_eq!((window.get(&2), window.get(&3), window.get(&4)), (None, Some(30), Some(40)));
    }

    proptest! {
        #[test]
        fn it_knows_exactly_the_last_ones(
            steps in prop::collection::vec((0..4u64, any::<bool>()), 0..6000),
            entries in 1..3000usize,
        ) {
            let span = Span { millis: 4000, entries };
            let (mut window, mut all, mut now) = (Window::new(span), Vec::new(), 0);
            let mut frozen: Vec<Arc<Part<u64, u64>>> = Vec::new();
            for (n, (wait, freeze)) in (0u64..).zip(steps) {
                now += wait;
                window.insert(Timestamp(now), n, n + 1);
                all.push((now, n));
                if freeze {
                    frozen = window.parts().0.cloned().collect();
                }
            }
            drop(frozen);
            let kept = all.iter().rev().take(entries).take_while(|(at, _)| now - at < span.millis).count();
            prop_assert_eq!(window.len(), kept.max(usize::from(!all.is_empty())));
            for (_, n) in &all {
                let known = *n >= (all.len() - window.len()) as u64;
                prop_assert_eq!(window.get(n), known.then_some(n + 1));
            }
            let mut restored = Window::new(span);
            for (at, key, value) in window.entries() {
                prop_assert!(restored.restore(*at, *key, *value));
            }
            prop_assert!(restored == window);
            prop_assert!(all.is_empty() || !restored.restore(Timestamp(0), u64::MAX, 0) || now == 0);
        }
    }
}
