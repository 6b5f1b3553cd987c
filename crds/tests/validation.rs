//! The CEL rules of the definitions, run as the API server would run them, defaults included.

use kube::core::cel::Validator;
use mainstay_crds::definitions;
use serde_json::{Value, json};

fn schema(plural: &str) -> Value {
    let crd = definitions().into_iter().find(|crd| crd.spec.names.plural == plural).expect("defined");
    let schema =
        crd.spec.versions[0].schema.clone().and_then(|s| s.open_api_v3_schema).expect("has a schema");
    serde_json::to_value(schema).expect("schema is JSON")
}

fn cluster(spec: Value) -> Value {
    json!({"apiVersion": "mainstay.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "orders"}, "spec": spec})
}

fn refusal(object: &Value, old: Option<&Value>) -> Option<String> {
    Validator::new().validate(&schema("brokerclusters"), object, old).err().map(|errors| errors.to_string())
}

#[track_caller]
fn accepted(spec: Value) {
    assert_eq!(refusal(&cluster(spec.clone()), None), None, "{spec}");
}

#[track_caller]
fn refused(spec: Value, because: &str) {
    let refusal = refusal(&cluster(spec.clone()), None).unwrap_or_else(|| panic!("accepted: {spec}"));
    assert!(refusal.contains(because), "{spec}: {refusal}");
}

#[track_caller]
fn change(old: Value, new: Value) -> Option<String> {
    refusal(&cluster(new), Some(&cluster(old)))
}

#[test]
fn replicas_fit_the_mode() {
    accepted(json!({}));
    accepted(json!({"replicas": 1}));
    accepted(json!({"replicas": 1, "replication": {"mode": "None"}}));
    accepted(json!({"replicas": 5, "replication": {"mode": "Raft"}}));
    accepted(json!({"replicas": 2, "replication": {"mode": "Async"}}));
    accepted(json!({"replicas": 2, "replication": {"mode": "Sync"}}));
    refused(json!({"replicas": 3, "replication": {"mode": "None"}}), "needs replicas 1");
    refused(json!({"replication": {"mode": "None"}}), "needs replicas 1");
    refused(json!({"replicas": 1, "replication": {"mode": "Async"}}), "at least 2 replicas");
    refused(json!({"replicas": 1, "replication": {"mode": "Sync"}}), "at least 2 replicas");
    refused(json!({"replicas": 1, "replication": {"mode": "Raft"}}), "odd number");
    refused(json!({"replicas": 2}), "odd number");
    refused(json!({"replicas": 4, "replication": {"mode": "Raft"}}), "odd number");
}

#[test]
fn min_in_sync_is_for_sync_and_within_the_replicas() {
    accepted(json!({"replicas": 3, "replication": {"mode": "Sync", "minInSync": 3}}));
    refused(
        json!({"replicas": 3, "replication": {"mode": "Sync", "minInSync": 4}}),
        "must not exceed replicas",
    );
    refused(json!({"replicas": 3, "replication": {"mode": "Raft", "minInSync": 2}}), "mode Sync only");
    refused(json!({"replicas": 3, "replication": {"minInSync": 2}}), "mode Sync only");
}

#[test]
fn retention_is_a_time_and_a_size_below_the_volumes() {
    for time in ["72h", "90m", "1h30m", "Forever"] {
        accepted(json!({"storage": {"retention": {"time": time}}}));
    }
    accepted(json!({"storage": {"size": "20Gi", "retention": {"size": "15Gi"}}}));
    refused(json!({"storage": {"size": "20Gi", "retention": {"size": "20Gi"}}}), "below storage.size");
    refused(json!({"storage": {"size": "900Mi", "retention": {"size": "1Gi"}}}), "below storage.size");
}

#[test]
fn what_cannot_change_is_refused_and_what_can_is_not() {
    let raft = json!({"replicas": 3, "replication": {"mode": "Raft"}, "storage": {"size": "20Gi"}});
    assert_eq!(
        change(raft.clone(), json!({"storage": {"size": "20Gi"}})),
        None,
        "writing a default down is no change"
    );
    assert_eq!(change(raft.clone(), json!({"image": "other", "storage": {"size": "21Gi"}})), None);
    let refusals = [
        (json!({"replicas": 5, "storage": {"size": "20Gi"}}), "replicas cannot be changed"),
        (json!({"groups": 2, "storage": {"size": "20Gi"}}), "groups cannot be changed"),
        (
            json!({"replication": {"mode": "Sync"}, "storage": {"size": "20Gi"}}),
            "replication.mode cannot be changed",
        ),
        (json!({"storage": {"size": "19Gi"}}), "storage.size can only grow"),
        (
            json!({"storage": {"size": "20Gi", "storageClassName": "fast"}}),
            "storageClassName cannot be changed",
        ),
    ];
    for (new, because) in refusals {
        let refusal = change(raft.clone(), new.clone()).unwrap_or_else(|| panic!("accepted: {new}"));
        assert!(refusal.contains(because), "{new}: {refusal}");
    }
    let sync = json!({"replication": {"mode": "Sync"}});
    assert_eq!(change(sync.clone(), json!({"replication": {"mode": "Sync", "minInSync": 2}})), None);
    let refusal = change(sync, json!({"replication": {"mode": "Sync", "minInSync": 3}})).expect("refused");
    assert!(refusal.contains("minInSync cannot be changed"), "{refusal}");
}

#[test]
fn secrets_are_named_as_secrets_are() {
    accepted(json!({"auth": {}}));
    accepted(json!({"auth": {"enabled": true}}));
    accepted(json!({"auth": {"enabled": true, "administrator": {}}}));
    accepted(json!({"auth": {"enabled": false, "administrator": {"secretName": "root"}}}));
    accepted(json!({"tls": {"secretName": "orders.example.com-tls"}}));
    for name in ["Root", "two words", "-root", "root.", "../root", "a..b"] {
        refused(
            json!({"auth": {"administrator": {"secretName": name}}}),
            "auth.administrator.secretName must be the name of a Secret",
        );
        refused(json!({"tls": {"secretName": name}}), "tls.secretName must be the name of a Secret");
    }
    let off = json!({});
    let on = json!({"auth": {"enabled": true, "administrator": {"secretName": "root"}}});
    assert_eq!(change(off.clone(), on.clone()), None);
    assert_eq!(change(on, off), None, "both ways");
}

#[test]
fn names_are_such_that_services_can_be_named_after_them() {
    for (name, fine) in
        [("orders", true), ("o", true), ("1orders", false), ("a.b", false), (&"x".repeat(41), false)]
    {
        let mut object = cluster(json!({}));
        object["metadata"]["name"] = json!(name);
        assert_eq!(refusal(&object, None).is_none(), fine, "{name}");
    }
}

#[test]
fn a_group_keeps_what_it_was_created_with() {
    let group = |replicas: i32, delay: &str| {
        json!({"metadata": {"name": "orders-0"}, "spec": {
            "cluster": "orders", "group": 0, "replicas": replicas, "mode": "Raft", "failoverDelay": delay}})
    };
    let validate =
        |new: &Value, old: &Value| Validator::new().validate(&schema("brokergroups"), new, Some(old));
    assert!(validate(&group(3, "1s"), &group(3, "0s")).is_ok());
    assert!(validate(&group(5, "0s"), &group(3, "0s")).is_err());
}

#[test]
fn examples_are_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("examples can be listed") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let object: Value = serde_saphyr::from_str(&text).expect("YAML");
        if object["kind"] != "BrokerCluster" {
            continue;
        }
        assert_eq!(refusal(&object, None), None, "{}", path.display());
        let typed: Result<mainstay_crds::BrokerCluster, _> = serde_json::from_value(object);
        typed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples found");
}
