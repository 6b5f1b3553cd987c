//! Whole groups in a hostile world: a lossy, duplicating, reordering network that is cut in both or one direction,
//! crashes that forget what was not durable, slow disks, clocks of different rates, and operators that are late, repeat
//! themselves and contradict each other. Every run is made from its seed; a failure prints it, and
//! `MAINSTAY_SEED=<seed> cargo test -p mainstay-consensus --test simulation <test>` shows that run step by step.

// A test helper that cannot go on should fail the test.
#![allow(clippy::unwrap_used)]

mod changes;
mod checks;
mod faults;
mod network;
mod node;
mod operator;
mod plan;
mod rng;
mod runs;
mod snapshots;
mod world;
