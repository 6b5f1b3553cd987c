//! Names, labels and ports of everything the operator makes: what ties a broker group's objects together.

use std::collections::BTreeMap;

pub const CLUSTER_LABEL: &str = "mainstay.dev/cluster";
pub const GROUP_LABEL: &str = "mainstay.dev/group";
/// `leader` or `follower`, for people and tests. Put on by the operator.
pub const ROLE_LABEL: &str = "mainstay.dev/role";
/// What the group's Service selects by. Every pod is born with `true`; the operator narrows it down to the leader.
pub const ROUTABLE_LABEL: &str = "mainstay.dev/routable";
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Owner of every field the operator applies. Never to be renamed: the old owner would keep its fields.
pub const FIELD_MANAGER: &str = "mainstay-operator";
/// Hash of the broker's configuration, so that a change of it is a change of the pod.
pub const CONFIG_ANNOTATION: &str = "mainstay.dev/config-hash";

pub const CLIENT_PORT: u16 = 8081;
pub const INTERNAL_PORT: u16 = 8082;
pub const HTTP_PORT: u16 = 8080;

/// Key of the internal secret that holds the token.
pub const TOKEN_KEY: &str = "token";
/// Name of the volume that holds a broker's data.
pub const DATA_VOLUME: &str = "data";

pub fn group(cluster: &str, group: u32) -> String {
    format!("{cluster}-{group}")
}

pub fn pod(cluster: &str, group: u32, ordinal: u32) -> String {
    format!("{cluster}-{group}-{ordinal}")
}

pub fn peers(cluster: &str) -> String {
    format!("{cluster}-peers")
}

/// Every broker of a group by address, for clients that choose among them.
pub fn brokers(cluster: &str, group: u32) -> String {
    format!("{cluster}-{group}-brokers")
}

pub fn secret(cluster: &str) -> String {
    format!("{cluster}-internal")
}

/// Secret with the administrator's credentials, where the operator makes it.
pub fn administrator(cluster: &str) -> String {
    format!("{cluster}-admin")
}

/// The configuration whose content has this hash.
pub fn config(cluster: &str, group: u32, digest: &str) -> String {
    format!("{cluster}-{group}-config-{digest}")
}

/// Whether it names a configuration of the group. Operators of before named the only one without a hash.
pub fn is_config(cluster: &str, group: u32, name: &str) -> bool {
    let hash = name.strip_prefix(&format!("{cluster}-{group}-config"));
    hash.is_some_and(|hash| hash.is_empty() || hash.starts_with('-'))
}

/// Labels of everything that belongs to a cluster.
pub fn cluster_labels(cluster: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "mainstay"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", "broker"),
        (MANAGED_BY_LABEL, FIELD_MANAGER),
        (CLUSTER_LABEL, cluster),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Labels of everything that belongs to a group.
pub fn group_labels(cluster: &str, group: u32) -> BTreeMap<String, String> {
    let mut labels = cluster_labels(cluster);
    labels.insert(GROUP_LABEL.to_owned(), group.to_string());
    labels
}

/// What selects the pods of a cluster.
pub fn cluster_selector(cluster: &str) -> String {
    format!("{CLUSTER_LABEL}={cluster}")
}
