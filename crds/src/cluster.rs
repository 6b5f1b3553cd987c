//! `BrokerCluster`: what people write to get brokers. Whatever the API server can refuse by itself is refused there (CEL).

// KubeSchema repeats the types inside functions, where `pub` reaches nobody.
#![allow(unreachable_pub)]
// Every column repeats `type_`, which clippy takes for a repeated attribute.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Toleration,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Condition},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{absent_or, free_values, quantities};
pub use crate::{
    access::{Administrator, Auth, Tls},
    storage::{FOREVER, Retention, Storage, WhenDeleted},
};

/// The mode in force, in CEL: None for a single replica and Raft for more, unless it is written down.
macro_rules! mode {
    ($object:literal) => {
        concat!(
            "(has(",
            $object,
            ".replication.mode) ? ",
            $object,
            ".replication.mode : (",
            $object,
            ".replicas == 1 ? 'None' : 'Raft'))"
        )
    };
}

/// The write quorum asked for in Sync mode, in CEL: a majority unless it is written down.
macro_rules! min_in_sync {
    ($object:literal) => {
        concat!(
            "(has(",
            $object,
            ".replication.minInSync) ? ",
            $object,
            ".replication.minInSync : ",
            $object,
            ".replicas / 2 + 1)"
        )
    };
}

/// A durable message broker cluster.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mainstay.dev",
    version = "v1alpha1",
    kind = "BrokerCluster",
    plural = "brokerclusters",
    shortname = "bc",
    category = "mainstay",
    namespaced,
    status = "BrokerClusterStatus",
    derive = "PartialEq",
    doc = "A durable message broker cluster.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Writable", type_ = "string", json_path = ".status.conditions[?(@.type==\"Writable\")].status"),
    printcolumn(
        name = "FailoverReady",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"FailoverReady\")].status"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Groups", type_ = "integer", json_path = ".spec.groups"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Brokers", type_ = "string", json_path = ".status.brokers"),
    printcolumn(name = "Leaders", type_ = "string", json_path = ".status.leaders"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label of at most 40 characters that starts with a letter: services and pods are named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(concat!(mode!("self"), " != 'None' || self.replicas == 1"))
        .message("replication.mode None keeps a single copy: it needs replicas 1"),
    validation = Rule::new(concat!("!(", mode!("self"), " in ['Async', 'Sync']) || self.replicas >= 2"))
        .message("replication.mode Async and Sync need at least 2 replicas"),
    validation = Rule::new(concat!(mode!("self"), " != 'Raft' || (self.replicas >= 3 && self.replicas % 2 == 1)"))
        .message("replication.mode Raft needs an odd number of replicas, at least 3"),
    validation = Rule::new(concat!("!has(self.replication.minInSync) || ", mode!("self"), " == 'Sync'"))
        .message("replication.minInSync is for replication.mode Sync only"),
    validation = Rule::new("!has(self.replication.minInSync) || self.replication.minInSync <= self.replicas")
        .message("replication.minInSync must not exceed replicas"),
    validation = Rule::new(concat!(mode!("self"), " == ", mode!("oldSelf")))
        .message("replication.mode cannot be changed"),
    validation = Rule::new(concat!(mode!("self"), " != 'Sync' || ", min_in_sync!("self"), " == ", min_in_sync!("oldSelf")))
        .message("replication.minInSync cannot be changed yet"),
    validation = Rule::new("self.replicas == oldSelf.replicas")
        .message("replicas cannot be changed yet: the members of a group are fixed when it is created"),
    validation = Rule::new("self.groups == oldSelf.groups")
        .message("groups cannot be changed yet: the queues of a topic are spread over the groups when it is created")
)]
pub struct BrokerClusterSpec {
    /// Image of the brokers. Absent: the one the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When to pull the image.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    /// Broker groups. Each has a leader of its own; the queues of a topic are spread over them.
    #[serde(default = "default_groups")]
    #[schemars(range(min = 1, max = 64))]
    pub groups: i32,
    /// Members of each group: how many copies there are of every message.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,
    /// How copies are made and how many must be durable before a message is acknowledged.
    #[serde(default)]
    pub replication: Replication,
    /// When a message counts as written on one broker.
    #[serde(default)]
    pub flush: Flush,
    /// The volume of each broker.
    #[serde(default)]
    pub storage: Storage,
    /// When the operator replaces a leader. Raft groups elect by themselves.
    #[serde(default)]
    pub failover: Failover,
    /// The certificate shown to clients. Absent: each broker makes one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether clients need credentials.
    #[serde(default)]
    pub auth: Auth,
    /// Processor and memory of each broker.
    #[serde(default)]
    pub resources: Resources,
    /// Where brokers may run.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Further settings of the brokers as `section.key` of the configuration file, e.g. `topics.auto_create: true`.
    /// Settings that have a field of their own in this resource are refused here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "free_values")]
    pub config: BTreeMap<String, serde_json::Value>,
}

