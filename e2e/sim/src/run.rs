//! One run: from a seed to a verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::oracle::{Figures, Violation};
use crate::plan::{Bug, Kind, Plan};
use crate::rng::Rng;
use crate::time::Time;
use crate::trial::{Account, Trial};
use crate::world::World;

/// What to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting {
    /// Only groups of this kind.
    pub kind: Option<Kind>,
    /// With this mistake planted.
    pub bug: Option<Bug>,
    /// Print every event.
    pub loud: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct Verdict {
    pub seed: u64,
    /// What the run was made of, for people.
    pub plan: String,
    /// Fingerprint of everything that happened, in order.
    pub trace: u64,
    pub events: u64,
    /// Simulated microseconds.
    pub simulated: Time,
    /// From the last fault until messages were taken again, in microseconds.
    pub writable_after: Time,
    pub figures: Figures,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

/// What a trial came to.
#[derive(Debug)]
pub struct Tried {
    pub verdict: Verdict,
    pub account: Account,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, setting: Setting) -> Verdict {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(setting.kind, setting.bug, &mut rng);
    live(seed, plan, rng, setting.loud).verdict
}

/// Runs one seed of a trial: one fault, and an account of what became of what was acknowledged.
#[must_use]
pub fn try_out(seed: u64, trial: Trial) -> Tried {
    let mut rng = Rng::new(seed);
    let plan = Plan::for_trial(trial, &mut rng);
    live(seed, plan, rng, trial.loud)
}

fn live(seed: u64, plan: Plan, rng: Rng, loud: bool) -> Tried {
    let described = describe(&plan);
    if loud {
        eprintln!("seed {seed}: {described}");
    }
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, rng, loud);
        let ending = world.live();
        (world, ending)
    }));
    let mut verdict = Verdict {
        seed,
        plan: described,
        trace: 0,
        events: 0,
        simulated: 0,
        writable_after: 0,
        figures: Figures::default(),
        violation: None,
    };
    match lived {
        Ok((world, ending)) => {
            let account = world.account;
            verdict = Verdict {
                trace: world.trace.hash(),
                events: world.trace.events(),
                simulated: world.now,
                writable_after: ending.writable_after,
                figures: world.oracle.figures,
                violation: world.oracle.violation,
                ..verdict
            };
            Tried { verdict, account }
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            verdict.violation = Some(Violation { check: "no-panic", what: text.unwrap_or_default() });
            Tried { verdict, account: Account::default() }
        }
    }
}

fn describe(plan: &Plan) -> String {
    let trial = plan.trial.map(|trial| format!("{:?}, ", trial.blow)).unwrap_or_default();
    format!(
        "{trial}{:?} of {} (W={}), flush {:?}, segments of {} KiB, snapshots every {} KiB, {:?}, {:?}, topics {:?}, {} attempts, fdatasync up to {} ms, {} operators, faults {:?}",
        plan.kind,
        plan.members(),
        plan.membership.write_quorum(),
        plan.flush,
        plan.segment_bytes / 1024,
        plan.snapshot_every / 1024,
        plan.retention,
        plan.network,
        plan.topics,
        plan.max_attempts,
        plan.sync_time / 1000,
        plan.operators,
        plan.faults,
    )
}
