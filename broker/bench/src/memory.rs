//! What a broker's memory grows with, and how late delayed messages come beside very many that wait.

use std::path::Path;

use mainstay_proto::control::TopicType;

use crate::config::Flush;
use crate::kinds::{Kind, QUEUES};
use crate::process::BrokerProcess;
use crate::target::Target;

/// Queues of the topic whose messages are all received and not acknowledged: the broker stops at 10,000 in each.
const WIDE_QUEUES: u32 = 128;
/// Delayed messages whose delivery is timed.
const TIMED: u32 = 1000;

/// Each state has a broker of its own: what it holds resident before and with it.
pub(crate) async fn measure(program: &Path, directory: &Path, thousands: usize) -> anyhow::Result<()> {
    println!("\nresident memory, bodies of 16 bytes");
    let messages = thousands * 1000;
    for (what, count) in [
        ("topics of one queue", 10_000),
        ("stored", messages),
        ("delayed", messages),
        ("unacknowledged", messages),
    ] {
        let broker = BrokerProcess::start(program, directory, Flush::Async).await?;
        let target = Target::of(&broker).await?;
        match what {
            "topics of one queue" => target.many_topics(count).await?,
            "delayed" => {
                target.create_topic(Kind::Delay.topic().0, TopicType::Delay, QUEUES).await?;
                target.store(Kind::Delay, count).await?;
            }
            _ => {
                target.create_topic(Kind::Normal.topic().0, TopicType::Normal, WIDE_QUEUES).await?;
                target.store(Kind::Normal, count).await?;
                if what == "unacknowledged" {
                    target.hold(count).await?;
                }
            }
        }
        let (idle, now) = (broker.idle_kib() as f64 / 1024.0, broker.resident_kib()? as f64 / 1024.0);
        let each = (now - idle) * 1024.0 * 1024.0 / count as f64;
        println!(
            "{count:>9} {what:<22} {idle:>7.1} MiB idle, {now:>7.1} MiB with them, {each:>6.0} bytes each"
        );
        if what == "delayed" {
            let late = target.lateness(TIMED).await?;
            println!(
                "{TIMED:>9} delayed more, one due every 2 ms: late by {:.0?} in the median, by {:.0?} in 99 %",
                late.p50, late.p99
            );
        }
    }
    Ok(())
}
