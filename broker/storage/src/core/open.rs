//! Opening a log: completes an interrupted truncation, scans, cuts a torn tail, and makes durable what is left.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use mainstay_record::{LogIndex, LogPosition};

use super::{Active, LogCore, Work, begin_segment, next_capacity};
use crate::error::{IoFailure, OpenError};
use crate::fs::{FileSystem, OpenFile, make_folder, sync_parent};
use crate::index::{IndexedSegment, Reader};
use crate::mark::{Cut, Mark, MarkFile};
use crate::options::LogOptions;
use crate::quarantine::{QuarantineFile, remove_unfinished};
use crate::recovery::{Recovered, Scan, list_segments, scan};
use crate::segment::{HEADER_BLOCK, SegmentHeader};
use crate::spare::{SpareMaker, SpareSource, remove_spares};

const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
const MAX_SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;
const REWRITE_CHUNK: u64 = 4 * 1024 * 1024;

impl LogCore {
    /// Recovers the log; flush and cache of the options are not for the core.
    pub fn open(fs: Arc<dyn FileSystem>, options: &LogOptions) -> Result<(Self, Recovered), OpenError> {
        let maker = SpareMaker::new(Arc::clone(&fs), options);
        Self::open_with(fs, options, Box::new(maker))
    }

    pub(crate) fn open_with(
        fs: Arc<dyn FileSystem>,
        options: &LogOptions,
        mut spares: Box<dyn SpareSource>,
    ) -> Result<(Self, Recovered), OpenError> {
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&options.segment_bytes) {
            let (option, rule) = ("segment_bytes", "it must be 64 KiB to 1 GiB");
            return Err(OpenError::InvalidOption { option, value: options.segment_bytes, rule });
        }
        let group = options.group;
        let folder = options.directory.join("log");
        let quarantine = options.directory.join("quarantine");
        for path in [&folder, &quarantine] {
            make_folder(&*fs, path)?;
        }
        remove_spares(&*fs, &folder)?;
        remove_unfinished(&*fs, &quarantine)?;

        let mut mark = open_mark(&*fs, &folder, options)?;
        complete_cut(&*fs, &folder, &mut mark)?;
        let before = *mark.mark();
        let mut scan = scan(&*fs, &folder, group, before.durable)?;
        cut_torn_tail(&scan, &mut mark)?;
        let active = match scan.segments.last() {
            Some(newest) => {
                make_durable(&*fs, newest, before.durable)?;
                Active { file: newest.file.clone(), header: newest.header, offset: newest.end_offset() }
            }
            None => first_segment(&*fs, &folder, options, &mut *spares, &mut scan)?,
        };
        let end = scan.chain.end();
        mark.store(Mark { durable: end, clean: false, boot: fs.boot_id(), cut: None })?;
        spares.prepare(next_capacity(Some(active.header.capacity), options.segment_bytes));

        let recovered = Recovered {
            last: scan.chain.last(),
            end,
            last_timestamp: scan.last_timestamp,
            epochs: scan.chain.epochs().to_vec(),
            membership: scan.membership,
            torn_tail: scan.torn_tail,
            clean: before.clean,
            same_boot: before.boot != 0 && before.boot == fs.boot_id(),
        };
        let quarantined = QuarantineFile::list(&*fs, &quarantine, group)?;
        let reader = Reader::default();
        for segment in scan.segments {
            reader.index().write().begin_segment(segment);
        }
        let core = Self {
            fs,
            folder,
            quarantine,
            group,
            segment_bytes: options.segment_bytes,
            spares,
            reader,
            active,
            mark,
            chain: scan.chain,
            dirty: false,
            quarantined,
            work: Work::default(),
            failed: None,
        };
        Ok((core, recovered))
    }
}

fn open_mark(fs: &dyn FileSystem, folder: &Path, options: &LogOptions) -> Result<MarkFile, OpenError> {
    let path = folder.join("mark");
    if let Some(mark) = MarkFile::open(fs, &path, options.group)? {
        return Ok(mark);
    }
    if !list_segments(fs, folder)?.is_empty() {
        return Err(OpenError::DamagedFile { path, what: "it is missing, though there are segments" });
    }
    Ok(MarkFile::create(fs, &path, options.group)?)
}

/// Completes a cut that the process before did not live to complete. Everything is written again, whatever reading
/// shows: the page cache may show what did not reach the disk.
fn complete_cut(fs: &dyn FileSystem, folder: &Path, mark: &mut MarkFile) -> Result<(), OpenError> {
    let Some(cut) = mark.mark().cut else { return Ok(()) };
    let newer = list_segments(fs, folder)?.into_iter().rev().take_while(|base| *base > cut.segment);
    let newer: Vec<_> = newer.map(|base| crate::segment::segment_path(folder, base)).collect();
    let file = OpenFile::open(fs, crate::segment::segment_path(folder, cut.segment))?;
    let capacity = file.len()?;
    super::truncate::remove_tail(fs, &newer, &file, cut.offset, capacity)?;
    let done = Mark { cut: None, ..*mark.mark() };
    Ok(mark.store(done)?)
}

fn cut_torn_tail(scan: &Scan, mark: &mut MarkFile) -> Result<(), IoFailure> {
    let (Some(torn), Some(segment)) = (&scan.torn_tail, scan.segments.last()) else { return Ok(()) };
    tracing::warn!(
        segment = %torn.segment.display(), offset = torn.offset, bytes = torn.bytes, reason = %torn.what,
        "cut a torn write at the end of the log",
    );
    let cut = Cut { segment: segment.header.base, offset: torn.offset };
    let intent = Mark { cut: Some(cut), clean: false, ..*mark.mark() };
    mark.store(intent)?;
    segment.file.write_zeros(torn.offset, torn.offset + torn.bytes)
}

/// Forces what lies behind `durable` in the newest segment. It is written again first: when an fdatasync has failed, the
/// page cache shows what is not on the disk, and only writing makes the next fdatasync mean something.
fn make_durable(fs: &dyn FileSystem, newest: &IndexedSegment, durable: LogPosition) -> Result<(), IoFailure> {
    let known =
        newest.entries.partition_point(|entry| newest.header.base.0 + u64::from(entry.position) < durable.0);
    let mut at = known.checked_sub(1).map_or(HEADER_BLOCK, |last| newest.entries[last].end_offset());
    let end = newest.end_offset();
    while at < end {
        let bytes = newest.file.read(at, REWRITE_CHUNK.min(end - at) as usize)?;
        newest.file.write(&[IoSlice::new(&bytes)], at)?;
        at += bytes.len() as u64;
    }
    newest.file.sync()?;
    sync_parent(fs, newest.file.path())
}

fn first_segment(
    fs: &dyn FileSystem,
    folder: &Path,
    options: &LogOptions,
    spares: &mut dyn SpareSource,
    scan: &mut Scan,
) -> Result<Active, OpenError> {
    let planned = next_capacity(None, options.segment_bytes);
    let (file, capacity) = spares.take(planned, planned)?;
    let header = SegmentHeader {
        group: options.group,
        base: LogPosition(0),
        first: LogIndex(1),
        capacity,
        salt: fs.entropy(),
    };
    let file = begin_segment(fs, folder, file, &header)?;
    scan.segments.push(IndexedSegment { file: file.clone(), header, entries: Vec::new() });
    Ok(Active { file, header, offset: HEADER_BLOCK })
}
