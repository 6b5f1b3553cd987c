//! Raft: the leader's pod is killed without grace while messages flow.

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_checker::Options;

use super::{ROLLOUT, Scenario, ensure_clean, ensure_quick, namespace};
use crate::deployment::Deployment;
use crate::traffic::{Traffic, TrafficOptions, failover};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "raft_leader_killed",
    what: "Raft, three replicas: the leader's pod is killed, the replicas elect another, nothing acknowledged is lost",
    run,
};

/// Twice the target, since a busy test machine must not fail the build; the figure is printed.
const LIMIT: Duration = Duration::from_secs(4);

fn run(world: &World) -> Result<()> {
    let manifest = std::fs::read_to_string(world.repository().join("examples/raft.yaml"))?;
    let (deployment, took) = Deployment::apply(world, &namespace(SCENARIO.name), &manifest, ROLLOUT)?;
    println!("    rolled out in {:.1} s", took.as_secs_f64());
    let options = TrafficOptions::default();
    deployment.create_topic(&options.topic, 8)?;
    let mut traffic = Traffic::start(&deployment, &options)?;
    traffic.wait_acknowledged(500, Duration::from_secs(60))?;

    let old = deployment.leader(0)?;
    let killed = deployment.kill(&old.pod)?;
    traffic.wait_acknowledged_after(killed, Duration::from_secs(30))?;
    let new = deployment.wait_new_leader(0, &old, Duration::from_secs(30))?;
    println!("    {} led, {} leads in epoch {}", old.pod, new.pod, new.epoch);
    ensure!(new.epoch > old.epoch, "the epoch did not rise: {} then {}", old.epoch, new.epoch);

    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 500, Duration::from_secs(60))?;
    deployment.wait_whole(Duration::from_secs(90))?;
    let (report, histories) = traffic.finish(&Options::default())?;
    ensure_clean(&report, 1000)?;
    ensure_quick(&failover(&histories, killed), LIMIT)?;
    deployment.remove()
}
