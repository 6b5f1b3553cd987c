//! What one measurement yields: a rate and two latencies.

use std::time::Duration;

use hdrhistogram::Histogram;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Latencies of operations, to the nanosecond.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    pub(crate) fn record(&mut self, took: Duration) -> anyhow::Result<()> {
        Ok(self.0.record(took.as_nanos() as u64)?)
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// When each operation stands for `messages` and all of them took `elapsed`.
    pub(crate) fn figures(&self, messages: usize, elapsed: Duration) -> Figures {
        Figures {
            per_second: self.0.len() as f64 * messages as f64 / elapsed.as_secs_f64(),
            p50: Duration::from_nanos(self.0.value_at_quantile(0.5)),
            p99: Duration::from_nanos(self.0.value_at_quantile(0.99)),
        }
    }
}
