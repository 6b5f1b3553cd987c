//! The state machine through its public face only: behaviour by behaviour, and random histories against a naive model.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod acknowledging;
mod codec;
mod history;
mod log;
mod metadata;
mod model;
mod receiving;
mod salvage;
mod snapshot;
mod speed;
mod sql;
mod trimming;
mod waiting;
