//! The Mainstay operator: a pure core that decides, and a thin shell that looks and acts.
//!
//! - [`decide`]: what to do about a broker group, from plain data.
//! - [`plan`]: what a `BrokerCluster` consists of, from its spec.
//! - [`shell`]: everything that talks to Kubernetes and to brokers.

pub mod decide;
pub mod names;
pub mod plan;
pub mod shell;
