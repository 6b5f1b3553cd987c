//! `mainstay-bench kinds`: what messages of each kind cost, beside the bare tonic call of the same run, and what the
//! broker's memory grows with.
//!
//! One broker, flush Sync. A transaction is two calls, a consumed message a share of a receive and of an
//! acknowledgement of 32, or of as many as a filter left of what was looked at.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mainstay_proto::control::TopicType;
use mainstay_proto::rocketmq::{Message, MessageType};

use crate::config::Flush;
use crate::consuming::{self, Consumption};
use crate::figures::Figures;
use crate::load::{self, Shape};
use crate::memory;
use crate::process::{self, BrokerProcess};
use crate::target::{Target, resource};

pub(crate) const QUEUES: u32 = 8;
const HOUR: Duration = Duration::from_secs(3600);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    /// Over so many message groups.
    Fifo(u32),
    Delay,
    /// And committed.
    Transaction,
    /// For filters to choose from; what it costs to send is not measured.
    Choice,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Normal, Self::Fifo(1), Self::Fifo(100), Self::Fifo(10_000), Self::Delay, Self::Transaction];

    fn title(self) -> String {
        match self {
            Self::Normal => "NORMAL".to_owned(),
            Self::Fifo(1) => "FIFO, 1 message group".to_owned(),
            Self::Fifo(groups) => format!("FIFO, {groups} message groups"),
            Self::Delay => "DELAY, due in an hour".to_owned(),
            Self::Transaction => "TRANSACTION, sent and committed".to_owned(),
            Self::Choice => "NORMAL, with a tag and properties".to_owned(),
        }
    }

    pub(crate) const fn topic(self) -> (&'static str, TopicType) {
        match self {
            Self::Normal => ("bench", TopicType::Normal),
            Self::Fifo(_) => ("bench-fifo", TopicType::Fifo),
            Self::Delay => ("bench-delay", TopicType::Delay),
            Self::Transaction => ("bench-transaction", TopicType::Transaction),
            Self::Choice => consuming::CHOICE,
        }
    }

    pub(crate) fn message(self, body: &Bytes) -> Message {
        let mut message = load::message(body);
        message.topic = Some(resource(self.topic().0));
        let system = message.system_properties.get_or_insert_default();
        match self {
            Self::Normal => {}
            Self::Choice => return consuming::choice(message),
            Self::Fifo(groups) => {
                system.message_type = MessageType::Fifo.into();
                system.message_group = Some(format!("group-{}", rand::random::<u32>() % groups));
            }
            Self::Delay => {
                system.message_type = MessageType::Delay.into();
                let spread = Duration::from_millis(u64::from(rand::random::<u32>() % 3_600_000));
                system.delivery_timestamp = Some((SystemTime::now() + HOUR + spread).into());
            }
            Self::Transaction => system.message_type = MessageType::Transaction.into(),
        }
        message
    }
}

/// Rounds of every kind, then the memory.
pub(crate) async fn measure(
    program: &Path,
    directory: &Path,
    shape: &Shape,
    rounds: usize,
    thousands: usize,
) -> anyhow::Result<()> {
    let ceiling = process::start_ceiling().await?;
    let broker = BrokerProcess::start(program, directory, Flush::Sync).await?;
    let target = Target::of(&broker).await?;
    for kind in [Kind::Normal, Kind::Fifo(1), Kind::Delay, Kind::Transaction, Kind::Choice] {
        target.create_topic(kind.topic().0, kind.topic().1, QUEUES).await?;
    }
    let mut rows: Vec<(String, Vec<Figures>)> = Vec::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        note(
            &mut rows,
            "bare tonic call, answered at once".into(),
            load::send(ceiling.address(), shape).await?,
        );
        for kind in Kind::ALL {
            note(&mut rows, kind.title(), target.load(kind, shape).await?);
        }
        for consumption in Consumption::EACH {
            let group = format!("{consumption:?}-{round}");
            let figures = target.consume(consumption, shape, &group).await?;
            note(&mut rows, consumption.title().into(), figures);
        }
    }
    print_rates(shape, &rows);
    drop(broker);
    memory::measure(program, directory, thousands).await
}

fn note(rows: &mut Vec<(String, Vec<Figures>)>, title: String, figures: Figures) {
    match rows.iter_mut().find(|(other, _)| *other == title) {
        Some((_, all)) => all.push(figures),
        None => rows.push((title, vec![figures])),
    }
}

fn print_rates(shape: &Shape, rows: &[(String, Vec<Figures>)]) {
    println!(
        "{} in flight, bodies of {} bytes, one broker, flush Sync; medians",
        shape.in_flight, shape.size
    );
    println!("{:<44} {:>12} {:>10} {:>10} {:>16}", "", "per second", "p50 us", "p99 us", "of the bare call");
    let median = |figures: &[Figures], of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let bare = rows.first().map_or(f64::NAN, |(_, figures)| median(figures, |f| f.per_second));
    for (title, figures) in rows {
        let rate = median(figures, |f| f.per_second);
        let p50 = median(figures, |f| f.p50.as_secs_f64() * 1e6);
        let p99 = median(figures, |f| f.p99.as_secs_f64() * 1e6);
        println!("{title:<44} {rate:>12.0} {p50:>10.0} {p99:>10.0} {:>16.2}", rate / bare);
    }
}
