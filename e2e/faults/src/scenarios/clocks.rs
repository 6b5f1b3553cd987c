//! Wall clocks that are set while delayed messages wait.

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_checker::{Moment, Promise};

use crate::broker::{Flush, Mode, Setup};
use crate::client::produce::Shape;
use crate::group::{Disks, Group, HEALED, MEMBERS};
use crate::story::seconds;
use crate::traffic::{GROUP, Traffic, Verdict};
use crate::world::World;

const TOPIC: &str = "later";
const DELAY: Duration = Duration::from_secs(2);
const HOUR: i64 = 3600;
/// Sends until everything that waited when a clock was set has fallen due.
const MEANWHILE: usize = 250;
/// How late messages may come that no failover held up.
const LATE: Duration = Duration::from_millis(250);

pub(super) async fn set(world: &mut World<'_>) -> Result<()> {
    let setup = Setup { clocks: true, ..Setup::from((Mode::Raft, Flush::Sync)) };
    let mut group = world.group(setup, Disks::Real).await?;
    let leader = group.writable(HEALED).await?;
    group.control.create_delay_topic(leader, TOPIC).await?;
    let shape = Shape { topic: TOPIC.to_owned(), rate: 100, delay: Some(DELAY), ..Shape::default() };
    let traffic = world.traffic(&group, &shape).await?;
    for hours in [1, 0, -1, 0] {
        let leader = group.writable(HEALED).await?;
        group.brokers[leader].set_clock(hours * HOUR)?;
        world.story.tell(format!("the clock of the leader is {hours:+} h from the truth"));
        traffic.acknowledge_more(MEANWHILE, HEALED).await?;
    }
    for hours in [1, -1] {
        wrong_from_the_start(world, &mut group, &traffic, hours).await?;
    }
    let verdict = world.settle(&mut group, traffic, Promise::Kept).await?;
    judge(world, &verdict)
}

/// A broker that knows nothing else than a wrong clock becomes leader.
async fn wrong_from_the_start(
    world: &mut World<'_>,
    group: &mut Group,
    traffic: &Traffic,
    hours: i64,
) -> Result<()> {
    let leader = group.writable(HEALED).await?;
    let wrong = (leader + 1) % MEMBERS;
    group.kill(&[wrong]).await?;
    group.brokers[wrong].set_clock(hours * HOUR)?;
    group.start_missing()?;
    group.complete(HEALED).await?;
    traffic.acknowledge_more(50, HEALED).await?;
    let handed_over = Moment::now();
    group.control.hand_over(leader, wrong).await?;
    let now = group.writable_elsewhere(leader, HEALED).await?;
    ensure!(now == wrong, "{} leads instead of {}", group.name(now), group.name(wrong));
    let took = traffic.acknowledged_after(handed_over, HEALED).await?;
    world
        .story
        .tell(format!("a clock {hours:+} h from the truth leads; acknowledgements after {}", seconds(took)));
    traffic.acknowledge_more(MEANWHILE, HEALED).await?;
    group.brokers[wrong].set_clock(0)?;
    Ok(())
}

fn judge(world: &World<'_>, verdict: &Verdict) -> Result<()> {
    verdict.ensure_clean(5 * MEANWHILE as u64)?;
    let counts = verdict.report.groups.get(&format!("{TOPIC}/{GROUP}"));
    let late = counts.map(|counts| counts.lateness.as_slice()).unwrap_or_default();
    let of = |percent: usize| late.get(late.len() * percent / 100).copied().unwrap_or(Duration::MAX);
    let (half, most) = (of(50), of(90));
    world.story.tell(format!("late by {half:?} in the median, by {most:?} in 90 %, never early"));
    // Failovers hold up the rest.
    ensure!(half <= LATE && most <= 4 * LATE, "messages came late: {half:?} in the median, {most:?} in 90 %");
    Ok(())
}
