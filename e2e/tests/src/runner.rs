//! Runs scenarios one after the other, tells how each went, and keeps what explains a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::scenarios::Scenario;
use crate::world::World;

/// How one scenario went.
#[derive(Debug)]
pub struct Outcome {
    pub name: &'static str,
    pub took: Duration,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
}

/// Runs each scenario `repeat` times. A failure does not stop the others: its namespace is taken away first.
pub fn run(world: &World, scenarios: &[Scenario], repeat: u32) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        for round in 1..=repeat {
            eprintln!("\n=== {}: {} (round {round} of {repeat})", scenario.name, scenario.what);
            outcomes.push(run_one(world, scenario));
        }
    }
    outcomes
}

fn run_one(world: &World, scenario: &Scenario) -> Outcome {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (scenario.run)(world)));
    let failure = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("panicked".to_owned()),
    };
    let took = started.elapsed();
    match &failure {
        None => println!("test scenario {} ... ok ({:.0} s)", scenario.name, took.as_secs_f64()),
        Some(why) => {
            println!("test scenario {} ... FAILED ({:.0} s)\n    {why}", scenario.name, took.as_secs_f64());
            world.cluster().diagnose(&world.results().join(format!("failed-{}", scenario.name)));
            clean_up(world, scenario);
        }
    }
    Outcome { name: scenario.name, took, failure }
}

/// Puts the world back as the next scenario expects it, whatever state the failed one left.
fn clean_up(world: &World, scenario: &Scenario) {
    let cluster = world.cluster();
    for node in cluster.nodes() {
        let _ = cluster.heal(node);
    }
    let _ = world.scale_operator(2);
    let namespace = scenario.namespace();
    let _ = cluster.kubectl(&["delete", "namespace", &namespace, "--ignore-not-found", "--timeout=120s"]);
    if let Err(error) = cluster.recycle_volumes() {
        eprintln!("cannot recycle volumes: {error:#}");
    }
}
