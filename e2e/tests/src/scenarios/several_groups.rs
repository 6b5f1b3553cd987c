//! Two broker groups of one replica each: queues spread over both, a killed broker comes back with its messages.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_checker::Options;
use serde_json::Value;

use super::{ROLLOUT, Scenario, ensure_clean, namespace};
use crate::deployment::Deployment;
use crate::traffic::{Traffic, TrafficOptions};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "several_groups",
    what: "two groups, one replica each: both take messages; one broker is killed and comes back with everything",
    run,
};

fn run(world: &World) -> Result<()> {
    let manifest = std::fs::read_to_string(world.repository().join("examples/single.yaml"))?;
    let (deployment, _) = Deployment::apply(world, &namespace(SCENARIO.name), &manifest, ROLLOUT)?;
    let options = TrafficOptions::default();
    deployment.create_topic(&options.topic, 8)?;
    let mut traffic = Traffic::start(&deployment, &options)?;
    traffic.wait_acknowledged(500, Duration::from_secs(60))?;
    let old = deployment.leader(1)?;
    deployment.kill(&old.pod)?;
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 500, Duration::from_secs(90))?;
    deployment.wait_whole(Duration::from_secs(90))?;
    let used = groups_in_use(&deployment, &options.topic)?;
    ensure!(used == BTreeSet::from([0, 1]), "messages went to the groups {used:?} only");
    let (report, _) = traffic.finish(&Options::default())?;
    ensure_clean(&report, 1000)?;
    deployment.remove()
}

/// Broker groups whose queues of the topic have messages.
fn groups_in_use(deployment: &Deployment<'_>, topic: &str) -> Result<BTreeSet<u64>> {
    let printed = deployment.mainstay(&["topic", "describe", topic, "--output", "json"])?;
    let queues: Vec<Value> = serde_json::from_str(&printed).context("understand `topic describe`")?;
    ensure!(queues.len() == 8, "the topic has {} queues, 8 were asked for", queues.len());
    let filled = queues.iter().filter(|queue| queue["max_offset"].as_u64() > Some(0));
    Ok(filled.filter_map(|queue| queue["group"].as_u64()).collect())
}
