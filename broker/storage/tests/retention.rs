//! A log that gives up its beginning, or starts over behind a snapshot; and its segments, told one by one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use mainstay_record::{BatchKind, LogIndex, LogPosition, Timestamp};
use mainstay_storage::{
    FileSystem, Flush, LogError, MemFileSystem, Operation, ReadError, TailFate, Unsynced,
};

use support::{
    Author, base_behind, core_read_all, epoch, index_files, open, open_core, open_core_with, options,
    read_all, segments,
};

#[test]
fn whole_segments_are_forgotten_and_the_log_tells_what_is_left() {
    let fs = MemFileSystem::new(1);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut author = Author::new();
    author.write_as(BatchKind::Membership, epoch(1), b"first");
    author.write_many(epoch(2), 9, 20_000);
    author.write_as(BatchKind::Membership, epoch(3), b"second");
    author.write_many(epoch(3), 9, 20_000);
    log.append(author.batches.clone());
    events.wait_durable(author.last());
    let listed = log.segments();
    assert_eq!(listed.len(), segments(&fs, "/data").len());
    assert_eq!(log.size_bytes(), listed.iter().map(|segment| segment.file_bytes).sum::<u64>());
    assert_eq!(listed.iter().map(|segment| segment.bytes).sum::<u64>(), author.end().0);
    for segment in &listed {
        assert_eq!(segment.newest, author.batches[segment.last.0 as usize - 1].header().timestamp);
    }

    // One before the end of the third segment: only two may go.
    log.forget(LogIndex(listed[2].last.0 - 1));
    // A round through the writer.
    log.append(author.write_many(epoch(3), 1, 10));
    events.wait_durable(author.last());
    assert_eq!(log.first(), listed[2].first);
    assert_eq!(log.segments()[0], listed[2]);
    let expected = author.base_at(listed[1].last.0);
    assert_eq!(expected.membership.as_ref().unwrap().index(), LogIndex(1));
    let gone = log.read(LogIndex(1), LogIndex(5), 1).unwrap_err();
    assert!(matches!(gone, ReadError::NotFound { first, .. } if first == listed[2].first), "{gone}");
    assert!(log.cached(listed[1].last).is_none());
    author.forget(listed[1].last.0);
    assert_eq!(read_all(&log), author.batches);
    log.close().unwrap();

    let (log, recovered, _) = open(&fs.crash_with(Unsynced::Lost), options("/data")).unwrap();
    assert_eq!(recovered.base, expected);
    assert_eq!(recovered.last, author.last());
    assert_eq!(recovered.memberships.last().unwrap().index(), LogIndex(11));
    assert_eq!(recovered.epochs.len(), 3);
    assert_eq!(read_all(&log), author.batches);
    // A truncation stops at the base.
    log.truncate(expected.last.index.prev(), TailFate::Discard);
    assert!(matches!(*log.failure().unwrap(), LogError::TruncateBelowBase { .. }));
}

#[test]
fn the_newest_segment_is_never_forgotten() {
    let fs = MemFileSystem::new(2);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    let mut author = Author::new();
    core.append(&author.write_many(epoch(1), 10, 20_000)).unwrap();
    let first = core.forget(LogIndex(1000)).unwrap();
    assert!(first > LogIndex(1) && first <= LogIndex(10));
    assert_eq!(core.forget(LogIndex(1000)).unwrap(), first);
    author.forget(first.0 - 1);
    assert_eq!(core_read_all(&core), author.batches);
    // Everything behind the base may be cut, and others take its place.
    core.truncate(first.prev(), TailFate::Quarantine).unwrap();
    author.cut(first.0 - 1);
    core.append(&author.write_many(epoch(2), 3, 50)).unwrap();
    core.sync().unwrap();
    drop(core);
    let (core, recovered) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert_eq!(recovered.base, author.base);
    assert_eq!(core_read_all(&core), author.batches);
}

#[test]
fn a_segment_that_is_used_again_brings_nothing_back() {
    // The batches of the first segments lie at the very places where those of the next generation will.
    for seed in 0..40 {
        let fs = MemFileSystem::new(seed);
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        let mut author = Author::new();
        let mut reused = 0;
        for _ in 0..5 {
            core.append(&author.write_many(epoch(1), 6, 20_000)).unwrap();
            core.sync().unwrap();
            let first = core.forget(author.last().index).unwrap();
            author.forget(first.0 - 1);
            let spares = fs.list(std::path::Path::new("/data/log")).unwrap();
            reused += spares.iter().filter(|name| name.to_string_lossy().starts_with("spare-")).count();
        }
        assert!(reused > 0, "no segment was kept for another use");
        core.append(&author.write_many(epoch(1), 1, 20_000)).unwrap();
        core.sync().unwrap();
        // Nothing is behind the last batch but zeros.
        let fs = fs.kill();
        assert_eq!(open_core(&fs, "/data").unwrap().1.torn_tail, None, "seed {seed}");
        let fs = fs.crash();
        let (core, recovered) = open_core(&fs, "/data").unwrap();
        let found = core_read_all(&core);
        assert!(author.batches.starts_with(&found), "seed {seed}");
        assert!(found.len() + 1 >= author.batches.len(), "seed {seed}");
        assert_eq!(recovered.base, author.base);
    }
}

