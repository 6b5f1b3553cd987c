//! How soon a broker serves again after SIGKILL, with a long log behind it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::config::Flush;
use crate::group::leads;
use crate::load::{self, Shape};
use crate::process::BrokerProcess;

const GIB: u64 = 1 << 30;
/// Bytes of messages in one call, about.
const CALL_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether it serves.
const LOOK: Duration = Duration::from_millis(5);

/// Fills a broker's log, then kills and restarts it `rounds` times and prints how long each took.
pub(crate) async fn measure(
    program: &Path,
    directory: &Path,
    gib: u64,
    size: usize,
    rounds: usize,
) -> anyhow::Result<()> {
    let mut broker = BrokerProcess::start(program, directory, Flush::Async).await?;
    let batch = (CALL_BYTES / size.max(1)).clamp(1, 128);
    let shape = Shape { in_flight: 8, connections: 2, size, batch, duration: Duration::from_secs(4) };
    let mut stored = 0;
    while stored < gib * GIB {
        load::send(&broker.address(), &shape).await?;
        let before = std::mem::replace(&mut stored, broker.stored_bytes()?);
        ensure!(stored > before, "the log does not grow");
        eprintln!("{:.1} of {gib} GiB", stored as f64 / GIB as f64);
    }
    println!("{:.1} GiB in messages of {size} bytes", stored as f64 / GIB as f64);
    for round in 1..=rounds {
        let killed = Instant::now();
        broker.kill_and_restart().await?;
        while !leads(broker.ports().internal).await {
            ensure!(killed.elapsed() < PATIENCE, "it does not serve {PATIENCE:?} after it was killed");
            tokio::time::sleep(LOOK).await;
        }
        let serves = killed.elapsed();
        broker.wait_ready().await?;
        let mib = broker.resident_kib()? / 1024;
        println!(
            "round {round}: serves {:.0} ms after SIGKILL, {mib} MiB resident",
            serves.as_secs_f64() * 1e3
        );
    }
    Ok(())
}
