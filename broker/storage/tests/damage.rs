//! Damage: never delivered, never cut in silence; set aside or repaired where that was asked for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_record::{Batch, EntryId, LogIndex};
use mainstay_storage::{
    FileSystem, Flush, LogCore, LogOptions, MemFileSystem, OpenError, ReadError, RepairError, Scrubbed,
    SetAside, TailFate, Unsynced, set_aside_damage,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use support::{
    Author, core_read_all, epoch, find, open, open_core, open_core_with, options, read_all, segments,
};

/// Several segments of several writes each, all of it durable.
fn written(seed: u64) -> (MemFileSystem, Author) {
    let fs = MemFileSystem::new(seed);
    let mut author = Author::new();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    for reign in 1..4 {
        for _ in 0..4 {
            core.append(&author.write_many(epoch(reign), 3, 6000)).unwrap();
            core.sync().unwrap();
        }
    }
    drop(core);
    assert!(segments(&fs, "/data").len() >= 3);
    (fs.kill(), author)
}

fn set_aside(fs: &MemFileSystem) -> Result<Option<SetAside>, OpenError> {
    set_aside_damage(Arc::new(fs.clone()), &options("/data"))
}

/// Every batch that can be read, each by itself.
fn readable(core: &LogCore, author: &Author) -> usize {
    let mut good = 0;
    for batch in &author.batches {
        match core.read(batch.index(), batch.index(), 0) {
            Ok(found) => {
                assert!(found.iter().all(|found| found == batch), "a wrong batch was delivered");
                good += found.len();
            }
            Err(ReadError::Damaged { .. } | ReadError::NotFound { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    good
}

fn scrub_all(core: &LogCore, bytes: usize) -> Option<LogIndex> {
    let mut from = core.first();
    for _ in 0..10_000 {
        match core.scrub(from, bytes).unwrap() {
            Scrubbed::Intact { next: Some(next), .. } => {
                assert!(next > from);
                from = next;
            }
            Scrubbed::Intact { next: None, .. } => return None,
            Scrubbed::Damaged { index, .. } => return Some(index),
        }
    }
    panic!("the scrub does not end");
}

/// The files of a log that hold what it must not lose.
fn log_files(fs: &MemFileSystem) -> Vec<PathBuf> {
    let names = fs.list(Path::new("/data/log")).unwrap();
    let path = |name: &std::ffi::OsString| Path::new("/data/log").join(name);
    names.iter().map(path).filter(|path| !path.to_string_lossy().contains("spare-")).collect()
}

#[test]
fn random_damage_is_never_delivered_and_never_cuts_what_was_durable() {
    for seed in 0..250 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (fs, author) = written(seed);
        let files = log_files(&fs);
        for _ in 0..rng.random_range(1..4) {
            let file = &files[rng.random_range(0..files.len())];
            let content = fs.contents(file).unwrap();
            let used = content.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            let at = rng.random_range(0..used);
            let length = rng.random_range(1..600).min(used - at);
            let from = rng.random_range(0..used - length + 1);
            let style = rng.random_range(0..4);
            fs.corrupt(file, |content| match style {
                0 => content[at] ^= 1 << (at % 8),
                1 => content[at..at + length].fill(0),
                // A write that went astray: another part of the same file.
                2 => content.copy_within(from..from + length, at),
                _ => content[at..at + length].fill(0xa5),
            })
            .unwrap();
        }
        match open_core(&fs, "/data") {
            Ok((core, recovered)) => {
                let whole = recovered.last == author.last();
                // The end and the mark that knew of it, both damaged: that is not silent.
                assert!(whole || (recovered.incomplete && recovered.torn_tail.is_some()), "seed {seed}: cut");
                let good = readable(&core, &author);
                let clean = scrub_all(&core, 10_000).is_none();
                assert!(!clean || !whole || good == author.batches.len(), "seed {seed}");
            }
            Err(OpenError::Damaged { .. } | OpenError::DamagedFile { .. }) => {
                let before = fs.contents(&segments(&fs, "/data")[0]).ok();
                let aside = set_aside(&fs).unwrap().unwrap_or_else(|| panic!("seed {seed}: nothing found"));
                let (core, recovered) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
                let found = core_read_all(&core);
                assert!(author.batches.starts_with(&found), "seed {seed}");
                assert_eq!(
                    (recovered.last, recovered.end),
                    (aside.kept_through, aside.kept_end),
                    "seed {seed}"
                );
                assert!(recovered.incomplete, "seed {seed}");
                assert!(before.is_some());
            }
            Err(OpenError::UnknownFormat { .. } | OpenError::ForeignGroup { .. }) => {}
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
}

#[test]
fn a_stale_batch_in_the_place_of_a_newer_one_is_recognised() {
    let fs = MemFileSystem::new(1);
    let mut author = Author::new();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    for _ in 0..2 {
        core.append(&author.write_many(epoch(1), 2, 500)).unwrap();
        core.sync().unwrap();
    }
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[2]) as usize;
    let stale = author.batches[2].bytes().clone();
    core.truncate(LogIndex(2), TailFate::Discard).unwrap();
    author.cut(2);
    core.append(&author.write_many(epoch(2), 4, 500)).unwrap();
    core.sync().unwrap();
    assert_eq!(author.batches[2].bytes().len(), stale.len());
    // The disk lost the newer write: the older batch, valid in itself, is there again.
    fs.corrupt(&segment, |content| content[at..at + stale.len()].copy_from_slice(&stale)).unwrap();
    let error = core.read(LogIndex(3), LogIndex(3), 0).unwrap_err();
    assert!(error.to_string().contains("of epoch"), "{error}");
    assert_eq!(scrub_all(&core, 1), Some(LogIndex(3)));
    core.repair(&author.batches[2]).unwrap();
    assert_eq!(core_read_all(&core), author.batches);
}

#[test]
fn what_is_set_aside_is_all_there_and_the_log_goes_on_before_it() {
    for (place, kept) in [(14, 14), (0, 0), (35, 35)] {
        let (fs, author) = written(2);
        let batch = &author.batches[place];
        let holder = segments(&fs, "/data")
            .into_iter()
            .find(|path| {
                fs.contents(path)
                    .unwrap()
                    .windows(batch.bytes().len())
                    .any(|bytes| bytes == &batch.bytes()[..])
            })
            .unwrap();
        let at = find(&fs.contents(&holder).unwrap(), batch);
        fs.flip_bit(&holder, at + 300, 3).unwrap();
        // As a log without index files: every batch is looked at.
        for path in segments(&fs, "/data") {
            let _ = fs.remove(&path.with_extension("idx"));
        }
        assert!(matches!(open_core(&fs, "/data"), Err(OpenError::Damaged { .. })));
        let files: Vec<_> = segments(&fs, "/data").iter().map(|path| fs.contents(path).unwrap()).collect();
        let aside = set_aside(&fs).unwrap().unwrap();
        assert_eq!(aside.kept_through.index, LogIndex(kept));
        assert_eq!(aside.folder, Path::new("/data/damaged-1"));
        let fs = fs.crash_with(Unsynced::Lost);
        let moved: Vec<_> = segments_in(&fs, &aside.folder);
        assert!(!moved.is_empty() && files.ends_with(&moved), "what was moved is not what was there");
        let why = String::from_utf8(fs.contents(&aside.folder.join("why")).unwrap()).unwrap();
        assert!(why.contains("checksum") && why.contains("goes on behind"), "{why}");

        let (mut core, recovered) = open_core(&fs, "/data").unwrap();
        assert_eq!(core_read_all(&core), author.batches[..kept as usize]);
        assert!(recovered.incomplete && recovered.torn_tail.is_none());
        // Refilled by others, it is complete again when it is told so, and not before.
        core.append(&author.batches[kept as usize..]).unwrap();
        core.close().unwrap();
        let (mut core, recovered) = open_core(&fs, "/data").unwrap();
        assert!(recovered.incomplete && recovered.clean);
        assert_eq!(core_read_all(&core), author.batches);
        core.set_complete().unwrap();
        let fs = fs.crash_with(Unsynced::Lost);
        assert!(!open_core(&fs, "/data").unwrap().1.incomplete);
        assert_eq!(set_aside(&fs.kill()).unwrap(), None);
    }
}

fn segments_in(fs: &MemFileSystem, folder: &Path) -> Vec<Vec<u8>> {
    let names = fs.list(folder).unwrap();
    let paths = names.iter().map(|name| folder.join(name));
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .map(|path| fs.contents(&path).unwrap())
        .collect()
}

#[test]
fn a_lost_mark_and_a_lost_base_are_set_aside_too() {
    let (fs, author) = written(3);
    fs.corrupt(Path::new("/data/log/mark"), |content| content.fill(9)).unwrap();
    assert!(matches!(open_core(&fs, "/data"), Err(OpenError::DamagedFile { .. })));
    let aside = set_aside(&fs).unwrap().unwrap();
    assert_eq!(aside.kept_through, author.last());
    let (mut core, recovered) = open_core(&fs, "/data").unwrap();
    assert!(recovered.incomplete, "whether its end is missing cannot be known");
    assert_eq!(core_read_all(&core), author.batches);

    core.forget(LogIndex(20)).unwrap();
    drop(core);
    fs.corrupt(Path::new("/data/log/base"), Vec::clear).unwrap();
    let aside = set_aside(&fs).unwrap().unwrap();
    assert_eq!((aside.kept_through, aside.folder), (EntryId::ZERO, PathBuf::from("/data/damaged-2")));
    let (core, recovered) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert!(recovered.incomplete && core_read_all(&core).is_empty());
}

#[test]
fn nothing_is_lost_when_the_power_fails_while_damage_is_set_aside() {
    let prepare = |seed| {
        let (fs, author) = written(seed);
        let first = segments(&fs, "/data").remove(1);
        fs.flip_bit(&first, 9000, 3).unwrap();
        (fs, author)
    };
    let (fs, _) = prepare(0);
    let before = fs.changes();
    let kept = set_aside(&fs).unwrap().unwrap().kept_through;
    let changes = fs.changes() - before;
    assert!(changes >= 20, "{changes}");
    for change in 1..=changes {
        for unsynced in [Unsynced::Lost, Unsynced::Scattered] {
            let (fs, author) = prepare(change);
            let intact: Vec<Batch> = author.batches.clone();
            fs.cut_power_at(change);
            let _ = set_aside(&fs);
            let fs = fs.crash_with(unsynced);
            let _ = set_aside(&fs).unwrap();
            let fs = fs.crash_with(Unsynced::Lost);
            let context = format!("change {change}, {unsynced:?}");
            let (core, recovered) =
                open_core(&fs, "/data").unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(recovered.incomplete && recovered.last == kept, "{context}");
            assert_eq!(core_read_all(&core), author.batches[..kept.index.0 as usize], "{context}");
            // Every batch but the damaged one is in some file.
            let folders = ["/data/log", "/data/damaged-1", "/data/damaged-2"].map(Path::new);
            let there = folders.iter().filter(|folder| fs.exists(folder).unwrap());
            let all: Vec<u8> = there.flat_map(|folder| segments_in(&fs, folder)).flatten().collect();
            let starts = (0..all.len() - 64).filter(|at| all[*at..].starts_with(b"MSB1"));
            let headers: BTreeSet<&[u8]> = starts.map(|at| &all[at..at + 64]).collect();
            let missing = intact.iter().filter(|batch| !headers.contains(&batch.bytes()[..64]));
            assert_eq!(missing.count(), 0, "{context}");
        }
    }
}

#[test]
fn any_place_of_a_log_can_be_repaired_in_place() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (fs, author) = written(seed);
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        let paths = segments(&fs, "/data");
        let path = &paths[rng.random_range(0..paths.len())];
        let used = fs.contents(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        // The rest of the header's block is not looked at.
        let at =
            if rng.random_bool(0.1) { rng.random_range(0..50) } else { rng.random_range(4096..used as u64) };
        fs.flip_bit(path, at, 5).unwrap();
        let damaged =
            scrub_all(&core, 20_000).unwrap_or_else(|| panic!("seed {seed}: byte {at} not noticed"));
        let good = &author.batches[damaged.0 as usize - 1];
        let other = &author.batches[damaged.0 as usize % author.batches.len()];
        if other.index() != damaged {
            let mut forged = author.clone();
            forged.cut(damaged.0 - 1);
            let forged = forged.write(epoch(9), 10);
            assert!(matches!(core.repair(&forged), Err(RepairError::Another { .. })));
        }
        core.repair(good).unwrap();
        assert_eq!(scrub_all(&core, 1), None, "seed {seed}: byte {at}");
        drop(core);
        // Even for a recovery that trusts nothing, and after a power cut.
        let fs = fs.crash_with(Unsynced::Lost);
        assert_eq!(set_aside(&fs).unwrap(), None, "seed {seed}: byte {at}");
        let (core, _) = open_core(&fs, "/data").unwrap();
        assert_eq!(core_read_all(&core), author.batches);
    }
}

#[test]
fn the_handle_repairs_while_others_write() {
    let fs = MemFileSystem::new(5);
    let mut options = options("/data");
    options.cache_bytes = 0;
    let (log, _, events) = open(&fs, options).unwrap();
    let mut author = Author::new();
    log.append(author.write_many(epoch(1), 20, 6000));
    events.wait_durable(author.last());
    let path = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&path).unwrap(), &author.batches[4]);
    fs.flip_bit(&path, at + 1000, 0).unwrap();
    let Scrubbed::Damaged { index, error } = log.scrub(LogIndex(1), usize::MAX).unwrap() else {
        panic!("not noticed");
    };
    assert_eq!(index, LogIndex(5));
    assert!(matches!(error, ReadError::Damaged { .. }));
    log.append(author.write_many(epoch(1), 3, 100));
    assert!(matches!(log.repair(author.batches[22].clone()), Ok(())), "what is intact may be written again");
    log.repair(author.batches[4].clone()).unwrap();
    assert_eq!(read_all(&log), author.batches);
    let beyond = author.clone().write(epoch(1), 10);
    assert!(matches!(log.repair(beyond), Err(RepairError::NotInLog { .. })));
    log.clone().close().unwrap();
    assert!(matches!(log.repair(author.batches[4].clone()), Err(RepairError::Stopped(_))));
}

#[test]
fn whether_acknowledged_batches_may_be_missing_is_known_until_it_is_settled() {
    let lazy = Flush::Async { interval: Duration::from_secs(3600) };
    let opened = |fs: &MemFileSystem, flush| open_core_with(fs, "/data", flush).unwrap();
    for flush in [Flush::Sync, lazy] {
        let is_lazy = flush != Flush::Sync;
        let fs = MemFileSystem::new(6);
        let mut author = Author::new();
        let (mut core, recovered) = opened(&fs, flush);
        assert!(!recovered.incomplete, "a new log");
        core.append(&author.write_many(epoch(1), 2, 100)).unwrap();
        // The process dies: the page cache has everything.
        let fs = fs.kill();
        assert!(!opened(&fs, flush).1.incomplete);
        // The power fails, and after that the process dies once more.
        let fs = fs.crash_with(Unsynced::Lost);
        assert_eq!(opened(&fs, flush).1.incomplete, is_lazy);
        let fs = fs.kill();
        let (mut core, recovered) = opened(&fs, flush);
        assert!(recovered.same_boot);
        assert_eq!(recovered.incomplete, is_lazy, "forgotten by the second start");
        core.set_complete().unwrap();
        core.close().unwrap();
        // An orderly end survives the power.
        let fs = fs.crash_with(Unsynced::Lost);
        assert!(!opened(&fs, flush).1.incomplete);
        // What counts is how the log was written, not how it is opened now.
        let fs = fs.crash_with(Unsynced::Lost);
        assert_eq!(opened(&fs, Flush::Sync).1.incomplete, is_lazy);
    }
}

#[test]
fn a_folder_without_a_log_has_no_damage() {
    let fs = MemFileSystem::new(7);
    let options = LogOptions { ..options("/nothing") };
    assert_eq!(set_aside_damage(Arc::new(fs), &options).unwrap(), None);
}
