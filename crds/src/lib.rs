//! The custom resources of Mainstay, group `mainstay.dev/v1alpha1`, and the YAML generated from them.
//!
//! [`BrokerCluster`] is what people apply; [`BrokerGroup`] is written by the operator, one for each broker group, and is
//! what people look at. The files under `crds/yaml` and in the chart always equal [`yaml_files`]; a test holds that.

mod access;
pub mod cluster;
pub mod condition;
pub mod group;
mod schema;
mod storage;

pub use cluster::{BrokerCluster, BrokerClusterSpec, BrokerClusterStatus};
pub use group::{BrokerGroup, BrokerGroupSpec, BrokerGroupStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of every resource of ours.
pub const GROUP: &str = "mainstay.dev";
/// Version of every resource of ours.
pub const VERSION: &str = "v1alpha1";

/// Every definition, in the order in which they are to be applied.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![BrokerCluster::crd(), BrokerGroup::crd()]
}

/// File name and text of every definition.
///
/// # Errors
/// When a definition cannot be written as YAML, which a test rules out for the definitions at hand.
pub fn yaml_files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    definitions()
        .into_iter()
        .map(|crd| {
            let text = serde_saphyr::to_string(&crd)?;
            let text =
                format!("# Generated from the crate mainstay-crds; do not edit.\n{}\n", text.trim_end());
            Ok((format!("{}.yaml", crd.spec.names.plural), text))
        })
        .collect()
}
