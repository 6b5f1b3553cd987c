//! The state machine through its public face only: behaviour by behaviour, and random histories against a naive model.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod acknowledging;
mod clock;
mod codec;
mod dead_letters;
mod fifo;
mod following;
mod history;
mod judging;
mod kinds;
mod kinds_model;
mod life;
mod log;
mod metadata;
mod model;
mod pending;
mod receiving;
mod restoring;
mod salvage;
mod snapshot;
mod speed;
mod sql;
mod trimming;
mod users;
mod waiting;
