//! What a scenario tells while it runs: a line for each thing that happens, with the time since its beginning.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Prints as it goes.
#[derive(Debug)]
pub(crate) struct Story {
    began: Instant,
}

impl Story {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn tell(&self, what: impl Display) {
        println!("    {:>5.1} s  {what}", self.began.elapsed().as_secs_f64());
    }
}

/// A duration as people read it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
