//! The configuration of a group's brokers, in a ConfigMap that is named by its content and never changes: a container that
//! restarts in an old pod finds what its pod was made for, mounts and all, whatever has been asked for since.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Plan, config_file,
    objects::{Kind, Object},
    workload::Existing,
};
use crate::names;

/// What pods are to be made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Of the ConfigMap.
    pub name: String,
    pub digest: String,
    text: String,
}

impl Configuration {
    /// The configuration of `group`. `domain` is the DNS domain of the Kubernetes cluster. A name that pods are made with
    /// already stays while its content is the wanted one, however it came by that name: another name is another pod.
    ///
    /// # Errors
    /// When the configuration file cannot be written.
    pub fn new(plan: &Plan, group: u32, domain: &str, existing: &Existing) -> Result<Self, toml::ser::Error> {
        let cluster = &plan.identity.name;
        let text = config_file::render(plan, group, domain)?;
        let digest = digest(&text);
        let kept = existing.config_map.clone().filter(|name| {
            existing.digest.as_ref() == Some(&digest) && names::is_config(cluster, group, name)
        });
        let name = kept.unwrap_or_else(|| names::config(cluster, group, &digest));
        Ok(Self { name, digest, text })
    }

    /// The ConfigMap to apply.
    pub fn object(&self, plan: &Plan, group: u32) -> Object {
        let labels = names::group_labels(&plan.identity.name, group);
        let mut rest = json!({ "data": { "broker.toml": self.text } });
        // Clusters of before have one whose name says nothing about its content.
        if self.name.ends_with(&self.digest) {
            rest["immutable"] = json!(true);
        }
        Object::new(plan, Kind::ConfigMap, self.name.clone(), labels, rest)
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an object like this, whose name and labels these are, is the configuration of one of the cluster's groups.
pub fn is_of(cluster: &str, name: &str, group_label: Option<&str>) -> bool {
    let group = group_label.and_then(|label| label.parse().ok());
    group.is_some_and(|group| names::is_config(cluster, group, name))
}

/// Whether the name occurs anywhere in what a pod is, or is made from. Rather too often than once too few.
pub fn mentions(user: &Value, name: &str) -> bool {
    match user {
        Value::String(text) => text == name,
        Value::Array(values) => values.iter().any(|value| mentions(value, name)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, name)),
        _ => false,
    }
}