#[test]
fn without_space_for_the_base_nothing_is_forgotten_and_the_log_goes_on() {
    let fs = MemFileSystem::new(3);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    let mut author = Author::new();
    core.append(&author.write_many(epoch(1), 10, 20_000)).unwrap();
    fs.fail(Operation::Write, "base", 0, std::io::ErrorKind::StorageFull);
    assert_eq!(core.forget(LogIndex(8)).unwrap(), LogIndex(1));
    assert_eq!(core_read_all(&core), author.batches);
    assert!(core.forget(LogIndex(8)).unwrap() > LogIndex(1));
    core.append(&author.write_many(epoch(1), 1, 10)).unwrap();
    core.sync().unwrap();
}

#[test]
fn a_log_starts_over_behind_a_base() {
    let fs = MemFileSystem::new(4);
    let (log, _, events) = open(&fs, options("/data")).unwrap();
    let mut old = Author::new();
    log.append(old.write_many(epoch(1), 12, 20_000));
    // Before the end of the old log: what was durable of that must not count any more.
    let base = base_behind(500, epoch(7), 5_000);
    log.restart_at(base.clone(), Some(LogIndex(9)));
    let mut author = Author::behind(base.clone());
    assert_eq!(log.first(), LogIndex(501));
    assert_eq!(log.cached(LogIndex(12)), None);
    assert!(matches!(log.batch(LogIndex(3)), Err(ReadError::NotFound { .. })));
    assert_eq!(log.base_at(LogIndex(500)).unwrap(), base);
    log.append(author.write_many(epoch(7), 8, 20_000));
    assert_eq!(read_all(&log), author.batches);
    events.wait_durable(author.last());
    assert_eq!(read_all(&log), author.batches);
    assert_eq!(log.base_at(LogIndex(503)).unwrap(), author.base_at(503));
    let [aside] = log.quarantined().try_into().unwrap();
    assert_eq!(aside.load(&fs).unwrap(), old.batches[9..]);
    log.close().unwrap();

    let (log, recovered, _) = open(&fs.crash_with(Unsynced::Lost), options("/data")).unwrap();
    assert_eq!((recovered.base, recovered.last), (base, author.last()));
    assert_eq!(read_all(&log), author.batches);
    let mut wrong = base_behind(10, epoch(2), 5);
    wrong.epochs.clear();
    log.restart_at(wrong, None);
    assert!(matches!(*log.failure().unwrap(), LogError::InconsistentBase { .. }));
}

#[test]
fn an_empty_log_behind_a_base_tells_the_base() {
    let fs = MemFileSystem::new(5);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    // What was durable of the old log reaches further than the new one begins.
    core.append(&Author::new().write_many(epoch(1), 5, 20_000)).unwrap();
    core.sync().unwrap();
    let base = base_behind(40, epoch(3), 4000);
    core.restart_at(base.clone(), None).unwrap();
    drop(core);
    let (core, recovered) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert_eq!((recovered.last, recovered.end), (base.last, LogPosition(4000)));
    assert_eq!(recovered.last_timestamp, Timestamp(1040));
    assert_eq!((core.first(), core.last()), (LogIndex(41), base.last));
    assert_eq!(core.base_at(LogIndex(40)).unwrap(), base);
    assert_eq!(core.segments().len(), 1);
}

#[test]
fn a_damaged_base_is_refused() {
    let fs = MemFileSystem::new(6);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.restart_at(base_behind(40, epoch(3), 4000), None).unwrap();
    drop(core);
    let length = fs.contents("/data/log/base".as_ref()).unwrap().len() as u64;
    for at in 0..length {
        let fs = fs.kill();
        fs.flip_bit("/data/log/base".as_ref(), at, 2).unwrap();
        let error = open_core(&fs, "/data").unwrap_err().to_string();
        assert!(error.contains("/data/log/base is damaged"), "byte {at}: {error}");
    }
}

