//! A follower loses its volume while messages flow: its pod comes back as another node, which the operator has put in the
//! place of the lost one. Then the leader goes, so that what was acknowledged must be on the node that took the place.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_checker::Options;

use super::{ROLLOUT, Scenario, ensure_clean, manifest, namespace};
use crate::deployment::{Deployment, text};
use crate::traffic::{Traffic, TrafficOptions};
use crate::world::World;

pub(super) const RAFT: Scenario = Scenario {
    name: "raft_volume_lost",
    what: "Raft, three replicas: a follower's volume is lost and replaced through the log, then the leader is killed",
    run: |world| run(world, RAFT.name, RAFT_SPEC, Way::Log),
};

pub(super) const SYNC_PAIR: Scenario = Scenario {
    name: "sync_pair_volume_lost",
    what: "Sync, two replicas that must both have a message: one volume is lost, the operator names the membership",
    run: |world| run(world, SYNC_PAIR.name, SYNC_PAIR_SPEC, Way::Named),
};

const RAFT_SPEC: &str = "  replicas: 3
  replication: {mode: Raft}
  storage: {size: 1Gi, whenDeleted: Delete}
";
const SYNC_PAIR_SPEC: &str = "  replicas: 2
  replication: {mode: Sync, minInSync: 2}
  storage: {size: 1Gi, whenDeleted: Delete}
";
/// Another pod and volume, the operator's patience, catching up, and the change itself.
const REPLACED: Duration = Duration::from_secs(180);

/// How the new member comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Log,
    Named,
}

fn run(world: &World, name: &str, spec: &str, way: Way) -> Result<()> {
    let (deployment, _) = Deployment::apply(world, &namespace(name), &manifest(spec), ROLLOUT)?;
    let options = TrafficOptions::default();
    deployment.create_topic(&options.topic, 8)?;
    let mut traffic = Traffic::start(&deployment, &options)?;
    traffic.wait_acknowledged(500, Duration::from_secs(60))?;

    let leader = deployment.leader(0)?;
    let members = deployment.members()?;
    let follower = members
        .iter()
        .find(|member| member.part == "voter" && !member.leads)
        .with_context(|| format!("the group has no follower: {members:?}"))?;
    let pod = follower.member.clone().with_context(|| format!("a follower has no name: {members:?}"))?;
    let old = follower.node_id.clone().with_context(|| format!("{pod} has no node id"))?;
    deployment.lose_volume(&pod)?;
    let took = deployment.wait_replaced(&pod, &old, REPLACED)?;
    println!("    {pod} had another node in its place after {:.1} s", took.as_secs_f64());
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 500, Duration::from_secs(90))?;
    told_to_people(&deployment, way)?;

    let before = deployment.leader(0)?;
    ensure!(before.pod != pod, "{pod} leads already, and {} led: the scenario shows nothing", leader.pod);
    let killed = deployment.kill(&before.pod)?;
    traffic.wait_acknowledged_after(killed, Duration::from_secs(90))?;
    let new = deployment.wait_new_leader(0, &before, Duration::from_secs(60))?;
    println!("    {} was killed, {} leads in epoch {}", before.pod, new.pod, new.epoch);
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 500, Duration::from_secs(90))?;
    deployment.wait_whole(Duration::from_secs(90))?;
    let (report, _) = traffic.finish(&Options::default())?;
    ensure_clean(&report, 1500)?;
    deployment.remove()
}

/// Events tell of the replacement, and the group's object of a membership that was named.
fn told_to_people(deployment: &Deployment<'_>, way: Way) -> Result<()> {
    let group = deployment.get("brokergroups")?;
    let named = &group["items"][0]["status"]["membership"];
    let expected = match way {
        Way::Log => "ReplacingMember",
        Way::Named => "MembershipNamed",
    };
    ensure!(named.is_null() == (way == Way::Log), "the membership on record is {named}");
    if way == Way::Named {
        let nodes = named["nodeIds"].as_array().map_or(0, Vec::len);
        let copies = named["minInSync"].as_i64();
        ensure!((nodes, copies) == (2, Some(2)), "the membership on record is {named}");
        println!("    membership {} was named: {}", named["version"], text(&named["reason"]));
    }
    let events = deployment.events()?;
    ensure!(
        events.iter().any(|(reason, _)| reason == expected),
        "no event {expected} tells of it: {events:?}"
    );
    Ok(())
}
