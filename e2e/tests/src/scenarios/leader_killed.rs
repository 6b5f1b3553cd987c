//! The leader's pod is killed without grace while messages flow: in Raft mode the replicas elect another by themselves,
//! in Sync mode the operator has one elected.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_checker::Options;

use super::{ROLLOUT, Scenario, ensure_clean, ensure_quick, namespace};
use crate::deployment::Deployment;
use crate::traffic::{Traffic, TrafficOptions, failover};
use crate::world::World;

pub(super) const RAFT: Scenario = Scenario {
    name: "raft_leader_killed",
    what: "Raft, three replicas: the leader's pod is killed, the replicas elect another, nothing acknowledged is lost",
    run: |world| run(world, RAFT.name, "raft.yaml", Duration::from_secs(4)),
};

pub(super) const SYNC: Scenario = Scenario {
    name: "sync_leader_killed",
    what: "Sync, three replicas: the leader's pod is killed, the operator has another elected, nothing is lost",
    run: |world| run(world, SYNC.name, "sync.yaml", Duration::from_secs(10)),
};

/// `limit` is twice the target, since a busy test machine must not fail the build; the figure is printed.
fn run(world: &World, name: &str, example: &str, limit: Duration) -> Result<()> {
    let example = world.repository().join("examples").join(example);
    let manifest =
        std::fs::read_to_string(&example).with_context(|| format!("read {}", example.display()))?;
    let (deployment, took) = Deployment::apply(world, &namespace(name), &manifest, ROLLOUT)?;
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
    ensure_quick(&failover(&histories, killed), limit)?;
    deployment.remove()
}
