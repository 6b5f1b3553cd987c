//! Deterministic simulation of whole broker groups: the real consensus core, log, state machine and operator core on a
//! simulated clock, network and disk, with simulated clients, while everything goes wrong that the mode promises to
//! survive.
//!
//! [`run`] takes a seed and gives a [`Verdict`]. The same seed gives the same run, event by event. What must hold is in
//! `oracle` (at every moment), in `world::healing` (after everything is mended) and in the history checker (what clients
//! saw).

mod api;
mod broker;
mod campaign;
mod client;
mod machine;
mod network;
mod operator;
mod oracle;
mod plan;
mod rng;
mod run;
mod time;
mod trace;
mod trial;
mod wire;
mod world;

pub use campaign::{Campaign, Summary};
pub use oracle::{Figures, Violation};
pub use plan::{Bug, Kind};
pub use run::{Setting, Tried, Verdict, run, try_out};
pub use trial::{Account, Blow, FlushType, Loss, Trial};
