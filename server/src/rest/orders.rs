//! Orders, over REST.

use super::{Bearer, Json, Problem, field, rfc3339};
use crate::app::App;
use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use flashsale_protocol::{
    Code, Command, Done, Order, OrderId, OrderStatus, Payment, Quantity, SaleId, ShopperId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    user_id: ShopperId,
    cart_items: Vec<OrderItem>,
    #[serde(default)]
    payment: Option<Payment>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderItem {
    sale_id: SaleId,
    /// If given, it must be what the cart holds.
    #[serde(default)]
    quantity: Option<Quantity>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayBody {
    payment: Payment,
}

#[derive(Debug, Serialize)]
pub struct OrderView {
    order_id: String,
    /// The brief's outcome of the checkout: there is a guaranteed order. A refusal is an error instead.
    status: &'static str,
    order_status: OrderStatus,
    sale_id: String,
    quantity: u32,
    unit_price: i64,
    amount: i64,
    currency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: String,
    expires_at: String,
    /// A payment's outcome is not known yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paying: bool,
    /// What of `amount` has gone back.
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded: Option<i64>,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        Self {
            order_id: order.order.to_string(),
            status: "success",
            order_status: order.status,
            sale_id: order.sale.to_string(),
            quantity: order.quantity,
            unit_price: order.unit_price,
            amount: order.amount,
            currency: order.currency,
            reason: order.reason,
            created_at: rfc3339(order.created_at),
            expires_at: rfc3339(order.expires_at),
            paying: order.paying,
            refunded: (order.refunded > 0).then_some(order.refunded),
        }
    }
}

/// `POST /orders`: the held units of one sale become an order.
pub async fn create(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    headers: HeaderMap,
    Json(body): Json<OrderBody>,
) -> Result<(StatusCode, axum::Json<OrderView>), Problem> {
    let caller = bearer.acting_for(body.user_id.as_str())?;
    let [item] = body.cart_items.as_slice() else {
        return Err(field(
            "cart_items",
            "must be exactly one item; every sale is an order of its own",
        ));
    };
    if let Some(quantity) = item.quantity {
        let sale = app.sale(item.sale_id).await?;
        let person = app
            .stock
            .person(sale.lane_of(&caller.shopper), caller.shopper.clone())
            .await?
            .value;
        if person
            .record
            .is_some_and(|record| record.quantity != quantity.get())
        {
            return Err(field("cart_items[0].quantity", "is not what the cart holds"));
        }
    }
    let command = Command::Checkout {
        sale: item.sale_id,
        payment: body.payment,
    };
    Ok((
        StatusCode::CREATED,
        order(super::run(&app, &caller, &headers, command).await?)?,
    ))
}

/// `GET /orders/{id}`
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Bearer(caller): Bearer,
) -> Result<axum::Json<OrderView>, Problem> {
    let row = app.store.order(order_id(&id)?).await?;
    // Somebody else's order is as unknown as one that is not there.
    let row = row.filter(|row| row.quantity > 0 && (row.shopper == caller.shopper || caller.is_admin()));
    Ok(axum::Json(row.ok_or(Code::OrderUnknown)?.view().into()))
}

/// `POST /orders/{id}/pay`
pub async fn pay(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Bearer(caller): Bearer,
    headers: HeaderMap,
    Json(body): Json<PayBody>,
) -> Result<axum::Json<OrderView>, Problem> {
    let command = Command::Pay {
        order: order_id(&id)?,
        payment: body.payment,
    };
    order(super::run(&app, &caller, &headers, command).await?)
}

/// `POST /orders/{id}/cancel`
pub async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Bearer(caller): Bearer,
    headers: HeaderMap,
) -> Result<axum::Json<OrderView>, Problem> {
    let command = Command::Cancel {
        order: order_id(&id)?,
    };
    order(super::run(&app, &caller, &headers, command).await?)
}

fn order(done: Done) -> Result<axum::Json<OrderView>, Problem> {
    match done {
        Done::Order(order) => Ok(axum::Json(order.into())),
        _ => Err(Code::Internal.into()),
    }
}

pub fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Code::OrderUnknown.into())
}
