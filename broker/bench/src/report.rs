//! Medians, their range and the ratio to the ceiling.

use std::time::Duration;

use serde::Serialize;

use crate::disk::Synced;
use crate::load::{Sent, Shape};
use crate::process::{BrokerProcess, Flush};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    in_flight: usize,
    connections: usize,
    body_bytes: usize,
    messages_per_call: usize,
    rows: Vec<Row>,
    brokers: Vec<Broker>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
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
            brokers: brokers.collect(),
        }
    }

    pub(crate) fn add(&mut self, what: &str, sent: Sent) {
        self.push(what, sent.per_second, sent.p50, sent.p99);
    }

    pub(crate) fn add_disk(&mut self, synced: Synced) {
        self.push("bare 4 KiB write + fdatasync, pre-written", synced.per_second, synced.p50, synced.p99);
    }

    /// Looks at the brokers' memory after the load.
    pub(crate) fn finish(&mut self, brokers: &[&BrokerProcess]) {
        for (row, broker) in self.brokers.iter_mut().zip(brokers) {
            row.loaded_mib = broker.resident_kib().ok().map(|kib| kib as f64 / 1024.0);
        }
    }

    fn push(&mut self, what: &str, per_second: f64, p50: Duration, p99: Duration) {
        let row = match self.rows.iter_mut().position(|row| row.what == what) {
            Some(at) => &mut self.rows[at],
            None => {
                let row = Row { what: what.into(), per_second: vec![], p50_us: vec![], p99_us: vec![] };
                self.rows.push(row);
                let last = self.rows.len() - 1;
                &mut self.rows[last]
            }
        };
        row.per_second.push(per_second);
        row.p50_us.push(p50.as_secs_f64() * 1e6);
        row.p99_us.push(p99.as_secs_f64() * 1e6);
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
        let ceiling = self
            .rows
            .iter()
            .find(|row| row.what.starts_with("bare tonic"))
            .map(|row| median(&row.per_second));
        println!("{:<44} {:>28} {:>10} {:>10} {:>11}", "", "per second", "p50 us", "p99 us", "of ceiling");
        for row in &self.rows {
            let rate = format!(
                "{:.0} ({:.0} to {:.0})",
                median(&row.per_second),
                min(&row.per_second),
                max(&row.per_second)
            );
            let of_ceiling = match ceiling {
                Some(ceiling) if row.what.starts_with("broker") => {
                    format!("{:.0} %", 100.0 * median(&row.per_second) / ceiling)
                }
                _ => String::new(),
            };
            println!(
                "{:<44} {:>28} {:>10.0} {:>10.0} {:>11}",
                row.what,
                rate,
                median(&row.p50_us),
                median(&row.p99_us),
                of_ceiling
            );
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

fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}
