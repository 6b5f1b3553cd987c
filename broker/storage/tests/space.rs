//! A disk that gets full: told early, nothing fails, and the log goes on by itself. And what a log that stopped leaves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::ErrorKind;
use std::path::Path;

use mainstay_record::LogIndex;
use mainstay_storage::{
    FileSystem, LogError, LogEvent, MemFileSystem, Operation, RealFileSystem, Space, Stopped, Unsynced,
};

use support::{Author, core_read_all, epoch, open, open_core, options, read_all, segments};

const SEGMENT: u64 = 64 * 1024 + 4096;

#[test]
fn low_space_is_told_while_small_records_still_fit_into_the_segment_in_reserve() {
    let fs = MemFileSystem::new(1);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 4, 20_000));
    events.wait_durable(author.last());
    assert_eq!(log.metrics().space, Space::Plenty);
    // Nothing more fits on the disk; one segment is ready or can just be made.
    fs.set_capacity(Some(fs.used().max(3 * SEGMENT + 20_000)));
    events.wait_space(Space::Low);
    assert_eq!(log.metrics().space, Space::Low);
    log.append(author.write_many(epoch(1), 40, 1000));
    events.wait_durable(author.last());
    assert!(log.failure().is_none());
    fs.set_capacity(None);
    events.wait_space(Space::Plenty);
    log.close().unwrap();
    assert!(!events.all().iter().any(|event| matches!(event, LogEvent::Failed(_))));
}

#[test]
fn a_log_without_space_goes_on_when_its_beginning_is_forgotten() {
    let fs = MemFileSystem::new(2);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 12, 20_000));
    events.wait_durable(author.last());
    let durable = author.last();
    // Four segments and a spare one: after the first three are forgotten there is room for the next dozen.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while fs.used() < 5 * SEGMENT {
        assert!(std::time::Instant::now() < patience, "no spare segment is made");
        std::thread::yield_now();
    }
    // Room for the base, not for a segment.
    fs.set_capacity(Some(fs.used() + 2000));
    log.append(author.write_many(epoch(1), 12, 20_000));
    events.wait_space(Space::Exhausted);
    assert_eq!(read_all(&log), author.batches);
    assert!(log.failure().is_none() && events.durable() < author.last());
    log.forget(LogIndex(12));
    events.wait_durable(author.last());
    assert!(log.first() > LogIndex(1));
    author.forget(log.first().0 - 1);
    assert_eq!(read_all(&log), author.batches);
    fs.set_capacity(None);
    events.wait_space(Space::Plenty);
    log.close().unwrap();
    let (log, recovered, _) = open(&fs.crash_with(Unsynced::Lost), options("/data")).unwrap();
    assert_eq!((recovered.last, recovered.stopped), (author.last(), None));
    assert!(recovered.last > durable);
    assert_eq!(read_all(&log), author.batches);
}

#[test]
fn the_core_says_what_is_written_and_can_be_asked_again() {
    let fs = MemFileSystem::new(3);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    let mut author = Author::new();
    assert_eq!(core.space(), Space::Plenty);
    fs.set_capacity(Some(fs.used() + SEGMENT / 2));
    assert_eq!(core.space(), Space::Low);
    author.write_many(epoch(1), 8, 20_000);
    let error = core.append(&author.batches).unwrap_err();
    assert!(matches!(*error, LogError::NoSpace(_)), "{error}");
    assert_eq!(core.last().index, LogIndex(3));
    core.sync().unwrap();
    fs.set_capacity(None);
    core.append(&author.batches[3..]).unwrap();
    core.sync().unwrap();
    assert_eq!(core_read_all(&core), author.batches);
    drop(core);
    let (core, _) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert_eq!(core_read_all(&core), author.batches);
}

#[test]
fn without_space_for_index_files_they_are_made_at_the_next_start() {
    let fs = MemFileSystem::new(4);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    for _ in 0..9 {
        fs.fail(Operation::Create, ".idx", 0, ErrorKind::StorageFull);
    }
    let mut author = Author::new();
    core.append(&author.write_many(epoch(1), 8, 20_000)).unwrap();
    core.sync().unwrap();
    assert_eq!(core_read_all(&core), author.batches);
    assert!(support::index_files(&fs, "/data").is_empty());
    fs.heal();
    drop(core);
    drop(open_core(&fs, "/data").unwrap());
    assert_eq!(support::index_files(&fs, "/data").len(), segments(&fs, "/data").len() - 1);
}

#[test]
fn a_log_that_stopped_leaves_the_reason_until_it_is_opened_again() {
    let fs = MemFileSystem::new(5);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    let directory = Path::new("/data");
    assert_eq!(Stopped::read(&fs, directory).unwrap(), None);
    fs.fail(Operation::SyncData, ".seg", 0, ErrorKind::Other);
    log.append(author.write_many(epoch(1), 1, 100));
    let error = events.wait_failed();
    log.close().unwrap_err();
    let fs = fs.crash_with(Unsynced::Lost);
    let stopped = Stopped::read(&fs, directory).unwrap().unwrap();
    assert_eq!(stopped.operation.as_deref(), Some("fdatasync"));
    assert_eq!(stopped.path.as_deref(), Some(Path::new("/data/log/00000000000000000000.seg")));
    assert_eq!(stopped.what, error.to_string());
    assert!(stopped.at.0 > 1_600_000_000_000);
    let (log, recovered, _) = open(&fs, options("/data")).unwrap();
    assert_eq!(recovered.stopped, Some(stopped));
    log.close().unwrap();
    assert_eq!(Stopped::read(&fs, directory).unwrap(), None);
}

#[test]
fn the_real_file_system_knows_its_free_space() {
    let folder = tempfile::tempdir().unwrap();
    assert!(RealFileSystem.free_space(folder.path()).unwrap().unwrap() > 0);
    assert!(RealFileSystem.free_space(Path::new("/no/such/folder")).is_err());
}
