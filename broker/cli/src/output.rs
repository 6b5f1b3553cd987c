//! Results as a table for people or as JSON for programs; the rows are the same.

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, TableStyle};
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// One line of a table.
pub(crate) trait Row: Serialize {
    const COLUMNS: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

pub(crate) fn print_rows<R: Row>(format: Format, rows: &[R]) -> anyhow::Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(rows)?),
        Format::Table => {
            let mut table = Table::new();
            table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(R::COLUMNS.iter().map(|column| column.to_uppercase()));
            for row in rows {
                table.add_row(row.cells());
            }
            println!("{}", table.trim_fmt());
        }
    }
    Ok(())
}

/// A thing and what belongs to it: two tables, or one object with both.
pub(crate) fn print_described<T: Row, R: Row>(
    format: Format,
    things: &[T],
    rows: &[R],
) -> anyhow::Result<()> {
    if let Format::Json = format {
        let both = serde_json::json!({ "described": things.first(), "rows": rows });
        println!("{}", serde_json::to_string_pretty(&both)?);
        return Ok(());
    }
    print_rows(format, things)?;
    println!();
    print_rows(format, rows)
}

/// Something that was done: a sentence for people, the object for programs.
pub(crate) fn print_done<T: Serialize>(format: Format, sentence: &str, value: &T) -> anyhow::Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(value)?),
        Format::Table => println!("{sentence}"),
    }
    Ok(())
}
