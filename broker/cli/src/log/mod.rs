//! `mainstay log …`: the data folder of a broker that is stopped.
//!
//! Takes the folder's lock, so a running broker is never disturbed. `verify` and `dump` change nothing else.

mod dump;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use mainstay_record::LogIndex;
use mainstay_storage::inspect::{Dump, Repair, Repaired, repair, verify};
use mainstay_storage::{DataFolder, RealFileSystem};
use serde::Serialize;

use crate::output::{Format, print_done};

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read every batch and say what is there and what is wrong. Exits with 1 when there is damage.
    Verify(Folder),
    /// Print batches and their records.
    Dump {
        #[command(flatten)]
        folder: Folder,
        /// The first index to print.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// The last index to print.
        #[arg(long, default_value_t = u64::MAX)]
        through: u64,
        /// Print what the records hold, too.
        #[arg(long)]
        records: bool,
    },
    /// Make a log usable again.
    Repair {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The broker's data folder.
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct How {
    /// Complete what was interrupted and cut a write that never became durable, as starting the broker would.
    #[arg(long)]
    cut_torn_tail: bool,
    /// Keep what is before the first damage and move all the rest into a folder beside the log. Messages that were
    /// acknowledged may be in it: do this where other replicas have them.
    #[arg(long)]
    set_aside_damage: bool,
}

impl Folder {
    /// Locks the folder. One that is no data folder is left as it is.
    fn lock(&self) -> anyhow::Result<DataFolder> {
        if !self.data.join("format").exists() {
            bail!("{} is not the data folder of a broker: it has no file \"format\"", self.data.display());
        }
        let locked = DataFolder::open(&RealFileSystem, &self.data);
        locked.context("the folder can be looked at only while its broker is stopped")
    }
}

pub(crate) fn run(command: LogCommand, format: Format) -> anyhow::Result<()> {
    match command {
        LogCommand::Verify(folder) => {
            let locked = folder.lock()?;
            let report = verify(Arc::new(RealFileSystem), locked.path())?;
            report::print(&report, format)?;
            match report.damage.len() {
                0 => Ok(()),
                1 => bail!("the log is damaged at one place"),
                several => bail!("the log is damaged at {several} places"),
            }
        }
        LogCommand::Dump { folder, from, through, records } => {
            let locked = folder.lock()?;
            let range = (LogIndex(from), LogIndex(through));
            let batches = Dump::open(Arc::new(RealFileSystem), locked.path(), range.0, range.1)?;
            dump::print(batches, records, format)
        }
        LogCommand::Repair { folder, how } => {
            let locked = folder.lock()?;
            let how = if how.cut_torn_tail { Repair::CutTornTail } else { Repair::SetAsideDamage };
            run_repair(locked.path(), how, format)
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct RepairDone {
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_through: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved: Vec<PathBuf>,
    bytes: u64,
    what: Vec<String>,
}

fn run_repair(folder: &Path, how: Repair, format: Format) -> anyhow::Result<()> {
    let (sentence, done) = match repair(Arc::new(RealFileSystem), folder, how)? {
        Repaired::Nothing => {
            let done = RepairDone { done: "nothing", ..RepairDone::default() };
            ("Nothing had to be repaired.".to_owned(), done)
        }
        Repaired::Cut(torn) => {
            let (bytes, what) = (torn.bytes, vec![torn.what.to_string()]);
            let sentence = format!(
                "Cut {bytes} bytes of a write that never became durable, from byte {} of {}.",
                torn.offset,
                torn.segment.display()
            );
            (sentence, RepairDone { done: "cut", bytes, what, ..RepairDone::default() })
        }
        Repaired::SetAside(aside) => {
            let sentence = format!(
                "The log goes on behind index {}. Everything else, {} bytes, is in {}:\n  {}",
                aside.kept_through.index,
                aside.bytes,
                aside.folder.display(),
                aside.what.join("\n  ")
            );
            let done = RepairDone {
                done: "set aside",
                kept_through: Some(aside.kept_through.index.0),
                folder: Some(aside.folder),
                moved: aside.moved,
                bytes: aside.bytes,
                what: aside.what,
            };
            (sentence, done)
        }
    };
    print_done(format, &sentence, &done)
}
