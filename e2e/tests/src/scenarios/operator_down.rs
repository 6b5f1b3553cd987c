//! The operator is stopped while messages flow, and the Raft leader is killed: the brokers go on by themselves, and let
//! nobody in who has no credentials.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mainstay_checker::Options;

use super::{ROLLOUT, Scenario, ensure_clean, manifest, namespace};
use crate::deployment::{Credentials, Deployment};
use crate::traffic::{Traffic, TrafficOptions, failover};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "operator_down",
    what: "Raft, no operator runs: the leader is killed, the group elects another and serves those with credentials",
    run,
};

const SPEC: &str = "  replicas: 3
  replication: {mode: Raft}
  auth: {enabled: true}
  storage: {size: 1Gi, whenDeleted: Delete}
";

/// Topic of what is sent besides.
const GUARDED: &str = "guarded";

fn run(world: &World) -> Result<()> {
    let (deployment, _) = Deployment::apply(world, &namespace(SCENARIO.name), &manifest(SPEC), ROLLOUT)?;
    let administrator = deployment.administrator()?;
    let options = TrafficOptions { user: Some(administrator.clone()), ..TrafficOptions::default() };
    deployment.create_topic(&options.topic, 8)?;
    deployment.create_topic(GUARDED, 1)?;
    guarded(&deployment, &administrator)?;
    let mut traffic = Traffic::start(&deployment, &options)?;
    traffic.wait_acknowledged(200, Duration::from_secs(60))?;
    world.scale_operator(0)?;
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 300, Duration::from_secs(60))?;

    let old = deployment.leader(0)?;
    let killed = deployment.kill(&old.pod)?;
    traffic.wait_acknowledged_after(killed, Duration::from_secs(60))?;
    let new = deployment.wait_new_leader(0, &old, Duration::from_secs(30))?;
    println!("    {} led, {} leads in epoch {}, no operator runs", old.pod, new.pod, new.epoch);
    guarded(&deployment, &administrator)?;
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 300, Duration::from_secs(60))?;

    world.scale_operator(2)?;
    deployment.wait_ready(Duration::from_secs(90))?;
    let (report, histories) = traffic.finish(&Options::default())?;
    ensure_clean(&report, 800)?;
    let seen = failover(&histories, killed).first_acknowledged.unwrap_or_default();
    println!("    first new acknowledgement {:.2} s after the kill", seen.as_secs_f64());
    deployment.remove()
}

/// Without credentials nothing is sent, with the administrator's it is, and received.
fn guarded(deployment: &Deployment<'_>, administrator: &Credentials) -> Result<()> {
    match deployment.mainstay(&["message", "send", GUARDED, "uninvited"]) {
        Ok(sent) => bail!("sent without credentials: {sent}"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("credentials are needed"), "refused for another reason: {said}");
        }
    }
    let user = Some(administrator);
    deployment.mainstay_as(user, &["message", "send", GUARDED, "invited"])?;
    let received = deployment
        .mainstay_as(user, &["message", "receive", GUARDED, "--group", "guests", "--count", "1"])?;
    ensure!(received.contains("invited") && !received.contains("uninvited"), "received: {received}");
    Ok(())
}
