//! What a broker counts, in the form Prometheus reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_consensus::View;
use mainstay_record::{Batch, LogIndex};
use mainstay_storage::Space;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::group::GroupHandle;
use crate::replication::Outbox;

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
    long_polls: Gauge64,
    timers: Gauge64,
    half_messages: Gauge64,
    clock_correction: Gauge<f64, AtomicU64>,
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
            long_polls: Gauge::default(),
            timers: Gauge::default(),
            half_messages: Gauge::default(),
            clock_correction: Gauge::default(),
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
        registry.register(
            "long_polls_waiting",
            "Receives that wait for messages",
            metrics.long_polls.clone(),
        );
        registry.register(
            "delayed_messages_pending",
            "Delayed messages that are not due yet",
            metrics.timers.clone(),
        );
        registry.register(
            "half_messages_pending",
            "Half messages that are neither committed nor rolled back",
            metrics.half_messages.clone(),
        );
        registry.register_with_unit(
            "group_clock_correction",
            "How far the time that the members agree on is from this broker's wall clock",
            Unit::Seconds,
            metrics.clock_correction.clone(),
        );
        metrics
    }

    pub(crate) fn turned(&self, now: Instant) {
        *self.turned.lock() = now;
    }

    pub(crate) fn polls_waiting(&self, polls: usize) {
        self.long_polls.set(polls as u64);
    }

    /// Messages that are stored and in no queue yet.
    pub(crate) fn stored_for_later(&self, timers: usize, half_messages: usize) {
        self.timers.set(timers as u64);
        self.half_messages.set(half_messages as u64);
    }

    /// How far the group's time is from the wall clock.
    pub(crate) fn clock_corrected(&self, by_ms: i64) {
        self.clock_correction.set(by_ms as f64 / 1000.0);
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

/// Figures that others keep, read when they are asked for.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) group: GroupHandle,
    pub(crate) outbox: Outbox,
    pub(crate) clients: Arc<AtomicUsize>,
}

impl Figures {
    pub(crate) fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let log = self.group.log_metrics();
        let counters = [
            ("log_batches", "Batches written", log.batches),
            ("log_bytes", "Bytes of batches written", log.bytes),
            ("log_writes", "Group commits", log.writes),
            ("log_syncs", "Successful fdatasync calls", log.syncs),
            ("log_segments", "Segments begun", log.rolls),
            ("log_truncations", "Truncations", log.truncations),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let seconds = ConstCounter::new(log.sync_time.as_secs_f64());
        let (name, help) = ("log_sync_time", "Time spent in fdatasync");
        seconds.encode(encoder.encode_descriptor(
            name,
            help,
            Some(&Unit::Seconds),
            seconds.metric_type(),
        )?)?;
        let quarantined: u64 = self.group.quarantined().iter().map(|file| file.records).sum();
        let gauges = [
            ("log_sync_max_seconds", "Longest fdatasync so far", log.sync_max.as_secs_f64()),
            ("log_queued_bytes", "Bytes appended and not written yet", log.queued_bytes as f64),
            (
                "log_short_of_space",
                "1 while there is no space for new messages",
                f64::from(u8::from(log.space != Space::Plenty)),
            ),
            ("client_connections", "Clients connected", self.clients.load(Ordering::Relaxed) as f64),
            ("replica_connections", "Replicas this broker sends to", self.outbox.connections() as f64),
            ("log_quarantined_records", "Records put aside by forced promotions", quarantined as f64),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
