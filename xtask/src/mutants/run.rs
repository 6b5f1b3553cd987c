//! Runs the tests of one proof until the first fails.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_planted::{Fault, VARIABLE};

use super::build::Binaries;
use super::proofs::{Proof, Tests};

/// How long one proof may take: far longer than any does, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(180);
/// Where the random cases of property tests begin.
pub(super) const PROPTEST_SEED: &str = "1";
/// How long the message of a panic may come after the verdict.
const GRACE: Duration = Duration::from_millis(500);
/// Characters of a panic's message that are shown.
const SHOWN: usize = 160;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed {
        test: String,
        why: String,
    },
    /// No verdict: it did not start, crashed, took too long, or ran nothing.
    Broken(String),
}

pub(super) fn run(proof: &Proof, binaries: &Binaries, fault: Option<Fault>) -> Outcome {
    start(proof, binaries, fault)
        .and_then(judge)
        .unwrap_or_else(|error| Outcome::Broken(format!("{error:#}")))
}

fn start(proof: &Proof, binaries: &Binaries, fault: Option<Fault>) -> Result<Running> {
    let binary = binaries.of(proof)?;
    let mut command = Command::new(binary);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !matches!(proof.tests, Tests::Scenario(..)) {
        // One test after the other, with its panics shown as they come: the first failure ends the run.
        command.args(["--test-threads=1", "--nocapture"]);
    }
    let expected = match proof.tests {
        Tests::All => 1,
        Tests::Only(tests) => {
            command.arg("--exact").args(tests);
            tests.len()
        }
        Tests::One(test) => {
            command.args(["--exact", test]);
            1
        }
        Tests::Without(parts) => {
            command.args(parts.iter().flat_map(|part| ["--skip", part]));
            1
        }
        Tests::Scenario(name, seed) => {
            command.arg("--broker").arg(binaries.broker()?).arg("--folder").arg(binaries.folder());
            command.args(["--seed", &seed.to_string(), name]);
            1
        }
    };
    // The failing case is of no interest, only that there is one; and the same cases are tried each time.
    command.env("PROPTEST_MAX_SHRINK_ITERS", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    command.env("PROPTEST_RNG_SEED", PROPTEST_SEED).envs(proof.bounds.iter().copied()).env_remove(VARIABLE);
    if let Some(fault) = fault {
        command.env(VARIABLE, fault.name());
    }
    let child = command.spawn().with_context(|| format!("start {}", binary.display()))?;
    Ok(Running { child, expected })
}

struct Running {
    child: Child,
    /// How many tests must have run.
    expected: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of no use any more; an error says that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn judge(mut running: Running) -> Result<Outcome> {
    let deadline = Instant::now() + PATIENCE;
    let stdout = running.child.stdout.take().context("no output to read")?;
    let stderr = running.child.stderr.take().context("no errors to read")?;
    let (sender, panics) = channel();
    thread::spawn(move || each_panic(stderr, |message| sender.send(message).is_ok()));
    let (sender, lines) = channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut progress = Progress::default();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(test) = progress.read(&line) {
                    // Scenarios tell on the next line, unless the checker has told more.
                    let next = progress.violation.or_else(|| lines.recv_timeout(GRACE).ok());
                    drop(running);
                    let why = Some(last(&panics)).filter(|why| !why.is_empty()).or(next);
                    return Ok(Outcome::Failed { test, why: shortened(&why.unwrap_or_default()) });
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let test = progress.current;
                return Ok(Outcome::Broken(format!("no verdict in {} s, in {test}", PATIENCE.as_secs())));
            }
        }
    }
    let status = running.child.wait()?;
    if !status.success() {
        return Ok(Outcome::Broken(format!("{status} in {}: {}", progress.current, last(&panics))));
    }
    if progress.passed < running.expected {
        return Ok(Outcome::Broken(format!("{} of {} tests were run", progress.passed, running.expected)));
    }
    Ok(Outcome::Passed)
}

