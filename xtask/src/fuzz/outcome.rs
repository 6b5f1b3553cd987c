//! What came of a target, as libFuzzer's own words tell it.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Of a target that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    inputs: u64,
    per_second: u64,
    /// Places in the code that were reached, and how many of them at the beginning: by the seeds, and by what earlier
    /// runs had found.
    edges: u64,
    edges_before: u64,
    /// Inputs that are kept since each reaches what the others do not.
    corpus: u64,
}

impl Figures {
    /// `None` when it does not tell them all.
    pub(crate) fn read(told: &str) -> Option<Self> {
        let begun = told.lines().find(|line| line.contains("INITED"))?;
        let ended = told.lines().rfind(|line| line.contains("DONE"))?;
        Some(Self {
            inputs: number_after(told, "stat::number_of_executed_units:")?,
            per_second: number_after(told, "stat::average_exec_per_sec:")?,
            edges: number_after(ended, "cov:")?,
            edges_before: number_after(begun, "cov:")?,
            corpus: number_after(ended, "corp:")?,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, per_second, edges, edges_before, corpus } = self;
        let more = edges.saturating_sub(*edges_before);
        write!(out, "{inputs:>9} inputs, {per_second:>6}/s, ")?;
        write!(out, "{edges:>6} edges reached ({more} new), {corpus:>5} inputs in the corpus")
    }
}

fn number_after(told: &str, name: &str) -> Option<u64> {
    let (_, rest) = told.rsplit_once(name)?;
    let rest = rest.trim_start();
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Of a target that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    why: String,
    target: String,
    /// The input that did it, where libFuzzer had the time to write it.
    input: Option<String>,
    log: PathBuf,
}

impl Failure {
    pub(crate) fn read(told: &str, target: &str, status: ExitStatus, log: PathBuf) -> Self {
        let why = why(told).unwrap_or_else(|| format!("it ended with {status}"));
        let written = told.lines().filter_map(|line| line.split_once("Test unit written to ")).next_back();
        let input = written.map(|(_, path)| path.trim().to_owned());
        Self { why, target: target.to_owned(), input, log }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.why)?;
        match &self.input {
            Some(input) => writeln!(out, "    again: cargo xtask fuzz {} --input {input}", self.target)?,
            None => writeln!(out, "    the input is not known; a stack that ran over leaves none")?,
        }
        write!(out, "    all it said: {}", self.log.display())
    }
}

/// The panic, or whatever else ended it; what is said first is the cause.
fn why(told: &str) -> Option<String> {
    let lines: Vec<&str> = told.lines().collect();
    if let Some(at) = lines.iter().position(|line| line.contains("panicked at")) {
        let said: Vec<&str> = lines[at..].iter().take(2).map(|line| line.trim()).collect();
        return Some(said.join(" "));
    }
    let ends = ["memory allocation of", "ERROR: libFuzzer:"];
    let said = ends.iter().find_map(|end| lines.iter().find(|line| line.contains(end)));
    said.map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "#2\tINITED cov: 3 ft: 3 corp: 1/1b exec/s: 0 rss: 40Mb\n\
                        #9\tNEW    cov: 8 ft: 9 corp: 2/9b lim: 4 exec/s: 0 rss: 40Mb\n\
                        #4096\tDONE   cov: 17 ft: 21 corp: 7/80b lim: 4 exec/s: 2048 rss: 40Mb\n\
                        Done 4096 runs in 2 second(s)\n\
                        stat::number_of_executed_units: 4096\n\
                        stat::average_exec_per_sec:     2048\n";

    #[test]
    fn figures_are_the_last_ones() {
        let figures = Figures::read(TOLD);
        let expected = Figures { inputs: 4096, per_second: 2048, edges: 17, edges_before: 3, corpus: 7 };
        assert_eq!(figures, Some(expected));
        assert_eq!(Figures::read(""), None);
    }

    #[test]
    fn the_first_cause_is_told() {
        let panic = "INFO: Seed: 1\nthread 'main' panicked at src/a.rs:1:2:\nno way\n==1== ERROR: libFuzzer: deadly signal\n";
        assert_eq!(why(panic).as_deref(), Some("thread 'main' panicked at src/a.rs:1:2: no way"));
        let memory = "memory allocation of 9 bytes failed\n==1== ERROR: libFuzzer: deadly signal\n";
        assert_eq!(why(memory).as_deref(), Some("memory allocation of 9 bytes failed"));
        let time = "ALARM: x\n==1== ERROR: libFuzzer: timeout after 31 seconds\n";
        assert_eq!(why(time).as_deref(), Some("==1== ERROR: libFuzzer: timeout after 31 seconds"));
        assert_eq!(why("nothing of it"), None);
    }

    #[test]
    fn the_input_is_named() {
        let told = "artifact_prefix='/f/a-'; Test unit written to /f/a-crash-01\nBase64: AA==\n";
        let failure = Failure::read(told, "a", ExitStatus::default(), PathBuf::from("/l/a.log"));
        assert!(failure.to_string().contains("cargo xtask fuzz a --input /f/a-crash-01"), "{failure}");
    }
}
