//! The broker: services, replication transport, configuration and what ties them together.
//!
//! - [`config`]: what a broker is told before it starts.
//! - [`group`]: the driver of this broker's group; everything that changes goes through its [`group::GroupHandle`].
//! - [`cluster`]: the other brokers, for what has to be forwarded.
//! - `client_api`, `listen`: what clients see on port 8081.
//! - `replication`, `control`: what replicas, the operator and the command line see on port 8082.
//! - `http`: probes and metrics on port 8080.

pub mod cluster;
pub mod config;
pub mod group;
mod metrics;
mod replication;
