//! The files of a data folder: a log's segments, indexes, mark, base and quarantine; snapshots; small state files.
//!
//! An input is a list of edits to the files of a real folder. Where only bytes are changed, whatever can still be read
//! must be what was written; where checksums are made right again as well, any answer will do but a panic, or a log
//! that opens and then does not work.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use mainstay_consensus::Mode;
use mainstay_record::{
    Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, NodeId, Timestamp,
};
use mainstay_storage::inspect::{self, Dump};
use mainstay_storage::{
    EpochStart, FileSystem, Flush, LogBase, LogCore, LogOptions, MemFileSystem, SnapshotStore, StateFile,
    TailFate,
};

use super::folder::{DIRECTORY, Edits, Image};
use crate::{Input, Script};

const GROUP: GroupId = GroupId(3);
/// Further indexes are not gone on from: nothing counts that far.
const FAR: u64 = 1 << 62;

fn options() -> LogOptions {
    LogOptions {
        directory: PathBuf::from(DIRECTORY),
        group: GROUP,
        segment_bytes: 64 << 10,
        flush: Flush::Sync,
        cache_bytes: 0,
    }
}

/// What a log of the images was given, in order.
#[derive(Debug, Default)]
struct Author {
    batches: Vec<Batch>,
}

impl Author {
    fn write(&mut self, kind: BatchKind, epoch: Epoch, record: &[u8]) -> Batch {
        let last = self.batches.last();
        let index = last.map_or(LogIndex(1), |last| last.index().next());
        let position = last.map_or(LogPosition(0), |last| last.header().end_position());
        let batch = seal(kind, EntryId { epoch, index }, position, record);
        self.batches.push(batch.clone());
        batch
    }

    fn many(&mut self, epoch: Epoch, count: usize, bytes: usize) -> Vec<Batch> {
        (0..count).map(|n| self.write(BatchKind::Data, epoch, &vec![n as u8; bytes])).collect()
    }
}

fn seal(kind: BatchKind, id: EntryId, position: LogPosition, record: &[u8]) -> Batch {
    let mut builder = BatchBuilder::default();
    builder.push(record);
    builder.seal(kind, GROUP, id, position, Timestamp(1000))
}

fn epoch(number: u64) -> Epoch {
    NodeId::new(1).map(|node| Epoch::new(number, node)).unwrap_or_default()
}

/// A folder, and every batch that was ever in its log.
struct Written {
    image: Image,
    batches: Vec<Batch>,
}

/// Logs of several segments: closed in order, killed, begun late with a tail set aside, and a short one.
static LOGS: LazyLock<Vec<Written>> = LazyLock::new(|| (0..4).map(log).collect());

fn log(kind: usize) -> Written {
    let fs = MemFileSystem::new(kind as u64);
    let (mut core, _) = LogCore::open(Arc::new(fs.clone()), &options()).expect("a new log");
    let mut author = Author::default();
    let mut written = vec![author.write(BatchKind::Epoch, epoch(1), b"")];
    let membership = super::consensus::of_three(Mode::Raft).encode();
    written.push(author.write(BatchKind::Membership, epoch(1), &membership));
    core.append(&written).expect("appended");
    for bytes in if kind == 3 { vec![40] } else { vec![900, 6000, 3000] } {
        core.append(&author.many(epoch(1), 12, bytes)).expect("appended");
        core.sync().expect("synced");
    }
    let mut batches = author.batches.clone();
    if kind == 2 {
        let last = core.last().index;
        core.truncate(LogIndex(last.0 - 4), TailFate::Quarantine).expect("cut");
        author.batches.truncate(author.batches.len() - 4);
        core.append(&author.many(epoch(2), 5, 200)).expect("appended");
        core.forget(LogIndex(last.0 - 14)).expect("forgotten");
        batches.extend(author.batches.iter().filter(|batch| batch.id().epoch == epoch(2)).cloned());
    }
    if kind != 1 {
        core.close().expect("closed");
    }
    Written { image: Image::of(&fs.kill()), batches }
}

pub(super) fn log_folder(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let written = &LOGS[usize::from(input.byte()) % LOGS.len()];
    let edits = Edits::read(&mut input);
    let fs = written.image.edited(&edits);
    look(&fs);
    let Ok((core, recovered)) = LogCore::open(Arc::new(fs.clone()), &options()) else { return };
    assert_eq!(core.last(), recovered.last);
    let known = |batch: &Batch| edits.reseals() || written.batches.contains(batch);
    let Some(read) = read_all(&core) else { return };
    assert!(read.iter().all(known), "a batch that was never written");
    go_on(core, &fs, &read, edits.reseals());
}

