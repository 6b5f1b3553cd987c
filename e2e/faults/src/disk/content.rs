//! What a file holds: as programs see it, and as it would be after a power cut.
//!
//! Both are lists of pages that share what is equal. Between two syncs the pages that differ are dirty; a power cut
//! keeps none of them, or some of them, since a real disk writes them in any order.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

/// Bytes of a page: what a disk writes in one piece.
pub(crate) const PAGE: usize = 4096;

type Page = [u8; PAGE];

#[derive(Debug, Clone)]
struct Pages {
    length: u64,
    pages: Vec<Arc<Page>>,
}

impl Pages {
    const EMPTY: Self = Self { length: 0, pages: Vec::new() };
}

/// A file's content, now and after a power cut.
#[derive(Debug)]
pub(crate) struct Content {
    now: Pages,
    durable: Pages,
    dirty: BTreeSet<usize>,
    zeros: Arc<Page>,
}

/// What a power cut took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) pages: usize,
    /// Unsynced pages that had reached the disk all the same.
    pub(crate) kept: usize,
}

impl Content {
    pub(crate) fn new() -> Self {
        Self { now: Pages::EMPTY, durable: Pages::EMPTY, dirty: BTreeSet::new(), zeros: Arc::new([0; PAGE]) }
    }

    pub(crate) fn length(&self) -> u64 {
        self.now.length
    }

    /// Pages that take up space.
    pub(crate) fn pages(&self) -> usize {
        self.now.pages.len()
    }

    /// Pages that the file would have if it were `length` bytes long.
    pub(crate) fn pages_for(length: u64) -> usize {
        usize::try_from(length).unwrap_or(usize::MAX).div_ceil(PAGE)
    }

    pub(crate) fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let end = self.now.length.min(offset.saturating_add(size as u64));
        let mut bytes = Vec::with_capacity(size);
        let mut at = offset;
        while at < end {
            let (page, within) = place(at);
            let upto = (PAGE as u64).min(within as u64 + (end - at)) as usize;
            bytes.extend_from_slice(&self.now.pages[page][within..upto]);
            at += (upto - within) as u64;
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        if end > self.now.length {
            self.resize(end);
        }
        let (mut at, mut data) = (offset, data);
        while !data.is_empty() {
            let (page, within) = place(at);
            let (now, rest) = data.split_at(data.len().min(PAGE - within));
            Arc::make_mut(&mut self.now.pages[page])[within..within + now.len()].copy_from_slice(now);
            self.dirty.insert(page);
            at += now.len() as u64;
            data = rest;
        }
    }

    pub(crate) fn resize(&mut self, length: u64) {
        let before = self.now.pages.len();
        if length < self.now.length && !length.is_multiple_of(PAGE as u64) {
            let (page, within) = place(length);
            Arc::make_mut(&mut self.now.pages[page])[within..].fill(0);
            self.dirty.insert(page);
        }
        let after = Self::pages_for(length);
        self.now.pages.resize(after, Arc::clone(&self.zeros));
        self.dirty.extend(before..after);
        self.now.length = length;
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) {
        self.durable.pages.resize(self.now.pages.len(), Arc::clone(&self.zeros));
        for page in std::mem::take(&mut self.dirty) {
            if let (Some(durable), Some(now)) = (self.durable.pages.get_mut(page), self.now.pages.get(page)) {
                *durable = Arc::clone(now);
            }
        }
        self.durable.length = self.now.length;
    }

    /// A sync that failed: as on Linux the pages count as clean from then on, still read as written, and never reach the
    /// disk, whatever a later sync says.
    pub(crate) fn fail_sync(&mut self) {
        self.dirty.clear();
    }

    /// The power fails. Without `luck` nothing unsynced is left, with it any part of it may be.
    pub(crate) fn cut(&mut self, luck: Option<&mut StdRng>) -> Gone {
        let mut gone = Gone::default();
        let dirty = std::mem::take(&mut self.dirty);
        match luck {
            None => gone.pages = dirty.len(),
            Some(luck) => {
                if self.now.length != self.durable.length && luck.random() {
                    self.durable.length = self.now.length;
                    self.durable.pages.resize(self.now.pages.len(), Arc::clone(&self.zeros));
                }
                for page in dirty {
                    match (self.durable.pages.get_mut(page), self.now.pages.get(page)) {
                        (Some(durable), Some(now)) if luck.random() => {
                            *durable = Arc::clone(now);
                            gone.kept += 1;
                        }
                        _ => gone.pages += 1,
                    }
                }
            }
        }
        self.now = self.durable.clone();
        gone
    }
}

fn place(at: u64) -> (usize, usize) {
    ((at / PAGE as u64) as usize, (at % PAGE as u64) as usize)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn written(text: &[u8]) -> Content {
        let mut content = Content::new();
        content.write(0, text);
        content
    }

    #[test]
    fn what_was_synced_survives_and_nothing_else() {
        let mut content = written(b"first");
        content.sync();
        content.write(2, b"XX");
        content.write(10_000, b"far");
        assert_eq!(content.read(0, 100_000).len(), 10_003);
        assert_eq!(content.cut(None), Gone { pages: 3, kept: 0 });
        assert_eq!(content.read(0, 100), b"first");
        content.write(3, b"!");
        content.sync();
        content.cut(None);
        assert_eq!(content.read(0, 100), b"fir!t");
    }

    #[test]
    fn a_shorter_file_reads_zeros_when_it_grows_again() {
        let mut content = written(&[7; 9000]);
        content.sync();
        content.resize(5000);
        content.resize(9000);
        assert_eq!(content.read(4998, 4), [7, 7, 0, 0]);
        assert!(content.read(5000, 4000).iter().all(|byte| *byte == 0));
        content.sync();
        content.cut(None);
        assert_eq!(content.read(8999, 10), [0]);
    }

    #[test]
    fn after_a_failed_sync_the_next_one_keeps_nothing_of_it() {
        let mut content = written(b"old");
        content.sync();
        content.write(0, b"new");
        content.fail_sync();
        assert_eq!(content.read(0, 3), b"new", "the cache still shows it");
        content.sync();
        content.cut(None);
        assert_eq!(content.read(0, 3), b"old");
    }

    #[test]
    fn with_luck_some_pages_survive_and_others_do_not() {
        let mut content = Content::new();
        content.resize(64 * PAGE as u64);
        content.sync();
        content.write(0, &[9; 64 * PAGE]);
        let gone = content.cut(Some(&mut StdRng::seed_from_u64(1)));
        assert!(gone.pages > 10 && gone.kept > 10, "{gone:?}");
        let kept = (0..64).filter(|page| content.read(page * PAGE as u64, 1) == [9]).count();
        assert_eq!(kept, gone.kept);
    }
}
