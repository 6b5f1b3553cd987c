//! What recovery makes of a disk that is not as it was left: torn writes are cut, damage is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::ErrorKind;
use std::path::Path;

use mainstay_record::{BatchKind, LogIndex};
use mainstay_storage::{Damage, LogCore, MemFileSystem, OpenError, Operation, TailFate, Unsynced};
use proptest::prelude::*;

use support::{Author, core_read_all, epoch, find, open_core, segments};

/// A log of `syncs` group commits of `count` batches each, left without being closed.
fn written(fs: &MemFileSystem, syncs: usize, count: usize, bytes: usize) -> Author {
    let mut author = Author::new();
    let (mut core, _) = open_core(fs, "/data").unwrap();
    for _ in 0..syncs {
        core.append(&author.write_many(epoch(1), count, bytes)).unwrap();
        core.sync().unwrap();
    }
    author
}

fn damage(fs: &MemFileSystem) -> (String, u64, Damage) {
    match open_core(fs, "/data") {
        Err(OpenError::Damaged { segment, offset, what, .. }) => {
            (segment.display().to_string(), offset, what)
        }
        Err(other) => panic!("another error: {other}"),
        Ok((_, recovered)) => panic!("opened with {recovered:?}"),
    }
}

#[test]
fn a_torn_tail_is_cut_durably_and_reported() {
    let fs = MemFileSystem::new(1);
    let mut author = written(&fs, 1, 3, 400);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&author.write_many(epoch(1), 1, 2000)).unwrap();
    let fs = fs.kill();
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[3]);
    fs.corrupt(&segment, |content| content[at as usize + 700..].fill(0)).unwrap();

    let (core, recovered) = open_core(&fs, "/data").unwrap();
    assert_eq!(recovered.last.index, LogIndex(3));
    assert_eq!(core_read_all(&core), author.batches[..3]);
    let torn = recovered.torn_tail.unwrap();
    assert_eq!(torn.segment, segment);
    // The cut is made before the header of the torn write.
    assert!(torn.offset < at && torn.offset + torn.bytes <= at + 700 && torn.bytes > 600, "{torn:?}");
    drop(core);
    let after = fs.crash_with(Unsynced::Lost);
    let content = after.contents(&segment).unwrap();
    assert!(content[torn.offset as usize..].iter().all(|byte| *byte == 0));
    assert_eq!(open_core(&after, "/data").unwrap().1.torn_tail, None);
}

#[test]
fn a_write_whose_end_reached_the_disk_before_its_start_is_torn_not_damaged() {
    let fs = MemFileSystem::new(2);
    let mut author = written(&fs, 2, 2, 300);
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&author.write_many(epoch(1), 4, 1000)).unwrap();
    let fs = fs.kill();
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[5]);
    fs.corrupt(&segment, |content| content[at as usize..at as usize + 512].fill(0)).unwrap();
    let (core, recovered) = open_core(&fs, "/data").unwrap();
    assert!(recovered.torn_tail.is_some());
    assert_eq!(core_read_all(&core), author.batches[..5]);
}

#[test]
fn damage_before_a_later_write_is_refused_even_when_the_mark_is_old() {
    // The mark on the disk knows nothing, as if the power had failed before it was written back.
    let fs = MemFileSystem::new(3);
    let author = written(&fs, 4, 2, 500);
    let fs = fs.crash_with(Unsynced::Lost);
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[3]);
    fs.flip_bit(&segment, at + 100, 5).unwrap();
    let before = fs.contents(&segment).unwrap();
    let (path, offset, what) = damage(&fs);
    assert!(path.ends_with("log/00000000000000000000.seg"));
    assert_eq!(offset, at);
    assert!(matches!(what, Damage::Batch(_)), "{what}");
    let error = open_core(&fs, "/data").unwrap_err().to_string();
    assert!(
        error.contains(&format!("00000000000000000000.seg is damaged at byte {at}: checksum")),
        "{error}"
    );
    assert!(fs.contents(&segment).unwrap() == before, "a refused log is left as it is");
}

#[test]
fn damage_in_the_last_durable_write_is_refused() {
    let fs = MemFileSystem::new(4);
    let author = written(&fs, 2, 2, 500);
    let fs = fs.kill();
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[3]);
    fs.flip_bit(&segment, at + 100, 5).unwrap();
    assert_eq!(damage(&fs).1, at);
}

#[test]
fn durable_batches_that_became_zeros_are_refused() {
    let fs = MemFileSystem::new(5);
    let author = written(&fs, 2, 2, 500);
    let fs = fs.kill();
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[2]);
    fs.corrupt(&segment, |content| content[at as usize - 24..].fill(0)).unwrap();
    let (_, offset, what) = damage(&fs);
    assert_eq!(offset, at - 24);
    assert_eq!(what, Damage::Missing { durable: author.end() });
}

