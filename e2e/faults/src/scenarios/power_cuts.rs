//! Machines that lose power: what was not synced is gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_checker::{Moment, Options, Promise, check_with};
use rand::Rng;

use crate::broker::{FLUSH_INTERVAL, Flush, Mode};
use crate::client::produce::Shape;
use crate::group::{Disks, Group, HEALED, MEMBERS};
use crate::story::seconds;
use crate::traffic::Traffic;
use crate::world::World;

/// With flush Async: what was acknowledged so shortly before all machines lost power may be gone. Twice the interval,
/// since a flush takes its time.
const WINDOW: Duration = Duration::from_secs(FLUSH_INTERVAL.as_secs() * 2);

async fn begin(world: &mut World<'_>, flush: Flush) -> Result<(Group, Traffic)> {
    let group = world.group((Mode::Raft, flush), Disks::Breakable).await?;
    let traffic = world.traffic(&group, &Shape::default()).await?;
    Ok((group, traffic))
}

async fn cut(
    world: &mut World<'_>,
    group: &mut Group,
    traffic: &Traffic,
    which: &[usize],
    lucky: bool,
) -> Result<()> {
    let moment = Moment::now();
    let luck = lucky.then_some(&mut world.dice);
    let gone = group.cut_power(which, luck).await?;
    let names: Vec<_> = which.iter().map(|number| group.name(*number)).collect();
    world.story.tell(format!(
        "power cut of {}: {} unsynced pages gone, {} had reached the disk",
        names.join(", "),
        gone.pages,
        gone.kept
    ));
    if which.len() == 1 {
        let took = traffic.acknowledged_after(moment, HEALED).await?;
        world.story.tell(format!("first acknowledgement after {}", seconds(took)));
    }
    group.start_missing()?;
    let started = Moment::now();
    group.complete(HEALED).await?;
    let took = traffic.acknowledged_after(started, HEALED).await?;
    world.story.tell(format!("started again; acknowledgements go on {} later", seconds(took)));
    traffic.acknowledge_more(100, HEALED).await
}

/// One machine at a time, and with flush Sync all at once too.
async fn cuts(world: &mut World<'_>, flush: Flush) -> Result<()> {
    let (mut group, traffic) = begin(world, flush).await?;
    let began = Instant::now();
    let mut round = 0;
    while round < 4 || began.elapsed() < world.time {
        let leader = group.writable(HEALED).await?;
        let which = match (flush, round % 3) {
            (Flush::Sync, 1) => (0..MEMBERS).collect(),
            (_, 0) => vec![leader],
            _ => vec![(leader + world.dice.random_range(1..MEMBERS)) % MEMBERS],
        };
        cut(world, &mut group, &traffic, &which, round % 2 == 1).await?;
        round += 1;
    }
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

pub(super) async fn flush_sync(world: &mut World<'_>) -> Result<()> {
    cuts(world, Flush::Sync).await
}

pub(super) async fn flush_async(world: &mut World<'_>) -> Result<()> {
    cuts(world, Flush::Async).await
}

/// Of the two brokers that have what was acknowledged one loses power, and what it had not flushed, and the other is
/// down. The first must not elect a leader together with the third, which never had it.
pub(super) async fn forgetful_voter(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world, Flush::Async).await?;
    let leader = group.writable(HEALED).await?;
    let (behind, forgetful) = ((leader + 1) % MEMBERS, (leader + 2) % MEMBERS);
    group.brokers[behind].pause()?;
    traffic.acknowledge_more(200, HEALED).await?;
    let gone = group.cut_power(&[forgetful], None).await?;
    group.kill(&[leader]).await?;
    world.story.tell(format!(
        "{} stood still; {} lost power and {} unsynced pages; {}, the leader, is killed",
        group.name(behind),
        group.name(forgetful),
        gone.pages,
        group.name(leader)
    ));
    ensure!(gone.pages > 0, "nothing was unsynced: the cut proves nothing");
    group.brokers[behind].resume()?;
    group.brokers[forgetful].start()?;
    // Time enough to elect a leader, wrongly.
    tokio::time::sleep(Duration::from_secs(5)).await;
    group.start_missing()?;
    group.complete(HEALED).await?;
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

/// Everything at once with flush Async: the flush window may be lost, nothing older, and the brokers agree.
pub(super) async fn flush_window(world: &mut World<'_>) -> Result<()> {
    let (mut group, mut traffic) = begin(world, Flush::Async).await?;
    traffic.expect_loss();
    traffic.acknowledge_more(300, HEALED).await?;
    let all: Vec<usize> = (0..MEMBERS).collect();
    let before = Moment::now();
    let gone = group.cut_power(&all, None).await?;
    world.story.tell(format!("power cut of all: {} unsynced pages gone", gone.pages));
    group.start_missing()?;
    group.complete(HEALED).await?;
    let verdict = world.settle(&mut group, traffic, Promise::Kept).await?;
    let lost: BTreeSet<String> = verdict.report.lost().into_iter().map(str::to_owned).collect();
    let sends = || verdict.histories.iter().flat_map(|history| &history.sends);
    let oldest = sends()
        .filter(|send| lost.contains(&send.id))
        .filter_map(|send| send.call.completed)
        .map(|completed| before.since(completed))
        .max();
    world.story.tell(format!(
        "{} acknowledged messages lost, the oldest acknowledged {} before the cut",
        lost.len(),
        seconds(oldest.unwrap_or_default())
    ));
    ensure!(!lost.is_empty(), "nothing was lost: the power cut does not do what it should");
    ensure!(oldest.unwrap_or_default() <= WINDOW, "lost messages are older than the flush window");
    // With those excused nothing else may be wrong: no place shows two messages, all groups see the same.
    let options = Options { promise: Promise::TailMayBeCut { quarantined: lost }, ..Options::default() };
    let report = check_with(&verdict.histories, &options);
    ensure!(report.passed(), "more than the flush window is wrong:\n{report}");
    Ok(())
}
