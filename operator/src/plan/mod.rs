//! From a `BrokerCluster` to the objects that make it up. Pure: what is wrong with a spec is found here, before anything
//! is touched, and the same spec always gives the same objects, whatever version of the operator.

pub mod config_file;
pub mod configuration;
pub mod duration;
pub mod objects;
pub mod retention;
pub mod secrets;
pub mod settings;
pub mod workload;

use std::{collections::BTreeMap, time::Duration};

use mainstay_crds::{BrokerClusterSpec, BrokerGroupSpec, cluster::Mode};
use serde_json::Value;

use retention::Retention;
use settings::Setting;

/// A field that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path of the field, e.g. `spec.replication.ackTimeout`.
    pub field: String,
    pub problem: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Which cluster it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

/// A spec that has been found to be in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub identity: Identity,
    pub spec: BrokerClusterSpec,
    pub groups: u32,
    pub replicas: u32,
    pub mode: Mode,
    pub min_in_sync: Option<u32>,
    pub ack_timeout: Duration,
    pub flush_timeout: Duration,
    pub flush_interval: Duration,
    pub failover_delay: Duration,
    pub retention: Retention,
    pub settings: BTreeMap<String, Setting>,
}

/// Reads a spec out of what the API server has, which may be older than the rules of today.
///
/// # Errors
/// Every field that does not have the right shape.
pub fn read_spec(spec: &Value) -> Result<BrokerClusterSpec, Vec<FieldError>> {
    let error = match serde_json::from_value::<BrokerClusterSpec>(spec.clone()) {
        Ok(spec) => return Ok(spec),
        Err(error) => error,
    };
    let mut errors = Vec::new();
    for (key, value) in spec.as_object().into_iter().flatten() {
        let alone = serde_json::json!({ key: value });
        if let Err(error) = serde_json::from_value::<BrokerClusterSpec>(alone) {
            errors.push(FieldError::new(format!("spec.{key}"), error.to_string()));
        }
    }
    if errors.is_empty() {
        errors.push(FieldError::new("spec", error.to_string()));
    }
    Err(errors)
}

impl Plan {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every field that cannot be accepted.
    pub fn new(identity: Identity, spec: BrokerClusterSpec) -> Result<Plan, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut check = |fine: bool, field: &str, problem: &str| {
            if !fine {
                errors.push(FieldError::new(field, problem));
            }
        };
        check((1..=64).contains(&spec.groups), "spec.groups", "must be between 1 and 64");
        check((1..=9).contains(&spec.replicas), "spec.replicas", "must be between 1 and 9");
        let (mode, replicas) = (spec.mode(), spec.replicas);
        let fits = match mode {
            Mode::None => replicas == 1,
            Mode::Async | Mode::Sync => replicas >= 2,
            Mode::Raft => replicas >= 3 && replicas % 2 == 1,
        };
        check(fits, "spec.replication.mode", &format!("{mode:?} does not go with {replicas} replicas"));
        if let Some(min) = spec.replication.min_in_sync {
            let field = "spec.replication.minInSync";
            check(mode == Mode::Sync, field, "is for mode Sync only");
            check((2..=replicas).contains(&min), field, "must be between 2 and spec.replicas");
        }
        let mut span = |field: &str, text: &str, zero: bool| match duration::parse(text) {
            Some(span) if zero || !span.is_zero() => span,
            _ => {
                errors.push(FieldError::new(
                    field,
                    format!("'{text}' is not a duration such as 500ms, 3s or 1m"),
                ));
                Duration::ZERO
            }
        };
        let ack_timeout = span("spec.replication.ackTimeout", &spec.replication.ack_timeout, false);
        let flush_timeout = span("spec.flush.timeout", &spec.flush.timeout, false);
        let flush_interval = span("spec.flush.interval", &spec.flush.interval, false);
        let failover_delay = span("spec.failover.delay", &spec.failover.delay, true);
        let retention = retention::read(&spec.storage.retention, &mut errors);
        let settings = settings::read(&spec.config, &mut errors);
        if let Some(size) = retention.size
            && size.get() < settings::segment_bytes(&settings)
        {
            let problem = "must not be below spec.config[\"storage.segment_bytes\"] (64MiB by default)";
            errors.push(FieldError::new("spec.storage.retention.size", problem));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Plan {
            groups: spec.groups.unsigned_abs(),
            replicas: spec.replicas.unsigned_abs(),
            mode,
            min_in_sync: spec.min_in_sync().map(i32::unsigned_abs),
            ack_timeout,
            flush_timeout,
            flush_interval,
            failover_delay,
            retention,
            settings,
            identity,
            spec,
        })
    }

    /// The group's own record of what it is.
    pub fn group_spec(&self, group: u32) -> BrokerGroupSpec {
        BrokerGroupSpec {
            cluster: self.identity.name.clone(),
            group: i32::try_from(group).unwrap_or(i32::MAX),
            replicas: self.spec.replicas,
            mode: self.mode,
            min_in_sync: self.spec.min_in_sync(),
            failover_delay: duration::render(self.failover_delay),
        }
    }

    /// What this spec would change about groups that exist and cannot be changed.
    pub fn forbidden_changes(&self, existing: &[BrokerGroupSpec]) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, from: String, to: String| {
            let error = FieldError::new(
                field,
                format!(
                    "cannot be changed from {from} to {to}: groups keep the members and the mode they were created with"
                ),
            );
            if !errors.contains(&error) {
                errors.push(error);
            }
        };
        if existing.len() > self.groups as usize
            || existing.iter().any(|group| group.group >= self.spec.groups)
        {
            refuse("spec.groups", existing.len().to_string(), self.groups.to_string());
        }
        for group in existing {
            if group.replicas != self.spec.replicas {
                refuse("spec.replicas", group.replicas.to_string(), self.spec.replicas.to_string());
            }
            if group.mode != self.mode {
                refuse("spec.replication.mode", format!("{:?}", group.mode), format!("{:?}", self.mode));
            }
            if group.min_in_sync != self.spec.min_in_sync() {
                let text = |min: Option<i32>| min.map_or("none".to_owned(), |min| min.to_string());
                refuse("spec.replication.minInSync", text(group.min_in_sync), text(self.spec.min_in_sync()));
            }
        }
        errors
    }
}
