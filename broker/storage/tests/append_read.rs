//! Appending, reading from memory and from the disk, and finding it again after an orderly end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use mainstay_record::{Batch, BatchBuilder, BatchKind, EntryId, GroupId, LogIndex, LogPosition, Timestamp};
use mainstay_storage::{EpochStart, Flush, LogError, LogEvent, MemFileSystem, ReadError, RealFileSystem};

use support::{Author, Events, epoch, open, open_on, options, read_all, segments};

#[test]
fn a_log_on_a_real_disk_survives_its_process_and_rolls_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path().join("group-3"));
    options.cache_bytes = 20_000;
    let mut author = Author::new();

    let (log, recovered, events) = open_on(Arc::new(RealFileSystem), options.clone()).unwrap();
    assert_eq!(recovered.last, EntryId::ZERO);
    assert_eq!(recovered.end, LogPosition(0));
    assert!(!recovered.clean);
    author.write_as(BatchKind::Membership, epoch(1), b"three members");
    author.write_many(epoch(1), 150, 1000);
    author.write_many(epoch(4), 150, 1000);
    for batches in author.batches.chunks(7) {
        log.append(batches.to_vec());
    }
    events.wait_durable(author.last());
    assert_eq!(read_all(&log), author.batches);
    let metrics = log.metrics();
    assert_eq!(metrics.batches, 301);
    assert!(metrics.syncs <= metrics.batches && metrics.syncs > 0);
    assert!(metrics.rolls >= 4, "{metrics:?}");
    assert_eq!((metrics.queued_batches, metrics.queued_bytes), (0, 0));
    log.close().unwrap();
    assert!(segments(&RealFileSystem, &options.directory).len() >= 5);

    let (log, recovered, _) = open_on(Arc::new(RealFileSystem), options).unwrap();
    assert_eq!(recovered.last, author.last());
    assert_eq!(recovered.end, author.end());
    assert_eq!(recovered.last_timestamp, Timestamp(1301));
    let starts = [(1, 1), (4, 152)].map(|(e, i)| EpochStart { epoch: epoch(e), first: LogIndex(i) });
    assert_eq!(recovered.epochs, starts);
    assert_eq!(recovered.memberships.last(), author.batches.first());
    assert!(recovered.clean && recovered.same_boot);
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(read_all(&log), author.batches);
    log.close().unwrap();
}

#[test]
fn one_write_takes_more_batches_than_the_system_takes_parts() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let mut author = Author::new();
    let (log, _, events) = open_on(Arc::new(RealFileSystem), options.clone()).unwrap();
    log.append(author.write_many(epoch(1), 3000, 1));
    events.wait_durable(author.last());
    assert!(log.metrics().writes <= 4);
    drop(log);
    let (log, recovered, _) = open_on(Arc::new(RealFileSystem), options).unwrap();
    assert_eq!(recovered.last, author.last());
    assert_eq!(read_all(&log), author.batches);
}

#[test]
fn appended_batches_are_read_at_once_and_limits_hold() {
    let fs = MemFileSystem::new(1);
    let (log, _, _) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 10, 1000));
    assert_eq!(log.batch(LogIndex(10)).unwrap(), author.batches[9]);
    assert_eq!(log.cached(LogIndex(10)).as_ref(), author.batches.get(9));
    let length = author.batches[0].bytes().len();
    assert_eq!(log.read(LogIndex(3), LogIndex(8), 2 * length).unwrap(), author.batches[2..4]);
    assert_eq!(log.read(LogIndex(3), LogIndex(4), usize::MAX).unwrap(), author.batches[2..4]);
    assert_eq!(log.read(LogIndex(3), LogIndex(8), 1).unwrap(), author.batches[2..3]);
    assert_eq!(log.read(LogIndex(11), LogIndex(20), 1).unwrap(), []);
    assert!(matches!(log.batch(LogIndex(11)), Err(ReadError::NotFound { .. })));
    assert!(matches!(log.batch(LogIndex(0)), Err(ReadError::NotFound { .. })));
    log.close().unwrap();
}

#[test]
fn without_a_cache_everything_is_read_from_the_disk() {
    let fs = MemFileSystem::new(2);
    let mut options = options("/data");
    options.cache_bytes = 0;
    let (log, _, events) = open(&fs, options).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 200, 1000));
    events.wait_durable(author.last());
    assert_eq!(log.cached(LogIndex(200)), None);
    assert_eq!(read_all(&log), author.batches);
    let length = author.batches[150].bytes().len();
    assert_eq!(log.read(LogIndex(151), LogIndex(200), 2 * length).unwrap().len(), 2);
    log.close().unwrap();
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_segment_of_its_own() {
    let fs = MemFileSystem::new(3);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    let sizes = [100, 300_000, 100, 200_000, 60_000, 10];
    log.append(sizes.map(|bytes| author.write(epoch(1), bytes)).to_vec());
    events.wait_durable(author.last());
    log.close().unwrap();
    let (log, recovered, _) = open(&fs.kill(), options("/data")).unwrap();
    assert_eq!(recovered.last, author.last());
    assert_eq!(read_all(&log), author.batches);
}