/// What the output of a test binary has told so far.
#[derive(Debug, Default)]
struct Progress {
    current: String,
    passed: usize,
    /// The first thing that the history checker found.
    violation: Option<String>,
}

impl Progress {
    /// The test that has failed, if the line says so. What a test prints itself may stand before the verdict.
    fn read(&mut self, line: &str) -> Option<String> {
        if let Some((name, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            name.clone_into(&mut self.current);
        }
        if self.violation.is_none() && line.contains("VIOLATION") {
            self.violation = Some(line.to_owned());
        }
        // Scenarios tell how long they took.
        if line == "ok" || line.ends_with(" ok") || line.contains(" ... ok (") {
            self.passed += 1;
        }
        let verdict = line.ends_with(" FAILED") || line.contains(" ... FAILED (");
        let failed = line == "FAILED" || line.starts_with("test ") && verdict;
        failed.then(|| self.current.clone())
    }
}

/// The last of what was sent. Something that a test has started may keep the sender busy for longer than matters.
fn last(messages: &Receiver<String>) -> String {
    std::iter::from_fn(|| messages.recv_timeout(GRACE).ok()).last().unwrap_or_default()
}

fn shortened(line: &str) -> String {
    line.trim().chars().take(SHOWN).collect()
}

/// Hands over the message of each panic, shortened to one line, until nobody wants more; where there is none, what was
/// said last.
fn each_panic(stderr: impl Read, mut take: impl FnMut(String) -> bool) {
    let (mut follows, mut panicked, mut last) = (false, false, String::new());
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if follows && !take(shortened(&line)) {
            return;
        }
        panicked |= follows;
        follows = line.starts_with("thread '") && line.contains(" panicked at ");
        last = line;
    }
    if !panicked {
        take(shortened(&last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read() {
        let mut progress = Progress::default();
        assert_eq!(progress.read("running 2 tests"), None);
        assert_eq!(progress.read("test one ... ok"), None);
        assert_eq!(progress.read("test deep::two ... something it prints"), None);
        assert_eq!(progress.read("FAILED"), Some("deep::two".to_owned()));
        assert_eq!(progress.read("test three ... FAILED"), Some("three".to_owned()));
        assert_eq!(progress.read("    2.0 s  VIOLATION 7 is lost"), None);
        assert_eq!(progress.read("test scenario cut ... FAILED (8 s)"), Some("scenario cut".to_owned()));
        assert_eq!(progress.violation.as_deref(), Some("    2.0 s  VIOLATION 7 is lost"));
        assert_eq!(progress.passed, 1);
    }

    #[test]
    fn panics_tell_why() {
        let stderr = "thread 'one' (7) panicked at a.rs:1:2:\ncheck one-serves: both\nnote: run with\n\
                      thread 'one' panicked at b.rs:1:2:\nRaft, MAINSTAY_SEED=3: check one-serves: both\n";
        let mut messages = Vec::new();
        each_panic(stderr.as_bytes(), |message| {
            messages.push(message);
            true
        });
        assert_eq!(messages, ["check one-serves: both", "Raft, MAINSTAY_SEED=3: check one-serves: both"]);
    }

    fn verdict(script: &str, expected: usize) -> Outcome {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        judge(Running { child: command.spawn().unwrap(), expected }).unwrap()
    }

    #[test]
    fn only_a_failed_test_is_a_catch() {
        assert_eq!(verdict("echo 'test one ... ok'", 1), Outcome::Passed);
        let failed = verdict("echo 'test one ... FAILED'; sleep 100", 1);
        assert!(matches!(failed, Outcome::Failed { test, .. } if test == "one"));
        for (script, expected) in [("exit 2", 1), ("echo 'test one ... ok'; exit 101", 1), ("true", 1)] {
            assert!(matches!(verdict(script, expected), Outcome::Broken(_)), "{script}");
        }
        assert!(matches!(verdict("echo 'test one ... ok'", 2), Outcome::Broken(_)), "a test is missing");
    }
}
