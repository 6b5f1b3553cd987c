//! Looking into the folder of a log that is not open, for people.
//!
//! Looking changes nothing, not even what opening would complete. Nobody else may use the folder meanwhile: hold its
//! [`crate::DataFolder`].

mod dump;
mod repair;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_record::{EntryId, GroupId, LogIndex, LogPosition};

use crate::base::BaseRecord;
use crate::error::{IoContext, IoFailure, OpenError};
use crate::fs::{FileSystem, OpenFile};
use crate::index::{Reader, SegmentInfo, read_sealed};
use crate::mark::MarkFile;
use crate::quarantine::QuarantineFile;
use crate::recovery::{Scan, TornTail, Trust, list_segments, scan};
use crate::segment::{SegmentHeader, segment_path};
use crate::snapshot::{Snapshot, SnapshotError, inspect_snapshots};
use crate::stopped::Stopped;

pub use dump::Dump;
pub use repair::{Repair, Repaired, repair};

/// A place that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    /// Byte of the file, where there is one.
    pub offset: Option<u64>,
    pub what: String,
}

/// A segment, and whether opening the log can trust its index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    pub path: PathBuf,
    pub info: SegmentInfo,
    pub has_index_file: bool,
}

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub group: GroupId,
    /// The last batch before the log, and the last in it as far as it is intact.
    pub base: EntryId,
    pub last: EntryId,
    pub end: LogPosition,
    /// How far the log is known to have been durable, where its mark can be read.
    pub durable: Option<LogPosition>,
    /// It was closed in order.
    pub clean: bool,
    /// The operating system has not been restarted since it was opened.
    pub same_boot: bool,
    /// See [`crate::Recovered::incomplete`].
    pub incomplete: bool,
    pub segments: Vec<SegmentReport>,
    /// A write that never became durable; opening the log cuts it.
    pub torn_tail: Option<TornTail>,
    /// What opening the log completes. Batches are then not looked at.
    pub unfinished: Vec<&'static str>,
    pub damage: Vec<Finding>,
    /// Intact snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Tails that were taken out of the log.
    pub quarantined: Vec<QuarantineFile>,
    /// Folders into which damage was set aside.
    pub set_aside: Vec<PathBuf>,
    /// Why the log stopped, if it did.
    pub stopped: Option<Stopped>,
}

/// Reads every batch of a log and every snapshot. Damage is in the report; an error is what kept from looking.
pub fn verify(fs: Arc<dyn FileSystem>, directory: &Path) -> Result<Report, OpenError> {
    let look = Look::at(fs, directory)?;
    let mut report = look.empty_report()?;
    look.marks(&mut report)?;
    look.quarantine(&mut report)?;
    look.snapshots(&mut report)?;
    if report.unfinished.is_empty() {
        look.batches(&mut report)?;
    }
    Ok(report)
}

/// A folder that is looked at.
struct Look {
    fs: Arc<dyn FileSystem>,
    directory: PathBuf,
    log: PathBuf,
    group: GroupId,
}

impl Look {
    fn at(fs: Arc<dyn FileSystem>, directory: &Path) -> Result<Self, OpenError> {
        let log = directory.join("log");
        let group = find_group(&*fs, &log)?;
        Ok(Self { fs, directory: directory.to_owned(), log, group })
    }

    fn empty_report(&self) -> Result<Report, IoFailure> {
        let names = self.fs.list(&self.directory).during("list", &self.directory)?;
        let aside = names.iter().filter(|name| name.to_string_lossy().starts_with("damaged-"));
        Ok(Report {
            group: self.group,
            base: EntryId::ZERO,
            last: EntryId::ZERO,
            end: LogPosition(0),
            durable: None,
            clean: false,
            same_boot: false,
            incomplete: false,
            segments: Vec::new(),
            torn_tail: None,
            unfinished: Vec::new(),
            damage: Vec::new(),
            snapshots: Vec::new(),
            quarantined: Vec::new(),
            set_aside: aside.map(|name| self.directory.join(name)).collect(),
            stopped: Stopped::read(&*self.fs, &self.directory)?,
        })
    }

