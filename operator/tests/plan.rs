//! From specs to objects: what is refused, what is rendered, and what stays the same.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service},
    policy::v1::PodDisruptionBudget,
};
use mainstay_operator::plan::{
    Identity, Plan, config_file,
    configuration::Configuration,
    objects::{Kind, Object, supporting},
    read_spec,
    workload::{self, Existing},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Every key that the broker's configuration file may have.
const CONTRACT: &[&str] = &[
    "cluster",
    "group",
    "member",
    "data",
    "replication.mode",
    "replication.min_in_sync",
    "replication.ack_timeout",
    "replication.heartbeat",
    "replication.lease",
    "replication.election_min",
    "replication.election_max",
    "flush.type",
    "flush.timeout",
    "flush.interval",
    "storage.segment_bytes",
    "storage.cache_bytes",
    "storage.snapshot_every",
    "storage.retention.time",
    "storage.retention.size",
    "listen.client",
    "listen.internal",
    "listen.http",
    "topics.auto_create",
    "topics.queues",
    "consumer_groups.auto_create",
    "consumer_groups.start",
    "consumer_groups.max_attempts",
    "internal.secret_file",
    "tls.cert_file",
    "tls.key_file",
    "auth.enabled",
    "auth.admin_file",
    "auth.admin_secret_file",
    "auth.clock_skew",
    "auth.local_time",
    "groups.id",
    "groups.address",
    "groups.members.name",
    "groups.members.address",
];

fn plan(spec: Value) -> Plan {
    let identity = Identity { name: "orders".into(), namespace: "shop".into(), uid: "uid-1".into() };
    Plan::new(identity, read_spec(&spec).expect("has the right shape")).expect("is in order")
}

/// The configuration of the first group, and its StatefulSet.
fn workload(spec: Value, image: &str, existing: &Existing) -> (Object, Object) {
    let plan = plan(spec);
    let configuration = Configuration::new(&plan, 0, "cluster.local", existing).expect("renders");
    let set = workload::stateful_set(&plan, 0, &configuration, image, existing);
    (configuration.object(&plan, 0), set)
}

fn new_set(spec: Value) -> Object {
    workload(spec, "broker:1", &Existing::default()).1
}

fn problems(spec: Value) -> Vec<String> {
    let identity = Identity { name: "orders".into(), namespace: "shop".into(), uid: "uid-1".into() };
    let outcome = read_spec(&spec).and_then(|spec| Plan::new(identity, spec));
    outcome.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn everything() -> Value {
    json!({
        "groups": 2, "replicas": 3, "replication": { "mode": "Sync", "minInSync": 2, "ackTimeout": "1500ms" },
        "flush": { "type": "Async", "timeout": "5s", "interval": "1m30s" }, "tls": { "secretName": "cert" },
        "auth": { "enabled": true, "administrator": { "secretName": "root" } },
        "resources": { "requests": { "cpu": "100m" } },
        "storage": { "size": "20Gi", "retention": { "time": "24h", "size": "15Gi" } },
        "scheduling": { "nodeSelector": { "disk": "fast" }, "priorityClassName": "high",
                        "tolerations": [{ "key": "a", "operator": "Exists" }] },
        "config": {
            "auth.clock_skew": "30m", "auth.local_time": false,
            "replication.heartbeat": "50ms", "replication.lease": "500ms", "replication.election_min": "500ms",
            "replication.election_max": "900ms", "storage.segment_bytes": "16MiB", "storage.cache_bytes": "8MiB",
            "storage.snapshot_every": "32MiB",
            "topics.auto_create": true, "topics.queues": "16", "consumer_groups.auto_create": "false",
            "consumer_groups.start": "latest", "consumer_groups.max_attempts": 5,
        },
    })
}

fn keys(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys(value, &path, found);
            }
        }
        toml::Value::Array(values) => values.iter().for_each(|value| keys(value, path, found)),
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn a_rendered_file_has_no_key_that_a_broker_does_not_know() {
    let mut seen = BTreeSet::new();
    for spec in [json!({}), json!({ "replicas": 1 }), everything()] {
        let text = config_file::render(&plan(spec), 0, "cluster.local").expect("renders");
        let table: toml::Table = toml::from_str(&text).expect("is TOML");
        keys(&toml::Value::Table(table), "", &mut seen);
    }
    let contract: BTreeSet<String> = CONTRACT.iter().map(|key| (*key).to_owned()).collect();
    let unknown: Vec<_> = seen.difference(&contract).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let missing: Vec<_> = contract.difference(&seen).collect();
    assert_eq!(missing, ["member"], "every other key can be set");
}

#[test]
fn a_rendered_file_says_what_the_spec_says() {
    let text = config_file::render(&plan(everything()), 1, "cluster.local").expect("renders");
    let file: toml::Table = toml::from_str(&text).expect("is TOML");
    assert_eq!(file["group"].as_integer(), Some(1));
    assert_eq!(file["replication"]["mode"].as_str(), Some("sync"));
    assert_eq!(file["replication"]["min_in_sync"].as_integer(), Some(2));
    assert_eq!(file["replication"]["ack_timeout"].as_str(), Some("1500ms"));
    assert_eq!(file["flush"]["interval"].as_str(), Some("90s"));
    assert_eq!(file["topics"]["queues"].as_integer(), Some(16));
    assert_eq!(file["consumer_groups"]["auto_create"].as_bool(), Some(false));
    let second = &file["groups"].as_array().expect("a list")[1];
    assert_eq!(second["address"].as_str(), Some("orders-1-brokers.shop.svc.cluster.local:8081"));
    let member = &second["members"].as_array().expect("a list")[2];
    assert_eq!(member["name"].as_str(), Some("orders-1-2"));
    assert_eq!(member["address"].as_str(), Some("orders-1-2.orders-peers.shop.svc.cluster.local:8082"));
    assert_eq!(file["auth"]["admin_file"].as_str(), Some("/etc/mainstay-administrator/username"));
    assert_eq!(file["auth"]["admin_secret_file"].as_str(), Some("/etc/mainstay-administrator/password"));
    assert_eq!(file["auth"]["clock_skew"].as_str(), Some("1800s"));
    let single = config_file::render(&plan(json!({ "replicas": 1 })), 0, "cluster.local").expect("renders");
    assert!(single.contains("mode = \"none\"") && !single.contains("min_in_sync"), "{single}");
    assert!(single.contains("address = \"orders-0.shop.svc.cluster.local:8081\""), "{single}");
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let cases = [
        (json!({ "replicas": 2 }), "spec.replication.mode"),
        (json!({ "replicas": "x" }), "spec.replicas"),
        (json!({ "replication": { "mode": "Quorum" } }), "spec.replication"),
        (json!({ "replication": { "mode": "Sync", "minInSync": 4 } }), "spec.replication.minInSync"),
        (json!({ "flush": { "timeout": "0s" } }), "spec.flush.timeout"),
        (json!({ "failover": { "delay": "1" } }), "spec.failover.delay"),
        (json!({ "config": { "no.such": 1 } }), "spec.config[\"no.such\"]"),
        (json!({ "config": { "topics.queues": 0 } }), "spec.config[\"topics.queues\"]"),
        (json!({ "config": { "topics.auto_create": "yes" } }), "spec.config[\"topics.auto_create\"]"),
        (
            json!({ "config": { "replication.mode": "raft" } }),
            "spec.config[\"replication.mode\"]: is set by spec.replication.mode",
        ),
        (
            json!({ "config": { "listen.client": "x" } }),
            "spec.config[\"listen.client\"]: is set by the operator",
        ),
        (
            json!({ "config": { "auth.enabled": true } }),
            "spec.config[\"auth.enabled\"]: is set by spec.auth.enabled",
        ),
        (json!({ "config": { "auth.clock_skew": "8m" } }), "spec.config[\"auth.clock_skew\"]"),
        (json!({ "auth": { "enabled": "yes" } }), "spec.auth"),
        (json!({ "config": { "replication.lease": "100ms" } }), "spec.config[\"replication.lease\"]"),
        (json!({ "config": { "storage.segment_bytes": "1KiB" } }), "spec.config[\"storage.segment_bytes\"]"),
        (json!({ "config": { "storage.segment_bytes": "2GiB" } }), "spec.config[\"storage.segment_bytes\"]"),
        (
            json!({ "config": { "storage.retention.time": "1h" } }),
            "spec.config[\"storage.retention.time\"]: is set by",
        ),
        (json!({ "storage": { "retention": { "time": "0s" } } }), "spec.storage.retention.time"),
        (json!({ "storage": { "retention": { "size": "3" } } }), "spec.storage.retention.size"),
        (json!({ "storage": { "retention": { "size": "32Mi" } } }), "spec.storage.retention.size"),
    ];
    for (spec, field) in cases {
        let problems = problems(spec.clone());
        assert!(problems.iter().any(|problem| problem.starts_with(field)), "{spec}: {problems:?}");
    }
    assert_eq!(problems(json!({ "failover": { "delay": "0s" } })), Vec::<String>::new());
}

/// Reads the body as its Kubernetes type and finds all of it there again: no misspelt field.
#[track_caller]
fn typed<T: Serialize + DeserializeOwned>(body: &Value) {
    let object: T = serde_json::from_value(body.clone()).expect("has the right shape");
    assert_eq!(&serde_json::to_value(object).expect("is JSON"), body);
}

#[test]
fn objects_are_what_kubernetes_knows() {
    for spec in [json!({}), everything()] {
        let plan = plan(spec.clone());
        let mut kinds = BTreeMap::new();
        let (configuration, set) = workload(spec, "broker:1", &Existing::default());
        for object in supporting(&plan).into_iter().chain([configuration, set]) {
            *kinds.entry(object.kind.api().2).or_insert(0) += 1;
            assert_eq!(object.body["metadata"]["ownerReferences"][0]["uid"], "uid-1");
            match object.kind {
                Kind::Service => typed::<Service>(&object.body),
                Kind::ConfigMap => typed::<ConfigMap>(&object.body),
                Kind::PodDisruptionBudget => typed::<PodDisruptionBudget>(&object.body),
                Kind::BrokerGroup => {
                    let group: mainstay_crds::BrokerGroup =
                        serde_json::from_value(object.body).expect("fits");
                    assert_eq!(group.spec.replicas, 3);
                }
                Kind::StatefulSet => typed::<StatefulSet>(&object.body),
            }
        }
        assert_eq!(kinds["Service"], 2 + 2 * plan.groups as usize);
    }
}

#[test]
fn pods_are_restricted() {
    let set = new_set(json!({}));
    let spec = &set.body["spec"];
    assert_eq!(spec["updateStrategy"]["type"], "OnDelete");
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], workload::USER);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
}

