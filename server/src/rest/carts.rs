//! Carts: a shopper's holds.

use super::{Bearer, IdempotencyKey, Json, Path, Problem, SalePath, rfc3339};
use crate::app::App;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use flashsale_engine::{
    command,
    error::Error,
    sale::{LaneRef, Sale},
    stock::At,
};
use flashsale_protocol::{Code, Done, Hold, HoldState, Quantity, SaleId, ShopCommand, ShopperId};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBody {
    sale_id: SaleId,
    #[serde(default)]
    quantity_requested: Quantity,
    /// Fewer units are fine.
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
    /// The price of the items, by currency.
    totals: Vec<CurrencyTotal>,
    /// Minor units of `currency`; null if the items have several currencies.
    total: Option<i64>,
    /// Null for an empty cart, or if the items have several currencies.
    currency: Option<String>,
    /// Time until the first item expires; null for an empty cart.
    expires_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyTotal {
    currency: String,
    /// Minor units.
    amount: i64,
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
    /// It has had its extension.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    extended: bool,
}

/// Reserve units.
///
/// During one's turn in line or, while nobody waits, freely.
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
    let command = ShopCommand::Reserve {
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

#[derive(Debug, Serialize, ToSchema)]
pub struct ExtendedView {
    quantity: u32,
    /// The new end of the turn, or of the time in the cart.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Extend a turn, or the time in the cart.
///
/// By its whole length, once, while nobody waits, and if the sale allows it (`extend_once`).
#[utoipa::path(
    post,
    path = "/flash-sales/{sale_id}/extension",
    operation_id = "extend",
    tag = "cart",
    params(("sale_id" = SaleId, Path), IdempotencyKey),
    responses((status = 200, description = "It ends later now.", body = ExtendedView)),
    security(("token" = [])),
)]
pub async fn extend(
    State(app): State<Arc<App>>,
    SalePath(sale): SalePath,
    Bearer(caller): Bearer,
    headers: HeaderMap,
) -> Result<axum::Json<ExtendedView>, Problem> {
    let (quantity, until) = match super::run(&app, &caller, &headers, ShopCommand::Extend { sale }).await? {
        Done::Hold(hold) => (hold.quantity, hold.expires_at),
        // Its turn is over by now if it has no end.
        Done::Joined { entry, .. } => (entry.quantity, entry.claim_until.unwrap_or(entry.at)),
        _ => return Err(Code::Internal.into()),
    };
    Ok(axum::Json(ExtendedView {
        quantity,
        expires_at: rfc3339(until),
    }))
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
    super::run(&app, &caller, &headers, ShopCommand::Release { sale }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The contents of the cart, in all sales.
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
    // One call asks all lanes whether they have something of the shopper's; only those that do are asked further.
    let mut lanes: Vec<(Arc<Sale>, LaneRef, ShopperId)> = Vec::new();
    for sale in app.shop.sales_on().await? {
        match app.shop.meet(&caller, &sale).await {
            Ok(met) => lanes.push((sale.clone(), sale.lane_of(&met.shopper), met.shopper)),
            // A merchant's customer has nothing at another merchant.
            Err(reject) if reject.code == Code::WrongMerchant => {}
            Err(reject) => return Err(reject.into()),
        }
    }
    let asked: Vec<(LaneRef, ShopperId)> = lanes
        .iter()
        .map(|(_, at, shopper)| (*at, shopper.clone()))
        .collect();
    let have = app.shop.stock.have_carts(&asked).await?;
    let found = lanes.iter().zip(have).filter(|(_, has)| *has);
    let asked = found.map(|((sale, at, shopper), _)| {
        let person = app.shop.stock.person(*at, shopper.clone());
        async move { Ok::<_, Error>((sale, person.await?)) }
    });
    let mut items = Vec::new();
    let mut first: Option<u64> = None;
    let mut totals: Vec<CurrencyTotal> = Vec::new();
    for (sale, At { now, value: person }) in try_join_all(asked).await? {
        let Some(record) = person.record.filter(|record| record.until > now) else {
            continue;
        };
        let Some(state @ (HoldState::Held | HoldState::Ordering)) = command::hold_state(record.state) else {
            continue;
        };
        let left_ms = record.until - now;
        first = Some(first.map_or(left_ms, |first| first.min(left_ms)));
        let price = sale.line_total(record.quantity).ok_or(Code::Internal)?;
        match totals.iter_mut().find(|total| total.currency == sale.currency) {
            Some(total) => total.amount = total.amount.checked_add(price).ok_or(Code::Internal)?,
            None => totals.push(CurrencyTotal {
                currency: sale.currency.clone(),
                amount: price,
            }),
        }
        items.push(CartItem {
            sale_id: sale.id,
            quantity: record.quantity,
            unit_price: sale.sale_price,
            currency: sale.currency.clone(),
            expires_at: rfc3339(record.until),
            status: state,
            extended: record.extended,
        });
    }
    let (total, currency) = match totals.as_slice() {
        [] => (Some(0), None),
        [one] => (Some(one.amount), Some(one.currency.clone())),
        _ => (None, None),
    };
    Ok(axum::Json(CartView {
        items,
        totals,
        total,
        currency,
        expires_in_seconds: first.map(|left_ms| left_ms.div_ceil(1000)),
    }))
}
