//! Medians, their range, and each figure's ratio to the ceiling of the same run beside its target.

use serde::Serialize;

use crate::config::Flush;
use crate::figures::Figures;
use crate::load::Shape;
use crate::process::BrokerProcess;

/// What is measured; every row of the table is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// One small write and fdatasync.
    Disk,
    /// The same with what 64 messages of 1 KiB take.
    DiskGroup,
    /// 1 KiB there and back over TCP.
    Loopback,
    /// The log without network.
    Log,
    /// The same gRPC call, answered at once.
    Echo,
    BrokerAsync,
    BrokerSync,
    /// Three replicas, flush Sync, on one disk.
    Group,
    /// One broker, flush Sync, one message in flight.
    BrokerSyncAlone,
}

impl What {
    const fn title(self) -> &'static str {
        match self {
            Self::Disk => "bare 4 KiB write + fdatasync, pre-written",
            Self::DiskGroup => "bare 64 KiB write + fdatasync, pre-written",
            Self::Loopback => "bare TCP round trip of 1 KiB",
            Self::Log => "log alone, flush Sync",
            Self::Echo => "bare tonic call, answered at once",
            Self::BrokerAsync => "broker, flush Async",
            Self::BrokerSync => "broker, flush Sync",
            Self::Group => "three replicas (Raft), flush Sync, one disk",
            Self::BrokerSyncAlone => "broker, flush Sync, 1 in flight",
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    in_flight: usize,
    connections: usize,
    body_bytes: usize,
    messages_per_call: usize,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    brokers: Vec<Broker>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: What,
    per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

/// A figure over its ceiling, and what it should be.
#[derive(Debug, Serialize)]
struct Ratio {
    what: &'static str,
    reached: f64,
    target: f64,
    /// Whether more is better.
    at_least: bool,
}

#[derive(Debug, Serialize)]
struct Broker {
    flush: &'static str,
    start_up_ms: f64,
    idle_mib: f64,
    loaded_mib: Option<f64>,
}

impl Report {
    pub(crate) fn new(shape: &Shape, brokers: &[&BrokerProcess]) -> Self {
        let brokers = brokers.iter().map(|broker| Broker {
            flush: flush_name(broker.flush()),
            start_up_ms: broker.start_up().as_secs_f64() * 1e3,
            idle_mib: broker.idle_kib() as f64 / 1024.0,
            loaded_mib: None,
        });
        Self {
            in_flight: shape.in_flight,
            connections: shape.connections,
            body_bytes: shape.size,
            messages_per_call: shape.batch,
            rows: Vec::new(),
            ratios: Vec::new(),
            brokers: brokers.collect(),
        }
    }

    pub(crate) fn add(&mut self, what: What, figures: Figures) {
        let row = match self.rows.iter_mut().position(|row| row.what == what) {
            Some(at) => &mut self.rows[at],
            None => {
                self.rows.push(Row { what, per_second: vec![], p50_us: vec![], p99_us: vec![] });
                let last = self.rows.len() - 1;
                &mut self.rows[last]
            }
        };
        row.per_second.push(figures.per_second);
        row.p50_us.push(figures.p50.as_secs_f64() * 1e6);
        row.p99_us.push(figures.p99.as_secs_f64() * 1e6);
    }

    /// Looks at the brokers' memory after the load, and works out the ratios.
    pub(crate) fn finish(&mut self, brokers: &[&BrokerProcess]) {
        for (row, broker) in self.brokers.iter_mut().zip(brokers) {
            row.loaded_mib = broker.resident_kib().ok().map(|kib| kib as f64 / 1024.0);
        }
        let rate = |what| median(self.row(what).map_or(&[], |row| &row.per_second));
        let p50 = |what| median(self.row(what).map_or(&[], |row| &row.p50_us));
        let p99 = |what| median(self.row(what).map_or(&[], |row| &row.p99_us));
        // One commit of the ceiling carries as many messages as 64 KiB hold.
        let committed = rate(What::DiskGroup) * crate::disk::GROUP as f64 / self.body_bytes as f64;
        let at_least = |what, reached: f64, target| Ratio { what, reached, target, at_least: true };
        let at_most = |what, reached: f64, target| Ratio { what, reached, target, at_least: false };
        self.ratios = vec![
            at_least("log alone : 64 KiB group commit, messages/s", rate(What::Log) / committed, 0.4),
            at_least(
                "broker, flush Sync : tonic call, calls/s",
                rate(What::BrokerSync) / rate(What::Echo),
                0.8,
            ),
            at_least(
                "broker, flush Async : tonic call, calls/s",
                rate(What::BrokerAsync) / rate(What::Echo),
                0.8,
            ),
            at_most(
                "flush Sync, 1 in flight : fdatasync + TCP round trip, p50",
                p50(What::BrokerSyncAlone) / (p50(What::Disk) + p50(What::Loopback)),
                1.5,
            ),
            at_most("three replicas : fdatasync, p99", p99(What::Group) / p99(What::Disk), 5.0),
        ];
    }

    fn row(&self, what: What) -> Option<&Row> {
        self.rows.iter().find(|row| row.what == what)
    }

    pub(crate) fn print_json(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }

    pub(crate) fn print_table(&self) -> anyhow::Result<()> {
        println!(
            "{} in flight, {} connection(s), {} message(s) of {} bytes a call; median (min to max) of {} rounds",
            self.in_flight,
            self.connections,
            self.messages_per_call,
            self.body_bytes,
            self.rows.first().map_or(0, |row| row.per_second.len()),
        );
        println!("{:<44} {:>30} {:>10} {:>10}", "", "per second", "p50 us", "p99 us");
        for row in &self.rows {
            let (low, high) = range(&row.per_second);
            let rate = format!("{:.0} ({low:.0} to {high:.0})", median(&row.per_second));
            let (p50, p99) = (median(&row.p50_us), median(&row.p99_us));
            println!("{:<44} {rate:>30} {p50:>10.0} {p99:>10.0}", row.what.title());
        }
        for ratio in &self.ratios {
            let (sign, met) = if ratio.at_least {
                ("at least", ratio.reached >= ratio.target)
            } else {
                ("at most", ratio.reached <= ratio.target)
            };
            let verdict = if met { "met" } else { "MISSED" };
            let (what, reached, target) = (ratio.what, ratio.reached, ratio.target);
            println!("{what:<60} {reached:>6.2}, target {sign} {target}: {verdict}");
        }
        for broker in &self.brokers {
            println!(
                "broker, flush {}: ready after {:.0} ms, {:.1} MiB resident when idle, {:.1} MiB after the load",
                broker.flush,
                broker.start_up_ms,
                broker.idle_mib,
                broker.loaded_mib.unwrap_or(f64::NAN),
            );
        }
        Ok(())
    }
}

const fn flush_name(flush: Flush) -> &'static str {
    match flush {
        Flush::Sync => "Sync",
        Flush::Async => "Async",
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    (low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}
