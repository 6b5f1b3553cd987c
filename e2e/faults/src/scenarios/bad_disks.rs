//! Disks that fail, fill up, or take their time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_checker::{Moment, Promise};

use crate::broker::{Flush, Mode, Setup};
use crate::client::produce::Shape;
use crate::disk::{Disk, Syncing};
use crate::group::{Disks, Group, HEALED, MEMBERS};
use crate::story::seconds;
use crate::traffic::Traffic;
use crate::world::World;

/// A broker whose disk failed says so and ends within this time.
const STOPS: Duration = Duration::from_secs(10);

/// How long messages are kept where a disk fills up: longer than it takes to fill and to read it.
const KEPT: Duration = Duration::from_secs(25);
/// Room on that disk when it begins.
const LEFT: usize = 28 << 20;

/// What breaks, in words, and how.
type Fault = (&'static str, fn(&Disk));

async fn begin(world: &mut World<'_>, shape: &Shape) -> Result<(Group, Traffic)> {
    let group = world.group((Mode::Raft, Flush::Sync), Disks::Breakable).await?;
    let traffic = world.traffic(&group, shape).await?;
    Ok((group, traffic))
}

/// Breaks a disk; its broker must end, say why, and come back when the disk works again.
async fn broker_stops(
    world: &mut World<'_>,
    group: &mut Group,
    traffic: &Traffic,
    broker: usize,
    (what, fault): Fault,
) -> Result<()> {
    let name = group.name(broker);
    let (began, moment) = (Instant::now(), Moment::now());
    fault(group.disk(broker));
    world.story.tell(format!("{what} on {name}"));
    let status = group.brokers[broker].ended(STOPS).await?;
    let said = group.brokers[broker].log_end(3);
    world.story.tell(format!(
        "{name} ended after {} ({status}): {}",
        seconds(began.elapsed()),
        last_line(&said)
    ));
    ensure!(status.code().is_some_and(|code| code != 0), "{name} ended with {status}: no failure told");
    ensure!(said.contains("os error 5"), "{name} did not say that its disk failed: {said}");
    let took = traffic.acknowledged_after(moment, HEALED).await?;
    world.story.tell(format!("first acknowledgement after {}", seconds(took)));
    traffic.acknowledge_more(50, HEALED).await?;
    // Its machine is started anew: what its cache still showed of a failed sync is gone.
    group.disk(broker).syncing(Syncing::Works);
    group.disk(broker).writes_fail(false);
    let gone = group.cut_power(&[broker], None).await?;
    group.start_missing()?;
    group.complete(HEALED).await?;
    world.story.tell(format!("{name} is back, {} unsynced pages short", gone.pages));
    traffic.acknowledge_more(50, HEALED).await
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

pub(super) async fn failing_disk(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world, &Shape::default()).await?;
    let faults: [(bool, Fault); 3] = [
        (false, ("every fsync fails", |disk| disk.syncing(Syncing::Fails))),
        (true, ("one fsync fails, later ones seem to work", |disk| disk.syncing(Syncing::FailsOnce))),
        (true, ("every write fails", |disk| disk.writes_fail(true))),
    ];
    for (of_leader, fault) in faults {
        let leader = group.writable(HEALED).await?;
        let broker = if of_leader { leader } else { (leader + 1) % MEMBERS };
        broker_stops(world, &mut group, &traffic, broker, fault).await?;
    }
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

pub(super) async fn full_disk(world: &mut World<'_>) -> Result<()> {
    let setup = Setup { kept: Some(KEPT), ..(Mode::Raft, Flush::Sync).into() };
    let shape = Shape { size: 32 << 10, rate: 200, ..Shape::default() };
    let mut group = world.group(setup, Disks::Breakable).await?;
    let mut traffic = world.traffic(&group, &shape).await?;
    traffic.without_audit();
    let leader = group.writable(HEALED).await?;
    let (full, before) = (Moment::now(), traffic.progress().counts());
    group.disk(leader).leave_free(LEFT);
    world.story.tell(format!(
        "{} MiB are left on the disk of {}, the leader",
        LEFT >> 20,
        group.name(leader)
    ));
    let refusal = traffic.refused_after(full, HEALED).await?;
    let fitted = traffic.progress().counts().acknowledged - before.acknowledged;
    let (free, refused) = (group.disk(leader).free_bytes(), group.disk(leader).counts().no_space);
    world.story.tell(format!("{fitted} more sends, then with {} KiB free: {refusal}", free >> 10));
    ensure!(refusal.starts_with("TooManyRequests"), "a full disk has a code of its own");
    ensure!(fitted > 300, "only {fitted} sends of {} KiB fitted", shape.size >> 10);
    ensure!(refused == 0 && free > 0, "the disk itself refused {refused} times before the broker did");
    // What is stored can be had all the same, and acknowledged.
    let wanted = traffic.progress().counts().acknowledged;
    traffic
        .wait("everything to be received from a full disk", KEPT, |progress| {
            let all = progress.missing(crate::traffic::GROUP) == 0;
            (all && progress.counts().confirmed >= wanted).then_some(())
        })
        .await?;
    world.story.tell(format!("all {wanted} messages are received and confirmed meanwhile"));
    // The messages get old, and nobody touches disk or broker.
    let emptied = Moment::now();
    let took = traffic.acknowledged_after(emptied, KEPT + HEALED).await?;
    let told = seconds(took);
    world.story.tell(format!("old messages made room: first acknowledgement {told} later, no restart"));
    traffic.acknowledge_more(200, HEALED).await?;
    let leads = group.writable(HEALED).await?;
    ensure!(leads == leader, "{} leads: a full disk is no reason to give way", group.name(leads));
    group.disk(leader).make_room();
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(600)
}

pub(super) async fn slow_disk(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world, &Shape::default()).await?;
    let delay = Duration::from_millis(400);
    (0..MEMBERS).for_each(|broker| group.disk(broker).slow(delay));
    world.story.tell(format!("every fsync takes {delay:?} longer on every disk"));
    let before = traffic.progress().counts().acknowledged;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let acknowledged = traffic.progress().counts().acknowledged - before;
    world.story.tell(format!("{acknowledged} sends acknowledged in 4 s"));
    ensure!(acknowledged > 0, "a slow disk stopped everything");
    // Whoever acknowledged before the sync was done is found out now.
    let all: Vec<usize> = (0..MEMBERS).collect();
    let gone = group.cut_power(&all, None).await?;
    world.story.tell(format!("power cut of all: {} unsynced pages gone", gone.pages));
    ensure!(gone.pages > 0, "nothing was unsynced: the cut proves nothing");
    (0..MEMBERS).for_each(|broker| group.disk(broker).slow(Duration::ZERO));
    group.start_missing()?;
    group.complete(HEALED).await?;
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(100)
}