    fn marks(&self, report: &mut Report) -> Result<(), OpenError> {
        let record = damage_as_finding(BaseRecord::load(&*self.fs, &self.log, self.group), report)?;
        let path = self.log.join("mark");
        match damage_as_finding(MarkFile::open(&*self.fs, &path, self.group), report)? {
            Some(Some(file)) => {
                let mark = file.mark();
                report.durable = Some(mark.durable);
                report.clean = mark.clean;
                report.incomplete = mark.incomplete;
                report.same_boot = mark.boot != 0 && mark.boot == self.fs.boot_id();
                if mark.cut.is_some() {
                    report.unfinished.push("a truncation was interrupted");
                }
                if !file.was_whole() {
                    let what = "one of its two marks is not intact".to_owned();
                    report.damage.push(Finding { path, offset: None, what });
                }
            }
            Some(None) => {
                report.damage.push(Finding { path, offset: None, what: "it is missing".to_owned() })
            }
            None => {}
        }
        let record = record.flatten().unwrap_or_default();
        if record.restarting {
            report.unfinished.push("the log was about to start over behind a snapshot");
        }
        report.base = record.base.last;
        report.last = record.base.last;
        report.end = record.base.position;
        Ok(())
    }

    fn quarantine(&self, report: &mut Report) -> Result<(), OpenError> {
        let folder = self.directory.join("quarantine");
        if self.fs.exists(&folder).during("look at", &folder)? {
            let list = QuarantineFile::list(&*self.fs, &folder, self.group);
            report.quarantined = damage_as_finding(list, report)?.unwrap_or_default();
        }
        Ok(())
    }

    fn snapshots(&self, report: &mut Report) -> Result<(), IoFailure> {
        for snapshot in inspect_snapshots(&self.fs, &self.directory, self.group)? {
            match snapshot {
                Ok(snapshot) => report.snapshots.push(snapshot),
                Err(SnapshotError::Damaged { path, offset, what }) => {
                    report.damage.push(Finding { path, offset: Some(offset), what: what.to_owned() });
                }
                Err(SnapshotError::Io(error)) => return Err(error),
                Err(error) => {
                    let path = self.directory.join("snapshot");
                    report.damage.push(Finding { path, offset: None, what: error.to_string() });
                }
            }
        }
        Ok(())
    }

    fn batches(&self, report: &mut Report) -> Result<(), OpenError> {
        let reader = Reader::new(Arc::clone(&self.fs));
        let Some(scan) = damage_as_finding(self.scan(&reader), report)? else { return Ok(()) };
        if let Some(found) = &scan.damage {
            report.damage.push(Finding {
                path: found.segment.clone(),
                offset: Some(found.offset),
                what: found.what.to_string(),
            });
        }
        report.last = scan.chain.last();
        report.end = scan.chain.end();
        for segment in &scan.segments {
            let has_index_file = read_sealed(reader.pool(), &segment.path, &segment.header)?.is_some();
            report.segments.push(SegmentReport {
                path: segment.path.to_path_buf(),
                info: segment.info(),
                has_index_file,
            });
        }
        report.torn_tail = scan.torn_tail;
        Ok(())
    }

    /// Everything up to the first damage, each batch verified.
    fn scan(&self, reader: &Reader) -> Result<Scan, OpenError> {
        let record = BaseRecord::load(&*self.fs, &self.log, self.group)?.unwrap_or_default();
        let mark = MarkFile::open(&*self.fs, &self.log.join("mark"), self.group);
        let durable = match mark {
            Ok(mark) => mark.map_or(LogPosition(0), |file| file.mark().durable),
            Err(OpenError::DamagedFile { .. }) => LogPosition(0),
            Err(error) => return Err(error),
        };
        scan(reader, &self.log, self.group, &record.base, durable, Trust::Nothing)
    }
}

/// The group that the first readable segment belongs to.
fn find_group(fs: &dyn FileSystem, log: &Path) -> Result<GroupId, OpenError> {
    if fs.exists(log).during("look at", log)? {
        for base in list_segments(fs, log)? {
            let file = OpenFile::open(fs, segment_path(log, base))?;
            if let Ok(Some(header)) = SegmentHeader::read_any(&file) {
                return Ok(header.group);
            }
        }
    }
    Err(OpenError::DamagedFile { path: log.to_owned(), what: "no segment in it can be read" })
}

/// What is damaged goes into the report.
fn damage_as_finding<T>(result: Result<T, OpenError>, report: &mut Report) -> Result<Option<T>, OpenError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(OpenError::DamagedFile { path, what }) => {
            let finding = Finding { path, offset: None, what: what.to_owned() };
            if !report.damage.contains(&finding) {
                report.damage.push(finding);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Report {
    /// Whether nothing is wrong: no damage. A torn tail is none, and neither is what opening completes.
    pub const fn is_intact(&self) -> bool {
        self.damage.is_empty()
    }

    pub const fn first(&self) -> LogIndex {
        self.base.index.next()
    }
}
