//! A failed write or fdatasync ends the log: nothing is acknowledged, nothing is tried again. A full disk does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mainstay_record::{BatchKind, EntryId, LogIndex};
use mainstay_storage::{Flush, LogError, LogEvent, MemFileSystem, Operation, Space, TailFate, Unsynced};

use support::{Author, core_read_all, epoch, find, open, open_core, options, read_all, segments};

#[test]
fn after_a_failed_fdatasync_the_core_touches_the_disk_no_more() {
    let fs = MemFileSystem::new(1);
    let mut author = Author::new();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&author.write_many(epoch(1), 2, 100)).unwrap();
    core.sync().unwrap();
    core.append(&author.write_many(epoch(1), 1, 100)).unwrap();
    fs.fail(Operation::SyncData, ".seg", 0, ErrorKind::Other);
    let error = core.sync().unwrap_err();
    assert!(error.to_string().contains("cannot fdatasync /data/log/00000000000000000000.seg"), "{error}");
    let changes = fs.changes();
    // The disk would take all of this again.
    assert!(core.sync().is_err());
    assert!(core.append(&author.write_many(epoch(1), 1, 100)).is_err());
    assert!(core.truncate(LogIndex(1), TailFate::Discard).is_err());
    let last = core.close().unwrap_err();
    assert_eq!(last.to_string(), error.to_string());
    assert_eq!(fs.changes(), changes);
}

#[test]
fn what_recovery_finds_after_a_failed_fdatasync_is_really_on_the_disk() {
    // The page cache shows the batch and counts it as clean: reading it proves nothing, syncing it does nothing.
    let fs = MemFileSystem::new(2);
    let mut author = Author::new();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&author.write_many(epoch(1), 2, 100)).unwrap();
    core.sync().unwrap();
    core.append(&author.write_many(epoch(1), 1, 100)).unwrap();
    fs.fail(Operation::SyncData, ".seg", 0, ErrorKind::Other);
    core.sync().unwrap_err();

    let fs = fs.kill();
    let (core, recovered) = open_core(&fs, "/data").unwrap();
    assert_eq!(recovered.last.index, LogIndex(3));
    drop(core);
    let (core, _) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert_eq!(core_read_all(&core), author.batches);
}

#[test]
fn a_torn_tail_whose_cut_failed_is_cut_again_though_reading_shows_it_gone() {
    let fs = MemFileSystem::new(9);
    let mut author = Author::new();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&author.write_many(epoch(1), 3, 300)).unwrap();
    core.sync().unwrap();
    core.append(&author.write_many(epoch(1), 2, 300)).unwrap();
    drop(core);
    let segment = segments(&fs, "/data").remove(0);
    let fs = fs.kill();
    let fourth = find(&fs.contents(&segment).unwrap(), &author.batches[3]);
    fs.flip_bit(&segment, fourth + 100, 1).unwrap();
    fs.fail(Operation::SyncData, ".seg", 0, ErrorKind::Other);
    open_core(&fs, "/data").unwrap_err();

    let fs = fs.kill();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    author.cut(3);
    // As long as the fourth before it: the old fifth would follow.
    core.append(&[author.write_as(BatchKind::Data, epoch(1), &[9; 300])]).unwrap();
    core.sync().unwrap();
    let (core, _) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert_eq!(core_read_all(&core), author.batches);
}

#[test]
fn a_disk_that_fails_is_reported_once_and_acknowledges_nothing() {
    for (operation, name) in
        [(Operation::SyncData, ".seg"), (Operation::Write, ".seg"), (Operation::Write, "mark")]
    {
        let fs = MemFileSystem::new(3);
        let (log, _, events) = open(&fs, options("/data")).unwrap();
        let mut author = Author::new();
        log.append(author.write_many(epoch(1), 3, 100));
        events.wait_durable(author.last());
        let acknowledged = events.durable();

        fs.fail(operation, name, 0, ErrorKind::Other);
        log.append(author.write_many(epoch(1), 3, 100));
        let error = events.wait_failed();
        assert!(matches!(*error, LogError::Io(_)), "{error}");
        assert_eq!(fs.heal(), 0);
        log.append(author.write_many(epoch(1), 1, 100));
        log.truncate(LogIndex(1), TailFate::Discard);
        assert_eq!(log.failure().unwrap().to_string(), error.to_string());
        assert_eq!(log.batch(LogIndex(2)).unwrap(), author.batches[1], "reading goes on");
        assert_eq!(log.close().unwrap_err().to_string(), error.to_string());

        assert_eq!(events.durable(), acknowledged, "{operation:?} {name}");
        let failures = events.all().iter().filter(|event| matches!(event, LogEvent::Failed(_))).count();
        assert_eq!(failures, 1);
        let (log, recovered, _) = open(&fs.crash(), options("/data")).unwrap();
        assert!(recovered.last >= acknowledged && !recovered.clean);
        assert!(author.batches.starts_with(&read_all(&log)));
    }
}