#[test]
fn damage_in_an_older_segment_is_refused_where_every_batch_is_looked_at() {
    let fs = MemFileSystem::new(6);
    let author = written(&fs, 1, 20, 10_000);
    let fs = fs.crash_with(Unsynced::Lost);
    let paths = segments(&fs, "/data");
    assert!(paths.len() >= 3, "{paths:?}");
    let at = find(&fs.contents(&paths[0]).unwrap(), &author.batches[5]);
    for at in [4096 + 3, at + 9] {
        let fs = fs.kill();
        fs.flip_bit(&paths[0], at, 0).unwrap();
        mainstay_storage::FileSystem::remove(&fs, &paths[0].with_extension("idx")).unwrap();
        assert_eq!(damage(&fs).0, paths[0].display().to_string());
    }
}

#[test]
fn missing_shortened_and_misplaced_segments_are_refused() {
    use mainstay_storage::FileSystem;
    let base = MemFileSystem::new(7);
    written(&base, 1, 20, 10_000);
    let base = base.kill();
    let paths = segments(&base, "/data");

    let fs = base.kill();
    fs.remove(&paths[1]).unwrap();
    assert!(matches!(damage(&fs).2, Damage::SegmentGap { .. }));

    let fs = fs.kill();
    for path in segments(&fs, "/data") {
        fs.remove(&path).unwrap();
    }
    assert!(matches!(damage(&fs).2, Damage::Missing { .. }));
}

#[test]
fn a_shortened_segment_and_a_damaged_header_are_refused() {
    for shorten in [true, false] {
        let fs = MemFileSystem::new(8);
        written(&fs, 1, 3, 100);
        let fs = fs.kill();
        let path = segments(&fs, "/data").remove(0);
        fs.corrupt(&path, |content| if shorten { content.truncate(40_000) } else { content[30] ^= 1 })
            .unwrap();
        let what = damage(&fs).2;
        match shorten {
            true => assert!(matches!(what, Damage::SegmentLength { found: 40_000, .. }), "{what}"),
            false => assert_eq!(what, Damage::SegmentHeader),
        }
    }
}

#[test]
fn a_missing_or_damaged_mark_is_refused() {
    use mainstay_storage::FileSystem;
    let fs = MemFileSystem::new(9);
    written(&fs, 2, 3, 100);
    let fs = fs.kill();
    let mark = Path::new("/data/log/mark");
    let whole = fs.contents(mark).unwrap();
    // One slot may be torn.
    fs.corrupt(mark, |content| content[20] ^= 1).unwrap();
    drop(open_core(&fs, "/data").unwrap());
    fs.corrupt(mark, |content| {
        *content = whole.clone();
        content[20] ^= 1;
        content[4096 + 20] ^= 1;
    })
    .unwrap();
    assert!(matches!(open_core(&fs, "/data"), Err(OpenError::DamagedFile { .. })));
    fs.remove(mark).unwrap();
    assert!(matches!(open_core(&fs, "/data"), Err(OpenError::DamagedFile { .. })));
}

#[test]
fn a_message_that_holds_a_log_does_not_mislead_recovery() {
    // A torn write whose body is a copy of the segment itself, run headers included.
    let fs = MemFileSystem::new(10);
    let mut author = written(&fs, 3, 2, 200);
    let segment = segments(&fs, "/data").remove(0);
    let copy = fs.contents(&segment).unwrap()[..8000].to_vec();
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&[author.write_as(BatchKind::Data, epoch(1), &copy)]).unwrap();
    let fs = fs.kill();
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[6]);
    fs.flip_bit(&segment, at + 90, 0).unwrap();
    let (_, recovered) = open_core(&fs, "/data").unwrap();
    assert_eq!(recovered.last.index, LogIndex(6));
    assert!(recovered.torn_tail.is_some());
}

#[test]
fn a_message_cannot_forge_a_proof_of_damage() {
    let fs = MemFileSystem::new(14);
    let mut author = written(&fs, 1, 2, 200);
    // A well-formed run header that claims the world to be durable, as a client could write it.
    let mut forged = b"MSR1".to_vec();
    forged.extend_from_slice(&1u64.to_le_bytes());
    forged.extend_from_slice(&u64::MAX.to_le_bytes());
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&0u64.to_le_bytes());
    digest.update(&forged);
    forged.extend_from_slice(&(digest.finalize() as u32).to_le_bytes());
    let (mut core, _) = open_core(&fs, "/data").unwrap();
    core.append(&[author.write_as(BatchKind::Data, epoch(1), &forged)]).unwrap();
    let fs = fs.kill();
    let segment = segments(&fs, "/data").remove(0);
    let at = find(&fs.contents(&segment).unwrap(), &author.batches[2]);
    fs.flip_bit(&segment, at + 50, 0).unwrap();
    let (_, recovered) = open_core(&fs, "/data").unwrap();
    assert_eq!(recovered.last.index, LogIndex(2));
}

