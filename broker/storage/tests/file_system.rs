//! The disk in memory is the judge of all other tests, so it is judged here: it forgets, tears and fails as it says,
//! and otherwise behaves like the real one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use mainstay_storage::{File, FileSystem, MemFileSystem, Operation, RealFileSystem, Unsynced};

const A: &str = "/d/a";

fn write(file: &dyn File, bytes: &[u8], offset: u64) {
    file.write_all_at(&[IoSlice::new(bytes)], offset).unwrap();
}

fn read(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// A disk with a durable, empty folder `/d`.
fn disk(seed: u64) -> MemFileSystem {
    let fs = MemFileSystem::new(seed);
    fs.create_dir(Path::new("/d")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

#[test]
fn both_disks_behave_the_same() {
    let real = tempfile::tempdir().unwrap();
    let memory = disk(1);
    let disks: [(&dyn FileSystem, &Path); 2] = [(&RealFileSystem, real.path()), (&memory, Path::new("/d"))];
    for (fs, folder) in disks {
        let (a, b) = (folder.join("a"), folder.join("b"));
        assert_eq!(fs.open(&a).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.remove(&a).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!fs.exists(&a).unwrap());
        let file = fs.create(&a).unwrap();
        assert_eq!(fs.create(&a).unwrap_err().kind(), ErrorKind::AlreadyExists);
        file.write_all_at(&[IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")], 2).unwrap();
        assert_eq!(read(&*file), b"\0\0one two");
        assert_eq!(file.read_at(&mut [0; 9], 9).unwrap(), 0);
        assert_eq!(file.read_at(&mut [0; 9], 7).unwrap(), 2);
        assert_eq!(file.read_at(&mut [0; 9], 100).unwrap(), 0);
        let other = fs.create(&b).unwrap();
        other.allocate(10).unwrap();
        assert_eq!(read(&*other), [0; 10]);
        assert_eq!(fs.list(folder).unwrap(), ["a", "b"]);
        fs.rename(&a, &b).unwrap();
        assert_eq!(fs.list(folder).unwrap(), ["b"]);
        assert_eq!(read(&*fs.open(&b).unwrap()), b"\0\0one two");
        assert_eq!(read(&*other), [0; 10], "an open file lives on without a name");
        fs.create_dir(&a).unwrap();
        fs.create_dir(&a).unwrap();
        assert!(fs.create_dir(&b).is_err());
        fs.sync_dir(folder).unwrap();
        file.sync_data().unwrap();
        let lock = fs.lock(&folder.join("lock")).unwrap();
        assert_eq!(fs.lock(&folder.join("lock")).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(lock);
        drop(fs.lock(&folder.join("lock")).unwrap());
        assert_eq!(fs.boot_id(), fs.boot_id());
        assert_ne!(fs.entropy(), fs.entropy());
    }
}

#[test]
fn a_power_cut_forgets_unsynced_content_and_names() {
    let fs = disk(2);
    let file = fs.create(Path::new(A)).unwrap();
    write(&*file, b"synced", 0);
    file.sync_data().unwrap();
    write(&*file, b"SYN", 0);
    write(&*file, b"later", 6);
    let unnamed = fs.crash_with(Unsynced::Lost);
    assert!(!unnamed.exists(Path::new(A)).unwrap(), "its folder was not synced");

    let fs = disk(3);
    let file = fs.create(Path::new(A)).unwrap();
    write(&*file, b"synced", 0);
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&*file, b"SYN", 0);
    write(&*file, b"later", 6);
    fs.rename(Path::new(A), Path::new("/d/b")).unwrap();
    assert_eq!(fs.contents(Path::new("/d/b")).unwrap(), b"SYNcedlater");
    let after = fs.crash_with(Unsynced::Lost);
    assert_eq!(after.contents(Path::new(A)).unwrap(), b"synced");
    assert!(!after.exists(Path::new("/d/b")).unwrap());
    assert_ne!(after.boot_id(), fs.boot_id());
}

#[test]
fn a_killed_process_forgets_nothing_and_reaches_nothing_any_more() {
    let fs = disk(4);
    let file = fs.create(Path::new(A)).unwrap();
    write(&*file, b"unsynced", 0);
    let lock = fs.lock(Path::new("/d/lock")).unwrap();
    let after = fs.kill();
    assert_eq!(after.contents(Path::new(A)).unwrap(), b"unsynced");
    assert_eq!(after.boot_id(), fs.boot_id());
    drop(after.lock(Path::new("/d/lock")).unwrap());
    assert!(file.write_all_at(&[IoSlice::new(b"x")], 0).is_err());
    assert!(file.sync_data().is_err() && file.len().is_err() && fs.list(Path::new("/d")).is_err());
    assert_eq!(after.contents(Path::new(A)).unwrap(), b"unsynced");
    assert!(!after.crash_with(Unsynced::Lost).exists(Path::new(A)).unwrap());
    drop(lock);
}

#[test]
fn unsynced_sectors_survive_by_chance_and_torn_writes_in_order() {
    let (mut holes, mut tears) = (0, 0);
    for seed in 0..200 {
        for unsynced in [Unsynced::Scattered, Unsynced::Torn] {
            let fs = disk(seed);
            let file = fs.create(Path::new(A)).unwrap();
            write(&*file, &[0; 4096], 0);
            file.sync_data().unwrap();
            fs.sync_dir(Path::new("/d")).unwrap();
            write(&*file, &[1; 4000], 50);
            let content = fs.crash_with(unsynced).contents(Path::new(A)).unwrap();
            let written: Vec<bool> = content[50..4050].chunks(500).map(|part| part.contains(&1)).collect();
            let in_order = written.is_sorted_by(|a, b| a >= b);
            assert!(unsynced == Unsynced::Scattered || in_order, "{written:?}");
            holes += u32::from(!in_order);
            tears +=
                u32::from(unsynced == Unsynced::Torn && written.contains(&true) && written.contains(&false));
        }
    }
    assert!(holes > 100 && tears > 50, "{holes} {tears}");
}

#[test]
fn a_failed_sync_loses_the_data_and_the_next_one_succeeds() {
    let fs = disk(5);
    let file = fs.create(Path::new(A)).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&*file, b"lost", 0);
    fs.fail(Operation::SyncData, "a", 0, ErrorKind::Other);
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(fs.contents(Path::new(A)).unwrap(), b"lost");
    assert_eq!(fs.crash_with(Unsynced::Kept).contents(Path::new(A)).unwrap(), b"");
}

#[test]
fn faults_hit_what_they_are_meant_for() {
    let fs = disk(6);
    let file = fs.create(Path::new(A)).unwrap();
    let other = fs.create(Path::new("/d/other")).unwrap();
    fs.fail(Operation::Write, "a", 1, ErrorKind::StorageFull);
    write(&*other, b"x", 0);
    write(&*file, b"x", 0);
    write(&*other, b"x", 0);
    let error = file.write_all_at(&[IoSlice::new(&[1; 100])], 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(file.len().unwrap() <= 101);
    write(&*file, b"x", 0);
    assert_eq!(fs.heal(), 0);
}

#[test]
fn the_power_fails_during_the_change_that_was_named() {
    let fs = disk(7);
    let file = fs.create(Path::new(A)).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    fs.cut_power_at(3);
    write(&*file, b"one", 0);
    file.sync_data().unwrap();
    assert!(file.write_all_at(&[IoSlice::new(b"two")], 3).is_err());
    assert!(file.sync_data().is_err());
    assert_eq!(fs.crash_with(Unsynced::Kept).contents(Path::new(A)).unwrap(), b"onetwo");
}
