//! The scenarios, one file each, and what they share.

mod async_promotion;
mod bad_specs;
mod leader_killed;
mod operator_down;
mod several_groups;
mod sync_leader_cut_off;
mod two_operators;
mod volume_lost;

use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_checker::Report;

use crate::traffic::Failover;
use crate::world::World;

/// Rolling out a cluster on machines that are busy with other tests.
const ROLLOUT: Duration = Duration::from_secs(120);

/// Something that fails, and what must hold all the same.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub(crate) run: fn(&World) -> Result<()>,
}

impl Scenario {
    /// Namespace that the scenario deploys to.
    pub(crate) fn namespace(&self) -> String {
        namespace(self.name)
    }
}

fn namespace(name: &str) -> String {
    format!("e2e-{}", name.replace('_', "-"))
}

/// All scenarios in the order they run in.
#[must_use]
pub fn all() -> &'static [Scenario] {
    &[
        leader_killed::RAFT,
        leader_killed::SYNC,
        sync_leader_cut_off::SCENARIO,
        async_promotion::POD_DELETED,
        async_promotion::TAIL_UNSHIPPED,
        operator_down::SCENARIO,
        several_groups::SCENARIO,
        bad_specs::SCENARIO,
        two_operators::SCENARIO,
        volume_lost::RAFT,
        volume_lost::SYNC_PAIR,
    ]
}

/// A `BrokerCluster` manifest; `spec` is YAML at its indentation.
fn manifest(spec: &str) -> String {
    format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: orders}}\nspec:\n{spec}"
    )
}

/// The verdict must be clean, and about enough messages to mean something.
fn ensure_clean(report: &Report, at_least: u64) -> Result<()> {
    println!("{report}");
    ensure!(report.passed(), "the history is not clean:\n{report}");
    ensure!(
        report.acknowledged >= at_least,
        "only {} sends were acknowledged, {at_least} were expected",
        report.acknowledged
    );
    Ok(())
}

/// The failure must not have lasted longer than `limit` for a client.
fn ensure_quick(failover: &Failover, limit: Duration) -> Result<Duration> {
    let took = failover.first_acknowledged.unwrap_or(Duration::MAX);
    println!(
        "    first new acknowledgement {:.2} s after the failure, longest pause {:.2} s",
        took.as_secs_f64(),
        failover.longest_pause.unwrap_or_default().as_secs_f64()
    );
    ensure!(took <= limit, "the first new acknowledgement came after {took:?}, the limit is {limit:?}");
    Ok(took)
}