#[test]
fn a_torn_mark_never_brings_a_finished_truncation_back() {
    for slot in [0, 4096] {
        let fs = MemFileSystem::new(15);
        let mut author = written(&fs, 1, 5, 200);
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        core.truncate(LogIndex(2), TailFate::Discard).unwrap();
        author.cut(2);
        core.append(&author.write_many(epoch(2), 2, 200)).unwrap();
        core.sync().unwrap();
        let fs = fs.crash_with(Unsynced::Lost);
        fs.flip_bit(Path::new("/data/log/mark"), slot + 20, 0).unwrap();
        let (core, _) = open_core(&fs, "/data").unwrap();
        assert_eq!(core_read_all(&core), author.batches);
    }
}

#[test]
fn a_log_is_clean_only_until_it_is_opened_again() {
    let fs = MemFileSystem::new(16);
    let author = written(&fs, 1, 2, 200);
    let (core, recovered) = open_core(&fs, "/data").unwrap();
    assert!(!recovered.clean);
    core.close().unwrap();
    let (mut core, recovered) = open_core(&fs, "/data").unwrap();
    assert!(recovered.clean);
    core.append(&author.clone().write_many(epoch(1), 1, 200)).unwrap();
    let (_, recovered) = open_core(&fs.crash_with(Unsynced::Lost), "/data").unwrap();
    assert_eq!(recovered.last, author.last());
    assert!(!recovered.clean && !recovered.same_boot, "what was written is lost");
}

#[test]
fn another_group_and_unknown_options_are_refused() {
    let fs = MemFileSystem::new(11);
    written(&fs, 1, 1, 10);
    let mut other = support::options("/data");
    other.group = mainstay_record::GroupId(9);
    let fs = std::sync::Arc::new(fs.kill());
    let error = LogCore::open(fs.clone(), &other).unwrap_err();
    assert!(error.to_string().contains("belongs to group 3, not to group 9"), "{error}");
    other.segment_bytes = 1;
    assert!(matches!(LogCore::open(fs, &other), Err(OpenError::InvalidOption { .. })));
}

#[test]
fn an_unreadable_disk_is_an_error_that_names_the_file() {
    let fs = MemFileSystem::new(12);
    written(&fs, 1, 1, 10);
    let fs = fs.kill();
    fs.fail(Operation::Read, ".seg", 1, ErrorKind::Other);
    let error = open_core(&fs, "/data").unwrap_err();
    assert!(error.to_string().contains("cannot read /data/log/00000000000000000000.seg"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any flipped bit, however the log was left: refused, or harmless, but never another log. After a power cut nothing
    /// tells the last write from one that was never finished, so that one may be cut, and is reported.
    #[test]
    fn no_flipped_bit_goes_unnoticed(place in any::<prop::sample::Index>(), bit in 0u8..8, left in left()) {
        let fs = MemFileSystem::new(13);
        let mut author = Author::new();
        let (mut core, _) = open_core(&fs, "/data").unwrap();
        for _ in 0..5 {
            core.append(&author.write_many(epoch(1), 3, 150)).unwrap();
            core.sync().unwrap();
        }
        let fs = match left {
            Left::Closed => {
                core.close().unwrap();
                fs.kill()
            }
            Left::Killed => fs.kill(),
            Left::WithoutPower => fs.crash_with(Unsynced::Lost),
        };
        let segment = segments(&fs, "/data").remove(0);
        let content = fs.contents(&segment).unwrap();
        let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let at = place.index(used) as u64;
        let last_write = find(&content, &author.batches[11]) + author.batches[11].bytes().len() as u64;
        fs.flip_bit(&segment, at, bit).unwrap();
        match open_core(&fs, "/data") {
            Err(OpenError::Damaged { .. } | OpenError::UnknownFormat { .. } | OpenError::ForeignGroup { .. }) => {}
            Err(other) => prop_assert!(false, "byte {at}: {other}"),
            Ok((core, recovered)) if left == Left::WithoutPower && at >= last_write => {
                prop_assert!(recovered.torn_tail.is_some(), "byte {at} is used, yet its change was not noticed");
                prop_assert!(author.batches.starts_with(&core_read_all(&core)));
                prop_assert!(recovered.last.index >= LogIndex(12));
            }
            Ok((core, _)) => {
                prop_assert!((52..4096).contains(&at), "byte {at} is used, yet its change was not noticed");
                prop_assert_eq!(core_read_all(&core), author.batches);
            }
        }
    }
}

/// How a log was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Closed,
    Killed,
    /// The mark is as old as if the system had never written it back.
    WithoutPower,
}

fn left() -> impl Strategy<Value = Left> {
    prop_oneof![Just(Left::Closed), Just(Left::Killed), Just(Left::WithoutPower)]
}
