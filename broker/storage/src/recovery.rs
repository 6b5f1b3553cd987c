//! Recovery: from what lies on the disk to what the log holds.
//!
//! Every batch is verified: its checksum, that it is the next of the chain, and the place it stands at. Where that
//! fails in the last segment, behind everything known to be durable, a write was torn and is cut. Anywhere else it is
//! damage, and the log is refused as it is. Known to be durable is what the mark says, what a later intact run header
//! says, and everything before the last segment.
//!
//! Valid batches alone behind the bad place prove nothing: one write holds many, and a disk may take the last before
//! the first.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use mainstay_record::{Batch, BatchError, BatchKind, EntryId, GroupId, LogPosition, Timestamp};

use crate::chain::{Chain, EpochStart};
use crate::error::{Damage, IoContext, IoFailure, OpenError};
use crate::fs::{FileSystem, OpenFile};
use crate::index::{Entry, IndexedSegment};
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader, parse_segment_name, segment_path};

/// Bytes read at once.
const WINDOW: usize = 1024 * 1024;

/// What was cut at the end of the log, since it never became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub segment: PathBuf,
    /// Byte of the segment where the cut was made.
    pub offset: u64,
    /// Bytes from there to the last one that was not zero.
    pub bytes: u64,
    pub what: Damage,
}

/// What a log held when it was opened. All of it is durable.
#[derive(Debug, Clone)]
pub struct Recovered {
    pub last: EntryId,
    pub end: LogPosition,
    pub last_timestamp: Timestamp,
    pub epochs: Vec<EpochStart>,
    /// The newest membership batch.
    pub membership: Option<Batch>,
    pub torn_tail: Option<TornTail>,
    /// The log was closed in order: nothing that was written can have been lost.
    pub clean: bool,
    /// The operating system has not been restarted since the log was written: nothing that was written can have been
    /// lost, even if it was not flushed.
    pub same_boot: bool,
}

/// The log as scanned so far.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) chain: Chain,
    pub(crate) last_timestamp: Timestamp,
    pub(crate) membership: Option<Batch>,
    pub(crate) segments: Vec<IndexedSegment>,
    pub(crate) torn_tail: Option<TornTail>,
}