#[test]
fn a_failed_flush_ends_an_asynchronous_log() {
    let fs = MemFileSystem::new(4);
    let mut options = options("/data");
    options.flush = Flush::Async { interval: Duration::from_millis(5) };
    let (log, _, events) = open(&fs, options).unwrap();
    let mut author = Author::new();
    fs.fail(Operation::SyncData, ".seg", 0, ErrorKind::Other);
    log.append(author.write_many(epoch(1), 3, 100));
    events.wait_failed();
    assert_eq!(events.durable(), EntryId::ZERO);
    assert!(log.close().is_err());
}

#[test]
fn a_segment_that_cannot_be_begun_ends_the_log() {
    for (operation, name) in
        [(Operation::Rename, "spare"), (Operation::SyncDir, "log"), (Operation::SyncData, "mark")]
    {
        let fs = MemFileSystem::new(5);
        let mut author = Author::new();
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        core.append(&author.write_many(epoch(1), 5, 10_000)).unwrap();
        core.sync().unwrap();
        fs.fail(operation, name, 0, ErrorKind::Other);
        core.append(&author.write_many(epoch(1), 5, 10_000)).unwrap_err();
        assert_eq!(fs.heal(), 0, "{operation:?} did not happen");
        let (core, recovered) = open_core(&fs.crash(), "/data").unwrap();
        assert!(recovered.last.index >= LogIndex(5));
        assert!(author.batches.starts_with(&core_read_all(&core)));
    }
}

#[test]
fn a_full_disk_stops_nothing_for_good() {
    let fs = MemFileSystem::new(6);
    for _ in 0..100_000 {
        fs.fail(Operation::Create, "spare", 1, ErrorKind::StorageFull);
    }
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while log.metrics().space != Space::Exhausted {
        assert!(Instant::now() < deadline, "the full disk was not noticed");
        std::thread::yield_now();
    }
    // There is still room for some.
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 3, 10_000));
    events.wait_durable(author.last());
    let acknowledged = author.last();
    log.append(author.write_many(epoch(1), 8, 10_000));
    assert_eq!(read_all(&log), author.batches);
    assert_eq!(events.durable(), acknowledged);
    assert!(log.failure().is_none());
    fs.heal();
    events.wait_durable(author.last());
    log.close().unwrap();
}

#[test]
fn a_log_can_be_closed_while_the_disk_is_full() {
    let fs = MemFileSystem::new(7);
    for _ in 0..100_000 {
        fs.fail(Operation::Create, "spare", 1, ErrorKind::StorageFull);
    }
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 3, 10_000));
    events.wait_durable(author.last());
    let acknowledged = author.last();
    log.append(author.write_many(epoch(1), 8, 10_000));
    let error = log.close().unwrap_err();
    assert!(error.to_string().contains("next segment"), "{error}");
    assert!(events.durable() >= acknowledged);
    fs.heal();
    let (log, recovered, _) = open(&fs.crash(), options("/data")).unwrap();
    assert!(recovered.last >= events.durable());
    assert!(author.batches.starts_with(&read_all(&log)));
}

#[test]
fn opening_on_a_full_disk_is_an_error() {
    let fs = MemFileSystem::new(8);
    for _ in 0..1000 {
        fs.fail(Operation::Create, "spare", 0, ErrorKind::StorageFull);
    }
    let error = open(&fs, options("/data")).unwrap_err();
    assert!(error.to_string().contains("the next segment"), "{error}");
    fs.heal();
    let (_, recovered, _) = open(&fs, options("/data")).unwrap();
    assert_eq!(recovered.last, EntryId::ZERO);
}
