//! A sorted set in runs of bounded length: growing it anywhere moves one run at most, little memory is spent besides the
//! items, and a frozen state shares the runs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Items of one run at most.
const RUN_ITEMS: usize = 512;
/// Runs grow by so many items, so that little room stays empty.
const GROWTH: usize = 32;

/// What is in the set.
pub(crate) trait Item: Ord + Copy {
    /// Something of it whose least in the whole set is asked for often.
    type Mark: Ord + Copy + Debug;

    fn mark(&self) -> Self::Mark;
}

#[derive(Debug, Clone)]
pub(crate) struct Runs<T: Item> {
    /// By the first item. None is empty.
    runs: BTreeMap<T, Run<T>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Run<T: Item> {
    /// Copied before a change while a frozen state shares them.
    items: Arc<Vec<T>>,
    /// The least mark of the items.
    least: T::Mark,
}

impl<T: Item> Run<T> {
    fn of(item: T) -> Self {
        Self { items: Arc::new(vec![item]), least: item.mark() }
    }

    fn insert(&mut self, at: usize, item: T) {
        self.least = self.least.min(item.mark());
        insert_at(Arc::make_mut(&mut self.items), at, item);
    }

    /// Changes the items; `None` when none is left.
    fn without(mut self, change: impl FnOnce(&mut Vec<T>)) -> Option<Self> {
        change(Arc::make_mut(&mut self.items));
        self.least = self.items.iter().map(Item::mark).min()?;
        Some(self)
    }
}

impl<T: Item> Default for Runs<T> {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), len: 0 }
    }
}

/// How the items are parted makes no difference.
impl<T: Item> PartialEq for Runs<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Item> Eq for Runs<T> {}

impl<T: Item> Runs<T> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<T> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.runs.values().flat_map(|run| run.items.iter().copied())
    }

    /// In order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Arc<Vec<T>>> {
        self.runs.values().map(|run| &run.items)
    }

    /// The least mark of all items. Looks at one for each run.
    pub(crate) fn least_mark(&self) -> Option<T::Mark> {
        self.runs.values().map(|run| run.least).min()
    }

    /// The first item that is not below `item`.
    pub(crate) fn at_or_after(&self, item: &T) -> Option<T> {
        let in_run = self
            .runs
            .range(..=*item)
            .next_back()
            .and_then(|(_, run)| run.items.get(run.items.partition_point(|other| other < item)).copied());
        in_run.or_else(|| self.runs.range(*item..).next().map(|(first, _)| *first))
    }

    /// False when it is there already.
    pub(crate) fn insert(&mut self, item: T) -> bool {
        let Some((_, run)) = self.runs.range_mut(..=item).next_back() else {
            return self.insert_in_front(item);
        };
        let Err(at) = run.items.binary_search(&item) else { return false };
        if run.items.len() < RUN_ITEMS {
            run.insert(at, item);
        } else if at == run.items.len() {
            // What comes in order fills its runs.
            self.runs.insert(item, Run::of(item));
        } else {
            self.split(at, item);
        }
        self.len += 1;
        true
    }

    /// Puts an item into the full run that it belongs to, at `at`, in two halves.
    fn split(&mut self, at: usize, item: T) {
        let Some((first, _)) = self.runs.range(..=item).next_back() else { return };
        let first = *first;
        let Some(whole) = self.runs.remove(&first) else { return };
        let half = RUN_ITEMS / 2;
        let upper = Run { items: Arc::new(whole.items[half..].to_vec()), ..whole.clone() };
        let lower = whole.without(|items| {
            items.truncate(half);
            items.shrink_to_fit();
            if at < half {
                insert_at(items, at, item);
            }
        });
        let upper = upper.without(|items| {
            if let Some(at) = at.checked_sub(half) {
                insert_at(items, at, item);
            }
        });
        lower.into_iter().chain(upper).for_each(|run| self.put(run));
    }

    fn put(&mut self, run: Run<T>) {
        if let Some(first) = run.items.first() {
            self.runs.insert(*first, run);
        }
    }

    fn insert_in_front(&mut self, item: T) -> bool {
        match self.runs.pop_first() {
            Some((_, mut run)) if run.items.len() < RUN_ITEMS => {
                run.insert(0, item);
                self.put(run);
            }
            other => {
                self.runs.extend(other);
                self.put(Run::of(item));
            }
        }
        self.len += 1;
        true
    }

    /// False when it is not there.
    pub(crate) fn remove(&mut self, item: &T) -> bool {
        let Some((first, run)) = self.runs.range(..=*item).next_back() else { return false };
        let Ok(at) = run.items.binary_search(item) else { return false };
        let first = *first;
        if let Some(run) = self.runs.remove(&first)
            && let Some(run) = run.without(|items| drop_at(items, at))
        {
            self.put(run);
        }
        self.len -= 1;
        true
    }

    /// Takes out the first items for which `take` holds, at most `max`.
    pub(crate) fn take_first(&mut self, max: usize, mut take: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(entry) = self.runs.first_entry()
        {
            let items = &entry.get().items;
            let count = items.iter().take(max - taken.len()).take_while(|item| take(item)).count();
            taken.extend_from_slice(&items[..count]);
            if count == items.len() {
                entry.remove();
                continue;
            }
            if count > 0 {
                let rest = entry.remove().without(|items| drop(items.drain(..count)));
                rest.into_iter().for_each(|run| self.put(run));
            }
            break;
        }
        self.len -= taken.len();
        taken
    }

    /// Keeps the items for which `keep` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let old = std::mem::take(self);
        for item in old.iter().filter(|item| keep(item)) {
            self.insert(item);
        }
    }
}