fn default_groups() -> i32 {
    1
}

fn default_replicas() -> i32 {
    3
}

/// How a group keeps its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// One copy.
    None,
    /// The leader acknowledges alone; followers lag a little.
    Async,
    /// Acknowledged when `minInSync` replicas have it; the operator calls elections.
    Sync,
    /// Acknowledged by a majority; the replicas elect by themselves.
    Raft,
}

/// How copies are made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Absent: None with one replica, Raft with more. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "absent_or::<Mode>")]
    pub mode: Option<Mode>,
    /// Sync only: how many replicas must have a message before it is acknowledged. Absent: a majority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "absent_or::<i32>", range(min = 2, max = 9))]
    pub min_in_sync: Option<i32>,
    /// How long a sender waits for the replicas before it is told that the outcome is unknown.
    #[serde(default = "default_ack_timeout")]
    #[schemars(regex(pattern = "^([0-9]{1,9}(ms|s|m|h))+$"), length(max = 20))]
    pub ack_timeout: String,
}

fn default_ack_timeout() -> String {
    "3s".to_owned()
}

impl Default for Replication {
    fn default() -> Self {
        Self { mode: None, min_in_sync: None, ack_timeout: default_ack_timeout() }
    }
}

/// When a write counts as done on one broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlushType {
    /// After fdatasync: survives a power cut.
    #[default]
    Sync,
    /// After write: flushed every `interval`.
    Async,
}

/// Flush to disk.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flush {
    /// Sync or Async.
    #[serde(default, rename = "type")]
    pub type_: FlushType,
    /// Sync only: how long a sender waits for the disk before it is told that the outcome is unknown.
    #[serde(default = "default_flush_timeout")]
    #[schemars(regex(pattern = "^([0-9]{1,9}(ms|s|m|h))+$"), length(max = 20))]
    pub timeout: String,
    /// Async only: time between two flushes.
    #[serde(default = "default_flush_interval")]
    #[schemars(regex(pattern = "^([0-9]{1,9}(ms|s|m|h))+$"), length(max = 20))]
    pub interval: String,
}

fn default_flush_timeout() -> String {
    "5s".to_owned()
}

fn default_flush_interval() -> String {
    "200ms".to_owned()
}

impl Default for Flush {
    fn default() -> Self {
        Self { type_: FlushType::Sync, timeout: default_flush_timeout(), interval: default_flush_interval() }
    }
}

/// When the operator replaces a leader (Sync and Async).
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// How long a leader must be gone before another replica is made leader.
    #[serde(default = "default_failover_delay")]
    #[schemars(regex(pattern = "^([0-9]{1,9}(ms|s|m|h))+$"), length(max = 20))]
    pub delay: String,
}

fn default_failover_delay() -> String {
    "0s".to_owned()
}

impl Default for Failover {
    fn default() -> Self {
        Self { delay: default_failover_delay() }
    }
}

/// When to pull an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

/// Processor and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What a broker is sure to get.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// What a broker gets at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Where brokers may run. The members of a group avoid each other's node and zone where they can.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Priority of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

impl BrokerClusterSpec {
    /// The mode in force; the same rule as in the schema.
    pub fn mode(&self) -> Mode {
        self.replication.mode.unwrap_or(if self.replicas == 1 { Mode::None } else { Mode::Raft })
    }

    /// The write quorum that Sync mode asks for; absent in every other mode.
    pub fn min_in_sync(&self) -> Option<i32> {
        (self.mode() == Mode::Sync).then(|| self.replication.min_in_sync.unwrap_or(self.replicas / 2 + 1))
    }
}

/// What the operator has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerClusterStatus {
    /// The spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The mode in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Pods of the group that has the fewest, to be compared with `spec.replicas`.
    #[serde(default)]
    pub replicas: i32,
    /// Selects the brokers' pods.
    #[serde(default)]
    pub selector: String,
    /// Ready brokers of all brokers, e.g. 3/3.
    #[serde(default)]
    pub brokers: String,
    /// Pods that lead, in the order of the groups.
    #[serde(default)]
    pub leaders: String,
    /// Secret with the administrator's credentials; absent while clients need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrator_secret: Option<String>,
    /// One entry for each broker group.
    #[serde(default)]
    pub groups: Vec<GroupSummary>,
    /// Ready, Writable, FailoverReady, and others while they apply.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// One broker group in a few words; its `BrokerGroup` has the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupSummary {
    pub id: i32,
    /// Name of the `BrokerGroup`.
    pub name: String,
    /// Pod that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    pub ready_members: i32,
    pub members: i32,
    pub writable: bool,
}