#[test]
fn complete_segments_are_opened_by_their_index_files_alone() {
    for flush in [Flush::Sync, Flush::Async { interval: std::time::Duration::from_secs(1) }] {
        let fs = MemFileSystem::new(7);
        let (mut core, _) = open_core_with(&fs, "/data", flush).unwrap();
        let mut author = Author::new();
        author.write_as(BatchKind::Membership, epoch(1), b"m");
        author.write_many(epoch(1), 1000, 150);
        author.write_many(epoch(2), 8, 20_000);
        core.append(&author.batches).unwrap();
        core.sync().unwrap();
        drop(core);
        let fs = fs.kill();
        let paths = segments(&fs, "/data");
        assert_eq!(
            index_files(&fs, "/data"),
            paths[..paths.len() - 1].iter().map(|p| p.with_extension("idx")).collect::<Vec<_>>()
        );
        // Everything but the headers of complete segments is destroyed: opening does not look at it, reading does.
        for path in &paths[..paths.len() - 1] {
            fs.corrupt(path, |content| content[5000..].fill(0x55)).unwrap();
        }
        let (core, recovered) = open_core(&fs, "/data").unwrap();
        assert_eq!((recovered.last, recovered.end), (author.last(), author.end()));
        assert_eq!(recovered.memberships.last(), author.batches.first());
        assert_eq!(recovered.epochs, author.base_at(author.last().index.0).epochs);
        let error = core.read(LogIndex(50), LogIndex(60), 100).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { ref segment, .. } if *segment == paths[0]), "{error}");
        assert_eq!(
            core.read(author.last().index, author.last().index, 0).unwrap().last(),
            author.batches.last()
        );
    }
}

#[test]
fn a_missing_or_damaged_index_file_is_made_again() {
    let fs = MemFileSystem::new(8);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    let mut author = Author::new();
    core.append(&author.write_many(epoch(1), 2000, 150)).unwrap();
    core.sync().unwrap();
    drop(core);
    let fs = fs.kill();
    let index = index_files(&fs, "/data").remove(1);
    let whole = fs.contents(&index).unwrap();
    let damages: [&dyn Fn(&MemFileSystem); 5] = [
        &|fs| fs.remove(&index).unwrap(),
        &|fs| fs.flip_bit(&index, 70, 1).unwrap(),
        &|fs| fs.flip_bit(&index, whole.len() as u64 - 3000, 1).unwrap(),
        &|fs| fs.corrupt(&index, |content| content.truncate(100)).unwrap(),
        &|fs| fs.corrupt(&index, Vec::clear).unwrap(),
    ];
    for (at, damage) in damages.iter().enumerate() {
        let fs = fs.kill();
        damage(&fs);
        let (core, recovered) = open_core(&fs, "/data").unwrap();
        assert_eq!(recovered.last, author.last(), "{at}");
        assert_eq!(core_read_all(&core), author.batches, "{at}");
        drop(core);
        drop(open_core(&fs, "/data").unwrap());
        assert!(fs.contents(&index).unwrap() == whole, "{at}: not made again");
    }
}

/// The checksum tells that a block is as it was written, not that it was written right.
#[test]
fn index_entries_that_do_not_follow_one_another_are_made_again() {
    let fs = MemFileSystem::new(10);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    let mut author = Author::new();
    core.append(&author.write_many(epoch(1), 2000, 150)).unwrap();
    core.sync().unwrap();
    drop(core);
    let fs = fs.kill();
    let index = index_files(&fs, "/data").remove(1);
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    // Numbers of the first block's entries (byte, length, position; 12 bytes each): one before its predecessor, one that
    // overlaps the next, one in the segment's header, one far behind, one longer than the segment.
    let changes = [(12, 4096), (16, 300), (0, 0), (12, u32::MAX), (200 * 12 + 4, u32::MAX)];
    for (at, (field, changed)) in changes.into_iter().enumerate() {
        let fs = fs.kill();
        fs.corrupt(&index, |content| {
            let head = number(content, 12) as usize;
            let salt: [u8; 8] = content[28..36].try_into().unwrap();
            let block = &mut content[head..head + 4096];
            block[field..field + 4].copy_from_slice(&changed.to_le_bytes());
            let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
            digest.update(&salt);
            digest.update(&block[..4092]);
            block[4092..].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
        })
        .unwrap();
        let (core, recovered) = open_core(&fs, "/data").unwrap();
        assert_eq!(recovered.last, author.last(), "{at}");
        assert_eq!(core_read_all(&core), author.batches, "{at}");
    }
}

#[test]
fn an_index_file_of_another_segment_is_not_trusted() {
    let fs = MemFileSystem::new(9);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    let mut author = Author::new();
    core.append(&author.write_many(epoch(1), 10, 20_000)).unwrap();
    core.sync().unwrap();
    let index = index_files(&fs, "/data").remove(1);
    let stale = fs.contents(&index).unwrap();
    core.truncate(LogIndex(1), TailFate::Discard).unwrap();
    author.cut(1);
    core.append(&author.write_many(epoch(2), 10, 20_000)).unwrap();
    core.sync().unwrap();
    assert!(fs.contents(&index).unwrap() != stale);
    drop(core);
    let fs = fs.kill();
    fs.corrupt(&index, |content| *content = stale.clone()).unwrap();
    let (core, recovered) = open_core(&fs, "/data").unwrap();
    assert_eq!(recovered.epochs, author.base_at(11).epochs);
    assert_eq!(core_read_all(&core), author.batches);
}
