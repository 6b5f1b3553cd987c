//! What a broker counts, in the form Prometheus reads.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_consensus::View;
use mainstay_record::{Batch, LogIndex};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Gauge64 = Gauge<u64, AtomicU64>;

/// Figures of a group's driver.
#[derive(Debug)]
pub(crate) struct GroupMetrics {
    /// When the driver last turned.
    turned: Mutex<Instant>,
    leader: Gauge<i64, AtomicI64>,
    serving: Gauge<i64, AtomicI64>,
    epoch: Gauge64,
    commit: Gauge64,
    applied: Gauge64,
    lag: Family<Vec<(String, String)>, Gauge64>,
    batch_records: Histogram,
    batch_bytes: Histogram,
    records: Counter,
    latency: Histogram,
}

impl GroupMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            turned: Mutex::new(Instant::now()),
            leader: Gauge::default(),
            serving: Gauge::default(),
            epoch: Gauge::default(),
            commit: Gauge::default(),
            applied: Gauge::default(),
            lag: Family::default(),
            batch_records: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            batch_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 10)),
            records: Counter::default(),
            latency: Histogram::new(exponential_buckets(0.000_1, 2.0, 17)),
        };
        registry.register("group_leader", "1 while this broker leads its group", metrics.leader.clone());
        registry.register("group_serving", "1 while it leads and holds its lease", metrics.serving.clone());
        registry.register("group_epoch", "Number of the epoch it leads or follows", metrics.epoch.clone());
        registry.register("group_commit_index", "Newest committed batch", metrics.commit.clone());
        registry.register("group_applied_index", "Newest applied batch", metrics.applied.clone());
        registry.register(
            "group_follower_lag_batches",
            "Batches a follower has not confirmed, by node; on the leader",
            metrics.lag.clone(),
        );
        registry.register("batch_records", "Records per proposed batch", metrics.batch_records.clone());
        registry.register_with_unit(
            "batch_size",
            "Bytes per proposed batch",
            Unit::Bytes,
            metrics.batch_bytes.clone(),
        );
        registry.register("records", "Records proposed", metrics.records.clone());
        registry.register_with_unit(
            "propose_latency",
            "From a proposal's arrival to its answer",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        metrics
    }

    pub(crate) fn turned(&self, now: Instant) {
        *self.turned.lock() = now;
    }

    /// How long ago the driver last turned.
    pub(crate) fn since_turn(&self) -> Duration {
        self.turned.lock().elapsed()
    }

    pub(crate) fn proposed(&self, batch: &Batch) {
        let header = batch.header();
        self.batch_records.observe(f64::from(header.records));
        self.batch_bytes.observe(f64::from(header.length));
        self.records.inc_by(u64::from(header.records));
    }

    pub(crate) fn applied(&self, applied: LogIndex, committed: LogIndex) {
        self.applied.set(applied.0);
        self.commit.set(committed.0);
    }

    pub(crate) fn answered(&self, after: Duration) {
        self.latency.observe(after.as_secs_f64());
    }

    pub(crate) fn viewed(&self, view: &View) {
        let leads = view.role == mainstay_consensus::Role::Leader;
        self.leader.set(i64::from(leads));
        self.serving.set(i64::from(view.serving));
        self.epoch.set(view.epoch.number);
        if !leads {
            self.lag.clear();
        }
    }

    pub(crate) fn followers(&self, view: &View) {
        for member in &view.members {
            let labels = vec![("node".to_owned(), member.id.to_string())];
            self.lag.get_or_create(&labels).set(view.last.index.0.saturating_sub(member.matched.0));
        }
    }
}
