//! Two operators, one active: a `coordination.k8s.io` Lease held by compare-and-swap. Who loses it stops acting at once and
//! leaves the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use tracing::{info, warn};

use super::Clock;
use crate::candidacy::{Candidate, Seen, Step, Timing};

/// Until when this process may act. Cheap to ask before every act.
#[derive(Clone, Debug)]
pub struct Tenure {
    until_millis: Arc<AtomicU64>,
    looked_millis: Arc<AtomicU64>,
    clock: Clock,
}

impl Tenure {
    pub fn new(clock: Clock) -> Self {
        Self { until_millis: Arc::default(), looked_millis: Arc::default(), clock }
    }

    /// Whether this process may act now.
    pub fn holds(&self) -> bool {
        self.now() < self.until_millis.load(Ordering::Acquire)
    }

    /// When the lease was last looked at, whatever came of it: a process that does not even look is stuck.
    pub fn looked_ago(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.looked_millis.load(Ordering::Acquire)))
    }

    /// Acts until told otherwise: for tests and for a single operator without a lease.
    pub fn forever(&self) {
        self.until_millis.store(u64::MAX, Ordering::Release);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().0.as_millis()).unwrap_or(u64::MAX)
    }

    fn set(&self, from_millis: u64, duration: Duration) {
        let until = from_millis.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.until_millis.store(until, Ordering::Release);
    }

    fn end(&self) {
        self.until_millis.store(0, Ordering::Release);
    }
}

/// Holds or waits for the lease.
pub struct Leadership {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    candidate: Candidate,
    tenure: Tenure,
}

impl std::fmt::Debug for Leadership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leadership")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Leadership {
    pub fn new(api: Api<Lease>, name: String, identity: String, timing: Timing, tenure: Tenure) -> Self {
        let candidate = Candidate::new(identity.clone());
        Self { api, name, identity, timing, candidate, tenure }
    }

    /// Waits until the lease is ours.
    pub async fn acquire(&mut self) {
        while !self.round().await {
            tokio::time::sleep(self.timing.retry).await;
        }
        info!(lease = self.name, identity = self.identity, "this operator is the active one");
    }

    /// Renews the lease; returns when it is lost, at the latest when it could not be renewed in time.
    pub async fn keep(&mut self) {
        loop {
            tokio::time::sleep(self.timing.retry).await;
            if !self.round().await && !self.tenure.holds() {
                return;
            }
        }
    }

    /// Gives the lease up so that another can take it at once.
    pub async fn release(&mut self) {
        self.tenure.end();
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return;
        }
        spec.holder_identity = Some(String::new());
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            warn!(%error, "the lease could not be released");
        }
    }

    /// One look and, if called for, one write; true while the lease is ours.
    async fn round(&mut self) -> bool {
        let before = self.tenure.now();
        self.tenure.looked_millis.store(before, Ordering::Release);
        let limit = self.timing.retry * 2;
        let Ok(looked) = tokio::time::timeout(limit, self.look()).await else {
            warn!("the lease could not be read or written in time");
            return false;
        };
        match looked {
            Ok(true) => {
                self.tenure.set(before, self.timing.renew_within);
                true
            }
            Ok(false) => {
                self.tenure.end();
                false
            }
            Err(error) => {
                warn!(%error, "the lease could not be read or written");
                false
            }
        }
    }

    async fn look(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let seen = lease.as_ref().map(|lease| Seen {
            holder: lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
            duration: lease
                .spec
                .as_ref()
                .and_then(|spec| spec.lease_duration_seconds)
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(self.timing.duration, Duration::from_secs),
        });
        let step = self.candidate.look(seen.as_ref(), self.tenure.clock.now());
        if step == Step::Wait {
            return Ok(false);
        }
        let wanted = self.written(lease, step);
        let written = if wanted.metadata.resource_version.is_some() {
            self.api.replace(&self.name, &PostParams::default(), &wanted).await
        } else {
            self.api.create(&PostParams::default(), &wanted).await
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn written(&self, lease: Option<Lease>, step: Step) -> Lease {
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if step == Step::Take {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        lease
    }
}