/// Base positions of the segments in a folder, in order.
pub(crate) fn list_segments(fs: &dyn FileSystem, folder: &Path) -> Result<Vec<LogPosition>, IoFailure> {
    let names = fs.list(folder).during("list", folder)?;
    let mut bases: Vec<_> = names.iter().filter_map(|name| parse_segment_name(name.to_str()?)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// Scans all segments; `durable` is what the mark says. Changes nothing.
pub(crate) fn scan(
    fs: &dyn FileSystem,
    folder: &Path,
    group: GroupId,
    durable: LogPosition,
) -> Result<Scan, OpenError> {
    let bases = list_segments(fs, folder)?;
    let mut scan = Scan {
        chain: Chain::new(group),
        last_timestamp: Timestamp::default(),
        membership: None,
        segments: Vec::with_capacity(bases.len()),
        torn_tail: None,
    };
    for (at, base) in bases.iter().enumerate() {
        let file = OpenFile::open(fs, segment_path(folder, *base))?;
        scan.segment(file, *base, bases.get(at + 1).copied(), group, durable)?;
    }
    if scan.chain.end() < durable {
        let (segment, offset) = scan.segments.last().map_or_else(
            || (segment_path(folder, LogPosition(0)), 0),
            |segment| (segment.file.path().to_owned(), segment.end_offset()),
        );
        return Err(OpenError::Damaged { segment, offset, what: Damage::Missing { durable }, durable });
    }
    Ok(scan)
}

impl Scan {
    fn segment(
        &mut self,
        file: OpenFile,
        base: LogPosition,
        next: Option<LogPosition>,
        group: GroupId,
        durable: LogPosition,
    ) -> Result<(), OpenError> {
        let durable = durable.max(next.unwrap_or(base));
        let path = file.path().to_owned();
        let damaged = |offset, what| OpenError::Damaged { segment: path.clone(), offset, what, durable };
        let header = SegmentHeader::read(&file, group)?.ok_or_else(|| damaged(0, Damage::SegmentHeader))?;
        if base != self.chain.end() || header.base != base || header.first != self.chain.last().index.next() {
            return Err(damaged(0, Damage::SegmentGap { found: base, expected: self.chain.end() }));
        }
        let found = file.len()?;
        if found != header.capacity {
            return Err(damaged(found, Damage::SegmentLength { found, expected: header.capacity }));
        }

        let mut window = Window::new(&file, header.capacity);
        let mut entries = Vec::new();
        let (offset, bad) = self.batches(&mut window, &header, next, &mut entries)?;
        if let Some(what) = bad {
            self.torn_tail = Some(torn_tail(&mut window, &header, offset, what, self.chain.end(), durable)?);
        }
        self.segments.push(IndexedSegment { file, header, entries });
        Ok(())
    }

    /// Takes batches up to `stop`, or up to the first place that holds none. Returns that place and what is wrong
    /// there; nothing is wrong where only zeros follow in the last segment.
    fn batches(
        &mut self,
        window: &mut Window<'_>,
        header: &SegmentHeader,
        stop: Option<LogPosition>,
        entries: &mut Vec<Entry>,
    ) -> Result<(u64, Option<Damage>), IoFailure> {
        let mut offset = HEADER_BLOCK;
        // A run header without its batches is part of the torn write, so the cut is made before it.
        let mut good = offset;
        while stop.is_none_or(|stop| self.chain.end() < stop) {
            let start = window.bytes(offset, RunHeader::LEN)?;
            if let Some(run) = RunHeader::decode(&start, header.salt) {
                if run.position != self.chain.end() {
                    let what = Damage::RunPosition { found: run.position, expected: self.chain.end() };
                    return Ok((good, Some(what)));
                }
                offset += RunHeader::LEN as u64;
            }
            let batch = match window.batch(offset)? {
                Ok(batch) => batch,
                Err(what) => {
                    let empty = window.last_nonzero(good)?.is_none();
                    let what = match stop {
                        Some(found) if empty => {
                            Some(Damage::SegmentGap { found, expected: self.chain.end() })
                        }
                        None if empty => None,
                        _ => Some(what.into()),
                    };
                    return Ok((good, what));
                }
            };
            if let Err(what) = self.chain.follow(batch.header()) {
                return Ok((good, Some(what)));
            }
            let position = (batch.header().position.0 - header.base.0) as u32;
            entries.push(Entry { offset: offset as u32, length: batch.header().length, position });
            offset += u64::from(batch.header().length);
            good = offset;
            self.last_timestamp = batch.header().timestamp;
            if batch.header().kind == BatchKind::Membership {
                self.membership = Some(own_copy(&batch));
            }
        }
        Ok((good, None))
    }
}

/// Judges a bad place at `offset`, where the log stands at `position`: torn, or damaged.
fn torn_tail(
    window: &mut Window<'_>,
    header: &SegmentHeader,
    offset: u64,
    what: Damage,
    position: LogPosition,
    durable: LogPosition,
) -> Result<TornTail, OpenError> {
    let segment = window.file.path().to_owned();
    let end = window.last_nonzero(offset)?.map_or(offset, |last| last + 1);
    let said = window.durable_said(offset, end, header.salt)?.unwrap_or_default();
    let durable = durable.max(said);
    if durable > position {
        return Err(OpenError::Damaged { segment, offset, what, durable });
    }
    Ok(TornTail { segment, offset, bytes: end - offset, what })
}

/// A batch that does not hold on to the window it was read from.
fn own_copy(batch: &Batch) -> Batch {
    Batch::decode(&Bytes::copy_from_slice(batch.bytes())).unwrap_or_else(|_| batch.clone())
}

/// Reads a segment from front to back in large pieces.
#[derive(Debug)]
struct Window<'a> {
    file: &'a OpenFile,
    end: u64,
    start: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    const fn new(file: &'a OpenFile, end: u64) -> Self {
        Self { file, end, start: 0, bytes: Bytes::new() }
    }

    /// Up to `length` bytes from `offset`; fewer only at the end of the file.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<Bytes, IoFailure> {
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

    fn batch(&mut self, offset: u64) -> Result<Result<Batch, BatchError>, IoFailure> {
        let start = self.bytes(offset, mainstay_record::HEADER_LEN)?;
        let length = match Batch::peek_length(&start) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Batch::decode(&self.bytes(offset, length)?))
    }

    /// Offset of the last byte from `offset` on that is not zero.
    fn last_nonzero(&self, offset: u64) -> Result<Option<u64>, IoFailure> {
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
    fn durable_said(&self, offset: u64, end: u64, salt: u64) -> Result<Option<LogPosition>, IoFailure> {
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