#[test]
fn access_control_is_off_and_mounts_the_administrators_secret_once_it_is_on() {
    let template = |spec: Value| new_set(spec).body["spec"]["template"].clone();
    let off = template(json!({}));
    assert!(!off.to_string().contains("administrator"), "{off}");
    let text = config_file::render(&plan(json!({})), 0, "cluster.local").expect("renders");
    assert!(!text.contains("auth"), "{text}");
    let named = json!({ "enabled": false, "administrator": { "secretName": "root" } });
    assert_eq!(template(json!({ "auth": named })), off, "a name alone switches nothing on");

    for (administrator, secret) in [(json!({}), "orders-admin"), (json!({ "secretName": "root" }), "root")] {
        let on = template(json!({ "auth": { "enabled": true, "administrator": administrator } }));
        let volume = json!({ "name": "administrator", "secret": {
            "secretName": secret, "defaultMode": 0o440,
            "optional": true,
            "items": [{ "key": "username", "path": "username" }, { "key": "password", "path": "password" }],
        } });
        assert!(on["spec"]["volumes"].as_array().expect("a list").contains(&volume), "{on}");
        let mount =
            json!({ "name": "administrator", "mountPath": "/etc/mainstay-administrator", "readOnly": true });
        let container = &on["spec"]["containers"][0];
        assert!(container["volumeMounts"].as_array().expect("a list").contains(&mount), "{on}");
        assert_ne!(on["metadata"]["annotations"], off["metadata"]["annotations"], "it takes a restart");
    }
}