/// What people see of it; changes nothing.
fn look(fs: &MemFileSystem) {
    let disk: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let changes = fs.changes();
    if let Ok(report) = inspect::verify(Arc::clone(&disk), Path::new(DIRECTORY)) {
        for file in &report.quarantined {
            let _ = file.load(&*disk);
        }
    }
    if let Ok(dump) = Dump::open(disk, Path::new(DIRECTORY), LogIndex(0), LogIndex(u64::MAX)) {
        for batch in dump.take(1000) {
            if batch.is_err() {
                break;
            }
        }
    }
    assert_eq!(fs.changes(), changes, "looking changed something");
}

/// All batches, in order; `None` when one cannot be read.
fn read_all(core: &LogCore) -> Option<Vec<Batch>> {
    let mut batches: Vec<Batch> = Vec::new();
    let (mut next, last) = (core.first(), core.last().index);
    while next <= last && batches.len() < 1000 && next.0 < FAR {
        let more = core.read(next, last, 10_000).ok()?;
        assert!(!more.is_empty(), "nothing at {next:?} of {last:?}");
        for batch in more {
            assert_eq!(batch.index(), next);
            next = next.next();
            batches.push(batch);
        }
    }
    Some(batches)
}

/// A log that opened takes what comes next, and has it after a restart.
fn go_on(mut core: LogCore, fs: &MemFileSystem, read: &[Batch], resealed: bool) {
    let (last, base) = (core.last(), core.base().clone());
    let position = read.last().map_or(base.position, |batch| batch.header().end_position());
    if last.index.0 >= FAR || position.0 >= FAR || last.epoch.number >= FAR {
        return;
    }
    let id = EntryId { epoch: epoch(last.epoch.number.max(1) + 1), index: last.index.next() };
    let next = seal(BatchKind::Data, id, position, b"what comes next");
    match core.append(std::slice::from_ref(&next)).and_then(|()| core.sync()) {
        Ok(()) => {}
        Err(error) => {
            assert!(resealed, "it opened, and does not go on: {error}");
            return;
        }
    }
    assert_eq!(core.read(id.index, id.index, 10_000).ok(), Some(vec![next]));
    let fs = fs.kill();
    let again = LogCore::open(Arc::new(fs), &options());
    match again {
        Ok((core, recovered)) => {
            assert_eq!(recovered.last, id);
            assert_eq!(read_all(&core).map(|batches| batches.len()), Some(read.len() + 1));
        }
        Err(error) => panic!("it went on, and does not open any more: {error}"),
    }
}

pub(super) fn log_folder_seeds() -> Vec<Vec<u8>> {
    let files = |image: u8| LOGS[usize::from(image)].image.files() as u8;
    let mut seeds = Vec::new();
    for image in 0..LOGS.len() as u8 {
        for reseal in [0, 1] {
            seeds.push(Script::new().byte(image).byte(reseal).done());
            for file in 0..files(image) {
                let start = || Script::new().byte(image).byte(reseal);
                // A field of the head, one further on, a shorter file, a file that is gone.
                seeds.push(start().byte(0).byte(file).u32(16).byte(1).done());
                seeds.push(start().byte(1).byte(file).u32(40).u32(u32::MAX).done());
                seeds.push(start().byte(2).byte(file).u32(4124).u64(u64::MAX).done());
                seeds.push(start().byte(3).byte(file).u32(5000).done());
                seeds.push(start().byte(6).byte(file).done());
                seeds.push(start().byte(5).byte(file).u32(4096).u16(600).byte(file).u32(9000).done());
            }
        }
    }
    seeds
}

const PAYLOAD: &[u8] = b"what the state was, in several pieces";

static SNAPSHOTS: LazyLock<Image> = LazyLock::new(|| {
    let fs = MemFileSystem::new(1);
    let store = store(&fs);
    for base in [LogBase::default(), some_base()] {
        let mut writer = store.write(base).expect("begun");
        PAYLOAD.chunks(10).for_each(|piece| writer.write(&Bytes::copy_from_slice(piece)).expect("written"));
        writer.finish().expect("finished");
    }
    Image::of(&fs)
});

fn store(fs: &MemFileSystem) -> SnapshotStore {
    SnapshotStore::open(Arc::new(fs.clone()), Path::new(DIRECTORY), GROUP).expect("opened")
}

/// A base behind some batches, a membership among them.
pub(super) fn some_base() -> LogBase {
    let membership = super::consensus::of_three(Mode::Raft).encode();
    let first = EntryId { epoch: epoch(1), index: LogIndex(1) };
    LogBase {
        last: EntryId { epoch: epoch(2), index: LogIndex(9) },
        position: LogPosition(4000),
        timestamp: Timestamp(1000),
        epochs: [(1, 1), (2, 5)]
            .map(|(number, first)| EpochStart { epoch: epoch(number), first: LogIndex(first) })
            .to_vec(),
        membership: Some(seal(BatchKind::Membership, first, LogPosition(0), &membership)),
    }
}

