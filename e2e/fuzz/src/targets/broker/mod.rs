//! What a whole broker is asked over its ports: by clients, by people and the operator, by other replicas.

mod client_api;
mod internal;
mod requests;
mod rig;

pub(super) use client_api::{client_api, client_api_seeds, telemetry, telemetry_seeds};
pub(super) use internal::{internal, internal_seeds};
