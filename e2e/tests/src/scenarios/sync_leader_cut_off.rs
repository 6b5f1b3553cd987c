//! Sync: the leader's node is cut off, the operator has another replica elected, and the old leader, which does not
//! know it yet, cannot acknowledge anything.

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_checker::{Moment, Options};

use super::{ROLLOUT, Scenario, ensure_clean, ensure_quick, manifest, namespace};
use crate::deployment::Deployment;
use crate::traffic::{Traffic, TrafficOptions, failover};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "sync_leader_cut_off",
    what: "Sync, three replicas: the leader's node is cut off and healed; the old leader cannot acknowledge",
    run,
};

const SPEC: &str = "  replicas: 3
  replication: {mode: Sync, minInSync: 2}
  flush: {type: Sync, timeout: 5s}
  storage: {size: 1Gi, whenDeleted: Delete}
";
/// Twice the target, since a busy test machine must not fail the build; the figure is printed.
const LIMIT: Duration = Duration::from_secs(10);

fn run(world: &World) -> Result<()> {
    let (deployment, _) = Deployment::apply(world, &namespace(SCENARIO.name), &manifest(SPEC), ROLLOUT)?;
    let options = TrafficOptions::default();
    deployment.create_topic(&options.topic, 8)?;
    let old = deployment.leader(0)?;
    let mut traffic = Traffic::start(&deployment, &options)?;
    // It sits on the leader's own node and knows only the leader: the cut leaves it connected.
    let local = TrafficOptions { rate: Some(20), in_flight: 4, ..options };
    let address = deployment.address_of(&old.pod)?;
    traffic.add_producer_on(&deployment, &local, &old.node, &address)?;
    traffic.wait_acknowledged(500, Duration::from_secs(60))?;
    ensure!(traffic.acknowledged_by_extra()? > 0, "the producer beside the leader got nothing acknowledged");

    let cut = Moment::now();
    world.cluster().cut_off(&old.node)?;
    traffic.wait_acknowledged_after(cut, Duration::from_secs(40))?;
    let new = deployment.wait_new_leader(0, &old, Duration::from_secs(40))?;
    println!("    {} led, {} leads in epoch {}", old.pod, new.pod, new.epoch);
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 500, Duration::from_secs(60))?;

    // What was persisted on a follower just before the cut may still have been answered just after it.
    let answered = Moment(cut.0 + Duration::from_millis(300).as_nanos() as u64);
    let wrong = traffic.extra_acknowledged_after(answered)?;
    ensure!(wrong.is_empty(), "the cut-off leader acknowledged {} messages: {wrong:?}", wrong.len());

    world.cluster().heal(&old.node)?;
    deployment.wait_whole(Duration::from_secs(90))?;
    let (report, histories) = traffic.finish(&Options::default())?;
    ensure_clean(&report, 1000)?;
    ensure_quick(&failover(&histories[..1], cut), LIMIT)?;
    deployment.remove()
}
