//! End-to-end scenarios: the real operator and brokers on a real Kubernetes, official clients in flight, the history
//! checker on, and something that fails in the middle.
//!
//! [`World`] is what all scenarios share (cluster, images, chart); a [`Deployment`] is one `BrokerCluster` in a
//! namespace of its own; [`Traffic`] is the official clients that send to it and receive from it. A scenario passes
//! when its history is clean and what it claims was seen, never because nothing was looked at.

mod deployment;
mod runner;
mod scenarios;
mod sigkill;
mod traffic;
mod world;

pub use deployment::{Credentials, Deployment, Leader};
pub use runner::{Outcome, run};
pub use scenarios::{Scenario, all};
pub use traffic::{Failover, Traffic, TrafficOptions};
pub use world::World;
