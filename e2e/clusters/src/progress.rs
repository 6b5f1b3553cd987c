//! Telling a person who waits what is being waited for: named steps with a heartbeat, and polling with a deadline.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough not to be noise, short enough that nobody takes the silence for a hang.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// A step that is under way: says so at once, every 30 s while it lasts, and how long it took when it is done.
/// Dropped without [`Step::done`] (an error on its way up), it only falls silent.
#[derive(Debug)]
pub struct Step {
    what: String,
    started: Instant,
    heartbeat: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Step {
    /// Announces the step. `why` tells what a long one costs, for example "about 7 minutes the first time"; it may
    /// be empty.
    pub fn start(what: impl Into<String>, why: &str) -> Self {
        let what = what.into();
        let started = Instant::now();
        if why.is_empty() {
            eprintln!("==> {what}");
        } else {
            eprintln!("==> {what}: {why}");
        }
        let (stop, stopped) = mpsc::channel();
        let label = what.clone();
        let thread = thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(HEARTBEAT) {
                eprintln!("    … still {label} ({})", shown(started.elapsed()));
            }
        });
        Self { what, started, heartbeat: Some((stop, thread)) }
    }

    /// Says that the step is done and how long it took.
    pub fn done(mut self) -> Duration {
        self.silence();
        let took = self.started.elapsed();
        eprintln!("    {}: done in {}", self.what, shown(took));
        took
    }

    fn silence(&mut self) {
        if let Some((stop, thread)) = self.heartbeat.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.silence();
    }
}

/// Looks at a condition until it holds. The condition answers `Ok(None)` when it holds, and `Ok(Some(reason))` when
/// it does not hold yet, so that the error after the deadline tells what was missing; an `Err` ends the wait.
pub fn until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<String>>,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let Some(missing) = condition()? else { return Ok(started.elapsed()) };
        if started.elapsed() >= deadline {
            bail!("waited {} for {what}, in vain: {missing}", shown(deadline));
        }
        thread::sleep(POLL);
    }
}

fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_reports_what_was_missing() {
        let error = until("a miracle", Duration::ZERO, || Ok(Some("nothing happened".into()))).unwrap_err();
        assert_eq!(error.to_string(), "waited 0.0 s for a miracle, in vain: nothing happened");
    }

    #[test]
    fn until_looks_again() {
        let mut looks = 0;
        until("the third look", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks < 3).then(|| "not yet".into()))
        })
        .unwrap();
        assert_eq!(looks, 3);
    }

    #[test]
    fn durations_are_shown_as_people_say_them() {
        assert_eq!(shown(Duration::from_millis(2340)), "2.3 s");
        assert_eq!(shown(Duration::from_secs(42)), "42 s");
        assert_eq!(shown(Duration::from_secs(391)), "6 min 31 s");
    }
}