#[test]
fn a_damaged_batch_on_the_disk_is_never_returned() {
    let fs = MemFileSystem::new(4);
    let mut options = options("/data");
    options.cache_bytes = 0;
    let (log, _, events) = open(&fs, options).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 3, 500));
    events.wait_durable(author.last());
    let segment = segments(&fs, "/data").remove(0);
    let at = support::find(&fs.contents(&segment).unwrap(), &author.batches[1]);
    fs.flip_bit(&segment, at + 200, 3).unwrap();
    assert_eq!(log.read(LogIndex(1), LogIndex(3), usize::MAX).unwrap(), author.batches[..1]);
    let error = log.batch(LogIndex(2)).unwrap_err();
    assert!(error.to_string().contains("00000000000000000000.seg is damaged at byte"), "{error}");
    assert_eq!(log.batch(LogIndex(3)).unwrap(), author.batches[2]);
}

#[test]
fn a_batch_that_does_not_continue_the_log_stops_it() {
    for break_it in [gap, wrong_index, wrong_position, wrong_group, older_epoch] {
        let fs = MemFileSystem::new(5);
        let (log, _, events) = open(&fs, options("/data")).unwrap();
        let mut author = Author::new();
        log.append(author.write_many(epoch(2), 2, 100));
        events.wait_durable(author.last());
        log.append(vec![break_it(&mut author.clone())]);
        let error = events.wait_failed();
        assert!(matches!(*error, LogError::NotNext { .. }), "{error}");
        log.append(vec![author.write(epoch(2), 100)]);
        assert!(log.close().is_err());
        let (_, recovered, _) = open(&fs.kill(), options("/data")).unwrap();
        assert_eq!(recovered.last.index, LogIndex(2));
    }

    fn seal(author: &Author, group: GroupId, index: LogIndex) -> Batch {
        let id = EntryId { epoch: epoch(2), index };
        BatchBuilder::default().seal(BatchKind::Data, group, id, author.end(), Timestamp(1))
    }
    fn wrong_index(author: &mut Author) -> Batch {
        seal(author, support::GROUP, LogIndex(5))
    }
    fn wrong_group(author: &mut Author) -> Batch {
        seal(author, GroupId(99), author.last().index.next())
    }
    fn gap(author: &mut Author) -> Batch {
        author.write(epoch(2), 10);
        author.write(epoch(2), 10)
    }
    fn wrong_position(author: &mut Author) -> Batch {
        author.cut(1);
        author.write(epoch(2), 10);
        author.write(epoch(2), 10)
    }
    fn older_epoch(author: &mut Author) -> Batch {
        author.write(epoch(1), 10)
    }
}

#[test]
fn flush_async_reports_written_first_and_durable_after_the_interval() {
    let fs = MemFileSystem::new(6);
    let mut options = options("/data");
    options.flush = Flush::Async { interval: Duration::from_millis(5) };
    let (log, _, events) = open(&fs, options).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 5, 100));
    events.wait_written(author.last());
    events.wait_durable(author.last());
    let order: Vec<_> = events.all().iter().map(|event| matches!(event, LogEvent::Durable { .. })).collect();
    assert_eq!(order, [false, true]);
    let (_, recovered, _) = open(&fs.crash(), support::options("/data")).unwrap();
    assert_eq!(recovered.last, author.last());
}

#[test]
fn closing_flushes_what_was_appended() {
    for flush in [Flush::Sync, Flush::Async { interval: Duration::from_secs(3600) }] {
        let fs = MemFileSystem::new(7);
        let mut options = options("/data");
        options.flush = flush;
        let (log, _, _) = open(&fs, options.clone()).unwrap();
        let mut author = Author::new();
        log.append(author.write_many(epoch(1), 5, 100));
        log.close().unwrap();
        let (_, recovered, _) = open(&fs.crash(), options).unwrap();
        assert_eq!(recovered.last, author.last());
        assert!(recovered.clean && !recovered.same_boot);
    }
}

#[test]
fn a_log_that_is_dropped_is_not_clean() {
    let fs = MemFileSystem::new(8);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 5, 100));
    events.wait_durable(author.last());
    drop(log);
    let (_, recovered, _) = open(&fs, options("/data")).unwrap();
    assert_eq!(recovered.last, author.last());
    assert!(!recovered.clean && recovered.same_boot);
}

#[test]
fn readers_and_the_writer_do_not_disturb_each_other() {
    let fs = MemFileSystem::new(9);
    let mut options = options("/data");
    options.cache_bytes = 5_000;
    let (log, _, events) = open(&fs, options).unwrap();
    let mut author = Author::new();
    author.write_many(epoch(1), 400, 700);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (log, batches) = (log.clone(), &author.batches);
            scope.spawn(move || {
                let mut at = 0;
                while at < batches.len() {
                    let more = log.read(LogIndex(at as u64 + 1), LogIndex(u64::MAX), 3000 + reader).unwrap();
                    assert_eq!(more, batches[at..at + more.len()]);
                    at += more.len();
                    std::thread::yield_now();
                }
            });
        }
        for batches in author.batches.chunks(3) {
            log.append(batches.to_vec());
        }
    });
    events.wait_durable(author.last());
}

#[test]
fn events_of_a_closed_log_end_with_its_last_batch() {
    let fs = MemFileSystem::new(10);
    let events = Events::default();
    let (log, _) = mainstay_storage::Log::open(Arc::new(fs), options("/data"), events.sink()).unwrap();
    let mut author = Author::new();
    for _ in 0..50 {
        log.append(vec![author.write(epoch(1), 20)]);
    }
    log.close().unwrap();
    let durable: Vec<_> = events
        .all()
        .iter()
        .map(|event| match event {
            LogEvent::Durable { last } => last.index.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(durable.is_sorted());
    assert_eq!(durable.last(), Some(&50));
}
