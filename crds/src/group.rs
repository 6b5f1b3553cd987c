//! `BrokerGroup`: one broker group as the operator knows it, and the one place where election orders are numbered.
//!
//! The operator alone writes it. `status.order` and `status.membership` only ever change by compare-and-swap on the
//! resource version, and their numbers only ever grow: that is what keeps two operators from giving two orders with one
//! number, or naming two memberships of one version.

// KubeSchema repeats the types inside functions, where `pub` reaches nobody.
#![allow(unreachable_pub)]
// Every column repeats `type_`, which clippy takes for a repeated attribute.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{cluster::Mode, schema::absent_or};

/// One broker group: written by the operator, read by people.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mainstay.dev",
    version = "v1alpha1",
    kind = "BrokerGroup",
    plural = "brokergroups",
    shortname = "bg",
    category = "mainstay",
    namespaced,
    status = "BrokerGroupStatus",
    derive = "PartialEq",
    doc = "One broker group of a BrokerCluster. Written by the operator; change the BrokerCluster instead.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch"),
    printcolumn(name = "Writable", type_ = "boolean", json_path = ".status.writable"),
    printcolumn(
        name = "FailoverReady",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"FailoverReady\")].status"
    ),
    printcolumn(name = "Failed-Over", type_ = "date", json_path = ".status.lastFailover.at"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.cluster == oldSelf.cluster && self.group == oldSelf.group && self.replicas == oldSelf.replicas \
         && self.mode == oldSelf.mode && has(self.minInSync) == has(oldSelf.minInSync) \
         && (!has(self.minInSync) || self.minInSync == oldSelf.minInSync)"
    )
    .message("cluster, group, replicas, mode and minInSync of a BrokerGroup cannot be changed")
)]
pub struct BrokerGroupSpec {
    /// The `BrokerCluster` it belongs to.
    #[schemars(length(max = 63))]
    pub cluster: String,
    /// Its number in the cluster.
    pub group: i32,
    /// Members the group was created with.
    pub replicas: i32,
    /// Mode the group was created with.
    pub mode: Mode,
    /// Write quorum the group was created with (Sync only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "absent_or::<i32>")]
    pub min_in_sync: Option<i32>,
    /// How long a leader must be gone before it is replaced.
    #[schemars(length(max = 20))]
    pub failover_delay: String,
}

/// What the operator has seen and ordered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerGroupStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest election order. Its epoch is never given out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The newest membership that the operator has named. Its version is never given out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<NamedMembership>,
    /// Pod that leads, or the last one that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Node id of the leader, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_node_id: Option<String>,
    /// Number of the leader's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// There is a leader and it can commit.
    #[serde(default)]
    pub writable: bool,
    #[serde(default)]
    pub members: Vec<MemberStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<FailoverRecord>,
    /// Divergent tails of former leaders, put aside and not destroyed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<QuarantinedTail>,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// What kind of election the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OrderKind {
    /// Ask the others for their votes.
    Campaign,
    /// Lead with the votes that can be had (Async).
    Promote,
}

/// One election order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub epoch: i64,
    /// Pod that is to lead.
    pub member: String,
    pub kind: OrderKind,
    pub reason: String,
    pub issued_at: Time,
}

/// A membership that did not come about through the log, since a member that is needed to commit is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedMembership {
    pub version: i64,
    /// All nodes that count, hexadecimal.
    pub node_ids: Vec<String>,
    /// How many of them must have an entry before it is committed.
    pub min_in_sync: i32,
    pub reason: String,
    pub at: Time,
}

/// One member of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    pub pod: String,
    /// Identity of the volume, hexadecimal; a replaced volume is another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Bootstrapping, Follower, Candidate, Leader, Learner (no voter yet, or not any more), Fenced, or Unreachable.
    pub role: String,
    pub ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Last entry that is persisted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted_index: Option<i64>,
    /// Entries behind the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Why it takes no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A change of leader that was not planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub to: String,
    pub reason: String,
    pub at: Time,
    /// From the moment the operator missed the old leader to the moment it saw the new one serve. Absent when it was not
    /// looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
}

/// A tail of a former leader's log that no quorum had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedTail {
    pub pod: String,
    pub file: String,
    pub records: i64,
    pub batches: i64,
    pub bytes: i64,
    pub first_index: i64,
    pub last_index: i64,
}
