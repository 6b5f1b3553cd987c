//! Small state that survives a power cut at any moment, and a folder that only one process uses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use mainstay_storage::{
    DataFolder, FileSystem, FolderError, MemFileSystem, Operation, RealFileSystem, StateError, StateFile,
    Unsynced,
};

fn new_disk(seed: u64) -> MemFileSystem {
    let fs = MemFileSystem::new(seed);
    fs.create_dir(Path::new("/d")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn state(fs: &MemFileSystem) -> Result<StateFile, StateError> {
    StateFile::open(Arc::new(fs.clone()), "/d/hard-state")
}

#[test]
fn state_is_the_old_or_the_new_value_and_new_once_stored() {
    let values: [&[u8]; 4] = [b"one", b"", &[7; 5000], b"four"];
    for change in 1..30 {
        for seed in 0..20 {
            let fs = new_disk(seed);
            let mut file = state(&fs).unwrap();
            assert_eq!(file.load().unwrap(), None);
            fs.cut_power_at(change);
            let stored = values.iter().take_while(|value| file.store(value).is_ok()).count();
            let fs = fs.crash();
            let found = state(&fs).unwrap().load().unwrap();
            let old = stored.checked_sub(1).map(|last| values[last]);
            let new = values.get(stored).copied();
            let found = found.as_deref();
            assert!(found == old || (found == new && found.is_some()), "{change} {seed}: {found:?}");
        }
    }
}

#[test]
fn state_counts_its_generations_and_can_be_stored_again_after_an_error() {
    let fs = new_disk(1);
    let mut file = state(&fs).unwrap();
    file.store(b"one").unwrap();
    for (operation, name) in [
        (Operation::Create, "hard-state.tmp"),
        (Operation::Write, "hard-state.tmp"),
        (Operation::SyncData, "hard-state.tmp"),
        (Operation::Rename, "hard-state.tmp"),
        (Operation::SyncDir, "d"),
    ] {
        fs.fail(operation, name, 0, ErrorKind::Other);
        assert!(matches!(file.store(b"two"), Err(StateError::Io(_))), "{operation:?}");
    }
    file.store(b"three").unwrap();
    let file = state(&fs.crash_with(Unsynced::Lost)).unwrap();
    assert_eq!(file.load().unwrap().as_deref(), Some(&b"three"[..]));
    assert_eq!(file.generation(), 2);
}

#[test]
fn damaged_state_is_refused_and_names_its_file() {
    let fs = new_disk(2);
    state(&fs).unwrap().store(b"value").unwrap();
    let path = Path::new("/d/hard-state");
    let length = fs.contents(path).unwrap().len() as u64;
    for at in 0..length {
        fs.flip_bit(path, at, 2).unwrap();
        let error = state(&fs).unwrap_err();
        assert!(error.to_string().contains("/d/hard-state"), "byte {at}: {error}");
        fs.flip_bit(path, at, 2).unwrap();
    }
    fs.corrupt(path, |content| content.truncate(10)).unwrap();
    assert!(matches!(state(&fs), Err(StateError::Damaged { .. })));
    let mut other = StateFile::open(Arc::new(fs), "/d/other").unwrap();
    assert!(matches!(other.store(&vec![0; 2_000_000]), Err(StateError::TooLarge { .. })));
}

#[test]
fn a_folder_is_used_by_one_at_a_time() {
    let real = tempfile::tempdir().unwrap();
    let path = real.path().join("deep/data");
    let disks: [(Arc<dyn FileSystem>, &Path); 3] = [
        (Arc::new(RealFileSystem), &path),
        (Arc::new(MemFileSystem::new(3)), Path::new("/a/b/data")),
        (Arc::new(MemFileSystem::new(3)), Path::new("relative")),
    ];
    for (fs, path) in disks {
        let folder = DataFolder::open(&*fs, path).unwrap();
        assert_eq!(folder.path(), path);
        let error = DataFolder::open(&*fs, path).unwrap_err();
        assert!(matches!(error, FolderError::InUse { .. }));
        let expected = format!("data folder {} is in use by another process", path.display());
        assert_eq!(error.to_string(), expected);
        drop(folder);
        drop(DataFolder::open(&*fs, path).unwrap());
    }
}

#[test]
fn a_folder_survives_a_power_cut_once_it_is_open() {
    for change in 1..20 {
        for seed in 0..8 {
            let fs = MemFileSystem::new(seed);
            fs.cut_power_at(change);
            let opened = DataFolder::open(&fs, "/a/b").is_ok();
            let fs = fs.crash();
            assert!(!opened || fs.exists(Path::new("/a/b/format")).unwrap(), "change {change}");
            DataFolder::open(&fs, "/a/b").unwrap();
        }
    }
}

#[test]
fn other_folders_and_other_formats_are_refused() {
    let fs = new_disk(4);
    fs.create_dir(Path::new("/d/lost+found")).unwrap();
    drop(DataFolder::open(&fs, "/d").unwrap());
    fs.corrupt(Path::new("/d/format"), |content| *content = b"mainstay data folder, format 2\n".to_vec())
        .unwrap();
    let error = DataFolder::open(&fs, "/d").unwrap_err();
    assert_eq!(error.to_string(), "data folder /d has format version 2, this program knows 1");
    fs.corrupt(Path::new("/d/format"), |content| *content = b"\xff?".to_vec()).unwrap();
    assert!(matches!(DataFolder::open(&fs, "/d"), Err(FolderError::DamagedFormat { .. })));

    fs.create_dir(Path::new("/home")).unwrap();
    fs.create(Path::new("/home/thesis.tex")).unwrap();
    let error = DataFolder::open(&fs, "/home").unwrap_err();
    assert!(error.to_string().contains("/home is not a data folder"), "{error}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = DataFolder::open(&RealFileSystem, file.path()).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}
