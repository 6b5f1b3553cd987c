//! The Mainstay operator: a pure core that decides, and a thin shell that looks and acts.
//!
//! - [`decide`]: what to do about a broker group, from plain data.
//! - [`candidacy`]: which of several operators may act.
//! - `plan`: what a `BrokerCluster` consists of, from its spec.
//! - `shell`: everything that talks to Kubernetes and to brokers.
//!
//! Without the feature `shell` only the pure part is there, which is all that a simulator needs.

pub mod candidacy;
pub mod decide;
#[cfg(feature = "shell")]
pub mod names;
#[cfg(feature = "shell")]
pub mod plan;
#[cfg(feature = "shell")]
pub mod shell;
