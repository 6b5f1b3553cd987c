//! The thin shell: looks at Kubernetes and at brokers, asks the pure core, acts, looks again.

pub mod agent;
pub mod apply;
pub mod broker;
pub mod cluster;
pub mod cluster_status;
pub mod configurations;
pub mod events;
pub mod execute;
pub mod leadership;
pub mod metrics;
pub mod observe;
pub mod pods;
pub mod secrets;
pub mod supervisor;
pub mod web;

use std::{sync::Arc, time::Instant};

use kube::Client;

use crate::decide::observed::Moment;
use leadership::Tenure;
use metrics::Metrics;

/// What every part of the shell needs.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    /// Whether this process is the one that may act.
    pub tenure: Tenure,
    pub metrics: Arc<Metrics>,
    pub settings: Arc<Settings>,
    pub clock: Clock,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the operator was started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of brokers whose cluster names none.
    pub broker_image: String,
    /// DNS domain of the Kubernetes cluster.
    pub domain: String,
    /// Name of this process in events and leases.
    pub identity: String,
    /// Port of the brokers' control service.
    pub control_port: u16,
}

/// Monotonic time since the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Moment {
        Moment(self.0.elapsed())
    }
}
