//! Configurations: pods keep the one they were made with, and one that no pod can need any more goes.

use mainstay_operator::{
    plan::{Identity, Plan, read_spec},
    shell::{Clock, configurations::clear_up, leadership::Tenure},
};
use serde_json::{Value, json};

use crate::support::{api::FakeApi, broker::FakeGroup, context, eventually};
use crate::world::*;

/// What every object of the cluster has.
fn metadata(name: &str, owner: &str) -> Value {
    json!({
        "name": name, "namespace": "default",
        "labels": { "mainstay.dev/cluster": "orders", "mainstay.dev/group": "0" },
        "ownerReferences": [{ "apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerCluster", "name": "orders", "uid": owner }],
    })
}

fn put_config(api: &FakeApi, name: &str, owner: &str, text: &str) {
    api.put(
        &config_path(name),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, owner),
            "data": { "broker.toml": text },
        }),
    );
}

/// Kubernetes makes the revision of the StatefulSet's template, and these pods from it.
fn make_pods(api: &FakeApi, brokers: &FakeGroup, revision: &str, ordinals: std::ops::Range<usize>) {
    let template = api.get(SET).expect("there")["spec"]["template"].clone();
    api.put(
        &revision_path(revision),
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata(revision, "set-uid"),
            "data": { "spec": { "template": template } },
        }),
    );
    for ordinal in ordinals {
        put_pod_with(api, brokers, ordinal, revision, template["spec"].clone());
    }
}

fn revision_path(name: &str) -> String {
    format!("/apis/apps/v1/namespaces/default/controllerrevisions/{name}")
}

/// The configuration's text, without which containers that restart could not be started.
fn text(api: &FakeApi, path: &str) -> String {
    let object = api.get(path).unwrap_or_else(|| panic!("{path} is gone"));
    object["data"]["broker.toml"].as_str().expect("is text").to_owned()
}

fn with_access_control() -> Value {
    let mut spec = sync_spec();
    spec["auth"] = json!({ "enabled": true });
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_keep_the_configuration_they_were_made_with_until_the_last_of_them_is_gone() {
    let (api, brokers) = replicas_with_pods(2).await;
    api.put(CLUSTER, cluster(sync_spec()));
    // No broker is asked on this port, so the operator restarts none: the test makes the pods.
    let running = Running::start(&api, 1);
    let first = eventually("the first configuration", || config(&api).filter(|path| api.get(path).is_some()));
    let first = first.await;
    let before = text(&api, &first);
    make_pods(&api, &brokers, "revision-1", 0..3);
    put_config(&api, "orders-0-config-theirs", "another-uid", "");
    put_config(&api, "orders-0-tuning", "cluster-uid", "");

    change(&api, with_access_control(), 2);
    applied(&api, 2).await;
    let second = config(&api).expect("there");
    assert!(text(&api, &second).contains("admin_secret_file"));
    assert_eq!(text(&api, &first), before, "old pods have no such file");

    let revision = api.get(&revision_path("revision-1")).expect("there");
    api.remove(&revision_path("revision-1"));
    make_pods(&api, &brokers, "revision-2", 0..2);
    change(&api, with_access_control(), 3);
    applied(&api, 3).await;
    assert_eq!(text(&api, &first), before, "one old pod is left");

    api.put(&revision_path("revision-1"), revision);
    make_pods(&api, &brokers, "revision-2", 2..3);
    change(&api, with_access_control(), 4);
    applied(&api, 4).await;
    assert_eq!(text(&api, &first), before, "Kubernetes keeps what pods could be made from");

    // A change that nobody has seen yet: pods may still be made from what was asked for before.
    api.remove(&revision_path("revision-1"));
    api.controllers_sleep();
    let mut third = with_access_control();
    third["flush"] = json!({ "type": "Async" });
    change(&api, third.clone(), 5);
    applied(&api, 5).await;
    assert_ne!(config(&api), Some(second.clone()));
    assert_eq!(text(&api, &first), before, "the newest template has been seen by nobody");

    api.controllers_wake();
    change(&api, third, 6);
    applied(&api, 6).await;
    assert!(api.get(&first).is_none(), "nothing mentions it");
    let newest = config(&api).expect("there");
    let others = ["orders-0-config-theirs", "orders-0-tuning"].map(config_path);
    for kept in [&newest, &second, &others[0], &others[1]] {
        text(&api, kept);
    }
    running.end().await;
}

/// A pod that an operator of before has made mounts a configuration whose name says nothing about its content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_an_older_operator_run_on_and_keep_their_configuration_as_well() {
    let (api, brokers) = replicas_with_pods(2).await;
    api.put(CLUSTER, cluster(sync_spec()));
    let running = Running::start(&api, brokers.port);
    let hashed =
        eventually("the configuration", || config(&api).filter(|path| api.get(path).is_some())).await;
    running.end().await;
    let before = text(&api, &hashed);
    let name = hashed.rsplit('/').next().expect("has a name").to_owned();
    let set = api.get(SET).expect("there").to_string().replace(&name, "orders-0-config");
    api.remove(&hashed);
    api.put(SET, serde_json::from_str(&set).expect("is JSON"));
    put_config(&api, "orders-0-config", "cluster-uid", &before);
    let old = config_path("orders-0-config");
    make_pods(&api, &brokers, "revision-2", 0..3);
    let template = || api.get(SET).expect("there")["spec"]["template"].clone();
    let old_template = template();

    let running = Running::start(&api, brokers.port);
    change(&api, sync_spec(), 2);
    applied(&api, 2).await;
    assert_eq!(template(), old_template, "nobody restarts for a new operator");
    assert!(api.get(&hashed).is_none());
    change(&api, with_access_control(), 3);
    applied(&api, 3).await;
    let new = config(&api).expect("there");
    assert_ne!(new, old);
    assert!(text(&api, &new).contains("admin_secret_file"));
    assert_eq!(text(&api, &old), before);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_not_the_active_one_any_more_deletes_nothing() {
    let api = FakeApi::new();
    api.put(
        SET,
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata("orders-0", "cluster-uid"), "spec": {},
        }),
    );
    let names = ["orders-0-config-1", "orders-0-config-2"];
    names.iter().for_each(|name| put_config(&api, name, "cluster-uid", ""));
    let left = || names.iter().filter(|name| api.get(&config_path(name)).is_some()).count();
    let identity = Identity { name: "orders".into(), namespace: "default".into(), uid: "cluster-uid".into() };
    let plan = Plan::new(identity, read_spec(&sync_spec()).expect("has the right shape")).expect("in order");

    let active = context(api.client(), 1);
    let mut deposed = active.clone();
    deposed.tenure = Tenure::new(Clock::start());
    clear_up(&deposed, &plan).await.expect("nothing is in the way");
    assert_eq!(left(), 2);
    clear_up(&active, &plan).await.expect("the chart allows it");
    assert_eq!(left(), 0);
}
