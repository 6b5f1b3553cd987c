//! What survives a cut of the power, and what does not.

use rand::SeedableRng;

use super::*;

fn tree() -> Tree {
    Tree::new(64 * PAGE)
}

fn file(tree: &mut Tree, name: &str, text: &[u8]) -> Number {
    let number = tree.create(ROOT, OsStr::new(name), Kind::File).unwrap();
    tree.write(number, 0, text).unwrap();
    number
}

fn text(tree: &Tree, name: &str) -> Option<Vec<u8>> {
    let number = tree.lookup(ROOT, OsStr::new(name)).ok()?;
    Some(tree.read(number, 0, 100).unwrap())
}

#[test]
fn a_file_needs_its_own_sync_and_its_folders() {
    let mut disk = tree();
    let both = file(&mut disk, "both", b"b");
    let bytes = file(&mut disk, "bytes", b"f");
    disk.sync(both).unwrap();
    disk.sync(bytes).unwrap();
    disk.remove(ROOT, OsStr::new("bytes")).unwrap();
    file(&mut disk, "name", b"n");
    disk.sync(ROOT).unwrap();
    file(&mut disk, "late", b"l");
    disk.cut(None);
    assert_eq!(text(&disk, "both"), Some(b"b".to_vec()));
    assert_eq!(text(&disk, "bytes"), None);
    assert_eq!(text(&disk, "name"), Some(Vec::new()), "a name without bytes");
    assert_eq!(text(&disk, "late"), None);
}

#[test]
fn a_rename_is_durable_with_the_folder() {
    let mut disk = tree();
    let old = file(&mut disk, "state", b"old");
    disk.sync(old).unwrap();
    disk.sync(ROOT).unwrap();
    let new = file(&mut disk, "state.new", b"new");
    disk.sync(new).unwrap();
    let rename = |disk: &mut Tree| {
        disk.rename((ROOT, OsStr::new("state.new")), (ROOT, OsStr::new("state"))).unwrap();
    };
    rename(&mut disk);
    assert_eq!(text(&disk, "state"), Some(b"new".to_vec()));
    disk.cut(None);
    assert_eq!(text(&disk, "state"), Some(b"old".to_vec()));
    let new = file(&mut disk, "state.new", b"new");
    disk.sync(new).unwrap();
    rename(&mut disk);
    disk.sync(ROOT).unwrap();
    disk.cut(None);
    assert_eq!(text(&disk, "state"), Some(b"new".to_vec()));
    assert_eq!(text(&disk, "state.new"), None);
}

#[test]
fn with_luck_a_rename_happens_as_a_whole() {
    for seed in 0..64 {
        let mut disk = tree();
        let old = file(&mut disk, "state", b"old");
        disk.sync(old).unwrap();
        disk.sync(ROOT).unwrap();
        let new = file(&mut disk, "state.new", b"new");
        disk.sync(new).unwrap();
        disk.rename((ROOT, OsStr::new("state.new")), (ROOT, OsStr::new("state"))).unwrap();
        disk.cut(Some(&mut StdRng::seed_from_u64(seed)));
        let state = text(&disk, "state").unwrap();
        assert!(state == b"old" || state == b"new", "seed {seed}: {state:?}");
    }
}

#[test]
fn a_failed_sync_is_told_and_a_lie_is_not() {
    let mut disk = tree();
    let one = file(&mut disk, "one", b"1");
    disk.sync(ROOT).unwrap();
    disk.faults.syncing = Syncing::FailsOnce;
    assert_eq!(disk.sync(one), Err(Errno::EIO));
    disk.sync(one).unwrap();
    disk.faults.syncing = Syncing::Lies;
    let two = file(&mut disk, "two", b"2");
    disk.sync(two).unwrap();
    disk.cut(None);
    assert_eq!(text(&disk, "one"), Some(vec![0]), "its length came through, its bytes did not");
    assert_eq!(text(&disk, "two"), None);
}

#[test]
fn a_full_disk_takes_what_fits_and_room_comes_back() {
    let mut disk = tree();
    let big = file(&mut disk, "big", b"x");
    assert_eq!(disk.allocate(big, 64 * PAGE as u64), Err(Errno::ENOSPC));
    disk.allocate(big, 62 * PAGE as u64).unwrap();
    disk.write(big, 0, b"overwriting takes no space").unwrap();
    let small = disk.create(ROOT, OsStr::new("small"), Kind::File).unwrap();
    disk.write(small, 0, b"fits").unwrap();
    assert_eq!(disk.write(small, PAGE as u64, b"does not"), Err(Errno::ENOSPC));
    disk.remove(ROOT, OsStr::new("big")).unwrap();
    disk.write(small, PAGE as u64, b"does").unwrap();
    assert_eq!(disk.counts.no_space, 2);
}

#[test]
fn what_is_open_outlives_its_name() {
    let mut disk = tree();
    let open = file(&mut disk, "open", b"text");
    disk.opened(open);
    disk.remove(ROOT, OsStr::new("open")).unwrap();
    assert_eq!(disk.read(open, 0, 10).unwrap(), b"text");
    disk.released(open);
    assert_eq!(disk.read(open, 0, 10), Err(Errno::ENOENT));
}
