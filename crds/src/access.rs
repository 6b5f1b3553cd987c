//! Who reaches the client port: `spec.tls` and `spec.auth`. Both name Secrets; nothing secret is ever written in a
//! `BrokerCluster`.

// KubeSchema repeats the types inside functions, where `pub` reaches nobody.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema::absent_or;

/// Text that the name of a Secret matches, in CEL.
macro_rules! secret_name {
    ($field:literal) => {
        concat!($field, ".matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
    };
}

/// Certificate for clients.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(secret_name!("self.secretName"))
        .message("tls.secretName must be the name of a Secret in the same namespace")
)]
pub struct Tls {
    /// A Secret of type kubernetes.io/tls in the same namespace: `tls.crt`, the chain, and `tls.key`. When it changes, new
    /// connections get the new certificate, without a restart.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// Whether clients need credentials.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Every call of a client must be signed by a user, and is refused unless that user may make it. Changing this restarts
    /// the brokers one by one.
    #[serde(default)]
    pub enabled: bool,
    /// The user that may do everything and is there from the first start on.
    #[serde(default)]
    pub administrator: Administrator,
}

/// Where the administrator's credentials are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(concat!("!has(self.secretName) || ", secret_name!("self.secretName")))
        .message("auth.administrator.secretName must be the name of a Secret in the same namespace")
)]
pub struct Administrator {
    /// A Secret of type kubernetes.io/basic-auth in the same namespace: `username`, the access key, and `password`, the
    /// secret key of 8 to 256 printable characters. When it changes, the brokers take the new credentials, without a
    /// restart. Absent: the operator makes one with the cluster's name and `-admin`, and never changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "absent_or::<String>", length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}
