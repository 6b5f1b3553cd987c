//! Scenarios in which something is wrong on purpose: they pass when the checker finds the loss.

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_checker::{Promise, Violation};

use crate::broker::{Flush, Mode};
use crate::client::produce::{Honesty, Shape};
use crate::disk::Syncing;
use crate::group::{Disks, Group, HEALED, MEMBERS};
use crate::traffic::Traffic;
use crate::world::World;

async fn loss_is_found(world: &mut World<'_>, group: &mut Group, mut traffic: Traffic) -> Result<()> {
    traffic.expect_loss();
    group.complete(HEALED).await?;
    let verdict = traffic.finish(Promise::Kept, &world.story).await?;
    let lost =
        verdict.report.violations.iter().filter(|wrong| matches!(wrong, Violation::Lost { .. })).count();
    ensure!(lost > 0, "messages were lost on purpose and the checker did not notice");
    world.story.tell(format!("as it must: the checker found {lost} losses"));
    group.stop(world.network).await
}

/// Disks that say "synced" and keep nothing.
pub(super) async fn lying_disks(world: &mut World<'_>) -> Result<()> {
    let mut group = world.group((Mode::Raft, Flush::Sync), Disks::Breakable).await?;
    let traffic = world.traffic(&group, &Shape::default()).await?;
    (0..MEMBERS).for_each(|broker| group.disk(broker).syncing(Syncing::Lies));
    traffic.acknowledge_more(100, HEALED).await?;
    let all: Vec<usize> = (0..MEMBERS).collect();
    let gone = group.cut_power(&all, None).await?;
    world.story.tell(format!("all disks lied about fsync; power cut: {} pages gone", gone.pages));
    (0..MEMBERS).for_each(|broker| group.disk(broker).syncing(Syncing::Works));
    group.start_missing()?;
    loss_is_found(world, &mut group, traffic).await
}

/// A client library that says "acknowledged" before the broker has answered.
pub(super) async fn early_acknowledgements(world: &mut World<'_>) -> Result<()> {
    let mut group = world.group((Mode::Raft, Flush::Sync), Disks::Real).await?;
    let shape = Shape { honesty: Honesty::AcknowledgesEarly, ..Shape::default() };
    let traffic = world.traffic(&group, &shape).await?;
    let all: Vec<usize> = (0..MEMBERS).collect();
    group.kill(&all).await?;
    world.story.tell("killed all while sends were said to be acknowledged that were not");
    tokio::time::sleep(Duration::from_millis(500)).await;
    group.start_missing()?;
    loss_is_found(world, &mut group, traffic).await
}
