//! Taking away a tail: gone at once for readers, for ever for the disk, and kept aside where asked for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use mainstay_record::LogIndex;
use mainstay_storage::{
    File, FileLock, FileSystem, LogError, MemFileSystem, QuarantineFile, TailFate, Unsynced,
};
use parking_lot::Mutex;
use proptest::prelude::*;

use support::{Author, core_read_all, epoch, open, open_core, open_on, options, read_all, segments};

#[test]
fn a_truncated_tail_is_gone_at_once_and_others_take_its_place() {
    for cache_bytes in [0, 1024 * 1024] {
        let fs = MemFileSystem::new(1);
        let mut options = options("/data");
        options.cache_bytes = cache_bytes;
        let (log, _, events) = open(&fs, options.clone()).unwrap();
        let mut author = Author::new();
        log.append(author.write_many(epoch(1), 40, 5000));
        events.wait_durable(author.last());
        for (reign, keep) in [(2, 33), (3, 3), (4, 0)] {
            log.truncate(LogIndex(keep), TailFate::Discard);
            author.cut(keep);
            assert_eq!(log.read(LogIndex(keep + 1), LogIndex(100), 1).unwrap(), []);
            assert_eq!(log.cached(LogIndex(keep + 1)), None);
            log.append(author.write_many(epoch(reign), 5, 3000));
            assert_eq!(read_all(&log), author.batches);
            events.wait_durable(author.last());
            assert_eq!(read_all(&log), author.batches);
        }
        assert_eq!(log.metrics().truncations, 3);
        drop(log);
        let (log, recovered, _) = open(&fs.crash_with(Unsynced::Lost), options).unwrap();
        assert_eq!(read_all(&log), author.batches);
        assert_eq!(recovered.last, author.last());
        assert_eq!(recovered.epochs.len(), 1);
    }
}

#[test]
fn nothing_is_truncated_beyond_the_end() {
    let fs = MemFileSystem::new(2);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 3, 100));
    log.truncate(LogIndex(3), TailFate::Quarantine);
    events.wait_durable(author.last());
    assert!(log.quarantined().is_empty());
    log.truncate(LogIndex(4), TailFate::Discard);
    assert!(matches!(*events.wait_failed(), LogError::TruncateBeyondEnd { .. }));
}

#[test]
fn a_truncated_batch_never_comes_back_behind_its_successor() {
    // The new third batch is as long as the old one, so the old fourth would follow it in every respect.
    for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Scattered, Unsynced::Torn] {
        let fs = MemFileSystem::new(3);
        let mut author = Author::new();
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        for _ in 0..5 {
            core.append(&[author.write(epoch(1), 300)]).unwrap();
            core.sync().unwrap();
        }
        let old = author.batches[3].clone();
        core.truncate(LogIndex(2), TailFate::Discard).unwrap();
        author.cut(2);
        let mut other = vec![7; 300];
        other[0] = 1;
        core.append(&[author.write_as(mainstay_record::BatchKind::Data, epoch(1), &other)]).unwrap();
        assert_eq!(author.end(), old.header().position);
        core.sync().unwrap();
        drop(core);
        let fs = fs.crash_with(unsynced);
        let content = fs.contents(&segments(&fs, "/data")[0]).unwrap();
        let length = old.bytes().len();
        assert!(
            content.windows(length).all(|window| window != &old.bytes()[..]),
            "its bytes are still there"
        );
        let (core, recovered) = open_core(&fs, "/data").unwrap();
        assert_eq!(core_read_all(&core), author.batches);
        assert_eq!(recovered.torn_tail, None);
    }
}

#[test]
fn a_quarantined_tail_is_kept_listed_and_readable() {
    let fs = MemFileSystem::new(4);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 10, 20_000));
    events.wait_durable(author.last());
    let tail = author.batches[4..].to_vec();
    log.truncate(LogIndex(4), TailFate::Quarantine);
    author.cut(4);
    log.append(author.write_many(epoch(2), 2, 100));
    events.wait_durable(author.last());
    let tail_again = author.batches[5..].to_vec();
    log.truncate(LogIndex(5), TailFate::Quarantine);
    author.cut(5);
    log.append(author.write_many(epoch(3), 1, 100));
    events.wait_durable(author.last());

    let files = log.quarantined();
    log.close().unwrap();
    let fs = fs.crash_with(Unsynced::Lost);
    let (log, _, _) = open(&fs, options("/data")).unwrap();
    assert_eq!(log.quarantined(), files);
    assert_eq!(read_all(&log), author.batches);
    let [first, second] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(first.load(&fs).unwrap(), tail);
    assert_eq!(second.load(&fs).unwrap(), tail_again);
    assert_eq!((first.first, first.last, first.epoch), (LogIndex(5), LogIndex(10), epoch(1)));
    assert_eq!((first.batches, first.records), (6, 6));
    assert_eq!(first.bytes, tail.iter().map(|batch| batch.bytes().len() as u64).sum::<u64>());
    assert_eq!(first.path.parent(), Some(Path::new("/data/quarantine")));

    fs.flip_bit(&first.path, 20, 1).unwrap();
    drop(log);
    let error = open(&fs, options("/data")).unwrap_err();
    assert!(
        error.to_string().contains("/data/quarantine/") && error.to_string().contains("header"),
        "{error}"
    );
}

