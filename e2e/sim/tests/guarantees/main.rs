//! What each mode promises, as tests: one for each cell of the table in `docs/guarantees.md`, which is written from the
//! same table.
//!
//! `UPDATE_GUARANTEES=1 cargo test -p mainstay-sim --test guarantees` writes the document. `MAINSTAY_SEED=n` tries that
//! seed alone.

// A test that cannot go on should fail.
#![allow(clippy::unwrap_used)]

mod broken;
mod cells;
mod document;
mod prove;
mod table;
