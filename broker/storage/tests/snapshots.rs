//! Snapshots: whole or not there, verified by whoever reads them, the same bytes on every replica.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_record::{BatchKind, GroupId, LogIndex};
use mainstay_storage::{
    FileSystem, LogBase, MemFileSystem, Operation, RealFileSystem, Snapshot, SnapshotError, SnapshotStore,
    Unsynced,
};

use support::{Author, GROUP, base_behind, epoch};

fn store(fs: &MemFileSystem) -> SnapshotStore {
    SnapshotStore::open(Arc::new(fs.clone()), Path::new("/data"), GROUP).unwrap()
}

fn base(index: u64) -> LogBase {
    let mut author = Author::new();
    let membership = author.write_as(BatchKind::Membership, epoch(1), b"members");
    LogBase { membership: Some(membership), ..base_behind(index, epoch(2), index * 100) }
}

fn payload(tag: u8) -> Vec<Bytes> {
    vec![
        Bytes::from(vec![tag; 3000]),
        Bytes::new(),
        Bytes::from(vec![tag + 1; 5_000_000]),
        Bytes::from_static(b"end"),
    ]
}

fn write(store: &SnapshotStore, index: u64, payload: &[Bytes]) -> Result<Snapshot, SnapshotError> {
    let mut writer = store.write(base(index))?;
    for piece in payload {
        writer.write(piece)?;
    }
    writer.finish()
}

fn read(store: &SnapshotStore, snapshot: &Snapshot) -> Vec<u8> {
    let reader = store.reader(snapshot).unwrap();
    let pieces: Vec<Bytes> = reader.chunks().map(Result::unwrap).collect();
    pieces.concat()
}

#[test]
fn what_was_written_is_read_and_the_newest_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(Arc::new(RealFileSystem), folder.path(), GROUP).unwrap();
    assert_eq!(store.newest().unwrap(), None);
    for index in [10, 20, 30] {
        let snapshot = write(&store, index, &payload(index as u8)).unwrap();
        assert_eq!(snapshot.base, base(index));
        assert_eq!(store.newest().unwrap().as_ref(), Some(&snapshot));
        assert_eq!(read(&store, &snapshot), payload(index as u8).concat());
        assert_eq!(snapshot.payload_bytes, 5_003_003);
    }
    let indexes: Vec<_> = store.list().unwrap().iter().map(|snapshot| snapshot.base.last.index.0).collect();
    assert_eq!(indexes, [20, 30]);
    let newest = |last| store.newest_at_or_before(LogIndex(last)).unwrap().map(|s| s.base.last.index.0);
    assert_eq!([newest(19), newest(20), newest(29), newest(u64::MAX)], [None, Some(20), Some(20), Some(30)]);
}

