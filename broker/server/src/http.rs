//! The port for probes and Prometheus.
//!
//! Live means that nothing has stopped this broker for good, the driver turns and the log's writer gets on with its work. Ready means that a client call that
//! arrives here can be answered: by this broker as the leader, or by the leader that it reaches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::group::{GroupHandle, Role};
use crate::metrics::GroupMetrics;
use crate::replication::Outbox;

/// A driver or a disk that has not moved for this long is taken for dead.
const STUCK: Duration = Duration::from_secs(30);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What probes look at.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) group: GroupHandle,
    pub(crate) metrics: Arc<GroupMetrics>,
    pub(crate) outbox: Outbox,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stopping: Arc<AtomicBool>,
    /// Why this broker cannot go on.
    pub(crate) fatal: watch::Receiver<Option<Arc<str>>>,
}

impl Health {
    fn dead(&self) -> Option<String> {
        if let Some(reason) = &*self.fatal.borrow() {
            return Some(reason.to_string());
        }
        let since_turn = self.metrics.since_turn();
        if since_turn > STUCK {
            return Some(format!("the group's driver has not turned for {} s", since_turn.as_secs()));
        }
        let busy = self.group.log_metrics().busy_for.unwrap_or_default();
        (busy > STUCK)
            .then(|| format!("the log's writer has been waiting for the disk for {} s", busy.as_secs()))
    }

    fn unready(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("shutting down".to_owned());
        }
        let view = self.group.view();
        if view.is_leader() {
            return None;
        }
        if view.role == Role::Learner {
            // It may know nothing yet of topics and consumer groups.
            return Some("is no voter of its group".to_owned());
        }
        match &view.leader {
            Some(leader) if leader.node == view.node => Some("leads, but has not caught up yet".to_owned()),
            Some(leader) if self.outbox.is_connected(leader.node) => None,
            Some(leader) => Some(format!("the leader {} cannot be reached", leader.node)),
            None if view.problem.is_empty() => Some("no leader is known".to_owned()),
            None => Some(view.problem),
        }
    }
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn verdict(problem: Option<String>) -> Response {
    match problem {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

async fn livez(State(health): State<Health>) -> Response {
    verdict(health.dead())
}

async fn readyz(State(health): State<Health>) -> Response {
    verdict(health.unready())
}

async fn metrics(State(health): State<Health>) -> Response {
    if let Some(status) = health.group.status().await
        && let Some(view) = status.consensus
    {
        health.metrics.followers(&view);
    }
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &health.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
