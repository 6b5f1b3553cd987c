//! The Kubernetes objects of a cluster, apart from its workloads and their configuration, as they are to be applied.

use serde_json::{Value, json};

use super::{Identity, Plan};
use crate::names;

/// What a cluster consists of, by kind: enough to address an object and to apply it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub name: String,
    pub body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Service,
    ConfigMap,
    PodDisruptionBudget,
    StatefulSet,
    BrokerGroup,
}

impl Kind {
    /// API group, version, kind and plural.
    pub fn api(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Kind::Service => ("", "v1", "Service", "services"),
            Kind::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Kind::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Kind::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Kind::BrokerGroup => {
                (mainstay_crds::GROUP, mainstay_crds::VERSION, "BrokerGroup", "brokergroups")
            }
        }
    }
}

impl Object {
    pub(super) fn new(
        plan: &Plan,
        kind: Kind,
        name: String,
        labels: std::collections::BTreeMap<String, String>,
        rest: Value,
    ) -> Self {
        let (group, version, kind_name, _) = kind.api();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let mut body = json!({
            "apiVersion": api_version,
            "kind": kind_name,
            "metadata": {
                "name": name,
                "namespace": plan.identity.namespace,
                "labels": labels,
                "ownerReferences": [owner(&plan.identity)],
            },
        });
        if let (Some(body), Value::Object(rest)) = (body.as_object_mut(), rest) {
            body.extend(rest);
        }
        Self { kind, name, body }
    }
}

/// Reference from an object to its cluster, so that it goes when the cluster goes.
pub fn owner(identity: &Identity) -> Value {
    json!({
        "apiVersion": format!("{}/{}", mainstay_crds::GROUP, mainstay_crds::VERSION),
        "kind": "BrokerCluster",
        "name": identity.name,
        "uid": identity.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Services, disruption budgets and group records, in the order in which they are to be applied.
pub fn supporting(plan: &Plan) -> Vec<Object> {
    let cluster = &plan.identity.name;
    let mut objects = vec![peers_service(plan), client_service(plan)];
    for group in 0..plan.groups {
        let labels = names::group_labels(cluster, group);
        objects.push(group_service(plan, group));
        objects.push(brokers_service(plan, group));
        objects.push(Object::new(
            plan,
            Kind::PodDisruptionBudget,
            names::group(cluster, group),
            labels.clone(),
            json!({ "spec": {
                "maxUnavailable": 1,
                "selector": { "matchLabels": selector(cluster, group) },
            } }),
        ));
        objects.push(Object::new(
            plan,
            Kind::BrokerGroup,
            names::group(cluster, group),
            labels,
            json!({ "spec": plan.group_spec(group) }),
        ));
    }
    objects
}

/// Labels that a group's pods are selected by: they can never change.
pub(super) fn selector(cluster: &str, group: u32) -> Value {
    json!({ (names::CLUSTER_LABEL): cluster, (names::GROUP_LABEL): group.to_string() })
}

fn port(name: &str, port: u16) -> Value {
    json!({ "name": name, "port": port, "targetPort": name, "protocol": "TCP" })
}

/// How replicas find each other, before they are ready too.
fn peers_service(plan: &Plan) -> Object {
    let cluster = &plan.identity.name;
    let spec = json!({ "spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": { (names::CLUSTER_LABEL): cluster },
        "ports": [
            port("client", names::CLIENT_PORT),
            port("internal", names::INTERNAL_PORT),
            port("http", names::HTTP_PORT),
        ],
    } });
    Object::new(plan, Kind::Service, names::peers(cluster), names::cluster_labels(cluster), spec)
}

/// What clients are told to connect to: any broker that is ready.
fn client_service(plan: &Plan) -> Object {
    let cluster = &plan.identity.name;
    let spec = json!({ "spec": {
        "selector": { (names::CLUSTER_LABEL): cluster },
        "ports": [port("client", names::CLIENT_PORT)],
    } });
    Object::new(plan, Kind::Service, cluster.clone(), names::cluster_labels(cluster), spec)
}

/// What routes name: every ready broker of the group by its own address. Each takes any call, so that a client whose
/// broker dies goes on with another at once; a virtual address would lead it to the dead one until every node has
/// heard of the change.
fn brokers_service(plan: &Plan, group: u32) -> Object {
    let cluster = &plan.identity.name;
    let spec = json!({ "spec": {
        "clusterIP": "None",
        "selector": selector(cluster, group),
        "ports": [port("client", names::CLIENT_PORT)],
    } });
    Object::new(
        plan,
        Kind::Service,
        names::brokers(cluster, group),
        names::group_labels(cluster, group),
        spec,
    )
}

/// The group's leader while there is one, under one virtual address.
fn group_service(plan: &Plan, group: u32) -> Object {
    let cluster = &plan.identity.name;
    let spec = json!({ "spec": {
        "selector": {
            (names::CLUSTER_LABEL): cluster,
            (names::GROUP_LABEL): group.to_string(),
            (names::ROUTABLE_LABEL): "true",
        },
        "ports": [port("client", names::CLIENT_PORT)],
    } });
    Object::new(plan, Kind::Service, names::group(cluster, group), names::group_labels(cluster, group), spec)
}
