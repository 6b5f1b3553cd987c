//! What the histories of one client at one kind tell after the leader was killed: whether every promise held, and whether
//! what makes the kind was met at all.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use mainstay_checker::{History, Moment, Options, Outcome, Report, check_with, longest_pause};

use crate::kinds::{Kind, Shows};
use crate::lateness;
use crate::player::Seen;

/// So many messages that came again, were taken back, or became dead letters must have been met.
const SOME: u64 = 5;

/// Histories of one client at one kind.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) producer: PathBuf,
    pub(crate) consumer: PathBuf,
    /// Of another group, which reads the dead letters.
    pub(crate) reader: Option<PathBuf>,
    /// Of a producer whose right to send was taken away before the kill.
    pub(crate) intruder: Option<PathBuf>,
}

/// What was seen, in figures and for people.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) seen: Seen,
    pub(crate) text: String,
}

/// # Errors
/// Naming the first broken promises, or what was not met.
pub(crate) fn judge(kind: &Kind, files: &Files, lost: Moment, enough: u64) -> Result<Told> {
    let read = |path: &PathBuf| Ok::<_, anyhow::Error>(History::read(path)?);
    let producer = read(&files.producer)?;
    let mut histories = vec![producer.clone(), read(&files.consumer)?];
    for path in [&files.reader, &files.intruder].into_iter().flatten() {
        histories.push(read(path)?);
    }
    if files.reader.is_some() {
        let [group, reader] = [1, 2].map(|number: usize| histories[number].drained);
        ensure!(group < reader, "the reader of dead letters did not end after their group");
    }
    let options = Options { leader_lost: vec![lost], ..Options::default() };
    let report = check_with(&histories, &options);
    let wrong: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    ensure!(
        wrong.is_empty(),
        "{} violations, the first: {}",
        wrong.len(),
        wrong[..wrong.len().min(3)].join("; ")
    );
    ensure!(histories[1].drained.is_some(), "the consumer did not end because nothing more came");
    ensure!(report.acknowledged >= 2 * enough, "only {} sends were acknowledged", report.acknowledged);
    let mut text = shown(kind, &histories, &report, enough)?;
    if let Some(intruder) = &files.intruder {
        text.push_str(&refusals(intruder, lost)?);
    }
    let pause = longest_pause(&[producer]).map(|pause| pause.length());
    if let Some(pause) = pause {
        text.push_str(&format!(", longest pause {:.1} s", pause.as_secs_f64()));
    }
    if let Some(late) = lateness::latest(&files.consumer)? {
        text.push_str(&format!(", first attempts at most {late} ms late"));
    }
    let pause_ms = pause.and_then(|pause| u64::try_from(pause.as_millis()).ok());
    let seen = Seen { pause_ms, ..Seen::default() };
    Ok(Told { seen, text })
}

/// That the run met what makes the kind; otherwise nothing was shown.
fn shown(kind: &Kind, histories: &[History], report: &Report, enough: u64) -> Result<String> {
    let own = report.groups.iter().find(|(name, _)| !name.starts_with("%DLQ%"));
    let group = own.map(|(_, group)| group.clone()).unwrap_or_default();
    let mut text = format!(
        "{} sent, {} acknowledged, {} received, {} came again",
        report.sent, report.acknowledged, group.received, group.redeliveries
    );
    match kind.shows {
        Shows::Nothing | Shows::Questions | Shows::Refusals => {}
        Shows::Redeliveries => {
            ensure!(group.redeliveries > SOME, "too few messages came again: {}", group.redeliveries);
        }
        Shows::Selection => {
            let refused = report.acknowledged.saturating_sub(group.received);
            ensure!(group.received > enough / 2, "only {} messages were taken", group.received);
            ensure!(refused > enough / 2, "only {refused} messages were refused");
        }
        Shows::Recalls => {
            let recalls = histories.iter().flat_map(|history| &history.recalls);
            let taken_back = recalls.filter(|recall| recall.outcome.ok().is_some()).count();
            ensure!(taken_back as u64 > SOME, "only {taken_back} messages were taken back");
            text.push_str(&format!(", {taken_back} taken back"));
        }
        Shows::DeadLetters => {
            let dead = report.groups.iter().find(|(name, _)| name.starts_with("%DLQ%"));
            let dead = dead.map(|(_, dead)| dead.received).unwrap_or_default();
            ensure!(dead > SOME, "only {dead} dead letters came to their reader");
            text.push_str(&format!(", {dead} dead letters"));
        }
    }
    Ok(text)
}

/// Nothing that the intruder sent later may have been stored, as far as it was told; that none of it came the checker
/// judges.
fn refusals(intruder: &Path, lost: Moment) -> Result<String> {
    let history = History::read(intruder)?;
    let later: Vec<_> = history.sends.iter().filter(|send| send.call.invoked >= lost).collect();
    let let_in = later.iter().filter(|send| send.outcome.ok().is_some()).count();
    ensure!(let_in == 0, "{let_in} sends were acknowledged after the right to send was taken away");
    let refused = later.iter().filter(|send| matches!(send.outcome, Outcome::Failed(_))).count();
    ensure!(refused > 0, "no send was refused after the kill");
    Ok(format!(", {refused} refused after the kill"))
}
