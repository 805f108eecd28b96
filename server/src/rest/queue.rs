//! The waiting line, over REST.

use super::{Bearer, IdempotencyKey, Json, Problem, SalePath, field, rfc3339};
use crate::{app::App, command};
use axum::{extract::State, http::HeaderMap};
use flashsale_protocol::{Command, DeviceId, Done, Entry, EntryState, Quantity, SaleId, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinBody {
    user_id: ShopperId,
    #[serde(default)]
    device_id: Option<DeviceId>,
    #[serde(default)]
    quantity: Quantity,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct JoinedView {
    /// A signed proof of the place, for `Queue-Token`.
    queue_token: String,
    /// 1 is next; 0 where it is this shopper's turn already.
    position: u64,
    status: EntryState,
    /// When the turn ends, if it is this shopper's turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    claim_until: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PositionView {
    position: u64,
    /// Estimated from the measured pace; null while nothing moves.
    wait_time_seconds: Option<u64>,
    /// When the turn is expected to come; null while nothing moves.
    #[schema(format = DateTime)]
    estimated_start_time: Option<String>,
    status: EntryState,
    /// When the turn ends, if it is this shopper's turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    claim_until: Option<String>,
}

/// Take a place in line.
///
/// Again by the same shopper: the same place.
#[utoipa::path(
    post,
    path = "/flash-sales/{sale_id}/join-queue",
    operation_id = "joinQueue",
    tag = "line",
    params(("sale_id" = SaleId, Path), IdempotencyKey),
    responses((status = 200, description = "The place.", body = JoinedView)),
    security(("token" = [])),
)]
pub async fn join(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    bearer: Bearer,
    headers: HeaderMap,
    Json(body): Json<JoinBody>,
) -> Result<axum::Json<JoinedView>, Problem> {
    let mut caller = bearer.acting_for(body.user_id.as_str())?;
    match (&caller.device, body.device_id) {
        (Some(bound), Some(named)) if *bound != named => {
            return Err(flashsale_protocol::Code::DeviceMismatch.into());
        }
        (None, named) => caller.device = named,
        _ => {}
    }
    let done = super::run(
        &app,
        &caller,
        &headers,
        Command::Join {
            sale,
            quantity: body.quantity,
        },
    )
    .await?;
    let Done::Joined { entry, queue_token } = done else {
        return Err(unexpected());
    };
    Ok(axum::Json(JoinedView {
        queue_token,
        position: entry.position,
        status: entry.state,
        claim_until: entry.claim_until.map(rfc3339),
    }))
}

/// Where one stands in line.
#[utoipa::path(
    get,
    path = "/flash-sales/{sale_id}/queue-position",
    operation_id = "queuePosition",
    tag = "line",
    params(
        ("sale_id" = SaleId, Path),
        ("Queue-Token" = Option<String>, Header, description = "The proof of place that join-queue gave; checked if sent."),
    ),
    responses((status = 200, description = "The place.", body = PositionView)),
    security(("token" = [])),
)]
pub async fn position(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    Bearer(caller): Bearer,
    headers: HeaderMap,
) -> Result<axum::Json<PositionView>, Problem> {
    let sale = app.sale(sale).await?;
    if let Some(token) = headers.get("queue-token") {
        let token = token
            .to_str()
            .map_err(|_| field("Queue-Token", "is not readable"))?;
        app.authority.check_queue_token(token, sale.id, &caller.shopper)?;
    }
    let state = command::sale_state(&app, &caller, &sale).await?;
    let Some(entry) = state.entry.filter(|entry| entry.state != EntryState::Lapsed) else {
        return Err(flashsale_protocol::Code::NotInLine.into());
    };
    let wait = wait_seconds(&entry, state.tick.pace);
    let starts_in = state.tick.starts_at.saturating_sub(state.tick.now);
    Ok(axum::Json(PositionView {
        position: entry.position,
        wait_time_seconds: wait.map(|s| s + starts_in / 1000),
        estimated_start_time: wait.map(|s| rfc3339(state.tick.now + starts_in + s * 1000)),
        status: entry.state,
        claim_until: entry.claim_until.map(rfc3339),
    }))
}

fn wait_seconds(entry: &Entry, pace: f64) -> Option<u64> {
    match entry.state {
        EntryState::Waiting if pace > 0.0 => Some((entry.position as f64 / pace).ceil() as u64),
        EntryState::Waiting => None,
        _ => Some(0),
    }
}

fn unexpected() -> Problem {
    crate::error::Error::unexpected("a command has answered for another").into()
}
