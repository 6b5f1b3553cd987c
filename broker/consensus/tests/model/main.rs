//! A model checker that runs the consensus core itself: every order of events that a scope allows, from a given state
//! on, with every property checked in every state.
//!
//! A scope fixes the mode, the number of replicas and how much may go wrong: how many crashes, duplicated messages,
//! cut links, orders, how often time passes. Messages of a *slow* link are delivered in any order, late, or never;
//! those of a *prompt* one at once. Likewise a slow disk reports at any time or loses what it was given at a crash.
//! Time is not counted, it jumps from one moment at which a condition of some core turns to the next, and a node may
//! notice it late. States are compared by `mainstay_consensus::Portrait`.
//!
//! `MAINSTAY_MODEL_SECONDS=600 cargo test -p mainstay-consensus --test model <scope> -- --nocapture` goes on beyond
//! the limits of a test run until the time is up or nothing is left; `MAINSTAY_MODEL_DEPTH=20` changes the depth.

// A test helper that cannot go on should fail the test.
#![allow(clippy::unwrap_used)]

mod canon;
mod checks;
mod driver;
mod explore;
mod moves;
mod node;
mod operator;
mod planted;
mod recovery;
mod scope;
mod scopes;
mod starts;
mod trace;
mod world;
