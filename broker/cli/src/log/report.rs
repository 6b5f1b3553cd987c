//! A report on a log, for people and for programs.

use std::fmt::Write;
use std::path::PathBuf;

use mainstay_storage::inspect::{Finding, Report, SegmentReport};
use serde::Serialize;

use crate::output::{Format, print_done};

#[derive(Debug, Serialize)]
struct ReportJson {
    intact: bool,
    group: u32,
    first_index: u64,
    last_index: u64,
    last_epoch: u64,
    end_position: u64,
    durable_position: Option<u64>,
    closed_in_order: bool,
    same_boot: bool,
    may_miss_acknowledged: bool,
    segments: Vec<SegmentJson>,
    torn_tail: Option<PlaceJson>,
    unfinished: Vec<&'static str>,
    damage: Vec<PlaceJson>,
    snapshots: Vec<u64>,
    quarantined_records: u64,
    set_aside: Vec<PathBuf>,
    stopped: Option<String>,
}

#[derive(Debug, Serialize)]
struct SegmentJson {
    path: PathBuf,
    first_index: u64,
    last_index: u64,
    bytes: u64,
    file_bytes: u64,
    has_index_file: bool,
}

#[derive(Debug, Serialize)]
struct PlaceJson {
    path: PathBuf,
    offset: Option<u64>,
    what: String,
}

impl From<&SegmentReport> for SegmentJson {
    fn from(segment: &SegmentReport) -> Self {
        Self {
            path: segment.path.clone(),
            first_index: segment.info.first.0,
            last_index: segment.info.last.0,
            bytes: segment.info.bytes,
            file_bytes: segment.info.file_bytes,
            has_index_file: segment.has_index_file,
        }
    }
}

impl From<&Finding> for PlaceJson {
    fn from(finding: &Finding) -> Self {
        Self { path: finding.path.clone(), offset: finding.offset, what: finding.what.clone() }
    }
}

impl ReportJson {
    fn new(report: &Report) -> Self {
        Self {
            intact: report.is_intact(),
            group: report.group.0,
            first_index: report.first().0,
            last_index: report.last.index.0,
            last_epoch: report.last.epoch.number,
            end_position: report.end.0,
            durable_position: report.durable.map(|durable| durable.0),
            closed_in_order: report.clean,
            same_boot: report.same_boot,
            may_miss_acknowledged: report.incomplete,
            segments: report.segments.iter().map(SegmentJson::from).collect(),
            torn_tail: report.torn_tail.as_ref().map(|torn| PlaceJson {
                path: torn.segment.clone(),
                offset: Some(torn.offset),
                what: torn.what.to_string(),
            }),
            unfinished: report.unfinished.clone(),
            damage: report.damage.iter().map(PlaceJson::from).collect(),
            snapshots: report.snapshots.iter().map(|snapshot| snapshot.base.last.index.0).collect(),
            quarantined_records: report.quarantined.iter().map(|file| file.records).sum(),
            set_aside: report.set_aside.clone(),
            stopped: report.stopped.as_ref().map(|stopped| stopped.what.clone()),
        }
    }
}

pub(super) fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    print_done(format, text(report)?.trim_end(), &ReportJson::new(report))
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let bytes: u64 = report.segments.iter().map(|segment| segment.info.bytes).sum();
    writeln!(
        text,
        "Group {}: index {} to {}, {bytes} bytes in {} segments.",
        report.group,
        report.first(),
        report.last.index,
        report.segments.len()
    )?;
    let end = if report.clean { "It was closed in order." } else { "It was not closed in order." };
    writeln!(text, "{end}")?;
    if report.incomplete {
        writeln!(text, "It may miss what was acknowledged: it has to catch up with other replicas.")?;
    }
    let without = report.segments.iter().rev().skip(1).filter(|segment| !segment.has_index_file).count();
    if without > 0 {
        writeln!(text, "{without} complete segments have no index file; the next start makes them.")?;
    }
    for unfinished in &report.unfinished {
        writeln!(
            text,
            "Interrupted: {unfinished}. The next start completes it; batches were not looked at."
        )?;
    }
    if let Some(torn) = &report.torn_tail {
        writeln!(
            text,
            "Torn tail: {} bytes from byte {} of {} never became durable ({}). The next start cuts them.",
            torn.bytes,
            torn.offset,
            torn.segment.display(),
            torn.what
        )?;
    }
    write_beside(report, &mut text)?;
    for finding in &report.damage {
        let place = finding.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
        writeln!(text, "DAMAGE: {}{place}: {}", finding.path.display(), finding.what)?;
    }
    if report.is_intact() {
        writeln!(text, "No damage.")?;
    }
    Ok(text)
}

/// What lies beside the log.
fn write_beside(report: &Report, text: &mut String) -> std::fmt::Result {
    for snapshot in &report.snapshots {
        writeln!(
            text,
            "Snapshot through index {}: {} bytes.",
            snapshot.base.last.index, snapshot.file_bytes
        )?;
    }
    for file in &report.quarantined {
        writeln!(text, "Quarantined: {} records in {}.", file.records, file.path.display())?;
    }
    for folder in &report.set_aside {
        writeln!(text, "Set aside before: {}.", folder.display())?;
    }
    if let Some(stopped) = &report.stopped {
        writeln!(text, "It had stopped: {}.", stopped.what)?;
    }
    Ok(())
}
