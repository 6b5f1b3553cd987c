//! Recovery: from what lies on the disk to what the log holds.
//!
//! A complete segment with an intact index file is taken as that says; its batches are verified when they are read. Of
//! every other segment, the newest always among them, each batch is verified: its checksum, that it is the next of the
//! chain, and the place it stands at. Where that fails in the newest segment, behind everything known to be durable, a
//! write was torn and is cut. Anywhere else it is damage, and the log is refused as it is. Known to be durable is what
//! the mark says, what a later intact run header says, and everything before the newest segment.
//!
//! Valid batches alone behind the bad place prove nothing: one write holds many, and a disk may take the last before
//! the first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_planted::{Fault, planted};
use mainstay_record::{Batch, EntryId, GroupId, LogPosition, Timestamp};

use crate::base::LogBase;
use crate::chain::{Chain, EpochStart};
use crate::error::{Damage, IoContext, IoFailure, OpenError};
use crate::fs::{FileSystem, OpenFile};
use crate::index::{Entries, Entry, IndexedSegment, Reader, SealedIndex, SealedSummary, read_sealed};
use crate::segment::{HEADER_BLOCK, RunHeader, SegmentHeader, parse_segment_name, segment_path};
use crate::stopped::Stopped;
use crate::window::Window;

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
    /// Where the log begins: its first batch is the one behind `base.last`.
    pub base: LogBase,
    /// The last batch, or `base.last` when there is none.
    pub last: EntryId,
    pub end: LogPosition,
    pub last_timestamp: Timestamp,
    /// All epochs, those of `base` included.
    pub epochs: Vec<EpochStart>,
    /// The membership batches in order: that of `base`, then those of the log.
    pub memberships: Vec<Batch>,
    pub torn_tail: Option<TornTail>,
    /// The log was closed in order: nothing that was written can have been lost.
    pub clean: bool,
    /// The operating system has not been restarted since the log was opened before this time: nothing that was written
    /// then can have been lost, even if it was not flushed. It says nothing of earlier times, so it is for people;
    /// decide by `incomplete`.
    pub same_boot: bool,
    /// Batches that this replica had acknowledged may be missing at the end. It must neither grant an epoch nor campaign,
    /// nor count as holding what it acknowledged before, until it has caught up with a leader that was elected without
    /// it; then call [`crate::Log::set_complete`]. A group of one has nobody to catch up with: it loses what
    /// [`crate::Flush::Async`] allows to be lost, and may be set complete at once.
    ///
    /// It becomes true when the operating system was restarted without an orderly end of the log, and the log was
    /// or is written with [`crate::Flush::Async`]; when damage was set aside; and when a torn tail was cut while one of
    /// the two copies of the log's mark was damaged, so that it may have been durable after all. It stays true, restarts included,
    /// until it is set complete. With [`crate::Flush::Sync`] throughout, a power cut alone never makes it true: what
    /// was reported durable is there.
    pub incomplete: bool,
    /// Why the log stopped before, if it did.
    pub stopped: Option<Stopped>,
}

/// What is believed without looking at every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Complete segments are as their index files say.
    IndexFiles,
    Nothing,
}

/// The first place where the log is not as it was written, though it was durable there.
#[derive(Debug, Clone)]
pub(crate) struct FoundDamage {
    pub(crate) segment: PathBuf,
    pub(crate) offset: u64,
    pub(crate) what: Damage,
    pub(crate) durable: LogPosition,
}

/// The log as scanned so far.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) chain: Chain,
    pub(crate) last_timestamp: Timestamp,
    pub(crate) segments: Vec<IndexedSegment>,
    pub(crate) torn_tail: Option<TornTail>,
    /// The scan ended here.
    pub(crate) damage: Option<FoundDamage>,
}