/// A mount of single files would never be renewed.
#[test]
fn secrets_are_mounted_so_that_kubernetes_renews_them() {
    let set = new_set(everything());
    let container = &set.body["spec"]["template"]["spec"]["containers"][0];
    let mounts = container["volumeMounts"].as_array().expect("a list");
    for folder in ["/etc/mainstay-tls", "/etc/mainstay-administrator"] {
        assert!(mounts.iter().any(|mount| mount["mountPath"] == folder), "{mounts:?}");
    }
    assert!(mounts.iter().all(|mount| mount["subPath"].is_null()), "{mounts:?}");
}

#[test]
fn a_new_operator_restarts_no_broker_and_a_new_configuration_does() {
    let template = |spec: Value, image: &str, existing: &Existing| {
        let (_, set) = workload(spec, image, existing);
        (set.body["spec"]["template"].clone(), set.body)
    };
    let (old, body) = template(json!({}), "broker:1", &Existing::default());
    let existing = Existing::of(&body);
    assert_eq!(template(json!({}), "broker:2", &existing).0, old, "the image stays what it was");
    assert_ne!(template(json!({ "image": "broker:2" }), "broker:2", &existing).0, old);
    assert_ne!(template(json!({ "flush": { "type": "Async" } }), "broker:1", &existing).0, old);
    assert_eq!(template(json!({ "failover": { "delay": "9s" } }), "broker:1", &existing).0, old);
    let (grown, grown_body) = template(json!({ "storage": { "size": "99Gi" } }), "broker:1", &existing);
    assert_eq!(grown, old);
    assert_eq!(
        grown_body["spec"]["volumeClaimTemplates"], body["spec"]["volumeClaimTemplates"],
        "it can never change"
    );
    assert!(!body.to_string().contains(env!("CARGO_PKG_VERSION")), "no version of the operator anywhere");
}