#[test]
fn a_snapshot_travels_byte_for_byte_and_is_refused_when_it_is_not_whole() {
    let (ours, theirs) = (MemFileSystem::new(1), MemFileSystem::new(2));
    let sent = write(&store(&ours), 77, &payload(5)).unwrap();
    let source = store(&ours).reader(&sent).unwrap();
    let target = store(&theirs);
    let send = |until: u64, change: Option<u64>| {
        let mut receiver = target.receive().unwrap();
        while receiver.received() < until {
            let mut piece = source.read_raw(receiver.received(), 700_000).unwrap().to_vec();
            if let Some(at) = change.and_then(|at| at.checked_sub(receiver.received()))
                && let Some(byte) = piece.get_mut(at as usize)
            {
                *byte ^= 4;
            }
            piece.truncate((until - receiver.received()) as usize);
            receiver.write(&piece.into()).unwrap();
        }
        receiver.finish()
    };
    for at in [0, 9, 30, 100, 3000, 3500, 2_000_000, sent.file_bytes - 20, sent.file_bytes - 1] {
        assert!(send(sent.file_bytes, Some(at)).is_err(), "byte {at}");
        assert!(send(at, None).is_err(), "only {at} bytes");
    }
    assert_eq!(target.list().unwrap(), []);
    assert_eq!(theirs.list(Path::new("/data/snapshot")).unwrap().len(), 0, "nothing is left behind");
    let received = send(sent.file_bytes, None).unwrap();
    assert_eq!((received.base.clone(), received.file_bytes), (sent.base.clone(), sent.file_bytes));
    assert!(theirs.contents(&received.path).unwrap() == ours.contents(&sent.path).unwrap());
    assert_eq!(read(&target, &received), payload(5).concat());
    let other = SnapshotStore::open(Arc::new(theirs), Path::new("/data"), GroupId(9)).unwrap();
    assert_eq!(other.newest().unwrap(), None);
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_older_one() {
    let fs = MemFileSystem::new(3);
    let older = write(&store(&fs), 10, &payload(1)).unwrap();
    let newer = write(&store(&fs), 20, &payload(2)).unwrap();
    for at in [3, 50, 200, 4000, 1_000_000, newer.file_bytes - 8] {
        let fs = fs.kill();
        fs.flip_bit(&newer.path, at, 6).unwrap();
        assert_eq!(store(&fs).newest().unwrap().as_ref(), Some(&older), "byte {at}");
        let read =
            store(&fs).reader(&newer).and_then(|reader| reader.chunks().collect::<Result<Vec<_>, _>>());
        assert!(read.is_err(), "byte {at}");
    }
    // A chunk of one in the place of a chunk of the other, valid by itself.
    let fs = fs.kill();
    let foreign = fs.contents(&older.path).unwrap();
    fs.corrupt(&newer.path, |content| content[400..3200].copy_from_slice(&foreign[400..3200])).unwrap();
    assert_eq!(store(&fs).newest().unwrap(), Some(older));
}

#[test]
fn a_power_cut_at_any_change_leaves_whole_snapshots_only() {
    let small = [Bytes::from(vec![1; 2000]), Bytes::from(vec![2; 700])];
    let prepare = |seed| {
        let fs = MemFileSystem::new(seed);
        let store = store(&fs);
        write(&store, 10, &small).unwrap();
        write(&store, 20, &small).unwrap();
        (fs, store)
    };
    let (fs, first) = prepare(0);
    let before = fs.changes();
    write(&first, 30, &small).unwrap();
    let changes = fs.changes() - before;
    assert!(changes >= 7, "{changes}");
    for change in 1..=changes + 1 {
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Scattered, Unsynced::Torn] {
            let (fs, first) = prepare(change);
            fs.cut_power_at(change);
            let done = write(&first, 30, &small).is_ok();
            let fs = fs.crash_with(unsynced);
            let again = store(&fs);
            let newest = again.newest().unwrap().unwrap();
            let index = newest.base.last.index.0;
            assert!(index == 30 || (index == 20 && !done), "change {change}, {unsynced:?}: {index}");
            assert_eq!(again.list().unwrap().last(), Some(&newest), "the newest that is there is whole");
            assert_eq!(read(&again, &newest), small.concat());
            let names = fs.list(Path::new("/data/snapshot")).unwrap();
            assert!(names.iter().all(|name| name.to_string_lossy().ends_with(".snap")), "{names:?}");
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_nothing_behind() {
    for (operation, after) in [(Operation::Write, 2), (Operation::SyncData, 0), (Operation::Rename, 0)] {
        let fs = MemFileSystem::new(4);
        let store = store(&fs);
        fs.fail(operation, ".tmp", after, ErrorKind::StorageFull);
        let error = write(&store, 10, &payload(1)).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{error}");
        assert_eq!(fs.list(Path::new("/data/snapshot")).unwrap().len(), 0);
        write(&store, 10, &payload(1)).unwrap();
    }
    let fs = MemFileSystem::new(5);
    let mut inconsistent = base(10);
    inconsistent.epochs.clear();
    assert!(matches!(store(&fs).write(inconsistent), Err(SnapshotError::Inconsistent { .. })));
}
