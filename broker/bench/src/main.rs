//! `mainstay-bench`: how fast a broker takes messages, next to what the machine could do at best in the same run.
//!
//! Absolute times say little on shared machines, so every figure stands beside a raw ceiling measured in the same
//! minutes: a bare fdatasync on a pre-written file, and a tonic server that answers the very same call without doing
//! anything. Rounds are interleaved, and medians with their range are printed.

mod ceiling;
mod config;
mod consuming;
mod disk;
mod figures;
mod group;
mod kinds;
mod load;
mod log;
mod memory;
mod network;
mod process;
mod report;
mod restart;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::config::Flush;
use crate::figures::Figures;
use crate::group::BrokerGroup;
use crate::load::Shape;
use crate::process::BrokerProcess;
use crate::report::{Report, What};

#[derive(Debug, Parser)]
#[command(
    name = "mainstay-bench",
    version,
    about = "Load generator with raw ceilings measured in the same run"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages per second over gRPC with flush Sync and Async, beside the ceilings.
    Send(Send),
    /// Messages per second of each kind with 64 in flight, and what the broker's memory grows with.
    Kinds(Kinds),
    /// How soon a broker serves again that was killed with so much log.
    Restart(Restart),
    /// The ceiling's server; started by `send` as a process of its own.
    #[command(hide = true)]
    CeilingServer,
}

#[derive(Debug, Args)]
struct Send {
    /// The broker program; the default lies beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where the broker and the fdatasync probe write; must be on a real disk.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Body bytes of one message.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages in one call.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Seconds that one measurement lasts, after a quarter of it as warm-up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Kinds {
    /// The broker program; the default lies beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where the broker writes; must be on a real disk.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Body bytes of one message.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Seconds that one measurement lasts, after a quarter of it as warm-up.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Thousands of messages whose memory is measured.
    #[arg(long, default_value_t = 1000)]
    thousands: usize,
}

#[derive(Debug, Args)]
struct Restart {
    /// The broker program; the default lies beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where the broker writes.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// GiB of log to write first.
    #[arg(long, default_value_t = 10)]
    gib: u64,
    /// Body bytes of one message.
    #[arg(long, default_value_t = 16_384)]
    size: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::CeilingServer => ceiling::serve().await,
        Command::Send(send) => run_send(send).await,
        Command::Kinds(kinds) => {
            let shape = Shape {
                in_flight: kinds.in_flight,
                connections: 1,
                size: kinds.size,
                batch: 1,
                duration: Duration::from_secs(kinds.seconds),
            };
            let broker = broker_program(kinds.broker)?;
            kinds::measure(&broker, &kinds.directory, &shape, kinds.rounds, kinds.thousands).await
        }
        Command::Restart(restart) => {
            let Restart { broker, directory, gib, size, rounds } = restart;
            restart::measure(&broker_program(broker)?, &directory, gib, size, rounds).await
        }
    }
}

/// The one given, or the one beside this program.
fn broker_program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(path) => Ok(path),
        None => Ok(std::env::current_exe().context("where am I?")?.with_file_name("mainstay-broker")),
    }
}

async fn run_send(send: Send) -> anyhow::Result<()> {
    let broker = broker_program(send.broker.clone())?;
    let shape = Shape {
        in_flight: send.in_flight,
        connections: send.connections,
        size: send.size,
        batch: send.batch,
        duration: Duration::from_secs(send.seconds),
    };
    let ceiling = process::start_ceiling().await?;
    let sync = BrokerProcess::start(&broker, &send.directory, Flush::Sync).await?;
    let r#async = BrokerProcess::start(&broker, &send.directory, Flush::Async).await?;
    let group = BrokerGroup::start(&broker, &send.directory).await?;
    let alone = Shape { in_flight: 1, connections: 1, batch: 1, ..shape.clone() };
    let mut report = Report::new(&shape, &[&sync, &r#async]);
    for round in 1..=send.rounds {
        eprintln!("round {round} of {}", send.rounds);
        for (what, figures) in bare(&send, shape.duration).await? {
            report.add(what, figures);
        }
        report.add(What::Echo, load::send(ceiling.address(), &shape).await?);
        report.add(What::BrokerAsync, load::send(&r#async.address(), &shape).await?);
        report.add(What::BrokerSync, load::send(&sync.address(), &shape).await?);
        report.add(What::Group, load::send(group.leader(), &shape).await?);
        report.add(What::BrokerSyncAlone, load::send(&sync.address(), &alone).await?);
    }
    report.finish(&[&sync, &r#async]);
    if send.json { report.print_json() } else { report.print_table() }
}

/// What needs no broker: the disk, the network and the log by themselves. Blocks, so it runs beside the runtime.
async fn bare(send: &Send, duration: Duration) -> anyhow::Result<[(What, Figures); 4]> {
    let (directory, in_flight, size) = (send.directory.clone(), send.in_flight, send.size);
    let measure = move || -> anyhow::Result<_> {
        Ok([
            (What::Disk, disk::probe(&directory, disk::BLOCK, duration)?),
            (What::DiskGroup, disk::probe(&directory, disk::GROUP, duration)?),
            (What::Loopback, network::probe(duration)?),
            (What::Log, log::append(&directory, in_flight, size, duration)?),
        ])
    };
    tokio::task::spawn_blocking(measure).await?
}
