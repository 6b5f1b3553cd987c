//! Opening a log: completes an interrupted truncation or removal, scans, cuts a torn tail, and makes durable what is
//! left.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use mainstay_planted::{Fault, planted};
use mainstay_record::LogPosition;

use super::{Active, LogCore, Work, complete_forget, complete_restart, first_segment, next_capacity};
use crate::base::BaseRecord;
use crate::chain::Chain;
use crate::error::{IoContext, IoFailure, OpenError};
use crate::fs::{FileSystem, OpenFile, make_folder, remove_if_there, remove_unfinished, sync_parent};
use crate::index::{Entries, IndexedSegment, Reader, SealJob};
use crate::mark::{Cut, Mark, MarkFile};
use crate::options::{Flush, LogOptions};
use crate::quarantine::QuarantineFile;
use crate::recovery::{Recovered, Scan, Trust, list_segments, scan};
use crate::segment::{HEADER_BLOCK, index_path};
use crate::spare::{Housekeeping, SpareMaker, remove_spares};
use crate::stopped::Stopped;

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
        mut spares: Box<dyn Housekeeping>,
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
        for path in [&folder, &quarantine] {
            remove_unfinished(&*fs, path)?;
        }

        let record = BaseRecord::load(&*fs, &folder, group)?;
        let mut mark = open_mark(&*fs, &folder, options, record.is_some())?;
        let mut record = record.unwrap_or_default();
        if record.restarting {
            record = complete_restart(&*fs, &folder, group, &mut mark, record)?;
        }
        let base = record.base;
        complete_cut(&*fs, &folder, &mut mark)?;
        complete_forget(&*fs, &folder, &base)?;
        remove_stray_indexes(&*fs, &folder)?;
        let before = *mark.mark();
        let reader = Reader::new(Arc::clone(&fs));
        let scan = scan(&reader, &folder, group, &base, before.durable, Trust::IndexFiles)?;
        let mut scan = scan.intact()?;
        cut_torn_tail(&scan, &mut mark)?;
        let active = match scan.segments.last() {
            Some(newest) => {
                make_durable(&*fs, newest, before.durable)?;
                newest_of(&*fs, newest)?
            }
            None => {
                let bytes = options.segment_bytes;
                let (segment, active) = first_segment(&*fs, &folder, group, bytes, &mut *spares, &base)?;
                scan.segments.push(segment);
                active
            }
        };
        let end = scan.chain.end();
        let same_boot = before.boot != 0 && before.boot == fs.boot_id();
        let lazy = options.flush != Flush::Sync;
        let lost = (before.lazy || lazy) && !before.clean && !same_boot;
        let doubtful = scan.torn_tail.is_some() && !mark.was_whole();
        let incomplete = before.incomplete || lost || doubtful;
        mark.store(Mark { durable: end, clean: false, incomplete, lazy, boot: fs.boot_id(), cut: None })?;

        let recovered = Recovered {
            base: base.clone(),
            last: scan.chain.last(),
            end,
            last_timestamp: scan.last_timestamp,
            epochs: scan.chain.epochs().to_vec(),
            memberships: scan.chain.memberships().to_vec(),
            torn_tail: scan.torn_tail,
            clean: before.clean,
            same_boot,
            incomplete,
            stopped: Stopped::take(&*fs, &options.directory),
        };
        let quarantined = QuarantineFile::list(&*fs, &quarantine, group)?;
        for segment in scan.segments {
            reader.index().write().begin_segment(segment);
        }
        reader.index().write().set_epochs(scan.chain.epochs());
        for job in unsealed(&reader, &scan.chain) {
            spares.seal(job);
        }
        spares.prepare(next_capacity(Some(active.header.capacity), options.segment_bytes));
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
            base,
            dirty: false,
            quarantined,
            work: Work::default(),
            failed: None,
        };
        Ok((core, recovered))
    }
}

/// Complete segments without an intact index file.
fn unsealed(reader: &Reader, chain: &Chain) -> Vec<SealJob> {
    let index = reader.index().read();
    let complete = index.segments().split_last().map_or(&[][..], |(_, complete)| complete);
    complete.iter().filter_map(|segment| SealJob::new(segment, chain, reader)).collect()
}

fn newest_of(fs: &dyn FileSystem, newest: &IndexedSegment) -> Result<Active, IoFailure> {
    let file = match &newest.file {
        Some(file) => file.clone(),
        None => OpenFile::open(fs, newest.path.to_path_buf())?,
    };
    Ok(Active::of_newest(newest, file))
}

/// Removes index files whose segment is gone.
fn remove_stray_indexes(fs: &dyn FileSystem, folder: &Path) -> Result<(), IoFailure> {
    let names = fs.list(folder).during("list", folder)?;
    for name in &names {
        let path = folder.join(name);
        let segment = path.with_extension("seg");
        let is_index = path == index_path(&segment);
        if is_index && segment.file_name().is_some_and(|name| names.binary_search(&name.to_owned()).is_err())
        {
            remove_if_there(fs, &path)?;
        }
    }
    Ok(())
}

fn open_mark(
    fs: &dyn FileSystem,
    folder: &Path,
    options: &LogOptions,
    has_base: bool,
) -> Result<MarkFile, OpenError> {
    let path = folder.join("mark");
    if let Some(mark) = MarkFile::open(fs, &path, options.group)? {
        return Ok(mark);
    }
    if has_base || !list_segments(fs, folder)?.is_empty() {
        return Err(OpenError::DamagedFile { path, what: "it is missing, though there is a log" });
    }
    Ok(MarkFile::create(fs, &path, options.group, Mark::new(fs))?)
}

/// Completes a cut that the process before did not live to complete. Everything is written again, whatever reading
/// shows: the page cache may show what did not reach the disk.
pub(crate) fn complete_cut(fs: &dyn FileSystem, folder: &Path, mark: &mut MarkFile) -> Result<(), OpenError> {
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
    let Some(file) = &segment.file else { return Ok(()) };
    tracing::warn!(
        segment = %torn.segment.display(), offset = torn.offset, bytes = torn.bytes, reason = %torn.what,
        "cut a torn write at the end of the log",
    );
    let cut = Cut { segment: segment.header.base, offset: torn.offset };
    let intent = Mark { cut: Some(cut), clean: false, ..*mark.mark() };
    mark.store(intent)?;
    file.write_zeros(torn.offset, torn.offset + torn.bytes)
}

/// Forces what lies behind `durable` in the newest segment. It is written again first: when an fdatasync has failed, the
/// page cache shows what is not on the disk, and only writing makes the next fdatasync mean something.
fn make_durable(fs: &dyn FileSystem, newest: &IndexedSegment, durable: LogPosition) -> Result<(), IoFailure> {
    let (Some(file), Entries::Memory(entries)) = (&newest.file, &newest.entries) else { return Ok(()) };
    let known = entries.partition_point(|entry| newest.header.base.0 + u64::from(entry.position) < durable.0);
    let mut at = known.checked_sub(1).map_or(HEADER_BLOCK, |last| entries[last].end_offset());
    let end = newest.end_offset;
    while at < end && !planted(Fault::TrustPageCache) {
        let bytes = file.read(at, REWRITE_CHUNK.min(end - at) as usize)?;
        file.write(&[IoSlice::new(&bytes)], at)?;
        at += bytes.len() as u64;
    }
    file.sync()?;
    sync_parent(fs, file.path())
}
