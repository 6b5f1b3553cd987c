//! The StatefulSet of a group. Nothing in it depends on the operator's version: a new operator restarts no broker.

use mainstay_crds::cluster::{PullPolicy, WhenDeleted};
use serde_json::{Value, json};

use super::{
    Plan, config_file,
    configuration::Configuration,
    objects::{Kind, Object, selector},
    secrets,
};
use crate::names;

/// The user that brokers run as.
pub const USER: i64 = 65_532;
/// Name of the volume that holds the configuration file and the token.
const CONFIG_VOLUME: &str = "config";

/// What a StatefulSet that exists already determines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Existing {
    /// The image it runs. It stays when the spec names none, whatever the operator's default has become.
    pub image: Option<String>,
    /// They can never change; volumes grow by themselves.
    pub volume_claim_templates: Option<Value>,
    /// Name of the ConfigMap that its pods are made with.
    pub config_map: Option<String>,
    /// Hash of what was in that when the pods' template was made.
    pub digest: Option<String>,
}

impl Existing {
    pub fn of(stateful_set: &Value) -> Self {
        let template = &stateful_set["spec"]["template"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let volumes = template["spec"]["volumes"].as_array();
        let config = volumes.into_iter().flatten().find(|volume| volume["name"] == CONFIG_VOLUME);
        let sources = config.and_then(|config| config["projected"]["sources"].as_array());
        Self {
            image: text(&template["spec"]["containers"][0]["image"]),
            config_map: sources.into_iter().flatten().find_map(|source| text(&source["configMap"]["name"])),
            digest: text(&template["metadata"]["annotations"][names::CONFIG_ANNOTATION]),
            volume_claim_templates: Some(stateful_set["spec"]["volumeClaimTemplates"].clone())
                .filter(Value::is_array),
        }
    }
}

/// The StatefulSet of `group`.
pub fn stateful_set(
    plan: &Plan,
    group: u32,
    configuration: &Configuration,
    default_image: &str,
    existing: &Existing,
) -> Object {
    let cluster = &plan.identity.name;
    let labels = names::group_labels(cluster, group);
    let mut pod_labels = labels.clone();
    pod_labels.insert(names::ROUTABLE_LABEL.to_owned(), "true".to_owned());
    let image = plan.spec.image.clone().or_else(|| existing.image.clone());
    let when_deleted = match plan.spec.storage.when_deleted {
        WhenDeleted::Retain => "Retain",
        WhenDeleted::Delete => "Delete",
    };
    let claims = existing.volume_claim_templates.clone().unwrap_or_else(|| claims(plan));
    let spec = json!({ "spec": {
        "replicas": plan.replicas,
        "serviceName": names::peers(cluster),
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "OnDelete" },
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": when_deleted, "whenScaled": "Retain" },
        "selector": { "matchLabels": selector(cluster, group) },
        "template": {
            "metadata": {
                "labels": pod_labels,
                "annotations": { (names::CONFIG_ANNOTATION): configuration.digest },
            },
            "spec": pod(plan, group, configuration, &image.unwrap_or_else(|| default_image.to_owned())),
        },
        "volumeClaimTemplates": claims,
    } });
    Object::new(plan, Kind::StatefulSet, names::group(cluster, group), labels, spec)
}

fn claims(plan: &Plan) -> Value {
    let storage = &plan.spec.storage;
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": storage.size } },
    });
    if let Some(class) = &storage.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    json!([{
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": names::DATA_VOLUME },
        "spec": spec,
    }])
}

fn pod(plan: &Plan, group: u32, configuration: &Configuration, image: &str) -> Value {
    let scheduling = &plan.spec.scheduling;
    let mut volumes = vec![json!({
        "name": CONFIG_VOLUME,
        "projected": { "defaultMode": 0o440, "sources": [
            { "configMap": {
                "name": configuration.name,
                "items": [{ "key": "broker.toml", "path": "broker.toml" }],
            } },
            { "secret": {
                "name": names::secret(&plan.identity.name),
                "items": [{ "key": names::TOKEN_KEY, "path": format!("secret/{}", names::TOKEN_KEY) }],
            } },
        ] },
    })];
    if let Some(tls) = &plan.spec.tls {
        volumes.push(
            json!({ "name": "tls", "secret": { "secretName": tls.secret_name, "defaultMode": 0o440 } }),
        );
    }
    if let Some(administrator) = plan.administrator_secret() {
        let item = |key: &str| json!({ "key": key, "path": key });
        volumes.push(json!({ "name": "administrator", "secret": {
            "secretName": administrator.name(),
            "items": [item(secrets::USERNAME), item(secrets::PASSWORD)],
            "defaultMode": 0o440,
            // A broker that restarts serves without its administrator rather than not at all.
            "optional": true,
        } }));
    }
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "affinity": affinity(&plan.identity.name, group),
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector(&plan.identity.name, group) },
        }],
        "containers": [container(plan, image)],
        "volumes": volumes,
    });
    if !scheduling.node_selector.is_empty() {
        pod["nodeSelector"] = json!(scheduling.node_selector);
    }
    if !scheduling.tolerations.is_empty() {
        pod["tolerations"] = json!(scheduling.tolerations);
    }
    if let Some(class) = &scheduling.priority_class_name {
        pod["priorityClassName"] = json!(class);
    }
    pod
}

fn affinity(cluster: &str, group: u32) -> Value {
    json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchLabels": selector(cluster, group) },
        },
    }] } })
}

fn container(plan: &Plan, image: &str) -> Value {
    let pull = match plan.spec.image_pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": "http", "scheme": "HTTP" },
            "periodSeconds": period,
            "timeoutSeconds": 3,
            "failureThreshold": failures,
        })
    };
    let mut mounts = vec![
        json!({ "name": CONFIG_VOLUME, "mountPath": config_file::FOLDER, "readOnly": true }),
        json!({ "name": names::DATA_VOLUME, "mountPath": config_file::DATA_FOLDER }),
    ];
    if plan.spec.tls.is_some() {
        mounts.push(json!({ "name": "tls", "mountPath": config_file::TLS_FOLDER, "readOnly": true }));
    }
    if plan.administrator_secret().is_some() {
        let path = config_file::ADMINISTRATOR_FOLDER;
        mounts.push(json!({ "name": "administrator", "mountPath": path, "readOnly": true }));
    }
    let port = |name: &str, port: u16| json!({ "name": name, "containerPort": port, "protocol": "TCP" });
    let mut container = json!({
        "name": "broker",
        "image": image,
        "imagePullPolicy": pull,
        "command": ["/mainstay-broker"],
        "args": ["run", "--config", format!("{}/broker.toml", config_file::FOLDER)],
        "env": [{ "name": "MAINSTAY_MEMBER", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } }],
        "ports": [
            port("client", names::CLIENT_PORT),
            port("internal", names::INTERNAL_PORT),
            port("http", names::HTTP_PORT),
        ],
        // Recovery of a long log takes a while: ten minutes before the process counts as stuck.
        "startupProbe": probe("/livez", 1, 600),
        "livenessProbe": probe("/livez", 5, 6),
        "readinessProbe": probe("/readyz", 1, 3),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": mounts,
    });
    let resources = &plan.spec.resources;
    if !resources.requests.is_empty() || !resources.limits.is_empty() {
        container["resources"] = json!(resources);
    }
    container
}
