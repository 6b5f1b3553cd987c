//! Probes and metrics of the operator itself.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use super::{leadership::Tenure, metrics::Metrics};

/// A process that has not looked at its lease for so long does nothing else either.
const STUCK: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    tenure: Tenure,
}

/// Serves `/livez`, `/readyz` and `/metrics` until the process ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, tenure: Tenure) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(alive))
        .route("/metrics", get(render))
        .with_state(Shared { metrics, tenure });
    axum::serve(listener, router).await
}

async fn alive(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.tenure.looked_ago() < STUCK {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the lease has not been looked at for a minute\n")
    }
}

async fn render(State(shared): State<Shared>) -> String {
    shared.metrics.active.set(i64::from(shared.tenure.holds()));
    shared.metrics.render()
}
