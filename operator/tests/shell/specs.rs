//! Specs become objects once; what is wrong with one is told, and brokers that run are left alone.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{api::FakeApi, eventually};
use crate::world::*;

/// Quiet is a state that can only be seen in time: two seconds without a write, in which the operator looks at its
/// clusters and groups several times.
async fn quiet(api: &FakeApi) {
    let mut since = Instant::now();
    eventually("quiet", move || {
        if !api.take_writes().is_empty() {
            since = Instant::now();
        }
        (since.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_converged_is_not_written_again() {
    let (api, brokers) = replicas_with_pods(2).await;
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);
    eventually("a cluster that is ready", || {
        condition(&api.get(CLUSTER)?, "Ready").filter(|(status, ..)| status == "True")
    })
    .await;
    quiet(&api).await;
    let versions = |api: &FakeApi| {
        let config = config(api).expect("there");
        [GROUP, CLUSTER, SET, &config]
            .map(|path| api.get(path).expect("there")["metadata"]["resourceVersion"].clone())
    };
    let before = versions(&api);
    running.end().await;
    // Another operator that takes over finds nothing to change either.
    let running = Running::start(&api, brokers.port);
    eventually("the second operator's applying", || {
        api.take_writes().iter().any(|(method, path)| method == "PATCH" && path == SET).then_some(())
    })
    .await;
    quiet(&api).await;
    assert_eq!(versions(&api), before);
    assert_eq!(brokers.orders().len(), 1, "and calls no election");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_spec_is_told_and_running_brokers_are_left_alone() {
    let (api, mut brokers) = replicas_with_pods(2).await;
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);
    eventually("the first leader", || brokers.leader()).await;
    let config = config(&api).expect("there");
    let objects = |api: &FakeApi| [SET, &config].map(|path| api.get(path).expect("there"));
    let before = objects(&api);

    let bad = [
        (
            json!({ "replicas": 3, "replication": { "mode": "Sync" }, "config": { "topics.qeues": 3 } }),
            "InvalidSpec",
            "spec.config[\"topics.qeues\"]",
        ),
        (
            json!({ "replicas": 3, "replication": { "mode": "Sync", "ackTimeout": "soon" } }),
            "InvalidSpec",
            "spec.replication.ackTimeout",
        ),
        (json!({ "replicas": "many", "replication": { "mode": "Sync" } }), "InvalidSpec", "spec.replicas"),
        (json!({ "replicas": 5, "replication": { "mode": "Sync" } }), "ImmutableField", "spec.replicas"),
        (
            json!({ "replicas": 3, "replication": { "mode": "Raft" } }),
            "ImmutableField",
            "spec.replication.mode",
        ),
    ];
    for (spec, reason, field) in bad {
        let mut object = api.get(CLUSTER).expect("there");
        object["spec"] = spec.clone();
        api.put(CLUSTER, object);
        let (_, _, message) = eventually(&format!("the refusal of {spec}"), || {
            let object = api.get(CLUSTER)?;
            let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            condition(&object, "Ready")
                .filter(|(_, found, message)| seen && found == reason && message.contains(field))
        })
        .await;
        assert!(message.starts_with(field), "{message}");
    }
    assert_eq!(objects(&api), before, "nothing was touched");
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let posted = api.take_writes().iter().filter(|(method, path)| method == "POST" && path == events).count();
    assert!(posted >= 5, "{posted} events");

    brokers.kill(0);
    api.remove(&pod_path("orders-0-0"));
    eventually("a failover in spite of the bad spec", || brokers.leader()).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_somebody_else_are_not_taken_over() {
    let api = FakeApi::new();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "orders", "namespace": "default" },
        "spec": { "selector": { "app": "theirs" } },
    });
    let path = "/api/v1/namespaces/default/services/orders";
    api.put(path, theirs);
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, 1);
    let (_, _, message) = eventually("the refusal", || {
        condition(&api.get(CLUSTER)?, "Ready").filter(|(_, reason, _)| reason == "NameTaken")
    })
    .await;
    assert!(message.contains("Service orders exists already"), "{message}");
    assert_eq!(api.get(path).expect("there")["spec"]["selector"], json!({ "app": "theirs" }));
    assert!(api.get(SET).is_none());
    running.end().await;
}
