//! `spec.storage`: the volume of each broker, and how long what lies on it is kept.

// KubeSchema repeats the types inside functions, where `pub` reaches nobody.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::absent_or;

/// What becomes of the volumes when the cluster is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenDeleted {
    /// They stay, and a cluster of the same name takes them up again.
    #[default]
    Retain,
    /// They are deleted with the cluster.
    Delete,
}

/// The volume of each broker.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("isQuantity(self.size)").message("storage.size must be a quantity such as 20Gi"),
    validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("storage.size can only grow"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storage.storageClassName cannot be changed"),
    validation = Rule::new("!has(self.retention.size) || !isQuantity(self.size) || quantity(self.retention.size).compareTo(quantity(self.size)) < 0")
        .message("storage.retention.size must be below storage.size")
)]
pub struct Storage {
    /// Size of the volume. Can grow, never shrink.
    #[serde(default = "default_storage_size")]
    #[schemars(regex(pattern = "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"), length(max = 20))]
    pub size: String,
    /// Absent: the default class of the Kubernetes cluster. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "absent_or::<String>", length(max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes when the cluster is deleted.
    #[serde(default)]
    pub when_deleted: WhenDeleted,
    /// How long messages are kept, consumed or not.
    #[serde(default)]
    pub retention: Retention,
}

fn default_storage_size() -> String {
    "10Gi".to_owned()
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            size: default_storage_size(),
            storage_class_name: None,
            when_deleted: WhenDeleted::Retain,
            retention: Retention::default(),
        }
    }
}

/// When old messages are deleted. Nothing else deletes any: a full volume refuses new ones.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Messages older than this are deleted, consumed or not, such as 72h; `Forever` keeps them.
    #[serde(default = "default_retention_time")]
    #[schemars(regex(pattern = "^(Forever|([0-9]{1,9}(ms|s|m|h))+)$"), length(max = 20))]
    pub time: String,
    /// Bytes of log that each broker keeps, such as 15Gi. Beyond them, the oldest messages go that every consumer group
    /// has consumed; those that are not consumed stay for as long as `time` says. Absent: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "absent_or::<String>", regex(pattern = "^[1-9][0-9]{0,9}(Mi|Gi|Ti)$"))]
    pub size: Option<String>,
}

/// The value of `time` with which nothing is too old.
pub const FOREVER: &str = "Forever";

fn default_retention_time() -> String {
    "72h".to_owned()
}

impl Default for Retention {
    fn default() -> Self {
        Self { time: default_retention_time(), size: None }
    }
}
