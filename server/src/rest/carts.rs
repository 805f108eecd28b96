//! Carts: a shopper's holds.

use super::{Bearer, IdempotencyKey, Json, Path, Problem, rfc3339};
use crate::{app::App, command};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use flashsale_protocol::{Code, Command, Done, Hold, HoldState, Quantity, SaleId, ShopperId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBody {
    sale_id: SaleId,
    #[serde(default)]
    quantity_requested: Quantity,
    /// Fewer will do.
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AddedView {
    quantity_reserved: u32,
    #[schema(format = DateTime)]
    expires_at: String,
    status: HoldState,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CartView {
    items: Vec<CartItem>,
    /// Minor units of `currency`.
    total: i64,
    currency: Option<String>,
    /// Until the first of the items expires; null for an empty cart.
    expires_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CartItem {
    sale_id: SaleId,
    quantity: u32,
    unit_price: i64,
    currency: String,
    #[schema(format = DateTime)]
    expires_at: String,
    status: HoldState,
}

/// Reserve units.
///
/// From one's turn in line or, while nobody waits, freely.
#[utoipa::path(
    post,
    path = "/carts/{user_id}/items",
    operation_id = "reserve",
    tag = "cart",
    params(("user_id" = ShopperId, Path), IdempotencyKey),
    responses((status = 201, description = "The units are in the cart.", body = AddedView)),
    security(("token" = [])),
)]
pub async fn add(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    bearer: Bearer,
    headers: HeaderMap,
    Json(body): Json<AddBody>,
) -> Result<(StatusCode, axum::Json<AddedView>), Problem> {
    let caller = bearer.acting_for(&user)?;
    let command = Command::Reserve {
        sale: body.sale_id,
        quantity: body.quantity_requested,
        partial: body.partial,
    };
    match super::run(&app, &caller, &headers, command).await? {
        Done::Hold(Hold {
            quantity,
            expires_at,
            state,
            ..
        }) => Ok((
            StatusCode::CREATED,
            axum::Json(AddedView {
                quantity_reserved: quantity,
                expires_at: rfc3339(expires_at),
                status: state,
            }),
        )),
        _ => Err(Code::Internal.into()),
    }
}

/// Give reserved units back.
#[utoipa::path(
    delete,
    path = "/carts/{user_id}/items/{sale_id}",
    operation_id = "release",
    tag = "cart",
    params(("user_id" = ShopperId, Path), ("sale_id" = SaleId, Path), IdempotencyKey),
    responses((status = 204, description = "The units are for sale again.")),
    security(("token" = [])),
)]
pub async fn remove(
    State(app): State<Arc<App>>,
    Path((user, sale)): Path<(String, String)>,
    bearer: Bearer,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let caller = bearer.acting_for(&user)?;
    let sale = sale.parse().map_err(|_| Problem::from(Code::SaleUnknown))?;
    super::run(&app, &caller, &headers, Command::Release { sale }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is in the cart, in all sales.
#[utoipa::path(
    get,
    path = "/carts/{user_id}",
    operation_id = "showCart",
    tag = "cart",
    params(("user_id" = ShopperId, Path)),
    responses((status = 200, description = "The cart; it may be empty.", body = CartView)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    bearer: Bearer,
) -> Result<axum::Json<CartView>, Problem> {
    let caller = bearer.acting_for(&user)?;
    let now = app.stock.clock().await?;
    let mut items = Vec::new();
    let mut first = None;
    let mut total: i64 = 0;
    for sale in app.store.sales_to_lead().await? {
        let person = app
            .stock
            .person(sale.lane_of(&caller.shopper), caller.shopper.clone())
            .await?
            .value;
        let Some(record) = person.record else { continue };
        let Some(state @ (HoldState::Held | HoldState::Ordering)) = command::hold_state(record.state) else {
            continue;
        };
        if record.until <= now {
            continue;
        }
        first = Some(first.map_or(record.until, |first: u64| first.min(record.until)));
        total = sale
            .line_total(record.quantity)
            .and_then(|line| total.checked_add(line))
            .ok_or(Code::Internal)?;
        items.push(CartItem {
            sale_id: sale.id,
            quantity: record.quantity,
            unit_price: sale.sale_price,
            currency: sale.currency.clone(),
            expires_at: rfc3339(record.until),
            status: state,
        });
    }
    Ok(axum::Json(CartView {
        total,
        currency: items.first().map(|item| item.currency.clone()),
        expires_in_seconds: first.map(|at| at.saturating_sub(now).div_ceil(1000)),
        items,
    }))
}
