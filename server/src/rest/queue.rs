//! The waiting line, over REST.

use super::{Bearer, IdempotencyKey, Json, Problem, SalePath, field, once, rfc3339};
use crate::{app::App, gateway::client::ClientAddress};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use flashsale_engine::{
    caller::Caller,
    command,
    merchants::public_part,
    sale::Sale,
    stock::{At, RecordState},
};
use flashsale_protocol::{
    Code, DeviceId, Done, Entry, EntryState, Nonce, Quantity, Reason, SaleId, ShopCommand,
    wait::{self, Wait},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinBody {
    /// The token's subject, or the id that the session has here.
    #[schema(min_length = 1, max_length = 255)]
    user_id: String,
    #[serde(default)]
    device_id: Option<DeviceId>,
    #[serde(default)]
    quantity: Quantity,
    /// 128 random bits that the shopper's client made before its first join of the sale; they go into the shopper's name in its
    /// draw. A sale that is drawn without a beacon needs them.
    #[serde(default)]
    nonce: Option<Nonce>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct JoinedView {
    /// A signed proof of the place, for `Queue-Token`.
    queue_token: String,
    /// 1 is next; 0 if it is this shopper's turn already.
    position: u64,
    status: EntryState,
    /// The end of the turn, if it is this shopper's turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    claim_until: Option<String>,
    /// The nonce in the shopper's name in a draw: the first one while the place stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<Nonce>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PositionView {
    /// 1 is next; 0 if it is this shopper's turn already, and while places are not drawn yet.
    position: u64,
    /// The longest expected wait, from the measured pace; null while nothing moves, or if the sale ends before.
    wait_time_seconds: Option<u64>,
    /// The shortest expected wait.
    wait_time_seconds_least: Option<u64>,
    /// The chance to get a unit, at the turn or in the draw of the remaining units, 0 to 1; null if it is not known yet.
    chance: Option<f64>,
    /// The reason why it takes longer than before, or comes to a draw; of a turn or an end, why it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// Units that others have set aside or in carts.
    units_in_carts: u64,
    /// The latest time at which the next of them comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    next_lapse_time: Option<String>,
    /// In the priority line: `position` is the place in that line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    priority: bool,
    /// The expected time of the turn; null while nothing moves.
    #[schema(format = DateTime)]
    estimated_start_time: Option<String>,
    status: EntryState,
    /// The end of the turn, if it is this shopper's turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    claim_until: Option<String>,
    /// The turn has had its extension.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    extended: bool,
}

/// Take a place in line.
///
/// The same shopper joining again keeps the same place. Ask for `queue-position` at least once a minute, or hold a socket: whoever does
/// neither is absent, and their turn waits until they ask again.
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
    ClientAddress(address): ClientAddress,
    bearer: Bearer,
    headers: HeaderMap,
    Json(body): Json<JoinBody>,
) -> Result<axum::Json<JoinedView>, Problem> {
    let mut caller = bearer.acting_for(&body.user_id)?;
    match (&caller.device, body.device_id) {
        (Some(bound), Some(named)) if public_part(bound) != public_part(&named) => {
            return Err(Code::DeviceMismatch.into());
        }
        (None, Some(named)) => {
            let shown = app.authority.devices.check(named.as_str());
            caller.device_is_proven = shown.is_some();
            caller.device = Some(named);
        }
        _ => {}
    }
    app.throttle.allow_join(address).map_err(Problem)?;
    let join = ShopCommand::Join {
        sale,
        quantity: body.quantity,
        nonce: body.nonce,
    };
    let done = super::run(&app, &caller, &headers, join)
        .await
        .inspect_err(|_| app.throttle.give_join_back(address))?;
    let Done::Joined { entry, queue_token } = done else {
        return Err(unexpected());
    };
    if entry.state == EntryState::Waiting {
        let caller = app.shop.meet(&caller, &*app.shop.sale(sale).await?).await?;
        app.polling.note(&caller, sale);
    }
    Ok(axum::Json(JoinedView {
        queue_token,
        position: entry.position,
        status: entry.state,
        claim_until: entry.claim_until.map(rfc3339),
        nonce: entry.nonce,
    }))
}

/// The place in line.
///
/// Or what happened to it: `served`, `lapsed`, `left`, `removed`.
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
    let sale = app.shop.sale(sale).await?;
    let caller = app.shop.meet(&caller, &sale).await?;
    if let Some(token) = once(&headers, "Queue-Token")? {
        let token = token
            .to_str()
            .map_err(|_| field("Queue-Token", "is not readable"))?;
        app.shop.seal.check_queue_token(token, sale.id, &caller.shopper)?;
    }
    let state = command::sale_state(&app.shop, &caller, &sale).await?;
    let entry = match state.entry {
        Some(entry) => entry,
        None => outcome(&app, &sale, &caller).await?.ok_or(Code::NotInLine)?,
    };
    if entry.state == EntryState::Waiting {
        app.polling.note(&caller, sale.id);
    }
    let tick = &state.tick;
    let starts_in_ms = tick.starts_at.saturating_sub(tick.now);
    let wait = wait::of(&entry, tick);
    let turn_is_here = matches!(entry.state, EntryState::Admitted | EntryState::Served);
    let seconds = |ms: fn(&Wait) -> Option<u64>| match &wait {
        _ if turn_is_here => Some(0),
        Some(wait) => ms(wait).map(|ms| (ms + starts_in_ms).div_ceil(1000)),
        None => None,
    };
    let latest = seconds(|wait| wait.latest_ms);
    Ok(axum::Json(PositionView {
        position: wait.map_or(0, |wait| wait.position),
        wait_time_seconds: latest,
        wait_time_seconds_least: seconds(|wait| wait.soonest_ms),
        chance: wait.map(|wait| wait.chance),
        reason: wait.and_then(|wait| wait.reason).or(entry.reason),
        units_in_carts: tick.claimed + tick.held + tick.ordering,
        next_lapse_time: tick.next_lapse_at.map(rfc3339),
        priority: entry.priority,
        estimated_start_time: latest.map(|s| rfc3339(tick.now + s * 1000)),
        status: entry.state,
        claim_until: entry.claim_until.map(rfc3339),
        extended: entry.extended,
    }))
}

