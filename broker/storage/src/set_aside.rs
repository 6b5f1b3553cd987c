//! Going on after damage: what is intact up to the damage stays the log, everything from there on is moved away.
//!
//! Only for a replica that others can refill, or where people have decided. Nothing is deleted: what is taken out of the
//! log is durable in `damaged-<n>/` before the log stops having it. Interrupted at any place, the log is still refused
//! when it is opened, or is complete without what was moved; doing it again goes on.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_record::{EntryId, LogPosition};

use crate::base::{BaseRecord, LogBase};
use crate::core::{complete_cut, complete_forget, complete_restart};
use crate::error::{IoContext, IoFailure, OpenError};
use crate::fs::{FileSystem, OpenFile, make_folder, replace_file, sync_parent};
use crate::index::Reader;
use crate::mark::{Cut, Mark, MarkFile};
use crate::options::LogOptions;
use crate::quarantine::QuarantineFile;
use crate::recovery::{FoundDamage, Scan, Trust, list_segments, scan};
use crate::segment::{index_path, segment_path};

const COPY_CHUNK: u64 = 4 * 1024 * 1024;
const NOTE: &str = "why";

/// What was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The last batch that stays, and where the log ends behind it.
    pub kept_through: EntryId,
    pub kept_end: LogPosition,
    /// Where everything else is now.
    pub folder: PathBuf,
    /// The files in it, as they were called in the log's folders.
    pub moved: Vec<PathBuf>,
    /// Bytes of these files.
    pub bytes: u64,
    /// What was found, where, for people.
    pub what: Vec<String>,
}

/// Looks at every byte of a log that is not open, and moves everything from the first damage on away, durably. The log
/// then opens with what was before it, and [`crate::Recovered::incomplete`] says that it must catch up. `None` when
/// there is no damage; a torn tail is none.
///
/// Nobody else may use the folder meanwhile: hold its [`crate::DataFolder`].
pub fn set_aside_damage(
    fs: Arc<dyn FileSystem>,
    options: &LogOptions,
) -> Result<Option<SetAside>, OpenError> {
    let log = options.directory.join("log");
    if !fs.exists(&log).during("look at", &log)? {
        return Ok(None);
    }
    let mut work = Work { fs: &*fs, options, log, aside: None };
    let quarantine = work.quarantine()?;
    let record = match BaseRecord::load(work.fs, &work.log, options.group) {
        Ok(record) => record.unwrap_or_default(),
        Err(OpenError::DamagedFile { path, what }) => return work.give_up_all(&path, what).map(Some),
        Err(error) => return Err(error),
    };
    let (mut mark, lost_mark) = work.mark()?;
    let record = match record.restarting {
        true => complete_restart(work.fs, &work.log, options.group, &mut mark, record)?,
        false => record,
    };
    complete_cut(work.fs, &work.log, &mut mark)?;
    complete_forget(work.fs, &work.log, &record.base)?;
    let reader = Reader::new(Arc::clone(&fs));
    let durable = mark.mark().durable;
    let scan = scan(&reader, &work.log, options.group, &record.base, durable, Trust::Nothing)?;
    match &scan.damage {
        Some(damage) => work.cut(&scan, damage, &mut mark)?,
        None if quarantine || lost_mark => {}
        None => return Ok(None),
    }
    work.finish(scan.chain.last(), scan.chain.end())
}

struct Work<'a> {
    fs: &'a dyn FileSystem,
    options: &'a LogOptions,
    log: PathBuf,
    aside: Option<SetAside>,
}

