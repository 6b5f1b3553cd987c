//! Making a log that is not open usable again, in the way that people choose.

use std::path::Path;
use std::sync::Arc;

use super::{Look, list_segments, verify};
use crate::core::LogCore;
use crate::error::OpenError;
use crate::fs::{FileSystem, OpenFile};
use crate::options::{Flush, LogOptions};
use crate::recovery::TornTail;
use crate::segment::{HEADER_BLOCK, SegmentHeader, segment_path};
use crate::set_aside::{SetAside, set_aside_damage};

const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=1024 * 1024 * 1024;

/// How a log is to be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Complete what was interrupted and cut a torn tail, as starting the broker would. Damage is refused.
    CutTornTail,
    /// Keep what is before the first damage, and move everything from there on aside. Acknowledged messages may be among
    /// it: only where other replicas have them, or where losing them was decided.
    SetAsideDamage,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    Nothing,
    Cut(TornTail),
    SetAside(SetAside),
}

/// Repairs a log that is not open.
pub fn repair(fs: Arc<dyn FileSystem>, directory: &Path, how: Repair) -> Result<Repaired, OpenError> {
    let look = Look::at(Arc::clone(&fs), directory)?;
    let options = LogOptions {
        directory: directory.to_owned(),
        group: look.group,
        segment_bytes: largest_segment(&look)?.clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end()),
        flush: Flush::Sync,
        cache_bytes: 0,
    };
    match how {
        Repair::CutTornTail => {
            let report = verify(Arc::clone(&fs), directory)?;
            if report.is_intact() && report.torn_tail.is_none() && report.unfinished.is_empty() {
                return Ok(Repaired::Nothing);
            }
            let (core, recovered) = LogCore::open(fs, &options)?;
            // It was not open before, so it need not count as closed in order now.
            drop(core);
            Ok(recovered.torn_tail.map_or(Repaired::Nothing, Repaired::Cut))
        }
        Repair::SetAsideDamage => {
            let done = set_aside_damage(fs, &options)?;
            Ok(done.map_or(Repaired::Nothing, Repaired::SetAside))
        }
    }
}

/// Bytes of batches in the largest segment: what the log was made with, as far as can be told.
fn largest_segment(look: &Look) -> Result<u64, OpenError> {
    let mut largest = 0;
    for base in list_segments(&*look.fs, &look.log)? {
        let file = OpenFile::open(&*look.fs, segment_path(&look.log, base))?;
        if let Ok(Some(header)) = SegmentHeader::read_any(&file) {
            largest = largest.max(header.capacity.saturating_sub(HEADER_BLOCK));
        }
    }
    Ok(largest)
}
