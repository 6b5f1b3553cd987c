//! `docs/guarantees.md` equals what the table gives, and every cell names a test that exists.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::table::{CELLS, COLUMNS, ROWS};

const BEFORE: &str = include_str!("before.md");
const AFTER: &str = include_str!("after.md");

/// A short word for the overview.
fn short(loss: mainstay_sim::Loss) -> &'static str {
    use mainstay_sim::Loss::*;
    match loss {
        Nothing => "kept",
        FlushWindow => "flush window lost",
        TailSetAside => "kept; an unshipped tail in quarantine",
        FlushWindowAndTail => "flush window lost; an older unshipped tail in quarantine",
        TailWithDisk => "unshipped tail lost",
        Everything => "lost",
        Unavailable => "kept; unavailable meanwhile",
    }
}

fn document() -> String {
    let mut text = format!("{BEFORE}\n| |");
    for column in COLUMNS {
        let _ = write!(text, " {} |", column.title());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(COLUMNS.len()));
    for row in ROWS {
        let _ = write!(text, "\n| {} |", row.title());
        for cell in CELLS.iter().filter(|cell| cell.row == row) {
            let _ = write!(text, " {} |", short(cell.loss));
        }
    }
    text.push_str("\n\n## Each cell\n");
    for row in ROWS {
        let _ = write!(
            text,
            "\n### {}\n\n| fault | acknowledged messages | what is reported | test |\n",
            row.title()
        );
        text.push_str("|---|---|---|---|\n");
        for cell in CELLS.iter().filter(|cell| cell.row == row) {
            let (column, promise) = (cell.column.title(), cell.promise);
            let _ = writeln!(text, "| {column} | {promise} | {} | `{}` |", cell.report, cell.test);
        }
    }
    text.push('\n');
    text.push_str(AFTER);
    text
}

#[test]
fn the_document_is_what_the_table_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guarantees.md");
    if std::env::var_os("UPDATE_GUARANTEES").is_some() {
        fs::write(&path, document()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == document(), "{} differs: run with UPDATE_GUARANTEES=1", path.display());
}

#[test]
fn every_cell_is_there_once_in_its_place() {
    let places = ROWS.iter().flat_map(|row| COLUMNS.iter().map(move |column| (*row, *column)));
    let cells = CELLS.iter().map(|cell| (cell.row, cell.column));
    assert!(places.eq(cells), "the table is not row by row, column by column");
}

#[test]
fn every_cell_names_a_test_that_tries_it() {
    let source = include_str!("cells.rs");
    let names: BTreeSet<&str> = CELLS.iter().map(|cell| cell.test).collect();
    assert_eq!(names.len(), CELLS.len(), "two cells name one test");
    for name in &names {
        let function = format!("#[test]\nfn {name}() {{\n    prove(\"{name}\");\n}}\n");
        assert!(source.contains(&function), "cells.rs has no test {name}");
    }
    assert_eq!(source.matches("#[test]").count(), names.len(), "cells.rs has a test that is no cell");
}

/// The scenarios that the document names are there.
#[test]
fn every_scenario_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = String::new();
    for folder in ["faults/src/scenarios", "tests/src/scenarios"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            sources += &fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    let lines = AFTER.lines().filter(|line| line.starts_with("| `"));
    let named: Vec<&str> = lines.filter_map(|line| line.split('`').nth(1)).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("name: \"{name}\"")), "there is no scenario {name}");
    }
}