/// Give up the place in line, an entry of a draw, or the turn that came from it.
#[utoipa::path(
    delete,
    path = "/flash-sales/{sale_id}/queue-position",
    operation_id = "leaveQueue",
    tag = "line",
    params(("sale_id" = SaleId, Path), IdempotencyKey),
    responses((status = 204, description = "The place is given up; units that were set aside are for sale again.")),
    security(("token" = [])),
)]
pub async fn leave(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    Bearer(caller): Bearer,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    super::run(&app, &caller, &headers, ShopCommand::Leave { sale }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What happened to a shopper who is no longer in line, as far as it is known.
async fn outcome(app: &App, sale: &Sale, caller: &Caller) -> Result<Option<Entry>, Problem> {
    let shopper = &caller.shopper;
    let At { now, value: person } = app
        .shop
        .stock
        .person(sale.lane_of(shopper), shopper.clone())
        .await?;
    let known = person.record.and_then(|record| {
        let state = match record.state {
            RecordState::Held | RecordState::Ordering | RecordState::Ordered => EntryState::Served,
            RecordState::Left => EntryState::Left,
            _ => return None,
        };
        Some((state, record.quantity))
    });
    let known = match known {
        Some(known) => Some(known),
        None => app.shop.store.outcome_of(sale.id, shopper).await?,
    };
    Ok(known.map(|(state, quantity)| Entry::settled(sale.id, state, quantity, now)))
}

fn unexpected() -> Problem {
    flashsale_engine::error::Error::unexpected("a command has answered for another").into()
}