#[test]
fn a_tail_to_be_quarantined_is_in_the_log_or_in_quarantine_whenever_the_power_fails() {
    let prepare = |seed| {
        let fs = MemFileSystem::new(seed);
        let mut author = Author::new();
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        core.append(&author.write_many(epoch(1), 9, 20_000)).unwrap();
        core.sync().unwrap();
        (fs, core, author)
    };
    let (fs, mut core, _) = prepare(0);
    let before = fs.changes();
    core.truncate(LogIndex(2), TailFate::Quarantine).unwrap();
    let changes = fs.changes() - before;
    assert!(changes >= 12, "{changes}");
    for change in 1..=changes + 1 {
        for seed in 0..8 {
            let (fs, mut core, author) = prepare(seed);
            fs.cut_power_at(change);
            let done = core.truncate(LogIndex(2), TailFate::Quarantine).is_ok();
            let fs = fs.crash();
            let (core, _) = open_core(&fs, "/data").unwrap();
            let mut found = core_read_all(&core);
            if found.len() < author.batches.len() {
                assert_eq!(found.len(), 2, "change {change}: cut elsewhere");
                let [file] = core.quarantined() else { panic!("change {change}: lost without a copy") };
                found.extend(QuarantineFile::load(file, &fs).unwrap());
            } else {
                assert!(!done, "the tail came back");
            }
            assert_eq!(found, author.batches);
        }
    }
}

#[test]
fn a_reader_that_is_overtaken_by_a_truncation_reads_what_is_there_now() {
    let disk = Arc::new(Interrupted { fs: MemFileSystem::new(6), before_read: Arc::default() });
    let mut options = options("/data");
    options.cache_bytes = 0;
    let (log, _, events) = open_on(Arc::clone(&disk) as Arc<dyn FileSystem>, options).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 6, 500));
    events.wait_durable(author.last());
    author.cut(2);
    let instead = author.write_many(epoch(2), 3, 700);
    let (writer, last) = (log.clone(), author.last());
    *disk.before_read.lock() = Some(Box::new(move || {
        writer.truncate(LogIndex(2), TailFate::Discard);
        writer.append(instead.clone());
        events.wait_durable(last);
    }));
    let found = log.read(LogIndex(3), LogIndex(5), usize::MAX).unwrap();
    assert!(disk.before_read.lock().is_none());
    assert_eq!(found, author.batches[2..]);
}

type Interruption = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk on which something happens just before the next read.
struct Interrupted {
    fs: MemFileSystem,
    before_read: Interruption,
}

struct InterruptedFile {
    file: Arc<dyn File>,
    before_read: Interruption,
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fs.fmt(f)
    }
}

impl fmt::Debug for InterruptedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Interrupted {
    fn wrap(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(InterruptedFile { file, before_read: Arc::clone(&self.before_read) })
    }
}

impl FileSystem for Interrupted {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.fs.create(path).map(|file| self.wrap(file))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.fs.open(path).map(|file| self.wrap(file))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.fs.exists(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.fs.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.fs.lock(path)
    }
    fn boot_id(&self) -> u64 {
        self.fs.boot_id()
    }
    fn entropy(&self) -> u64 {
        self.fs.entropy()
    }
}

impl File for InterruptedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let interruption = self.before_read.lock().take();
        if let Some(interruption) = interruption {
            interruption();
        }
        self.file.read_at(buffer, offset)
    }
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_all_at(parts, offset)
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append { count: usize, bytes: usize },
    Truncate { keep: prop::sample::Index, quarantine: bool },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..6, 0usize..3000).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(keep, quarantine)| Step::Truncate { keep, quarantine }),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever is queued, cached, written or cut at the moment: readers see what was asked for so far.
    #[test]
    fn readers_see_the_log_as_it_was_asked_for(
        steps in prop::collection::vec(step(), 1..40),
        cache_bytes in 0usize..6000,
    ) {
        let fs = MemFileSystem::new(5);
        let mut options = options("/data");
        options.cache_bytes = cache_bytes;
        let (log, _, events) = open(&fs, options).unwrap();
        let mut author = Author::new();
        let mut reign = 1;
        for step in steps {
            match step {
                Step::Append { count, bytes } => log.append(author.write_many(epoch(reign), count, bytes)),
                Step::Truncate { keep, quarantine } => {
                    let keep = keep.index(author.batches.len() + 1) as u64;
                    log.truncate(LogIndex(keep), if quarantine { TailFate::Quarantine } else { TailFate::Discard });
                    author.cut(keep);
                    reign += 1;
                }
                Step::Wait if author.batches.is_empty() => {}
                Step::Wait => events.wait_durable(author.last()),
            }
            prop_assert_eq!(read_all(&log), author.batches.clone());
        }
        log.close().unwrap();
        let (log, recovered, _) = open(&fs.crash_with(Unsynced::Lost), support::options("/data")).unwrap();
        prop_assert_eq!(recovered.last, author.last());
        prop_assert_eq!(read_all(&log), author.batches);
    }
}