/// Snapshot files that were edited, and one that another replica sent.
pub(super) fn snapshot_files(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sent = input.byte() & 1 == 1;
    let edits = Edits::read(&mut input);
    let fs = SNAPSHOTS.edited(&edits);
    let store = store(&fs);
    let _ = store.list();
    if let Ok(Some(newest)) = store.newest() {
        let reader = store.reader(&newest).expect("it was opened before");
        let payload: Vec<u8> = reader.chunks().flat_map(|chunk| chunk.expect("it was verified")).collect();
        assert_eq!(payload.len() as u64, newest.payload_bytes);
        assert!(edits.reseals() || payload == PAYLOAD, "another snapshot than was written");
    }
    if sent {
        receive(&SNAPSHOTS.edited_file(&edits, 1), edits.reseals());
    }
}

fn receive(file: &[u8], resealed: bool) {
    let store = store(&MemFileSystem::new(2));
    let mut receiver = store.receive().expect("begun");
    for piece in file.chunks(100) {
        receiver.write(&Bytes::copy_from_slice(piece)).expect("written");
    }
    if let Ok(snapshot) = receiver.finish() {
        assert_eq!(snapshot.file_bytes, file.len() as u64);
        assert!(resealed || snapshot.base == some_base(), "another snapshot than was sent");
        assert_eq!(store.newest().ok().flatten(), Some(snapshot));
    }
}

pub(super) fn snapshot_files_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (sent, reseal, file) in [(0, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 1), (1, 1, 0)] {
        let start = || Script::new().byte(sent).byte(reseal);
        seeds.push(start().done());
        for offset in [8, 16, 20, 60, 150, 200] {
            seeds.push(start().byte(0).byte(file).u32(offset).byte(1).done());
            seeds.push(start().byte(1).byte(file).u32(offset).u32(1 << 31).done());
        }
        seeds.push(start().byte(3).byte(file).u32(120).done());
        seeds.push(start().byte(4).byte(file).u16(9).done());
    }
    seeds
}

pub(super) fn log_base(bytes: &[u8]) {
    if let Some(base) = LogBase::from_bytes(Bytes::copy_from_slice(bytes)) {
        assert_eq!(LogBase::from_bytes(base.to_bytes()), Some(base));
    }
}

pub(super) fn log_base_seeds() -> Vec<Vec<u8>> {
    vec![LogBase::default().to_bytes().to_vec(), some_base().to_bytes().to_vec()]
}

const VALUE: &[u8] = b"a small value";

static STATE: LazyLock<Image> = LazyLock::new(|| {
    let fs = MemFileSystem::new(1);
    mainstay_storage::DataFolder::open(&fs, DIRECTORY).expect("opened");
    let mut file = StateFile::open(Arc::new(fs.clone()), state_path()).expect("opened");
    file.store(b"the one before").expect("stored");
    file.store(VALUE).expect("stored");
    Image::of(&fs)
});

fn state_path() -> PathBuf {
    Path::new(DIRECTORY).join("vote")
}

/// A state file, and the file that marks the format of a data folder.
pub(super) fn state_file(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let edits = Edits::read(&mut input);
    let fs = STATE.edited(&edits);
    let _ = mainstay_storage::DataFolder::open(&fs, DIRECTORY);
    let Ok(mut file) = StateFile::open(Arc::new(fs.clone()), state_path()) else { return };
    let value = file.load().expect("it was opened");
    assert!(edits.reseals() || value.as_deref().is_none_or(|value| value == VALUE), "another value");
    if file.generation() == u64::MAX {
        return;
    }
    file.store(b"the next").expect("stored");
    let again = StateFile::open(Arc::new(fs), state_path()).expect("opened");
    assert_eq!(again.load().expect("loaded").as_deref(), Some(&b"the next"[..]));
    assert_eq!(again.generation(), file.generation());
}

pub(super) fn state_file_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1]];
    for (reseal, file) in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)] {
        let start = || Script::new().byte(reseal);
        for offset in [0, 8, 12, 16, 24, 30] {
            seeds.push(start().byte(0).byte(file).u32(offset).byte(1).done());
            seeds.push(start().byte(2).byte(file).u32(offset).u64(u64::MAX).done());
        }
        seeds.push(start().byte(3).byte(file).u32(20).done());
        seeds.push(start().byte(4).byte(file).u16(2).done());
    }
    seeds
}
