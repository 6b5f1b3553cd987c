//! Writing a damaged batch back to its place, as another replica has it.

use std::io::IoSlice;

use mainstay_record::{Batch, EntryId, LogIndex, Timestamp};

use super::LogCore;
use crate::error::{IoFailure, LogError, RepairError};
use crate::fs::OpenFile;
use crate::index::Entry;
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader};

impl LogCore {
    /// Writes a batch to the place where the log has it, with what stands before it there, and makes it durable. It must
    /// be the very batch: of the same entry, position and length as the log knows them. Success means that it was read
    /// back and is intact.
    ///
    /// A failed write or fdatasync is final for the log, as any other.
    pub fn repair(&mut self, batch: &Batch) -> Result<(), RepairError> {
        let index = batch.index();
        if index > self.last().index {
            return Err(RepairError::NotInLog { index, first: self.first(), last: self.last().index });
        }
        let (file, header, entry) = self.reader.entry(index)?;
        let known = self.chain.base_through(index, header.base, Timestamp::default()).last;
        check(batch, known, &header, &entry)?;
        let run_at = self.run_before(index, &header, &entry)?;
        self.step(|core| {
            rewrite(&file, &header, &entry, run_at, batch)?;
            core.work.repairs += 1;
            Ok::<_, LogError>(())
        })?;
        // Reads come from the page cache; what the fdatasync said is what is known of the disk.
        let found = self.reader.read_one(index)?;
        if found == *batch { Ok(()) } else { Err(RepairError::StillDamaged { found: found.id() }) }
    }

    /// Where the header of the write stands that begins with this batch, if one does.
    fn run_before(
        &self,
        index: LogIndex,
        header: &SegmentHeader,
        entry: &Entry,
    ) -> Result<Option<u64>, RepairError> {
        let end = if index == header.first {
            HEADER_BLOCK
        } else {
            self.reader.entry(index.prev())?.2.end_offset()
        };
        Ok((u64::from(entry.offset) != end).then_some(end))
    }
}

fn check(batch: &Batch, known: EntryId, segment: &SegmentHeader, entry: &Entry) -> Result<(), RepairError> {
    let header = batch.header();
    let position = segment.base.0 + u64::from(entry.position);
    let same = header.group == segment.group
        && header.id == known
        && header.position.0 == position
        && header.length == entry.length;
    if same { Ok(()) } else { Err(RepairError::Another { found: header.id, expected: known }) }
}

fn rewrite(
    file: &OpenFile,
    segment: &SegmentHeader,
    entry: &Entry,
    run_at: Option<u64>,
    batch: &Batch,
) -> Result<(), IoFailure> {
    if batch.index() == segment.first {
        file.write(&[IoSlice::new(&segment.encode())], 0)?;
    }
    file.write(&[IoSlice::new(batch.bytes())], entry.offset.into())?;
    if let Some(at) = run_at {
        let bytes = file.read(at, RunHeader::LEN)?;
        if RunHeader::decode(&bytes, segment.salt).is_none() {
            // What was durable when the run was written is not known any more; the segments before were.
            let run = RunHeader { position: batch.header().position, durable: segment.base };
            file.write(&[IoSlice::new(&run.encode(segment.salt))], at)?;
        }
    }
    file.sync()
}