/// Base positions of the segments in a folder, in order.
pub(crate) fn list_segments(fs: &dyn FileSystem, folder: &Path) -> Result<Vec<LogPosition>, IoFailure> {
    let names = fs.list(folder).during("list", folder)?;
    let mut bases: Vec<_> = names.iter().filter_map(|name| parse_segment_name(name.to_str()?)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// Scans all segments of a log that begins behind `base`; `durable` is what the mark says. Changes nothing.
pub(crate) fn scan(
    reader: &Reader,
    folder: &Path,
    group: GroupId,
    base: &LogBase,
    durable: LogPosition,
    trust: Trust,
) -> Result<Scan, OpenError> {
    let fs = reader.pool().fs();
    let mut bases = list_segments(fs, folder)?;
    // What an interrupted removal left is not the log's any more.
    bases.retain(|found| *found >= base.position);
    let mut scan = Scan {
        chain: Chain::new(group, base),
        last_timestamp: base.timestamp,
        segments: Vec::with_capacity(bases.len()),
        torn_tail: None,
        damage: None,
    };
    for (at, base) in bases.iter().enumerate() {
        let file = OpenFile::open(fs, segment_path(folder, *base))?;
        scan.damage = scan.segment(reader, file, *base, bases.get(at + 1).copied(), group, durable, trust)?;
        if scan.damage.is_some() {
            return Ok(scan);
        }
    }
    if scan.chain.end() < durable {
        let (segment, offset) = scan.segments.last().map_or_else(
            || (segment_path(folder, base.position), 0),
            |segment| (segment.path.to_path_buf(), segment.end_offset),
        );
        scan.damage = Some(FoundDamage { segment, offset, what: Damage::Missing { durable }, durable });
    }
    Ok(scan)
}

impl Scan {
    /// The scan, unless it found damage.
    pub(crate) fn intact(self) -> Result<Self, OpenError> {
        match self.damage {
            Some(FoundDamage { segment, offset, what, durable }) => {
                Err(OpenError::Damaged { segment, offset, what, durable })
            }
            None => Ok(self),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what is known of a segment before it is read")]
    fn segment(
        &mut self,
        reader: &Reader,
        file: OpenFile,
        base: LogPosition,
        next: Option<LogPosition>,
        group: GroupId,
        durable: LogPosition,
        trust: Trust,
    ) -> Result<Option<FoundDamage>, OpenError> {
        let durable = durable.max(next.unwrap_or(base));
        let path = file.path().to_owned();
        let damaged = |offset, what| Ok(Some(FoundDamage { segment: path.clone(), offset, what, durable }));
        let Some(header) = SegmentHeader::read(&file, group)? else {
            return damaged(0, Damage::SegmentHeader);
        };
        if base != self.chain.end() || header.base != base || header.first != self.chain.last().index.next() {
            return damaged(0, Damage::SegmentGap { found: base, expected: self.chain.end() });
        }
        let found = file.len()?;
        if found != header.capacity {
            return damaged(found, Damage::SegmentLength { found, expected: header.capacity });
        }
        if trust == Trust::IndexFiles
            && let Some(next) = next
            && let Some((summary, index)) = read_sealed(reader.pool(), &path, &header)?
            && summary.end == next
            && self.chain.follow_sealed(&summary)
        {
            self.sealed(path, summary, index);
            return Ok(None);
        }

        let mut window = Window::new(&file, header.capacity);
        let mut entries = Vec::new();
        let (offset, bad) = self.batches(&mut window, &header, next, &mut entries)?;
        let judged = match bad {
            Some(what) => judge(&mut window, &header, offset, what, self.chain.end(), durable)?,
            None => Judged::Intact,
        };
        let mut segment = IndexedSegment::empty(file, header, self.last_timestamp);
        segment.extend(entries, self.last_timestamp);
        if next.is_some() {
            segment.file = None;
        }
        self.segments.push(segment);
        match judged {
            Judged::Intact => Ok(None),
            Judged::Torn(tail) => {
                self.torn_tail = Some(tail);
                Ok(None)
            }
            Judged::Damaged(damage) => Ok(Some(damage)),
        }
    }

    /// Takes a complete segment as its index file describes it.
    fn sealed(&mut self, path: PathBuf, summary: SealedSummary, index: SealedIndex) {
        self.last_timestamp = summary.timestamp;
        self.segments.push(IndexedSegment {
            path: path.into(),
            file: None,
            header: summary.header,
            entries: Entries::File(Arc::new(index)),
            count: summary.count,
            end: summary.end,
            end_offset: summary.end_offset,
            timestamp: summary.timestamp,
            opened: 0,
        });
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
            if let Err(what) = self.chain.follow(&batch) {
                return Ok((good, Some(what)));
            }
            let position = (batch.header().position.0 - header.base.0) as u32;
            entries.push(Entry { offset: offset as u32, length: batch.header().length, position });
            offset += u64::from(batch.header().length);
            good = offset;
            self.last_timestamp = batch.header().timestamp;
        }
        Ok((good, None))
    }
}

/// What a bad place is.
#[derive(Debug)]
enum Judged {
    Intact,
    Torn(TornTail),
    Damaged(FoundDamage),
}

/// Judges a bad place at `offset`, where the log stands at `position`.
fn judge(
    window: &mut Window<'_>,
    header: &SegmentHeader,
    offset: u64,
    what: Damage,
    position: LogPosition,
    durable: LogPosition,
) -> Result<Judged, IoFailure> {
    let segment = window.path().to_owned();
    let end = window.last_nonzero(offset)?.map_or(offset, |last| last + 1);
    let said = window.durable_said(offset, end, header.salt)?.unwrap_or_default();
    let durable = durable.max(said);
    if durable > position && !planted(Fault::CutDamage) {
        return Ok(Judged::Damaged(FoundDamage { segment, offset, what, durable }));
    }
    Ok(Judged::Torn(TornTail { segment, offset, bytes: end - offset, what }))
}
