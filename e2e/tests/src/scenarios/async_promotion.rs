//! Async: the leader goes, the operator promotes the most advanced replica, and what the old leader had acknowledged
//! but not shipped is put aside and reported, not silently gone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_checker::{Moment, Options, Promise};
use mainstay_clusters::until;

use super::{ROLLOUT, Scenario, ensure_clean, manifest, namespace};
use crate::deployment::{Deployment, condition, text};
use crate::traffic::{Traffic, TrafficOptions, failover};
use crate::world::World;

pub(super) const POD_DELETED: Scenario = Scenario {
    name: "async_pod_deleted",
    what: "Async, three replicas: the leader's pod is deleted, another is promoted, nothing is lost",
    run: |world| with_deployment(world, POD_DELETED.name, pod_deleted),
};

pub(super) const TAIL_UNSHIPPED: Scenario = Scenario {
    name: "async_tail_unshipped",
    what: "Async, three replicas: a leader is cut off with an unshipped tail, which is put aside and reported",
    run: |world| with_deployment(world, TAIL_UNSHIPPED.name, tail_unshipped),
};

const SPEC: &str = "  replicas: 3
  replication: {mode: Async}
  flush: {type: Async, interval: 200ms}
  storage: {size: 1Gi, whenDeleted: Delete}
";

fn with_deployment(world: &World, name: &str, show: fn(&Deployment<'_>) -> Result<()>) -> Result<()> {
    let (deployment, _) = Deployment::apply(world, &namespace(name), &manifest(SPEC), ROLLOUT)?;
    show(&deployment)?;
    deployment.remove()
}

/// A deleted pod stops in good order: it ships what it has before it goes.
fn pod_deleted(deployment: &Deployment<'_>) -> Result<()> {
    let options = TrafficOptions { topic: "deleted".into(), ..TrafficOptions::default() };
    deployment.create_topic(&options.topic, 8)?;
    let mut traffic = Traffic::start(deployment, &options)?;
    traffic.wait_acknowledged(500, Duration::from_secs(60))?;
    let old = deployment.leader(0)?;
    let deleted = Moment::now();
    let namespace = deployment.namespace();
    deployment.world().cluster().kubectl(&[
        "--namespace",
        namespace,
        "delete",
        "pod",
        &old.pod,
        "--wait=false",
    ])?;
    traffic.wait_acknowledged_after(deleted, Duration::from_secs(60))?;
    let new = deployment.wait_new_leader(0, &old, Duration::from_secs(60))?;
    println!("    {} was deleted, {} was promoted in epoch {}", old.pod, new.pod, new.epoch);
    let so_far = traffic.acknowledged()?;
    traffic.wait_acknowledged(so_far + 500, Duration::from_secs(60))?;
    let (report, histories) = traffic.finish(&Options::default())?;
    ensure_clean(&report, 1000)?;
    let seen = failover(&histories, deleted);
    println!("    longest pause {:.2} s", seen.longest_pause.unwrap_or_default().as_secs_f64());
    Ok(())
}

/// A leader that is cut off goes on acknowledging until its lease ends: that is what Async means. Its clients' messages
/// must turn up in quarantine.
fn tail_unshipped(deployment: &Deployment<'_>) -> Result<()> {
    let cluster = deployment.world().cluster();
    let options = TrafficOptions { topic: "unshipped".into(), ..TrafficOptions::default() };
    deployment.create_topic(&options.topic, 8)?;
    let old = deployment.leader(0)?;
    let mut traffic = Traffic::start(deployment, &options)?;
    let local = TrafficOptions { rate: Some(100), in_flight: 8, ..options };
    traffic.add_producer_on(deployment, &local, &old.node, &deployment.address_of(&old.pod)?)?;
    traffic.wait_acknowledged(300, Duration::from_secs(60))?;

    let cut = Moment::now();
    cluster.cut_off(&old.node)?;
    let new = deployment.wait_new_leader(0, &old, Duration::from_secs(60))?;
    traffic.wait_acknowledged_after(cut, Duration::from_secs(60))?;
    println!("    {} was cut off, {} was promoted in epoch {}", old.pod, new.pod, new.epoch);
    let late: BTreeSet<String> = traffic.extra_acknowledged_after(cut)?.into_iter().collect();
    cluster.heal(&old.node)?;
    deployment.wait_whole(Duration::from_secs(90))?;

    ensure!(!late.is_empty(), "the cut-off leader acknowledged nothing: the scenario shows nothing");
    let promise = Promise::TailMayBeCut { quarantined: late.clone() };
    let (report, _) = traffic.finish(&Options { promise, ..Options::default() })?;
    ensure_clean(&report, 300)?;
    let missing: usize = report.groups.values().map(|group| group.quarantined.len()).sum();
    ensure!(missing > 0, "nothing was cut off: the scenario shows nothing");
    let reported = wait_reported(deployment, missing as u64)?;
    println!(
        "    {} acknowledged after the cut, {missing} never came, {reported} records reported",
        late.len()
    );
    reported_to_people(deployment)
}

/// The old leader follows before it has put its tail aside. Returns how many records the brokers report then.
fn wait_reported(deployment: &Deployment<'_>, missing: u64) -> Result<u64> {
    let mut reported = 0;
    until("the brokers to report what is missing", Duration::from_secs(30), || {
        reported = deployment.brokers()?.iter().map(|broker| broker.quarantined_records).sum();
        Ok((reported < missing)
            .then(|| format!("{missing} messages are missing, {reported} records are reported")))
    })?;
    Ok(reported)
}

/// Condition, event and status of the group must tell of the tail.
fn reported_to_people(deployment: &Deployment<'_>) -> Result<()> {
    until("the quarantined tail to be reported", Duration::from_secs(30), || {
        let object = deployment.get("brokercluster/orders")?;
        if text(&condition(&object, "Quarantined")["status"]) != "True" {
            return Ok(Some("the BrokerCluster has no condition Quarantined".into()));
        }
        let group = deployment.get("brokergroups")?;
        if group["items"][0]["status"]["quarantined"].as_array().is_none_or(Vec::is_empty) {
            return Ok(Some("the BrokerGroup's status lists no quarantined tail".into()));
        }
        let told = deployment.events()?.iter().any(|(reason, note)| {
            reason.to_lowercase().contains("quarantine") || note.to_lowercase().contains("quarantine")
        });
        Ok((!told).then(|| "no event tells of it".into()))
    })
    .map(drop)
}
