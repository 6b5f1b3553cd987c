//! Two operators run, one is active: when it goes, the other takes over and still does its work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_clusters::until;
use serde_json::Value;

use super::{ROLLOUT, Scenario, manifest, namespace};
use crate::deployment::{Deployment, text};
use crate::world::{SYSTEM, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two_operators",
    what: "two operators, one active: it is killed, the other rolls out the next cluster",
    run,
};

const SPEC: &str = "  replicas: 1
  storage: {size: 1Gi, whenDeleted: Delete}
";

fn run(world: &World) -> Result<()> {
    let before = holder(world)?;
    let pods = world.cluster().kubectl(&["--namespace", SYSTEM, "get", "pods", "--output", "name"])?;
    let active = pods
        .lines()
        .filter_map(|line| line.strip_prefix("pod/"))
        .find(|pod| before.contains(pod))
        .with_context(|| format!("the lease's holder {before} is none of the pods {pods}"))?;
    ensure!(pods.lines().count() >= 2, "only one operator runs: {pods}");
    world.cluster().kubectl(&[
        "--namespace",
        SYSTEM,
        "delete",
        "pod",
        active,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ])?;
    let took = until("the other operator to take over", Duration::from_secs(60), || {
        let now = holder(world)?;
        Ok((now == before || now.is_empty()).then(|| format!("{now:?} holds the lease")))
    })?;
    println!("    another operator took over after {:.1} s", took.as_secs_f64());
    let (deployment, _) = Deployment::apply(world, &namespace(SCENARIO.name), &manifest(SPEC), ROLLOUT)?;
    deployment.remove()
}

/// Who holds the operators' lease.
fn holder(world: &World) -> Result<String> {
    let printed = world.cluster().kubectl(&["--namespace", SYSTEM, "get", "leases", "--output", "json"])?;
    let leases: Value = serde_json::from_str(&printed).context("understand the leases")?;
    Ok(text(&leases["items"][0]["spec"]["holderIdentity"]))
}
