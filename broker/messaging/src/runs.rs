//! A sorted set in runs of bounded length: growing it anywhere moves one run at most, little memory is spent besides the
//! items, and a frozen state shares the runs.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Items of one run at most.
const RUN_ITEMS: usize = 512;
/// Runs grow by so many items, so that little room stays empty.
const GROWTH: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Runs<T> {
    /// By the first item. None is empty. One that is changed while a frozen state shares it is copied first.
    runs: BTreeMap<T, Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), len: 0 }
    }
}

/// How the items are parted makes no difference.
impl<T: Ord + Copy> PartialEq for Runs<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Ord + Copy> Eq for Runs<T> {}

impl<T: Ord + Copy> Runs<T> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<T> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.runs.values().flat_map(|run| run.iter().copied())
    }

    /// In order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Arc<Vec<T>>> {
        self.runs.values()
    }

    /// The first item that is not below `item`.
    pub(crate) fn at_or_after(&self, item: &T) -> Option<T> {
        let in_run = self
            .runs
            .range(..=*item)
            .next_back()
            .and_then(|(_, run)| run.get(run.partition_point(|other| other < item)).copied());
        in_run.or_else(|| self.runs.range(*item..).next().map(|(first, _)| *first))
    }

    /// False when it is there already.
    pub(crate) fn insert(&mut self, item: T) -> bool {
        let Some((first, run)) = self.runs.range_mut(..=item).next_back() else {
            return self.insert_in_front(item);
        };
        let Err(at) = run.binary_search(&item) else { return false };
        let first = *first;
        if run.len() < RUN_ITEMS {
            insert_at(Arc::make_mut(run), at, item);
        } else if at == run.len() {
            // What comes in order fills its runs.
            self.runs.insert(item, Arc::new(vec![item]));
        } else {
            let run = Arc::make_mut(run);
            let mut upper = run.split_off(RUN_ITEMS / 2);
            run.shrink_to_fit();
            match at.checked_sub(RUN_ITEMS / 2) {
                Some(at) => insert_at(&mut upper, at, item),
                None => insert_at(run, at, item),
            }
            if let Some(first) = upper.first() {
                self.runs.insert(*first, Arc::new(upper));
            }
            debug_assert!(self.runs.contains_key(&first));
        }
        self.len += 1;
        true
    }

    fn insert_in_front(&mut self, item: T) -> bool {
        match self.runs.pop_first() {
            Some((_, mut run)) if run.len() < RUN_ITEMS => {
                insert_at(Arc::make_mut(&mut run), 0, item);
                self.runs.insert(item, run);
            }
            other => {
                self.runs.extend(other);
                self.runs.insert(item, Arc::new(vec![item]));
            }
        }
        self.len += 1;
        true
    }

    /// False when it is not there.
    pub(crate) fn remove(&mut self, item: &T) -> bool {
        let Some((first, run)) = self.runs.range_mut(..=*item).next_back() else { return false };
        let Ok(at) = run.binary_search(item) else { return false };
        let first = *first;
        Arc::make_mut(run).remove(at);
        if at == 0
            && let Some(run) = self.runs.remove(&first)
            && let Some(first) = run.first()
        {
            self.runs.insert(*first, run);
        }
        self.len -= 1;
        true
    }

    /// Takes out the first items for which `take` holds, at most `max`.
    pub(crate) fn take_first(&mut self, max: usize, mut take: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(mut entry) = self.runs.first_entry()
        {
            let run = entry.get();
            let count = run.iter().take(max - taken.len()).take_while(|item| take(item)).count();
            taken.extend_from_slice(&run[..count]);
            if count == run.len() {
                entry.remove();
                continue;
            }
            if count > 0 {
                let mut run = std::mem::take(entry.get_mut());
                entry.remove();
                Arc::make_mut(&mut run).drain(..count);
                if let Some(first) = run.first() {
                    self.runs.insert(*first, run);
                }
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
