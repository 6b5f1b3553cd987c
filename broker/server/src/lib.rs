//! The broker: services, replication transport, configuration and what ties them together.
//!
//! - [`config`]: what a broker is told before it starts.
//! - [`group`]: the driver of this broker's group; everything that changes goes through its [`group::GroupHandle`].
//! - [`cluster`]: the other brokers, for what has to be forwarded.
//! - [`client_api`], [`listen`]: what clients see on port 8081; `forward` takes their calls to the right leader.
//! - `admin`: topics, consumer groups and a look at messages, on port 8082; and how other groups follow metadata.
//! - `replication`, `control`, `membership`: what replicas, the operator and the command line see on port 8082.
//! - `http`: probes and metrics on port 8080. `spans`: what tracing shows of a message's path.

mod admin;
mod broker;
pub mod client_api;
pub mod cluster;
pub mod config;
mod control;
mod followed_files;
mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod group;
mod http;
mod internal;
pub mod listen;
mod membership;
mod metrics;
mod replication;
mod spans;

pub use broker::{Addresses, Broker, BrokerError, Ports};
pub use spans::TARGET as SPAN_TARGET;
