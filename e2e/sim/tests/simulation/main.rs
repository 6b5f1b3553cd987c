//! Fresh seeds in every run, every seed that once failed, determinism, and planted mistakes that must be caught.
//!
//! `MAINSTAY_SEEDS` says how many fresh seeds, `MAINSTAY_BASE` which one is the first. One seed event by event:
//! `MAINSTAY_SEED=<seed> cargo run -p mainstay-sim`.

// A test that cannot go on should fail.
#![allow(clippy::unwrap_used)]

mod planted;
mod seeds;
