//! Routes for operators and load balancers, about one process.

use crate::{app::App, telemetry};
use axum::{extract::State, http::StatusCode};
use std::sync::Arc;

/// Whether the process runs.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "alive",
    tag = "operation",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")),
)]
pub async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the process should get requests.
///
/// It should if both stores answer and the server is not stopping; also while Postgres takes no changes, because reading goes on
/// then. The text says so.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "operation",
    responses(
        (status = 200, description = "It should.", body = String, content_type = "text/plain"),
        (status = 503, description = "It should not; the text says why.", body = String, content_type = "text/plain"),
    ),
)]
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if app.shop.stock.ping().await.is_err() {
        (StatusCode::SERVICE_UNAVAILABLE, "redis does not answer\n")
    } else if app.shop.store.ping().await.is_err() {
        (StatusCode::SERVICE_UNAVAILABLE, "postgres does not answer\n")
    } else if app.shop.store.is_read_only() {
        (StatusCode::OK, "ready; postgres is read-only, purchases wait\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// The process's metrics, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operation",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
pub async fn metrics() -> String {
    telemetry::metrics_text()
}
