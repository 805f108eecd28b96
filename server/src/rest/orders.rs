//! Orders, over REST.

use super::{Bearer, IdempotencyKey, Json, Path, Problem, field, rfc3339};
use crate::app::App;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use flashsale_engine::{command, store::OrderRow};
use flashsale_protocol::{
    Code, Done, Order, OrderId, OrderStatus, Payment, Quantity, Reason, SaleId, ShopCommand, json::Object,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// The token's subject, or the id that the session has here.
    #[schema(min_length = 1, max_length = 255)]
    user_id: String,
    /// Exactly one, because each sale has an order of its own.
    #[schema(value_type = Vec<OrderItem>, min_items = 1, max_items = 1)]
    cart_items: Vec<Object<OrderItem>>,
    #[serde(default)]
    payment: Option<Payment>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderItem {
    sale_id: SaleId,
    /// If given, it must be the quantity in the cart.
    #[serde(default)]
    quantity: Option<Quantity>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayBody {
    payment: Payment,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderView {
    order_id: OrderId,
    /// The outcome of the checkout: there is a guaranteed order. A refusal is an error instead.
    status: CheckoutStatus,
    order_status: OrderStatus,
    sale_id: SaleId,
    quantity: u32,
    unit_price: i64,
    amount: i64,
    currency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[schema(format = DateTime)]
    created_at: String,
    /// The time at which an unpaid order is cancelled.
    #[schema(format = DateTime)]
    expires_at: String,
    /// The outcome of a payment is not known yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paying: bool,
    /// The part of `amount` that has gone back.
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded: Option<i64>,
    /// When money last went back.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded_at: Option<String>,
    /// The refusal of a pending order's last payment; another one may be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    declined: Option<DeclinedView>,
    /// Where it is paid: only in the answer to a payment, if the shop takes the money itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    handoff: Option<HandoffView>,
    /// Where the terms are that it was placed under, and their version: when the order is asked for, if the sale names any.
    #[serde(skip_serializing_if = "Option::is_none")]
    terms_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms_version: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HandoffView {
    /// The shop's checkout with the token: the browser goes there.
    url: String,
    /// The same token alone. The shop's backend redeems it once.
    token: String,
    /// Until then it can be redeemed. A new payment command gives a new one.
    #[schema(format = DateTime)]
    expires_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeclinedView {
    /// The payment provider's words, for a person.
    reason: String,
    #[schema(format = DateTime)]
    at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutStatus {
    Success,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        Self {
            order_id: order.order,
            status: CheckoutStatus::Success,
            order_status: order.status,
            sale_id: order.sale,
            quantity: order.quantity,
            unit_price: order.unit_price,
            amount: order.amount,
            currency: order.currency,
            reason: order.reason,
            created_at: rfc3339(order.created_at),
            expires_at: rfc3339(order.expires_at),
            paying: order.paying,
            refunded: (order.refunded > 0).then_some(order.refunded),
            refunded_at: order.refunded_at.map(rfc3339),
            declined: order.declined.map(|declined| DeclinedView {
                reason: declined.reason,
                at: rfc3339(declined.at),
            }),
            handoff: order.handoff.map(|handoff| HandoffView {
                url: handoff.url,
                token: handoff.token,
                expires_at: rfc3339(handoff.expires_at),
            }),
            terms_url: None,
            terms_version: None,
        }
    }
}

impl OrderView {
    /// The order with the terms that it was placed under.
    pub(crate) async fn with_terms(app: &App, order: Order) -> Result<Self, Problem> {
        let terms = app.shop.store.order_terms(order.order).await?;
        let (terms_url, terms_version) = terms.map(|terms| (terms.url, terms.version)).unzip();
        Ok(Self {
            terms_url,
            terms_version,
            ..order.into()
        })
    }
}

/// Check out.
///
/// The held units of one sale become an order; with `payment`, it is paid at once.
#[utoipa::path(
    post,
    path = "/orders",
    operation_id = "checkOut",
    tag = "orders",
    params(IdempotencyKey),
    responses((status = 201, description = "The order stands.", body = OrderView)),
    security(("token" = [])),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    headers: HeaderMap,
    Json(body): Json<OrderBody>,
) -> Result<(StatusCode, axum::Json<OrderView>), Problem> {
    let caller = bearer.acting_for(&body.user_id)?;
    let [Object(item)] = body.cart_items.as_slice() else {
        return Err(field(
            "cart_items",
            "must be exactly one item; every sale is an order of its own",
        ));
    };
    let id = super::command_id(&headers)?;
    let sale = app.shop.sale(item.sale_id).await?;
    let caller = app.shop.meet(&caller, &sale).await?;
    // A repeated command has its answer already, whatever is in the cart now.
    let is_known = app.shop.store.command(&caller.shopper, id).await?.is_some();
    if let Some(quantity) = item.quantity
        && !is_known
    {
        let person = app
            .shop
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
    let command = ShopCommand::Checkout {
        sale: item.sale_id,
        payment: body.payment,
    };
    let done = command::run(&app.shop, &caller, id, command).await?;
    if let (Done::Order(made), Some(quantity), true) = (&done, item.quantity, is_known)
        && made.quantity != quantity.get()
    {
        return Err(Code::CommandIdReused.into());
    }
    Ok((StatusCode::CREATED, order(done)?))
}

/// One order.
#[utoipa::path(
    get,
    path = "/orders/{order_id}",
    operation_id = "showOrder",
    tag = "orders",
    params(("order_id" = OrderId, Path)),
    responses((status = 200, description = "The order.", body = OrderView)),
    security(("token" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Bearer(caller): Bearer,
) -> Result<axum::Json<OrderView>, Problem> {
    let id = order_id(&id)?;
    let row = app.shop.store.order(id).await?;
    let met = app.shop.meet_buyer(&caller, id).await?;
    let is_theirs = |row: &OrderRow| met.as_ref().is_some_and(|met| met.shopper == row.shopper);
    // Somebody else's order counts as unknown.
    let row = row.filter(|row| row.quantity > 0 && (is_theirs(row) || caller.is_admin()));
    match row {
        Some(row) => Ok(axum::Json(OrderView::with_terms(&app, row.view()).await?)),
        None => Err(command::unknown_order(&app.shop, id).await.into()),
    }
}

/// Pay a pending order.
#[utoipa::path(
    post,
    path = "/orders/{order_id}/pay",
    operation_id = "payOrder",
    tag = "orders",
    params(("order_id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "The order, confirmed; or with `handoff`, where it is paid.", body = OrderView)),
    security(("token" = [])),
)]
pub async fn pay(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Bearer(caller): Bearer,
    headers: HeaderMap,
    Json(body): Json<PayBody>,
) -> Result<axum::Json<OrderView>, Problem> {
    let command = ShopCommand::Pay {
        order: order_id(&id)?,
        payment: body.payment,
    };
    order(super::run(&app, &caller, &headers, command).await?)
}

/// Cancel a pending order; its units are for sale again.
#[utoipa::path(
    post,
    path = "/orders/{order_id}/cancel",
    operation_id = "cancelOrder",
    tag = "orders",
    params(("order_id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "The order, cancelled.", body = OrderView)),
    security(("token" = [])),
)]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Bearer(caller): Bearer,
    headers: HeaderMap,
) -> Result<axum::Json<OrderView>, Problem> {
    let command = ShopCommand::Cancel {
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
