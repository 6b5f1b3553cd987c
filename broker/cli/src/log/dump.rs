//! Batches and records, printed as they are read.

use std::io::{self, Write};

use mainstay_record::{Batch, BatchKind};
use mainstay_storage::inspect::Dump;
use serde::Serialize;

use crate::output::Format;

/// Bytes of a record that people are shown.
const SHOWN: usize = 64;

#[derive(Debug, Serialize)]
struct BatchJson {
    index: u64,
    epoch: u64,
    candidate: String,
    kind: &'static str,
    position: u64,
    bytes: u32,
    timestamp: u64,
    records: u32,
    /// Each record's bytes as hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Vec<String>>,
}

/// One line for each batch; as JSON, one object a line, since a log does not fit into one.
pub(super) fn print(batches: Dump, records: bool, format: Format) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for batch in batches {
        let batch = batch?;
        let header = batch.header();
        match format {
            Format::Json => {
                serde_json::to_writer(&mut out, &json(&batch, records))?;
                writeln!(out)?;
            }
            Format::Table => {
                writeln!(
                    out,
                    "{} {} {} position {} bytes {} records {} at {}",
                    header.id.index,
                    header.id.epoch,
                    kind(header.kind),
                    header.position.0,
                    header.length,
                    header.records,
                    header.timestamp.0
                )?;
                if records {
                    for (slot, record) in batch.records().enumerate() {
                        let shown = record[..record.len().min(SHOWN)].escape_ascii();
                        let more = if record.len() > SHOWN { "…" } else { "" };
                        writeln!(out, "  {slot}: {} bytes {shown}{more}", record.len())?;
                    }
                }
            }
        }
    }
    Ok(out.flush()?)
}

fn json(batch: &Batch, records: bool) -> BatchJson {
    let header = batch.header();
    let hex = |record: &[u8]| record.iter().map(|byte| format!("{byte:02x}")).collect();
    BatchJson {
        index: header.id.index.0,
        epoch: header.id.epoch.number,
        candidate: format!("{:016x}", header.id.epoch.candidate),
        kind: kind(header.kind),
        position: header.position.0,
        bytes: header.length,
        timestamp: header.timestamp.0,
        records: header.records,
        content: records.then(|| batch.records().map(|record| hex(&record)).collect()),
    }
}

const fn kind(kind: BatchKind) -> &'static str {
    match kind {
        BatchKind::Data => "data",
        BatchKind::Epoch => "epoch",
        BatchKind::Membership => "membership",
    }
}
