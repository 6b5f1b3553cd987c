//! Reads a segment from front to back in large pieces, and looks for what is left behind a bad place.

use std::path::Path;

use bytes::Bytes;
use mainstay_record::{Batch, BatchError, LogPosition};

use crate::error::IoFailure;
use crate::fs::OpenFile;
use crate::segment::RunHeader;

/// Bytes read at once.
const WINDOW: usize = 1024 * 1024;

/// Reads a segment from front to back in large pieces.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a OpenFile,
    end: u64,
    start: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    pub(crate) const fn new(file: &'a OpenFile, end: u64) -> Self {
        Self { file, end, start: 0, bytes: Bytes::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Up to `length` bytes from `offset`; fewer only at the end of the file.
    pub(crate) fn bytes(&mut self, offset: u64, length: usize) -> Result<Bytes, IoFailure> {
        let left = self.end.saturating_sub(offset);
        let length = length.min(left as usize);
        let held = offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            self.bytes = self.file.read(offset, length.max(WINDOW.min(left as usize)))?.into();
            self.start = offset;
        }
        let within = (offset - self.start) as usize;
        Ok(self.bytes.slice(within..within + length))
    }

    pub(crate) fn batch(&mut self, offset: u64) -> Result<Result<Batch, BatchError>, IoFailure> {
        let start = self.bytes(offset, mainstay_record::HEADER_LEN)?;
        let length = match Batch::peek_length(&start) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Batch::decode(&self.bytes(offset, length)?))
    }

    /// Offset of the last byte from `offset` on that is not zero.
    pub(crate) fn last_nonzero(&self, offset: u64) -> Result<Option<u64>, IoFailure> {
        let mut end = self.end;
        while end > offset {
            let start = end.saturating_sub(WINDOW as u64).max(offset);
            let bytes = self.file.read(start, (end - start) as usize)?;
            if let Some(at) = last_nonzero(&bytes) {
                return Ok(Some(start + at as u64));
            }
            end = start;
        }
        Ok(None)
    }

    /// The furthest durable position that an intact run header from `offset` to `end` speaks of.
    pub(crate) fn durable_said(
        &self,
        offset: u64,
        end: u64,
        salt: u64,
    ) -> Result<Option<LogPosition>, IoFailure> {
        let mut furthest = None;
        let mut start = offset;
        while start + (RunHeader::LEN as u64) <= end {
            let length = (WINDOW + RunHeader::LEN).min((end - start) as usize);
            let bytes = self.file.read(start, length)?;
            let headers = bytes.windows(RunHeader::LEN).filter_map(|bytes| RunHeader::decode(bytes, salt));
            furthest = furthest.max(headers.map(|run| run.durable).max());
            start += WINDOW as u64 + 1;
        }
        Ok(furthest)
    }
}

fn last_nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    // Whole blocks are compared at once: nearly all of what is looked at are zeros.
    let blocks = bytes.chunks(ZEROS.len()).enumerate().rev();
    let (at, block) = blocks.into_iter().find(|(_, block)| **block != ZEROS[..block.len()])?;
    block.iter().rposition(|byte| *byte != 0).map(|within| at * ZEROS.len() + within)
}
