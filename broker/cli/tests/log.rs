//! `mainstay log` on real folders: what it says, and what its exit code means.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use mainstay_record::{
    Batch, BatchBuilder, BatchKind, EntryId, Epoch, GroupId, LogIndex, LogPosition, NodeId, Timestamp,
};
use mainstay_storage::{DataFolder, Flush, LogCore, LogOptions, RealFileSystem};

fn run(arguments: &[&str], data: &Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .arg("log")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

fn batches(count: u64) -> Vec<Batch> {
    let epoch = Epoch::new(7, NodeId::new(0xa).unwrap());
    let mut position = LogPosition(0);
    let mut batch = |index: u64| {
        let mut builder = BatchBuilder::default();
        builder.push(format!("record {index} ").repeat(40).as_bytes());
        let id = EntryId { epoch, index: LogIndex(index) };
        let batch = builder.seal(BatchKind::Data, GroupId(2), id, position, Timestamp(5000 + index));
        position = batch.header().end_position();
        batch
    };
    (1..=count).map(&mut batch).collect()
}

/// A data folder with several segments.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let locked = DataFolder::open(&RealFileSystem, data.path()).unwrap();
    let options = LogOptions {
        directory: data.path().to_owned(),
        group: GroupId(2),
        segment_bytes: 64 * 1024,
        flush: Flush::Sync,
        cache_bytes: 0,
    };
    let (mut core, _) = LogCore::open(Arc::new(RealFileSystem), &options).unwrap();
    core.append(&batches(400)).unwrap();
    core.close().unwrap();
    drop(locked);
    let newest = segments(data.path()).pop().unwrap();
    (data, newest)
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 1;
    fs::write(path, content).unwrap();
}

#[test]
fn an_intact_log_is_described() {
    let (data, _) = folder();
    let (output, text) = run(&["verify"], data.path());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Group 2: index 1 to 400,") && text.contains("No damage."), "{text}");
    assert!(text.contains("closed in order"), "{text}");
    let (output, text) = run(&["--output", "json", "verify"], data.path());
    assert!(output.status.success(), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["intact"], &report["last_index"]), (&true.into(), &400.into()));
    assert_eq!(report["segments"].as_array().unwrap().len(), segments(data.path()).len());
    assert_eq!(report["segments"][0]["has_index_file"], true);
}

#[test]
fn damage_is_named_fails_the_command_and_can_be_set_aside() {
    let (data, _) = folder();
    let damaged = segments(data.path()).remove(1);
    flip(&damaged, 20_000);
    let before = fs::read(&damaged).unwrap();
    let (output, text) = run(&["verify"], data.path());
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("DAMAGE: {} at byte ", damaged.display())), "{text}");
    assert!(text.contains("checksum") && text.contains("damaged at one place"), "{text}");
    let (output, _) = run(&["verify", "--output", "json"], data.path());
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["damage"][0]["path"], damaged.display().to_string());
    assert!(fs::read(&damaged).unwrap() == before, "looking changes nothing");

    let (output, text) = run(&["repair", "--set-aside-damage"], data.path());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("goes on behind index") && text.contains("damaged-1"), "{text}");
    assert!(fs::read(data.path().join("damaged-1").join(damaged.file_name().unwrap())).unwrap() == before);
    let (output, text) = run(&["verify"], data.path());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("may miss what was acknowledged") && text.contains("Set aside before"), "{text}");
    let (output, text) = run(&["repair", "--set-aside-damage"], data.path());
    assert!(output.status.success() && text.contains("Nothing had to be repaired"), "{text}");
}

#[test]
fn a_torn_tail_is_no_damage_and_is_cut_when_asked() {
    let (data, newest) = folder();
    let mut content = fs::read(&newest).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    content[end + 10..end + 110].fill(7);
    fs::write(&newest, &content).unwrap();
    let (output, text) = run(&["verify"], data.path());
    assert!(output.status.success() && text.contains("Torn tail: ") && text.contains("No damage"), "{text}");
    let (output, text) = run(&["repair", "--cut-torn-tail"], data.path());
    assert!(output.status.success() && text.contains("Cut 110 bytes"), "{text}");
    let (output, text) = run(&["verify"], data.path());
    assert!(output.status.success() && !text.contains("Torn tail"), "{text}");
    let (output, text) = run(&["repair"], data.path());
    assert!(!output.status.success() && text.contains("--set-aside-damage"), "{text}");
}

#[test]
fn batches_are_dumped() {
    let (data, _) = folder();
    let (output, text) = run(&["dump", "--from", "399", "--records"], data.path());
    assert!(output.status.success(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[0].starts_with("399 ") && lines[0].contains("data") && lines[0].contains("at 5399"),
        "{text}"
    );
    assert!(lines[3].contains("record 400 record 400"), "{text}");
    let (output, _) = run(&["dump", "--through", "3", "--records", "-o", "json"], data.path());
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.iter().map(|line| line["index"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(lines[0]["content"][0].as_str().unwrap().starts_with("7265636f7264"), "{lines:?}");
}

#[test]
fn a_folder_in_use_and_one_that_is_none_are_refused() {
    let (data, _) = folder();
    let locked = DataFolder::open(&RealFileSystem, data.path()).unwrap();
    for command in [&["verify"][..], &["dump"], &["repair", "--cut-torn-tail"]] {
        let (output, text) = run(command, data.path());
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("in use by another process"), "{text}");
    }
    drop(locked);
    let other = tempfile::tempdir().unwrap();
    let (output, text) = run(&["verify"], other.path());
    assert!(!output.status.success() && text.contains("is not the data folder of a broker"), "{text}");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing was made in it");
}
