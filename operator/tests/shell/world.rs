//! What the tests put into the API server, where it lies, and the operator that runs against it.

use std::time::Duration;

use mainstay_operator::shell::supervisor;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    api::FakeApi,
    broker::{FakeGroup, ip},
    context, eventually,
};

pub(crate) const GROUP: &str = "/apis/mainstay.dev/v1alpha1/namespaces/default/brokergroups/orders-0";
pub(crate) const CLUSTER: &str = "/apis/mainstay.dev/v1alpha1/namespaces/default/brokerclusters/orders";
pub(crate) const SET: &str = "/apis/apps/v1/namespaces/default/statefulsets/orders-0";
pub(crate) const SECRET: &str = "/api/v1/namespaces/default/secrets/orders-internal";

/// Where the configuration lies that the StatefulSet's pods are made with.
pub(crate) fn config(api: &FakeApi) -> Option<String> {
    let volumes = api.get(SET)?["spec"]["template"]["spec"]["volumes"].clone();
    let sources = volumes.as_array()?.iter().find(|volume| volume["name"] == "config")?["projected"].clone();
    let name =
        sources["sources"].as_array()?.iter().find_map(|source| source["configMap"]["name"].as_str())?;
    Some(config_path(name))
}

pub(crate) fn config_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/configmaps/{name}")
}

pub(crate) fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

pub(crate) fn cluster(spec: Value) -> Value {
    json!({
        "apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerCluster",
        "metadata": { "name": "orders", "namespace": "default", "uid": "cluster-uid" },
        "spec": spec,
    })
}

pub(crate) fn sync_spec() -> Value {
    json!({ "replicas": 3, "replication": { "mode": "Sync" } })
}

/// The token is known beforehand, so that the fake brokers can check it.
pub(crate) fn put_secret(api: &FakeApi) {
    api.put(SECRET, json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "orders-internal", "namespace": "default",
            "ownerReferences": [{ "apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerCluster", "name": "orders", "uid": "cluster-uid" }],
        },
        "data": { "token": "c2VjcmV0" },
    }));
}

pub(crate) fn put_pod(api: &FakeApi, group: &FakeGroup, ordinal: usize) {
    put_pod_of(api, group, ordinal, "revision-1");
}

/// A pod made from this revision of the StatefulSet.
pub(crate) fn put_pod_of(api: &FakeApi, group: &FakeGroup, ordinal: usize, revision: &str) {
    put_pod_with(api, group, ordinal, revision, json!({ "containers": [] }));
}

/// The same, with a spec as the revision has it.
pub(crate) fn put_pod_with(api: &FakeApi, group: &FakeGroup, ordinal: usize, revision: &str, spec: Value) {
    let name = group.pod(ordinal);
    api.put(&pod_path(&name), json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": {
            "app.kubernetes.io/managed-by": "mainstay-operator", "mainstay.dev/cluster": "orders",
            "mainstay.dev/group": "0", "mainstay.dev/routable": "true", "controller-revision-hash": revision,
        } },
        "spec": spec,
        "status": { "podIP": ip(ordinal).to_string(), "conditions": [{ "type": "Ready", "status": "True" }] },
    }));
}

/// An API server with the secret and the pods of three replicas, of which `needed` must grant an epoch, and those.
pub(crate) async fn replicas_with_pods(needed: usize) -> (FakeApi, FakeGroup) {
    let api = FakeApi::new();
    let brokers = FakeGroup::start("orders-0", 3, needed, "secret").await;
    put_secret(&api);
    for ordinal in 0..3 {
        put_pod(&api, &brokers, ordinal);
    }
    (api, brokers)
}

pub(crate) fn role(api: &FakeApi, name: &str) -> (String, String) {
    let labels = api.get(&pod_path(name)).map(|pod| pod["metadata"]["labels"].clone()).unwrap_or_default();
    let label = |key: &str| labels[key].as_str().unwrap_or("-").to_owned();
    (label("mainstay.dev/role"), label("mainstay.dev/routable"))
}

pub(crate) fn condition(object: &Value, type_: &str) -> Option<(String, String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

/// Another spec; its number tells versions apart that are the same otherwise.
pub(crate) fn change(api: &FakeApi, mut spec: Value, version: u32) {
    spec["failover"] = json!({ "delay": format!("{version}s") });
    let mut object = api.get(CLUSTER).expect("there");
    object["spec"] = spec;
    api.put(CLUSTER, object);
}

/// Waits until the group's record has the newest spec: everything before it has been applied.
pub(crate) async fn applied(api: &FakeApi, version: u32) {
    let delay = format!("{version}s");
    eventually("the newest spec on record", || {
        api.get(GROUP).filter(|group| group["spec"]["failoverDelay"] == delay.as_str())
    })
    .await;
    eventually("the status of the newest spec", || {
        let object = api.get(CLUSTER)?;
        (object["status"]["observedGeneration"] == object["metadata"]["generation"]).then_some(())
    })
    .await;
}

pub(crate) struct Running {
    api: FakeApi,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(api: &FakeApi, control_port: u16) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervisor::run(context(api.client(), control_port), None, stop.clone()));
        Self { api: api.clone(), stop, task }
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("stops")
            .expect("without a panic");
        let _ = self.api;
    }
}
