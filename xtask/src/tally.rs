//! Counting: what passed, what failed and why, and the closing line that CI reads.
//!
//! Of a long output often only the end is kept, so that what failed is told there once more, with its first words.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

/// Lines of what a failed test said that are told again.
const SAID: usize = 12;
/// Bytes of each of them.
const LINE: usize = 600;

/// Everything that was tested so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failures: Vec<Failure>,
    /// What is known not to hold yet, with the reason.
    skipped: Vec<String>,
    /// The failure whose words are being read.
    telling: Option<usize>,
}

#[derive(Debug)]
struct Failure {
    name: String,
    said: Vec<String>,
}

impl Tally {
    /// Counts one test: it passes when the step does.
    pub(crate) fn check(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n--- {name}");
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                println!("test {name} ... ok ({seconds:.1} s)");
                self.passed += 1;
            }
            Err(error) => {
                println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}");
                self.fail(name);
                self.say(&format!("{error:#}"));
                self.telling = None;
            }
        }
    }

    /// Counts what was run elsewhere: it passed when there is no failure to tell.
    pub(crate) fn count(&mut self, name: &str, failure: Option<&str>) {
        match failure {
            None => self.passed += 1,
            Some(why) => {
                self.fail(name);
                self.say(why);
                self.telling = None;
            }
        }
    }

    /// From now on what is said belongs to this failure.
    fn fail(&mut self, name: impl Into<String>) {
        self.failures.push(Failure { name: name.into(), said: Vec::new() });
        self.telling = Some(self.failures.len() - 1);
    }

    fn say(&mut self, text: &str) {
        let Some(failure) = self.telling.and_then(|number| self.failures.get_mut(number)) else { return };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if failure.said.len() < SAID {
                failure.said.push(line[..line.floor_char_boundary(LINE)].to_owned());
            }
        }
    }

    /// Runs `cargo test` and counts what its test binaries report. A run that ends badly without a failed test (it
    /// did not compile, a binary crashed) counts as a failure of its own.
    pub(crate) fn cargo_test(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.follow(name, command, Self::read_line)
    }

    /// Runs a program that reports on scenarios, and counts them. One that reports on none, or ends badly without a
    /// failed one, counts as a failure of its own.
    pub(crate) fn scenarios(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let before = self.passed + self.failures.len();
        self.follow(name, command, Self::read_scenario)?;
        if self.passed + self.failures.len() == before {
            // A program that says nothing has not tested anything, whatever its exit code.
            self.fail(format!("{name} (it ran none)"));
            self.telling = None;
        }
        Ok(())
    }

    fn follow(&mut self, name: &str, command: &mut Command, read: fn(&mut Self, &str)) -> Result<()> {
        println!("\n--- {name}");
        let failed_before = self.failures.len();
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {name}"))?;
        let stdout = child.stdout.take().context("no output to read")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read the tests' output")?;
            println!("{line}");
            read(self, &line);
        }
        let status = child.wait()?;
        if !status.success() && self.failures.len() == failed_before {
            self.fail(format!("{name} ({status})"));
        }
        self.telling = None;
        Ok(())
    }

    fn read_line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += passed_in(result);
        } else if let Some(test) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.fail(test);
            self.telling = None;
        } else if let Some(test) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.telling = self.failures.iter().rposition(|failure| failure.name == test);
        } else if line == "failures:" {
            self.telling = None;
        } else {
            self.say(line);
        }
    }

    /// `test scenario NAME ... ok (5 s)`, `… FAILED (5 s)` or `… skipped: why`.
    fn read_scenario(&mut self, line: &str) {
        let Some((name, result)) =
            line.strip_prefix("test scenario ").and_then(|rest| rest.split_once(" ... "))
        else {
            // What a scenario says of its failure is set in.
            if line.starts_with(' ') {
                self.say(line);
            } else {
                self.telling = None;
            }
            return;
        };
        self.telling = None;
        match result.split_whitespace().next() {
            Some("ok") => self.passed += 1,
            Some("skipped:") => self.skipped.push(format!("{name}: {}", &result["skipped:".len()..].trim())),
            _ => self.fail(format!("scenario {name}")),
        }
    }

    /// Prints the failures by name and the closing line; an error when there was one, or nothing was tested.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        for failure in &self.failures {
            println!("failed: {}", failure.name);
            failure.said.iter().for_each(|line| println!("    {}", line.trim()));
        }
        for skipped in &self.skipped {
            println!("skipped: {skipped}");
        }
        let skipped = match self.skipped.len() {
            0 => String::new(),
            number => format!(", {number} skipped"),
        };
        println!("{} passed, {} failed{skipped}", self.passed, self.failures.len());
        anyhow::ensure!(self.failures.is_empty(), "{} of the tests failed", self.failures.len());
        anyhow::ensure!(self.passed > 0, "no test was run");
        Ok(())
    }
}

/// The number before " passed" in "ok. 5 passed; 0 failed; …".
fn passed_in(result: &str) -> usize {
    result
        .split_once(" passed")
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tally: &Tally) -> Vec<&str> {
        tally.failures.iter().map(|failure| failure.name.as_str()).collect()
    }

    #[test]
    fn counts_what_test_binaries_report() {
        let mut tally = Tally::default();
        for line in [
            "test good ... ok",
            "test bad ... FAILED",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.04s",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.04s",
        ] {
            tally.read_line(line);
        }
        assert_eq!(tally.passed, 16);
        assert_eq!(names(&tally), ["bad"]);
        assert!(tally.finish().is_err());
    }

    #[test]
    fn tells_what_a_failed_test_said() {
        let mut tally = Tally::default();
        for line in [
            "test first ... FAILED",
            "test second ... FAILED",
            "",
            "failures:",
            "",
            "---- first stdout ----",
            "seed 7",
            "thread 'first' panicked at src/lib.rs:1:1:",
            "",
            "---- second stdout ----",
            "left: 1",
            "",
            "failures:",
            "    first",
            "    second",
        ] {
            tally.read_line(line);
        }
        assert_eq!(tally.failures[0].said, ["seed 7", "thread 'first' panicked at src/lib.rs:1:1:"]);
        assert_eq!(tally.failures[1].said, ["left: 1"]);
    }

    #[test]
    fn counts_scenarios() {
        let mut tally = Tally::default();
        let report = "echo 'test scenario a ... ok (5 s)'; echo 'test scenario b ... FAILED (1 s)'; \
            echo '    lost: m1'; echo 'all of it took 3 s'; echo '    no word of b'; \
            echo 'test scenario c ... skipped: not yet'; exit 1";
        tally.scenarios("faults", Command::new("sh").args(["-c", report])).unwrap();
        assert_eq!((tally.passed, tally.failures.len()), (1, 1));
        assert_eq!(names(&tally), ["scenario b"]);
        assert_eq!(tally.failures[0].said, ["    lost: m1"]);
        assert_eq!(tally.skipped, ["c: not yet"]);
        for nothing in ["exit 0", "exit 1"] {
            let mut tally = Tally::default();
            tally.scenarios("faults", Command::new("sh").args(["-c", nothing])).unwrap();
            assert_eq!(tally.failures.len(), 1, "{nothing}");
        }
    }

    #[test]
    fn a_run_that_breaks_without_a_failed_test_fails() {
        let mut tally = Tally::default();
        tally.cargo_test("crash", Command::new("sh").args(["-c", "exit 101"])).unwrap();
        assert!(tally.finish().is_err());
    }

    #[test]
    fn nothing_tested_is_no_success() {
        assert!(Tally::default().finish().is_err());
    }
}