/// A container that restarts in an old pod must not find what only new pods have the mounts for.
#[test]
fn every_configuration_has_a_name_of_its_own_and_pods_refer_to_theirs() {
    let mut names = BTreeSet::new();
    let specs = [
        json!({}),
        json!({ "auth": { "enabled": true } }),
        json!({ "tls": { "secretName": "cert" } }),
        json!({ "flush": { "type": "Async" } }),
    ];
    for spec in &specs {
        let (configuration, set) = workload(spec.clone(), "broker:1", &Existing::default());
        assert_eq!(Existing::of(&set.body).config_map.as_ref(), Some(&configuration.name));
        assert_eq!(configuration.body["immutable"], true);
        assert_eq!(workload(spec.clone(), "broker:2", &Existing::default()).0, configuration);
        names.insert(configuration.name);
    }
    assert_eq!(names.len(), specs.len(), "{names:?}");

    // An operator of before had one name for all of them.
    let unhashed = |mut set: Object, name: &str| {
        set.body["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"][0]["configMap"]["name"] =
            json!(name);
        Existing::of(&set.body)
    };
    let old = unhashed(new_set(json!({})), "orders-0-config");
    let (kept, _) = workload(json!({}), "broker:1", &old);
    assert_eq!((kept.name.as_str(), &kept.body["immutable"]), ("orders-0-config", &Value::Null));
    let (changed, _) = workload(json!({ "auth": { "enabled": true } }), "broker:1", &old);
    assert!(changed.name != "orders-0-config" && names.contains(&changed.name), "{}", changed.name);
    let theirs = unhashed(new_set(json!({})), "theirs");
    assert!(names.contains(&workload(json!({}), "broker:1", &theirs).0.name));
}

#[test]
fn groups_keep_what_they_were_created_with() {
    let created = plan(json!({ "groups": 2, "replication": { "mode": "Sync" } }));
    let existing = [created.group_spec(0), created.group_spec(1)];
    assert_eq!(created.forbidden_changes(&existing), []);
    let fields = |spec: Value| -> Vec<String> {
        plan(spec).forbidden_changes(&existing).into_iter().map(|error| error.field).collect()
    };
    assert_eq!(
        fields(json!({ "groups": 2, "replicas": 5, "replication": { "mode": "Sync", "minInSync": 2 } })),
        ["spec.replicas"]
    );
    assert_eq!(fields(json!({ "groups": 1, "replication": { "mode": "Sync" } })), ["spec.groups"]);
    assert_eq!(fields(json!({ "groups": 2 })), ["spec.replication.mode", "spec.replication.minInSync"]);
    assert_eq!(
        fields(json!({ "groups": 2, "replication": { "mode": "Sync", "minInSync": 3 } })),
        ["spec.replication.minInSync"]
    );
    assert_eq!(
        fields(json!({ "groups": 2, "replication": { "mode": "Sync" }, "failover": { "delay": "3s" } })),
        Vec::<String>::new()
    );
}
