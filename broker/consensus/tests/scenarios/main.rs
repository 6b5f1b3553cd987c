//! Single situations, step by step: what a chaotic run would show only by chance, or not name.

// A test helper that cannot go on should fail the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adoption;
mod elections;
mod handover;
mod membership;
mod orders;
mod replication;
mod rig;
mod snapshots;
mod standing;
