//! Wrong manifests: refused by the API server with the field named, or told in a condition and an event, while running
//! brokers are left alone.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mainstay_clusters::until;

use super::{ROLLOUT, Scenario, manifest, namespace};
use crate::deployment::{Deployment, condition, text};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bad_specs",
    what: "wrong manifests are refused with the field named; running brokers are left alone",
    run,
};

/// Specs that the API server must refuse, and what its message must name.
const REFUSED: [(&str, &str); 6] = [
    ("  replicas: 2\n  replication: {mode: Raft}\n", "Raft"),
    ("  replicas: 3\n  replication: {mode: None}\n", "replicas"),
    ("  replicas: 1\n  replication: {mode: Sync}\n", "replicas"),
    ("  replicas: 3\n  replication: {mode: Sync, minInSync: 4}\n", "minInSync"),
    ("  replicas: 3\n  replication: {mode: Sometimes}\n", "replication.mode"),
    ("  replicas: 3\n  flush: {type: Sync, timeout: soon}\n", "flush.timeout"),
];

const GOOD: &str = "  replicas: 1
  storage: {size: 1Gi, whenDeleted: Delete}
";

fn run(world: &World) -> Result<()> {
    let (deployment, _) = Deployment::apply(world, &namespace(SCENARIO.name), &manifest(GOOD), ROLLOUT)?;
    for (spec, named) in REFUSED {
        let text = manifest(spec).replace("name: orders", "name: wrong");
        match world.cluster().apply(&in_namespace(&text, deployment.namespace())) {
            Ok(_) => bail!("the API server took a wrong spec:\n{spec}"),
            Err(error) => {
                let message = format!("{error:#}");
                ensure!(message.contains(named), "the refusal does not name {named}: {message}");
            }
        }
    }
    unknown_key(&deployment)?;
    deployment.remove()
}

/// A configuration key that only the brokers know to be wrong.
fn unknown_key(deployment: &Deployment<'_>) -> Result<()> {
    let before = pod_uid(deployment)?;
    let patch = r#"{"spec":{"config":{"topics.auto_creation":true}}}"#;
    let namespace = deployment.namespace();
    let cluster = deployment.world().cluster();
    cluster.kubectl(&[
        "--namespace",
        namespace,
        "patch",
        "brokercluster",
        "orders",
        "--type=merge",
        "--patch",
        patch,
    ])?;
    until("the wrong key to be reported", Duration::from_secs(30), || {
        let object = deployment.get("brokercluster/orders")?;
        let ready = condition(&object, "Ready");
        let told = text(&ready["message"]);
        if text(&ready["status"]) != "False" || !told.contains("topics.auto_creation") {
            return Ok(Some(format!("the condition Ready says: {told}")));
        }
        let event = deployment.events()?.iter().any(|(_, note)| note.contains("topics.auto_creation"));
        Ok((!event).then(|| "no event names it".into()))
    })?;
    ensure!(pod_uid(deployment)? == before, "the running broker was replaced because of a wrong spec");
    deployment.mainstay(&["topic", "create", "still-works", "--queues", "1"])?;
    deployment.mainstay(&["message", "send", "still-works", "hello"])?;

    let mend = r#"[{"op":"remove","path":"/spec/config"}]"#;
    cluster.kubectl(&[
        "--namespace",
        namespace,
        "patch",
        "brokercluster",
        "orders",
        "--type=json",
        "--patch",
        mend,
    ])?;
    deployment.wait_ready(Duration::from_secs(60)).map(drop)
}

fn pod_uid(deployment: &Deployment<'_>) -> Result<String> {
    let pod = deployment.get("pod/orders-0-0")?;
    pod["metadata"]["uid"].as_str().map(str::to_owned).context("the pod has no uid")
}

fn in_namespace(manifest: &str, namespace: &str) -> String {
    manifest.replace("metadata: {", &format!("metadata: {{namespace: {namespace}, "))
}
