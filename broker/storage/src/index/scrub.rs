//! Looking whether what lies on the disk is still as it was written, before somebody needs it.

use bytes::Bytes;
use mainstay_record::{LogIndex, LogPosition};

use super::reader::{Limit, Plan, Reader, damaged};
use super::{Entry, Index};
use crate::error::{Damage, ReadError};
use crate::fs::OpenFile;
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader};

/// What a scrub of some batches found.
#[derive(Debug)]
pub enum Scrubbed {
    /// All intact.
    Intact {
        /// Where to go on; `None` at the end of what is written.
        next: Option<LogIndex>,
        /// Bytes that were read.
        bytes: u64,
    },
    /// The batch `index`, or what stands before it, is not as it was written: [`crate::Log::repair`] it.
    Damaged { index: LogIndex, error: ReadError },
}

impl Reader {
    /// Reads batches from `from` on, about `max_bytes` of one segment, from the disk, with everything around them that
    /// recovery needs.
    pub(crate) fn scrub(&self, from: LogIndex, max_bytes: usize) -> Result<Scrubbed, ReadError> {
        let (before, last) = {
            let index = self.index().read();
            if from > index.last() {
                return Ok(Scrubbed::Intact { next: None, bytes: 0 });
            }
            (index.before(from), index.last())
        };
        // The batch before tells where this one's write may begin.
        let limit = Limit { at_least: 2, batches: u64::MAX, bytes: max_bytes };
        let found = self.look(before, limit, |plan, entries| {
            let entries_from = if before == from { entries } else { &entries[1..] };
            let end = match (before == from, entries.first()) {
                (false, Some(previous)) => previous.end_offset(),
                _ => HEADER_BLOCK,
            };
            let file = self.file(plan)?;
            if let Some(found) = plan.scrub(&file, from, end, entries_from)? {
                return Ok(found);
            }
            let next = LogIndex(from.0 + entries_from.len() as u64);
            let bytes = entries_from.last().map_or(0, |last| last.end_offset() - end);
            Ok(Scrubbed::Intact { next: (next <= last).then_some(next), bytes })
        });
        match found {
            // Neither the index file nor the segment itself tells where the batch lies.
            Err(error @ ReadError::Damaged { .. }) => Ok(Scrubbed::Damaged { index: from, error }),
            found => found,
        }
    }
}

impl Index {
    /// The batch before `from` in the same segment, or `from` where it is the first.
    fn before(&self, from: LogIndex) -> LogIndex {
        let first = self.find(from).map_or(from, |segment| segment.header.first);
        from.prev().max(first)
    }
}

impl Plan {
    /// Checks the entries from batch `from` on; what is before them ends at `end`.
    fn scrub(
        &self,
        file: &OpenFile,
        from: LogIndex,
        mut end: u64,
        entries: &[Entry],
    ) -> Result<Option<Scrubbed>, ReadError> {
        let found =
            |index, offset, what| Ok(Some(Scrubbed::Damaged { index, error: damaged(file, offset, what) }));
        if from == self.header.first && SegmentHeader::read_any(file)? != Some(self.header) {
            return found(from, 0, Damage::SegmentHeader);
        }
        let start = end;
        let length = entries.last().map_or(0, |last| last.end_offset() - start);
        let bytes = Bytes::from(file.read(start, length as usize)?);
        for (entry, index) in entries.iter().zip((from.0..).map(LogIndex)) {
            let within = (u64::from(entry.offset) - start) as usize;
            if u64::from(entry.offset) != end {
                let position = LogPosition(self.header.base.0 + u64::from(entry.position));
                let run = RunHeader::decode(&bytes[(end - start) as usize..], self.header.salt);
                if run.is_none_or(|run| run.position != position) {
                    return found(index, end, Damage::RunHeader);
                }
            }
            if let Err(what) = self.decode(&bytes.slice(within..within + entry.length as usize), entry, index)
            {
                return found(index, entry.offset.into(), what);
            }
            end = entry.end_offset();
        }
        Ok(None)
    }
}
