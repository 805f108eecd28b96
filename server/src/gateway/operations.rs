//! Routes for operators and load balancers, about one process, on an address of their own.

use super::stores::Stores;
use crate::{app::App, telemetry};
use axum::{Json, extract::State, http::StatusCode};
use flashsale_protocol::PaymentsBy;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

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

#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether this process should get requests.
    ready: bool,
    /// It is stopping: its sockets are told to move.
    draining: bool,
    /// How orders are paid.
    payments: PaymentsBy,
    #[serde(flatten)]
    stores: Stores,
}

/// Whether the process should get requests.
///
/// It should until it stops. A store that does not answer is told, but all processes share the stores: if that made them unready, a
/// load balancer would take all of them out together, with the sockets and pages that still work.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "operation",
    responses(
        (status = 200, description = "It should.", body = Readiness),
        (status = 503, description = "It stops.", body = Readiness),
    ),
)]
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let draining = app.draining.is_cancelled();
    let status = match draining {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    let readiness = Readiness {
        ready: !draining,
        draining,
        payments: app.shop.payments.by(),
        stores: app.looked.at(&app.shop).await,
    };
    (status, Json(readiness))
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