fn drop_at<T>(items: &mut Vec<T>, at: usize) {
    items.remove(at);
}

fn insert_at<T>(run: &mut Vec<T>, at: usize, item: T) {
    if run.len() == run.capacity() {
        run.reserve_exact(GROWTH.min(RUN_ITEMS - run.len().min(RUN_ITEMS - 1)));
    }
    run.insert(at, item);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Marks in another order than the items.
    impl Item for u32 {
        type Mark = u32;

        fn mark(&self) -> u32 {
            self.reverse_bits()
        }
    }

    impl Item for u64 {
        type Mark = u64;

        fn mark(&self) -> u64 {
            *self
        }
    }

    type Frozen = (Vec<Arc<Vec<u32>>>, BTreeSet<u32>);

    proptest! {
        #[test]
        fn it_is_a_sorted_set(steps in prop::collection::vec((0..10u8, 0..3000u32), 0..6000)) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            let mut frozen: Option<Frozen> = None;
            for (kind, n) in steps {
                match kind {
                    0..=6 => prop_assert_eq!(runs.insert(n), set.insert(n)),
                    7 => prop_assert_eq!(runs.remove(&n), set.remove(&n)),
                    8 => {
                        let taken = runs.take_first((n % 700) as usize, |item| *item < n);
                        let expected: Vec<u32> =
                            set.iter().copied().take_while(|item| *item < n).take((n % 700) as usize).collect();
                        set.retain(|item| !expected.contains(item));
                        prop_assert_eq!(taken, expected);
                    }
                    _ if n < 20 => {
                        runs.retain(|item| item % 3 != 0);
                        set.retain(|item| item % 3 != 0);
                    }
                    _ => frozen = Some((runs.runs().cloned().collect(), set.clone())),
                }
                prop_assert_eq!(runs.len(), set.len());
                prop_assert_eq!(runs.first(), set.first().copied());
                prop_assert_eq!(runs.least_mark(), set.iter().map(Item::mark).min());
                prop_assert_eq!(runs.at_or_after(&n), set.range(n..).next().copied());
            }
            prop_assert!(runs.iter().eq(set.iter().copied()));
            prop_assert!(runs.runs().all(|run| !run.is_empty() && run.len() <= RUN_ITEMS));
            if let Some((runs, set)) = frozen {
                prop_assert!(runs.iter().flat_map(|run| run.iter()).eq(set.iter()), "what is shared does not change");
            }
        }
    }

    #[test]
    fn little_room_stays_empty() {
        let room = |runs: &Runs<u64>| runs.runs().map(|run| run.capacity() as u64).sum::<u64>();
        let mut in_order = Runs::default();
        (0..100_000u64).for_each(|n| assert!(in_order.insert(n)));
        assert!(room(&in_order) < 101_000, "{}", room(&in_order));
        let mut scattered = Runs::default();
        (0..100_000u64).for_each(|n| assert!(scattered.insert(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
        assert!(room(&scattered) < 112_000, "{}", room(&scattered));
    }
}
