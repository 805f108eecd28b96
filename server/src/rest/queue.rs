//! The waiting line, over REST.

use super::{Bearer, Json, Problem, SalePath, field, rfc3339};
use crate::{app::App, command};
use axum::{extract::State, http::HeaderMap};
use flashsale_protocol::{Command, DeviceId, Done, Entry, EntryState, Quantity, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinBody {
    user_id: ShopperId,
    #[serde(default)]
    device_id: Option<DeviceId>,
    #[serde(default)]
    quantity: Quantity,
}

#[derive(Debug, Serialize)]
pub struct JoinedView {
    queue_token: String,
    position: u64,
    status: EntryState,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_until: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct PositionView {
    position: u64,
    /// Estimated from the measured pace; null while nothing moves.
    wait_time_seconds: Option<u64>,
    /// When the turn is expected to come; null while nothing moves.
    estimated_start_time: Option<String>,
    status: EntryState,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_until: Option<String>,
}

/// `POST /flash-sales/{sale_id}/join-queue`
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

/// `GET /flash-sales/{sale_id}/queue-position`, with the queue token in `Queue-Token` if there is one.
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
