//! Writing snapshots: our own, or one that another replica sends.
//!
//! What is written is forced piece by piece, so that the log's own fdatasync never waits behind a whole snapshot.

use std::io::IoSlice;

use bytes::Bytes;

use super::format::{MAX_CHUNK, Whole, encode_head};
use super::{Snapshot, SnapshotError, SnapshotReader, SnapshotStore};
use crate::base::LogBase;
use crate::error::IoFailure;
use crate::fs::OpenFile;

const PIECE: u64 = 8 * 1024 * 1024;

/// A file that grows, and goes away unless it is finished.
#[derive(Debug)]
struct Growing {
    store: SnapshotStore,
    file: Option<OpenFile>,
    length: u64,
    forced: u64,
}

impl Growing {
    fn begin(store: SnapshotStore) -> Result<Self, IoFailure> {
        let file = Some(store.unfinished()?);
        Ok(Self { store, file, length: 0, forced: 0 })
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<(), IoFailure> {
        let Some(file) = &self.file else { return Ok(()) };
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write(&slices, self.length)?;
        self.length += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if self.length - self.forced >= PIECE {
            file.sync()?;
            self.forced = self.length;
        }
        Ok(())
    }

    /// Forces the file, lets `check` look at it, and gives it its name.
    fn publish(
        mut self,
        check: impl FnOnce(&SnapshotStore, &OpenFile) -> Result<Snapshot, SnapshotError>,
    ) -> Result<Snapshot, SnapshotError> {
        let Some(file) = &self.file else { return Err(self.gone()) };
        file.sync()?;
        let snapshot = check(&self.store, file)?;
        let Some(file) = self.file.take() else { return Err(self.gone()) };
        let unfinished = file.path().to_owned();
        let path = self.store.publish(file, snapshot.base.last.index).inspect_err(|_| {
            self.store.discard(&unfinished);
        })?;
        Ok(Snapshot { path, ..snapshot })
    }

    fn gone(&self) -> SnapshotError {
        SnapshotError::Damaged { path: self.store.folder.clone(), offset: 0, what: "it is finished already" }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            self.store.discard(file.path());
        }
    }
}

/// Writes a snapshot. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotWriter {
    growing: Growing,
    base: LogBase,
    whole: Whole,
}

impl SnapshotWriter {
    pub(super) fn begin(store: SnapshotStore, base: LogBase) -> Result<Self, SnapshotError> {
        if !base.is_consistent() {
            return Err(SnapshotError::Inconsistent { path: store.folder, base: Box::new(base) });
        }
        let head = encode_head(store.group, &base);
        let mut growing = Growing::begin(store)?;
        growing.append(&[&head])?;
        Ok(Self { growing, base, whole: Whole::of_head(&head) })
    }

    /// Appends to what was put in. Where one piece ends and the next begins is not kept.
    pub fn write(&mut self, payload: &Bytes) -> Result<(), SnapshotError> {
        for chunk in payload.chunks(MAX_CHUNK) {
            let header = self.whole.chunk(chunk);
            self.growing.append(&[&header, chunk])?;
        }
        Ok(())
    }

    /// Makes the snapshot durable. When this returns `Ok`, it survives a power cut.
    pub fn finish(mut self) -> Result<Snapshot, SnapshotError> {
        let payload_bytes = self.whole.bytes;
        self.growing.append(&[&self.whole.end()])?;
        let (base, file_bytes) = (self.base, self.growing.length);
        self.growing
            .publish(|_, file| Ok(Snapshot { path: file.path().to_owned(), base, file_bytes, payload_bytes }))
    }
}

/// Takes a snapshot that another replica sends. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct SnapshotReceiver {
    growing: Growing,
}

impl SnapshotReceiver {
    pub(super) fn begin(store: SnapshotStore) -> Result<Self, SnapshotError> {
        Ok(Self { growing: Growing::begin(store)? })
    }

    /// Bytes taken so far: where to go on.
    pub const fn received(&self) -> u64 {
        self.growing.length
    }

    /// Appends bytes of the file, as [`SnapshotReader::read_raw`] gave them.
    pub fn write(&mut self, bytes: &Bytes) -> Result<(), SnapshotError> {
        Ok(self.growing.append(&[bytes])?)
    }

    /// Verifies all that was received, and makes it durable. Anything but a whole snapshot of this group is refused.
    pub fn finish(self) -> Result<Snapshot, SnapshotError> {
        self.growing.publish(|store, file| {
            SnapshotReader::of(file.clone(), store.group).and_then(|reader| reader.verify())
        })
    }
}