impl Work<'_> {
    /// The folder for what is moved, made when the first is.
    fn aside(&mut self) -> Result<&mut SetAside, IoFailure> {
        if self.aside.is_none() {
            let mut number = 1;
            let folder = loop {
                let folder = self.options.directory.join(format!("damaged-{number}"));
                if !self.fs.exists(&folder).during("look at", &folder)? {
                    break folder;
                }
                number += 1;
            };
            make_folder(self.fs, &folder)?;
            let (kept_through, kept_end) = (EntryId::ZERO, LogPosition(0));
            let (moved, bytes, what) = (Vec::new(), 0, Vec::new());
            self.aside = Some(SetAside { kept_through, kept_end, folder, moved, bytes, what });
        }
        self.aside.as_mut().ok_or_else(|| IoFailure {
            operation: "make",
            path: self.options.directory.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    fn note(&mut self, what: String) -> Result<(), IoFailure> {
        self.aside()?.what.push(what);
        Ok(())
    }

    /// Gives a file its place in the folder, and both folders that name, durably.
    fn take(&mut self, path: &Path) -> Result<(), IoFailure> {
        let fs = self.fs;
        if !fs.exists(path).during("look at", path)? {
            return Ok(());
        }
        let bytes = OpenFile::open(fs, path.to_owned())?.len()?;
        let aside = self.aside()?;
        let target = aside.folder.join(path.file_name().unwrap_or_default());
        fs.rename(path, &target).during("move", path)?;
        sync_parent(fs, &target)?;
        sync_parent(fs, path)?;
        aside.bytes += bytes;
        aside.moved.push(target);
        Ok(())
    }

    /// Copies a file of which a part stays in the log.
    fn copy(&mut self, path: &Path) -> Result<(), IoFailure> {
        let fs = self.fs;
        let source = OpenFile::open(fs, path.to_owned())?;
        let length = source.len()?;
        let aside = self.aside()?;
        let target = aside.folder.join(path.file_name().unwrap_or_default());
        let copy = OpenFile::create(fs, target.clone())?;
        let mut at = 0;
        while at < length {
            let bytes = source.read(at, COPY_CHUNK.min(length - at) as usize)?;
            copy.write(&[IoSlice::new(&bytes)], at)?;
            at += bytes.len() as u64;
        }
        copy.sync()?;
        sync_parent(fs, &target)?;
        aside.bytes += length;
        aside.moved.push(target);
        Ok(())
    }

    /// Moves damaged quarantine files; whether there were any.
    fn quarantine(&mut self) -> Result<bool, OpenError> {
        let folder = self.options.directory.join("quarantine");
        if !self.fs.exists(&folder).during("look at", &folder)? {
            return Ok(false);
        }
        let mut any = false;
        loop {
            match QuarantineFile::list(self.fs, &folder, self.options.group) {
                Ok(_) => return Ok(any),
                Err(OpenError::DamagedFile { path, what }) => {
                    any = true;
                    self.note(format!("{}: {what}", path.display()))?;
                    self.take(&path)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The mark. Where it cannot be read, it is moved and a new one made, which knows nothing to be durable; then the
    /// end of the log may be missing, whatever is found.
    fn mark(&mut self) -> Result<(MarkFile, bool), OpenError> {
        let path = self.log.join("mark");
        match MarkFile::open(self.fs, &path, self.options.group) {
            Ok(Some(mark)) => return Ok((mark, false)),
            Ok(None) => self.note(format!("{}: it is missing", path.display()))?,
            Err(OpenError::DamagedFile { what, .. }) => {
                self.note(format!("{}: {what}", path.display()))?;
                self.take(&path)?;
            }
            Err(error) => return Err(error),
        }
        let mark = Mark { incomplete: true, ..Mark::new(self.fs) };
        Ok((MarkFile::create(self.fs, &path, self.options.group, mark)?, true))
    }

    /// Takes everything from the damage on out of the log.
    fn cut(&mut self, scan: &Scan, damage: &FoundDamage, mark: &mut MarkFile) -> Result<(), OpenError> {
        self.note(format!("{} at byte {}: {}", damage.segment.display(), damage.offset, damage.what))?;
        let newest = scan.segments.last();
        if let Some(newest) = newest
            && *newest.path == *damage.segment
        {
            self.copy(&newest.path)?;
        }
        for base in list_segments(self.fs, &self.log)?.into_iter().rev() {
            if newest.is_none_or(|newest| base > newest.header.base) {
                let path = segment_path(&self.log, base);
                self.take(&path)?;
                self.take(&index_path(&path))?;
            }
        }
        let cut = newest.map(|newest| Cut { segment: newest.header.base, offset: newest.end_offset });
        let durable = scan.chain.end();
        mark.store(Mark { durable, clean: false, incomplete: true, cut, ..*mark.mark() })?;
        complete_cut(self.fs, &self.log, mark)
    }

    /// Without its base, nothing of the log can be placed: all of it goes.
    fn give_up_all(mut self, base: &Path, what: &str) -> Result<SetAside, OpenError> {
        self.note(format!("{}: {what}", base.display()))?;
        for segment in list_segments(self.fs, &self.log)?.into_iter().rev() {
            let path = segment_path(&self.log, segment);
            self.take(&path)?;
            self.take(&index_path(&path))?;
        }
        let (mut mark, _) = self.mark()?;
        let durable = LogPosition(0);
        mark.store(Mark { durable, clean: false, incomplete: true, cut: None, ..*mark.mark() })?;
        self.take(base)?;
        let empty = LogBase::default();
        let done = self.finish(empty.last, empty.position)?;
        done.ok_or(OpenError::DamagedFile { path: base.to_owned(), what: "its checksum does not fit" })
    }

    fn finish(mut self, kept_through: EntryId, kept_end: LogPosition) -> Result<Option<SetAside>, OpenError> {
        let fs = self.fs;
        let aside = self.aside()?;
        (aside.kept_through, aside.kept_end) = (kept_through, kept_end);
        let text = format!("{}\nThe log goes on behind {kept_through}.\n", aside.what.join("\n"));
        let path = aside.folder.join(NOTE);
        replace_file(fs, &path, &[IoSlice::new(text.as_bytes())])?;
        tracing::warn!(folder = %aside.folder.display(), kept = %kept_through, what = ?aside.what, "damage was set aside");
        Ok(self.aside)
    }
}
